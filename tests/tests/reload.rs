//! Reloads under load: no request fails, none mixes two policies, open streams stay, and memory comes back.
//!
//! The only test of its file, so that the process's memory is this proxy's and its load's.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    grpc::{BIDI, GrpcClient, GrpcService},
    proxy::Proxy,
    wait::until,
};
use tokio::task::JoinHandle;

/// Policies in the test, the first one included.
const GENERATIONS: u64 = 51;
/// Memory is compared from this one on: until then pools, buffers and allocator arenas fill.
const WARM: u64 = 16;
/// Open gRPC calls.
const STREAMS: usize = 20;
/// Services that only make the policy large: what a reload leaks is seen.
const BALLAST: usize = 20;

/// The answer tells its policy in three ways that must agree: the backend, a header that the backend gets and gives
/// back in the body, a header of the answer.
fn policy(generation: u64, backends: [&Backend; 2], echo: &GrpcService) -> String {
    let [even, odd] = backends.map(Backend::address);
    let weight = generation % 2;
    let mut text = format!(
        r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test}}
spec:
  outbound:
  - {{bind: "127.0.0.1:0", service: {{name: web, port: 80}}}}
  - {{bind: "127.0.0.2:0", service: {{name: echo, port: 80}}}}
  admin: {{bind: "127.0.0.1:0"}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{even}"}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: odd}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{odd}"}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: echo}}
spec: {{ports: [{{port: 80, protocol: grpc}}], endpoints: [{{address: "{echo}"}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules:
  - filters:
    - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-asked, value: "{generation}"}}]}}}}
    - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-generation, value: "{generation}"}}]}}}}
    backendRefs:
    - {{name: web, port: 80, weight: {even_weight}}}
    - {{name: odd, port: 80, weight: {weight}}}
"#,
        echo = echo.address(),
        even_weight = 1 - weight,
    );
    for index in 0..BALLAST {
        write!(
            text,
            r#"
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: ballast-{index}}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{even}"}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: ballast-{index}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: ballast-{index}}}]
  rules:
  - matches: [{{path: {{type: RegularExpression, value: "/g{generation}/[a-z]+/{index}"}}}}]
    backendRefs: [{{name: ballast-{index}, port: 80}}]
"#
        )
        .expect("a String takes everything");
    }
    text
}

/// What the callers know of the reloads, and what the reloads know of the callers.
#[derive(Default)]
struct Progress {
    /// `/metrics` has shown this generation.
    shown: AtomicU64,
    stop: AtomicBool,
}

/// One caller's part: every generation that it saw.
#[derive(Default)]
struct Sight(Mutex<BTreeSet<u64>>);

impl Sight {
    fn has(&self, generation: u64) -> bool {
        self.0.lock().unwrap().contains(&generation)
    }

    /// Checks that one policy made the whole answer.
    fn note(&self, answer: &client::Answer, shown_before: u64) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let generation: u64 = answer.header("x-generation").parse().expect("the answer names its generation");
        assert_eq!(answer.text(), generation.to_string(), "the request was changed by another policy");
        let backend = ["even", "odd"][(generation % 2) as usize];
        assert_eq!(answer.header("x-backend"), backend, "generation {generation} chose another backend");
        assert!(generation >= shown_before, "generation {generation} after {shown_before} was in use");
        self.0.lock().unwrap().insert(generation);
    }
}

/// Asks again and again on one connection, until told to stop.
fn caller(mut client: Client, sight: &Arc<Sight>, progress: &Arc<Progress>) -> JoinHandle<()> {
    let (sight, progress) = (sight.clone(), progress.clone());
    tokio::spawn(async move {
        while !progress.stop.load(Ordering::Acquire) {
            let shown = progress.shown.load(Ordering::Acquire);
            sight.note(&client.get("/").await, shown);
        }
        assert!(!client.is_closed(), "a reload closed a caller's connection");
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_under_load() {
    let (even, odd) = (Backend::http1("even").await, Backend::http1("odd").await);
    for backend in [&even, &odd] {
        backend.forget();
        backend.answer(|seen| Answer::text(seen.header("x-asked").to_owned()));
    }
    let echo = GrpcService::start().await;
    let proxy = Proxy::start(&policy(1, [&even, &odd], &echo));

    let mut calls = Vec::new();
    let mut connections = [
        GrpcClient::connect(proxy.outbound(1), "echo").await,
        GrpcClient::connect(proxy.outbound(1), "echo").await,
    ];
    for index in 0..STREAMS {
        calls.push(connections[index % 2].open(BIDI, &[]).await);
    }

    let progress = Arc::new(Progress::default());
    let mut callers = Vec::new();
    for _ in 0..2 {
        let sight = Arc::new(Sight::default());
        callers
            .push((caller(Client::http1(proxy.outbound(0), "web").await, &sight, &progress), sight.clone()));
        // Requests side by side on one HTTP/2 connection.
        let client = Client::http2(proxy.outbound(0), "web").await;
        for _ in 0..2 {
            callers.push((caller(client.share(), &sight, &progress), sight.clone()));
        }
    }

    let (mut warm, mut last) = (0.0, 0.0);
    for generation in 1..=GENERATIONS {
        if generation > 1 {
            proxy.write(&policy(generation, [&even, &odd], &echo));
        }
        proxy.wait_generation(generation).await;
        progress.shown.store(generation, Ordering::Release);
        until(&format!("generation {generation} in every caller's answers"), || async {
            for (task, _) in &callers {
                assert!(!task.is_finished(), "a caller has failed");
            }
            callers.iter().all(|(_, sight)| sight.has(generation)).then_some(())
        })
        .await;
        for (index, call) in calls.iter_mut().enumerate() {
            let message = format!("{generation}-{index}");
            call.send(&message).await;
            assert_eq!(call.message().await.as_deref(), Some(message.as_bytes()), "stream {index}");
        }
        let memory = proxy.metrics().await.sum("process_resident_memory_bytes", &[]);
        if generation <= WARM {
            warm = f64::max(warm, memory);
        }
        last = memory;
    }

    progress.stop.store(true, Ordering::Release);
    for (task, sight) in callers {
        task.await.expect("the caller found nothing wrong");
        assert_eq!(sight.0.lock().unwrap().len() as u64, GENERATIONS, "a caller missed a generation");
    }
    for mut call in calls {
        call.finish();
        assert_eq!(call.end().await.status, Some(0));
    }
    assert_eq!(echo.calls(), STREAMS, "no stream was repeated");

    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_config_rejections_total", &[]), 0.0);
    let failed =
        metrics.find("outrigger_requests_total", &[]).filter(|one| one.labels["code"] != "200").count();
    assert_eq!(failed, 0, "{metrics:?}");
    assert!(
        last <= warm * 1.1,
        "memory grew from {warm} to {last} bytes over {} reloads",
        GENERATIONS - WARM
    );
}
