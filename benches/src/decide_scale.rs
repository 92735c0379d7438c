//! What a decision costs in a large policy, beside a small one, and how long such a policy takes to take up.
//!
//! Both policies come out of YAML by the proxy's own road. Every service has ten HTTPRoutes of one rule. The same ten
//! requests are decided in both, in turns, so that only the size of the policy differs; then requests to all 10,000
//! routes in random order, which adds what memory costs once the policy is larger than the processor's caches.

use std::{fmt::Write as _, hint::black_box, net::IpAddr, time::Duration, time::Instant, time::SystemTime};

use anyhow::{Context, bail};
use http::{HeaderMap, Method};
use outrigger_config::{SourceFile, model::Resources};
use outrigger_proxy::{
    ctx::Side,
    decide::{Decision, Facts, Form, Head, Silent, decide},
    runtime::{
        build,
        snapshot::{ListenerKey, Snapshot},
    },
    telemetry::metrics::Metrics,
};
use rustix::time::{ClockId, clock_gettime};

/// Routes of each service.
const ROUTES: usize = 10;
/// Services of the large policy.
const SERVICES: usize = 1_000;
/// Decisions of one turn.
const TURN: usize = 1_000_000;
/// Turns of each policy; the median counts.
const TURNS: usize = 15;
/// Reloads that are timed; the median counts.
const RELOADS: usize = 5;

/// What was measured.
#[derive(Debug)]
pub struct Report {
    /// Nanoseconds of a decision in a policy of ten routes of one service.
    pub small: f64,
    /// The same requests in a policy of 10,000 routes of 1,000 services.
    pub large: f64,
    /// The median of `large / small` over the turns.
    pub ratio: f64,
    /// Requests to all routes of the large policy, in random order.
    pub spread: f64,
    /// From the text of the large policy to its resources: read, check, compile.
    pub compile: Duration,
    /// From resources to the snapshot, where nothing could be shared.
    pub build_all: Duration,
    /// The same where one route of 10,000 has changed.
    pub build_one: Duration,
}

/// Measures all of it, in about a minute.
///
/// # Errors
/// A policy that does not compile, or a request that is not forwarded: that would be a bug of this bench.
pub fn measure() -> anyhow::Result<Report> {
    let metrics = Metrics::new(1);
    let text = policy(SERVICES, "1s");
    let changed = compile(&policy(SERVICES, "2s"))?;
    let (compile_time, resources) = median(RELOADS, || compile(&text))?;
    let (build_all, large) = median(RELOADS, || Ok(build(&resources, None, &metrics)?))?;
    let (build_one, _) = median(RELOADS, || Ok(build(&changed, Some(&large), &metrics)?))?;
    let small = build(&compile(&policy(1, "1s"))?, None, &metrics)?;

    let own = Requests::new(1, ROUTES);
    let all = Requests::new(SERVICES, 65_536);
    for (snapshot, requests) in [(&small, &own), (&large, &own), (&large, &all)] {
        prove(snapshot, requests)?;
    }
    let mut turns: Vec<[f64; 3]> =
        (0..TURNS).map(|_| [time(&small, &own), time(&large, &own), time(&large, &all)]).collect();
    let mut ratios: Vec<f64> = turns.iter().map(|turn| turn[1] / turn[0]).collect();
    let mut middle = |of: usize| {
        turns.sort_by(|a, b| a[of].total_cmp(&b[of]));
        turns[TURNS / 2][of]
    };
    let (small, large, spread) = (middle(0), middle(1), middle(2));
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[TURNS / 2];
    Ok(Report { small, large, ratio, spread, compile: compile_time, build_all, build_one })
}

/// A policy of this many services; the route of the last one has `timeout`.
fn policy(services: usize, timeout: &str) -> String {
    let mut text =
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {name: web, namespace: shop}\n\
                    spec: {outbound: [{bind: \"127.0.0.1:15001\"}]}\n"
            .to_owned();
    for service in 0..services {
        let _ = write!(
            text,
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: s{service}, namespace: shop}}\n\
             spec: {{ports: [{{port: 80}}], endpoints: [{{address: \"10.{}.{}.1:80\"}}]}}\n",
            service / 256,
            service % 256,
        );
        for route in 0..ROUTES {
            let last = service + 1 == services && route + 1 == ROUTES;
            let _ = write!(
                text,
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                 metadata: {{name: s{service}-r{route}, namespace: shop}}\n\
                 spec:\n  parentRefs: [{{group: \"\", kind: Service, name: s{service}, port: 80}}]\n  rules:\n  \
                 - matches: [{{path: {{type: PathPrefix, value: /api/r{route}}}}}]\n    \
                   timeouts: {{request: {}}}\n    \
                   backendRefs: [{{name: s{service}, port: 80}}]\n",
                if last { timeout } else { "5s" },
            );
        }
    }
    text
}

fn compile(text: &str) -> anyhow::Result<Resources> {
    let file = SourceFile { path: "policy.yaml".to_owned(), text: text.as_bytes().to_vec() };
    let checked = outrigger_config::check(vec![file]);
    match &checked.policy {
        Some(policy) if checked.errors() == 0 => Ok(policy.compile(None)?),
        _ => bail!("{}", checked.render_text(false)),
    }
}

/// The requests of one series: hosts and paths are few and stay in cache, as a head that was just read does.
struct Requests {
    hosts: Vec<String>,
    paths: Vec<String>,
    /// Indices of host and path.
    order: Vec<(u16, u16)>,
}

impl Requests {
    /// In an order that repeats itself after `count`, but that no prefetcher knows.
    fn new(services: usize, count: usize) -> Self {
        let mut state = 1u64;
        let order = (0..count).map(|number| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (((state >> 33) as usize % services) as u16, (number % ROUTES) as u16)
        });
        Self {
            hosts: (0..services).map(|service| format!("s{service}.shop")).collect(),
            paths: (0..ROUTES).map(|route| format!("/api/r{route}/items/7")).collect(),
            order: order.collect(),
        }
    }

    /// Host and path of each request, for ever.
    fn cycle(&self) -> impl Iterator<Item = (&str, &str)> {
        let order = self.order.iter().cycle();
        order.map(|(host, path)| (&*self.hosts[usize::from(*host)], &*self.paths[usize::from(*path)]))
    }
}

fn one(snapshot: &Snapshot, (host, path): (&str, &str), headers: &HeaderMap, facts: &Facts<'_>) -> Decision {
    let key = ListenerKey { side: Side::Outbound, bind: ([127, 0, 0, 1], 15001).into(), nth: 0 };
    let head = Head { method: &Method::GET, path, query: Some("page=1"), host, port: None, headers };
    decide(snapshot, key, &head, facts, &mut Silent)
}

fn facts() -> Facts<'static> {
    Facts {
        original_destination: None,
        form: Form::Origin,
        peer: IpAddr::from([127, 0, 0, 1]),
        identity: None,
        now: Instant::now(),
        clock: SystemTime::now(),
        dice: 7,
    }
}

/// Every request goes by its own route.
fn prove(snapshot: &Snapshot, requests: &Requests) -> anyhow::Result<()> {
    for request in requests.cycle().take(requests.order.len()) {
        let decision = one(snapshot, request, &HeaderMap::new(), &facts());
        let Decision::Forward(forward) = &decision else { bail!("{request:?} is not forwarded") };
        let service = request.0.strip_suffix(".shop").context("a host of this bench")?;
        let route = request.1.split('/').nth(2).context("a path of this bench")?;
        if *forward.rule.route != *format!("shop/{service}-{route}/0") {
            bail!("{request:?} went by {}", forward.rule.route);
        }
    }
    Ok(())
}

/// What this thread has run, so that other work on the machine is not counted; its cache misses still are.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Nanoseconds of a decision, its release included.
fn time(snapshot: &Snapshot, requests: &Requests) -> f64 {
    let (headers, facts) = (HeaderMap::new(), facts());
    let start = cpu();
    for request in requests.cycle().take(TURN) {
        black_box(one(snapshot, black_box(request), &headers, &facts));
    }
    (cpu() - start).as_nanos() as f64 / TURN as f64
}

/// The median CPU time of a few runs, and the last result.
fn median<T>(runs: usize, mut run: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<(Duration, T)> {
    let mut times = Vec::with_capacity(runs);
    loop {
        let start = cpu();
        let result = run()?;
        times.push(cpu() - start);
        if times.len() >= runs {
            times.sort();
            return Ok((times[runs / 2], result));
        }
    }
}
