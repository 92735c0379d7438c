//! What `outrigger explain` says of a connection is what the proxy does with it: random ports of TCP and TLS, random routes,
//! random connections, each made over a real socket through the real binary to a server that says its name first.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::SocketAddr,
};

use outrigger_config::{SourceFile, model::Resources};
use outrigger_proxy::explain::{ConnectionQuestion, ConnectionReport, Door, Explainer, Outcome, Share};
use outrigger_tests::{
    outside::{Authority, TlsFront, client_hello},
    ports,
    raw::{RawBackend, Reply},
    wait::within,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    by_the_binary, dice,
    luck::Luck,
    number,
    world::{Proxy, joined},
};

/// Cases without a wish for more.
const CASES: usize = 750;
/// Connections through one policy.
const PER_POLICY: usize = 25;
/// Connections of one policy that the binary explains too.
const BY_THE_BINARY: usize = 3;
/// Server names that callers ask for. The last is no name.
const NAMES: [&str; 7] = [
    "a.example.com",
    "b.example.com",
    "x.a.example.com",
    "other.org",
    "named.example.com",
    "web.example.com",
    "127.0.0.1",
];
/// Services with a listener of their own, and their only port.
const PINNED: [(&str, u16); 5] = [("db", 5432), ("bare", 6379), ("front", 443), ("secret", 7), ("web", 443)];
/// A fatal alert `unrecognized_name`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Servers that say their name first and send back what comes; one of them behind TLS.
struct Servers {
    plain: Vec<RawBackend>,
    front: TlsFront,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Servers {
    async fn start() -> Self {
        let mut plain = Vec::new();
        for name in ["a", "b", "c", "d"] {
            let greeting = format!("220 {name}\n").into_bytes();
            plain.push(RawBackend::start(Reply::Echo { greeting, farewell: b"221\n".to_vec() }).await);
        }
        let authority = Authority::new("ca");
        let front = TlsFront::start(plain[3].address(), &authority.issue(&["secret.example.com"]), &[]).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a temporary file is writable");
        Self { plain, front, authority, folder }
    }

    /// Who greets behind an endpoint.
    fn greeting(&self, endpoint: &str) -> Option<&'static str> {
        let address: SocketAddr = endpoint.parse().ok()?;
        let at = self.plain.iter().position(|one| one.address() == address);
        let at = at.or((address == self.front.address()).then_some(3))?;
        Some(["220 a\n", "220 b\n", "220 c\n", "220 d\n"][at])
    }
}

/// Where the proxy listens.
struct Doors {
    outbound: SocketAddr,
    pinned: [SocketAddr; PINNED.len()],
    inbound: SocketAddr,
    admin: SocketAddr,
}

impl Doors {
    fn new() -> Self {
        Self {
            outbound: ports::free(),
            pinned: PINNED.map(|_| ports::free()),
            inbound: ports::free(),
            admin: ports::free(),
        }
    }
}

/// One connection.
#[derive(Clone, Debug)]
struct Asked {
    to: SocketAddr,
    url: String,
    /// What is said first.
    says: Vec<u8>,
}

impl Asked {
    fn any(luck: &mut Luck, doors: &Doors, servers: &Servers) -> Self {
        let pinned = luck.number(0, PINNED.len() - 1);
        let (to, (host, port)) = match luck.number(0, 9) {
            0 => (doors.inbound, ("app", 1)),
            1 | 2 => (doors.outbound, ("unknown", 1)),
            _ => (doors.pinned[pinned], PINNED[pinned]),
        };
        let tls = luck.chance(if host == "front" || host == "unknown" { 80 } else { 30 });
        let name = luck.one(&NAMES);
        match tls {
            true => Self { to, url: format!("tls://{name}"), says: client_hello(name, &servers.authority) },
            // No method and no record of TLS begins like this.
            false => Self { to, url: format!("tcp://{host}:{port}"), says: b"\x01\x02 bytes".to_vec() },
        }
    }

    fn question(&self, dice: Option<u64>, doors: &Doors) -> ConnectionQuestion {
        let mut question = ConnectionQuestion::new(&self.url).expect("a URL");
        question.door = Some(if self.to == doors.inbound { Door::Inbound } else { Door::At(self.to) });
        question.dice = dice;
        question
    }

    fn arguments(&self, dice: u64, doors: &Doors) -> Vec<String> {
        let door =
            if self.to == doors.inbound { "--inbound".to_owned() } else { format!("--listener={}", self.to) };
        vec![format!("--dice={dice:#x}"), self.url.clone(), door]
    }
}

/// What became of a connection.
struct Happened {
    /// All that came back.
    got: Vec<u8>,
    /// It ended with a reset.
    reset: bool,
    /// Our address, by which the access log knows it.
    peer: SocketAddr,
}

async fn connect(asked: &Asked) -> Happened {
    // Not tokio's: it would take a reset that comes at once for a connection that never was.
    let stream = std::net::TcpStream::connect(asked.to).expect("a listener");
    stream.set_nonblocking(true).expect("a socket can be");
    let mut stream = TcpStream::from_std(stream).expect("a runtime");
    let peer = stream.local_addr().expect("a connected socket has an address");
    let mut got = Vec::new();
    let talked: io::Result<()> = async {
        stream.write_all(&asked.says).await?;
        stream.shutdown().await?;
        within("the end", stream.read_to_end(&mut got)).await?;
        Ok(())
    }
    .await;
    let ends = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected];
    if let Err(error) = &talked {
        assert!(ends.contains(&error.kind()), "{error}");
    }
    Happened { got, reset: talked.is_err(), peer }
}

#[tokio::test]
async fn an_explanation_of_a_connection_is_what_happens() {
    let seed = number("OUTRIGGER_EXPLAIN_SEED").unwrap_or_else(rand::random);
    let cases =
        number("OUTRIGGER_EXPLAIN_CASES").map_or(CASES, |cases| usize::try_from(cases).expect("fits"));
    println!("OUTRIGGER_EXPLAIN_SEED={seed} OUTRIGGER_EXPLAIN_CASES={cases}");
    let servers = Servers::start().await;
    let mut tally = BTreeMap::<&str, usize>::new();
    let policies = cases.div_ceil(PER_POLICY) as u64;
    for policy in 0..policies {
        one_policy(seed, policy, &servers, &mut tally).await;
    }
    println!("{policies} policies: {tally:?}");
    for (kind, least) in [
        ("forward", cases / 10),
        ("split", cases / 100),
        ("no_route", cases / 100),
        ("a share of nothing", cases / 100),
        ("no_client_hello", cases / 300),
        ("no_service", cases / 100),
        ("requests", cases / 100),
        ("ClientHello", cases / 20),
        ("TLS upstream", cases / 200),
    ] {
        let many = tally.get(kind).copied().unwrap_or_default();
        assert!(many >= least, "only {many} of {cases} cases are {kind}: {tally:?}");
    }
}

async fn one_policy(seed: u64, number: u64, servers: &Servers, tally: &mut BTreeMap<&'static str, usize>) {
    let mut luck = Luck::new(seed, number);
    let doors = Doors::new();
    let (text, resources) = valid_policy(&mut luck, &doors, servers);
    let explainer = Explainer::new(resources).expect("a checked policy builds");
    let proxy = Proxy::start(&text, doors.admin).await;
    let mut made = Vec::new();
    for _ in 0..PER_POLICY {
        let asked = Asked::any(&mut luck, &doors, servers);
        made.push((connect(&asked).await, asked));
    }
    let before =
        |asked: &Asked| explainer.explain_connection(&asked.question(None, &doors)).expect("a report");
    // What is read as HTTP is refused by its parser, which writes no line.
    let lines = made.iter().filter(|(_, asked)| before(asked).outcome != Outcome::Requests).count();
    let log = proxy.log(lines).await;
    let mut told = 0;
    for (at, (happened, asked)) in made.iter().enumerate() {
        let report = before(asked);
        let line = log.iter().find(|line| is_of(line, happened, asked));
        count(&report, tally);
        let judged = judge(&explainer, (asked, &report), (happened, line), &doors, servers);
        if let Err(why) = judged {
            let repeat = format!("OUTRIGGER_EXPLAIN_SEED={seed}, policy {number}, connection {at}");
            panic!("{why}\n{asked:?}\n{}\n{line:?}\n{text}\n{repeat}", report.to_text(false));
        }
        if let Some(line) = line.filter(|_| told < BY_THE_BINARY) {
            told += 1;
            let dice = dice(line).expect("a connection that was decided has dice");
            let report = explainer.explain_connection(&asked.question(Some(dice), &doors)).expect("a report");
            by_the_binary(&proxy, &asked.arguments(dice, &doors), &report);
        }
    }
    proxy.end().await;
}

/// Whether a line is a connection's. Our own port alone does not tell: it may serve again for another listener.
fn is_of(line: &Value, happened: &Happened, asked: &Asked) -> bool {
    line["peer"] == happened.peer.to_string() && line["listener"] == asked.to.to_string()
}

fn judge(
    explainer: &Explainer,
    (asked, before): (&Asked, &ConnectionReport),
    (happened, line): (&Happened, Option<&Value>),
    doors: &Doors,
    servers: &Servers,
) -> Result<(), String> {
    let got = String::from_utf8_lossy(&happened.got);
    if before.outcome == Outcome::Requests {
        let refused = happened.got.is_empty() || got.starts_with("HTTP/1.1 400");
        return truth(refused && line.is_none(), || format!("it was not read as HTTP: {got:?}"));
    }
    let line = line.ok_or("the log has no line of it")?;
    let dice = dice(line).ok_or("no dice in the log")?;
    let report = explainer.explain_connection(&asked.question(Some(dice), doors)).expect("a report");
    compare(&report, (happened, line), (asked, servers))
        .map_err(|why| format!("with dice {dice:#x}: {why}\n{}", report.to_text(false)))
}

fn compare(
    report: &ConnectionReport,
    (happened, line): (&Happened, &Value),
    (asked, servers): (&Asked, &Servers),
) -> Result<(), String> {
    let rule = report.rule.as_ref().map_or("default", |rule| rule.name.as_str());
    same("route", &line["route"].as_str(), &Some(rule))?;
    if let Some(service) = &report.service {
        same("service", &line["service"].as_str(), &Some(service.name.as_str()))?;
    }
    let protocol = if report.reads_hello { "TLS" } else { "TCP" };
    same("protocol", &line["protocol"].as_str(), &Some(protocol))?;
    let taken: Vec<_> = report.candidates.iter().filter(|one| one.taken).collect();
    truth(report.candidates.is_empty() || taken.len() <= 1, || "two rules take it".to_owned())?;
    if let [one] = &*taken {
        same("rule of the candidate", &one.rule.as_str(), &rule)?;
    }
    match &report.outcome {
        Outcome::Forward { .. } => {
            let share = live(&report.shares).ok_or("no share has all of it")?;
            let upstream = line["upstream"].as_str().unwrap_or_default();
            let endpoint = share.endpoints.iter().any(|endpoint| endpoint.address == upstream);
            truth(endpoint, || format!("{upstream} is no endpoint of {}", share.backend))?;
            truth(!happened.reset && line["flags"].is_null(), || "it was ended".to_owned())?;
            let greeting = servers.greeting(upstream).ok_or("nobody listens there")?;
            let whole = [greeting.as_bytes(), &asked.says, b"221\n"].concat();
            truth(happened.got == whole, || format!("{:?} came back", String::from_utf8_lossy(&happened.got)))
        }
        Outcome::Cut(cut) => {
            same("flag", &line["flags"].as_str(), &Some(cut.flag))?;
            same("reason", &line["reason"].as_str(), &Some(cut.reason))?;
            match cut.by {
                "a reset" => truth(happened.reset, || "it was not reset".to_owned()),
                _ => truth(happened.got == ALERT, || format!("no alert but {:?}", happened.got)),
            }
        }
        other => Err(format!("{other:?} is not what becomes of a connection with dice")),
    }
}

fn live(shares: &[Share]) -> Option<&Share> {
    let mut live = shares.iter().filter(|share| share.percent > 0.0 && share.chosen != Some(false));
    live.next().filter(|_| live.next().is_none())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: &T, told: &T) -> Result<(), String> {
    truth(real == told, || format!("{what}: it was {real:?}, explained as {told:?}"))
}

fn truth(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn count(report: &ConnectionReport, tally: &mut BTreeMap<&'static str, usize>) {
    let mut add = |kind| *tally.entry(kind).or_default() += 1;
    match &report.outcome {
        Outcome::Forward { .. } => add("forward"),
        Outcome::Split => add("split"),
        Outcome::Cut(cut) => add(cut.reason),
        Outcome::Requests => add("requests"),
        _ => {}
    }
    if report.shares.iter().any(|share| share.backend == "none") {
        add("a share of nothing");
    }
    if report.reads_hello {
        add("ClientHello");
    }
    if report.shares.iter().any(|share| share.tls.is_some()) {
        add("TLS upstream");
    }
}

/// A policy without errors: one whose weights are all 0 is thrown away.
fn valid_policy(luck: &mut Luck, doors: &Doors, servers: &Servers) -> (String, Resources) {
    for _ in 0..100 {
        let text = policy(luck, doors, servers);
        let file = SourceFile { path: "policy.yaml".to_owned(), text: text.as_bytes().to_vec() };
        let checked = outrigger_config::check(vec![file]);
        if let Some(policy) = &checked.policy {
            return (text, policy.compile(None).expect("one Sidecar"));
        }
        let refused = checked.render_text(false);
        let errors = refused.lines().filter(|line| line.contains("error["));
        errors.for_each(|line| assert!(line.contains("OR144"), "the generator is wrong: {line}\n{text}"));
    }
    panic!("a hundred policies in a row were refused");
}

fn policy(luck: &mut Luck, doors: &Doors, servers: &Servers) -> String {
    let app = servers.plain[0].address();
    let pinned = PINNED.iter().zip(&doors.pinned);
    let pinned = pinned
        .map(|((name, port), bind)| format!("{{bind: \"{bind}\", service: {{name: {name}, port: {port}}}}}"));
    let mut documents = vec![
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: web, namespace: shop}}\nspec:\n  inbound: \
             [{{bind: \"{}\", app: \"{app}\", protocol: tcp}}]\n  outbound: [{{bind: \"{}\"}}, {}]\n  admin: {{bind: \
             \"{}\"}}\n",
            doors.inbound,
            doors.outbound,
            joined(pinned),
            doors.admin
        ),
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec: {egress: {mode: Deny}, telemetry: \
         {accessLog: {format: json}}}\n"
            .to_owned(),
    ];
    let ca = servers.folder.path().join("ca.pem").display().to_string();
    for (name, port, protocol, more) in [
        ("db", 5432, ", protocol: tcp", String::new()),
        ("bare", 6379, ", protocol: tcp", String::new()),
        ("front", 443, "", String::new()),
        ("named", 443, luck.one(&[", protocol: tcp", ""]), "hosts: [named.example.com], ".to_owned()),
        ("web", 443, ", protocol: http1", "hosts: [web.example.com], ".to_owned()),
        (
            "secret",
            7,
            ", protocol: tcp",
            format!("tls: {{mode: Simple, serverName: secret.example.com, trustBundle: \"{ca}\"}}, "),
        ),
    ] {
        let endpoints = if name == "secret" {
            format!("{{address: \"{}\"}}", servers.front.address())
        } else {
            let first = luck.number(0, 3);
            let many = if luck.chance(12) { 0 } else { luck.number(1, 3) };
            joined((first..first + many).map(|at| {
                let weight = luck.number(1, 3);
                format!("{{address: \"{}\", weight: {weight}}}", servers.plain[at % 4].address())
            }))
        };
        documents.push(format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}, namespace: shop}}\nspec: \
             {{{more}ports: [{{port: {port}{protocol}}}], endpoints: [{endpoints}]}}\n"
        ));
    }
    for number in 0..luck.number(0, 2) {
        documents.push(route(luck, "TCPRoute", ("db", number), ""));
    }
    // Without one the port, which says nothing of itself, is one of HTTP.
    for number in 0..luck.number(1, 3) {
        let names = luck.one(&[
            "[a.example.com]",
            "[\"*.example.com\"]",
            "[\"*.a.example.com\", b.example.com]",
            "[other.org, a.example.com]",
        ]);
        documents.push(route(luck, "TLSRoute", ("front", number), names));
    }
    if luck.chance(50) {
        documents.push(route(luck, "TLSRoute", ("named", 0), "[named.example.com]"));
    }
    documents.join("---\n")
}

fn route(luck: &mut Luck, kind: &str, (service, number): (&str, usize), names: &str) -> String {
    let hostnames = if names.is_empty() { String::new() } else { format!("  hostnames: {names}\n") };
    let backends = luck.list(1, 3, |luck| {
        let weight = luck.perhaps(70, |luck| format!(", weight: {}", luck.number(0, 4)));
        // TLS in TLS would end at the front, which knows nothing of what is inside.
        let others: &[&str] = if kind == "TLSRoute" {
            &[
                "{name: db, port: 5432",
                "{name: bare, port: 6379",
                "{name: gone, port: 1",
                "{name: gone, port: 2",
            ]
        } else {
            &[
                "{name: db, port: 5432",
                "{name: secret, port: 7",
                "{name: bare, port: 6379",
                "{name: gone, port: 1",
            ]
        };
        format!("{}{weight}}}", luck.one(others))
    });
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {service}-{number}, namespace: shop}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: {service}}}]\n{hostnames}  rules: [{{backendRefs: [{backends}]}}]\n"
    )
}
