//! What all cases of one policy share: backends that tell what they got, and a real proxy in front of them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use outrigger_config::{SourceFile, model::Resources};
use outrigger_tests::{
    backend::{Answer, Backend, Seen},
    client,
    outside::{Authority, TlsFront},
    ports,
    process::Process,
    wait::until,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{luck::Luck, policy};

/// Where everything listens.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) outbound: SocketAddr,
    pub(crate) pinned: SocketAddr,
    pub(crate) inbound: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The first half speaks HTTP/1.1, the other one HTTP/2.
    pub(crate) backends: Vec<SocketAddr>,
    /// Fronts that take TLS off before a backend: of HTTP/1.1, and of HTTP/2.
    fronts: [(SocketAddr, SocketAddr); 2],
    /// What policy says of TLS to them.
    pub(crate) tls: String,
}

impl Addresses {
    /// Addresses for one more proxy before these backends.
    pub(crate) fn new(backends: &Backends) -> Self {
        let [outbound, pinned, inbound, admin] = [(); 4].map(|()| ports::free());
        Self {
            outbound,
            pinned,
            inbound,
            admin,
            backends: backends.addresses.clone(),
            fronts: backends.fronts.each_ref().map(|(front, behind)| (front.address(), *behind)),
            tls: backends.tls.clone(),
        }
    }

    /// The front before a backend that speaks this.
    pub(crate) fn front(&self, version: &str) -> SocketAddr {
        self.fronts[usize::from(version == "http2")].0
    }

    /// Who gets what is sent to an endpoint.
    pub(crate) fn behind(&self, endpoint: SocketAddr) -> SocketAddr {
        let front = self.fronts.iter().find(|(front, _)| *front == endpoint);
        front.map_or(endpoint, |(_, behind)| *behind)
    }

    /// What the endpoints of a Service speak.
    pub(crate) fn speaks(&self, service: usize) -> &'static str {
        if policy::is_grpc(service) || service == 2 { "http2" } else { "http1" }
    }

    /// The version that a backend speaks.
    pub(crate) fn version(&self, address: SocketAddr) -> Option<&'static str> {
        let at = self.backends.iter().position(|one| *one == address)?;
        Some(if at < self.backends.len() / 2 { "HTTP/1.1" } else { "HTTP/2" })
    }

    /// The backends that may be endpoints of a Service.
    pub(crate) fn of(&self, service: usize) -> Vec<SocketAddr> {
        let half = self.backends.len() / 2;
        let all =
            if self.speaks(service) == "http2" { &self.backends[half..] } else { &self.backends[..half] };
        // Not the same ones first for every Service.
        let first = service % all.len();
        all[first..].iter().chain(&all[..first]).copied().collect()
    }
}

/// Who got the requests of each case.
type ByCase = HashMap<String, Vec<(SocketAddr, Seen)>>;

/// Services that take note of each request by its `x-case`.
pub(crate) struct Backends {
    addresses: Vec<SocketAddr>,
    seen: Arc<Mutex<ByCase>>,
    fronts: [(TlsFront, SocketAddr); 2],
    tls: String,
    _folder: TempDir,
    _running: Vec<Backend>,
}

impl Backends {
    pub(crate) async fn start() -> Self {
        let mut running = Vec::new();
        for name in ["a", "b", "c"] {
            running.push(Backend::http1(name).await);
        }
        for name in ["d", "e", "f"] {
            running.push(Backend::http2(name).await);
        }
        let seen = Arc::<Mutex<ByCase>>::default();
        for backend in &running {
            let (address, seen) = (backend.address(), seen.clone());
            backend.forget();
            backend.answer(move |one| {
                let case = one.header("x-case").to_owned();
                seen.lock()
                    .expect("no test panics while it holds this")
                    .entry(case)
                    .or_default()
                    .push((address, one.clone()));
                Answer::status(200).header("x-echo", "here")
            });
        }
        let addresses: Vec<SocketAddr> = running.iter().map(Backend::address).collect();
        let (authority, folder) = (Authority::new("ca"), tempfile::tempdir().expect("a temporary folder"));
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).expect("a temporary file is writable");
        let identity = authority.issue(&["inside.example.com"]);
        let (first, last) = (addresses[0], addresses[addresses.len() - 1]);
        let fronts = [
            (TlsFront::start(first, &identity, &["http/1.1"]).await, first),
            (TlsFront::start(last, &identity, &["h2"]).await, last),
        ];
        let tls =
            format!("{{mode: Simple, serverName: inside.example.com, trustBundle: \"{}\"}}", ca.display());
        Self { addresses, seen, fronts, tls, _folder: folder, _running: running }
    }

    /// Waits until so many requests of a case have come, copies included.
    pub(crate) async fn wait_for(&self, case: &str, many: usize) {
        until(&format!("{many} requests of {case}"), || async {
            let seen = self.seen.lock().expect("no test panics while it holds this");
            (seen.get(case).map_or(0, Vec::len) >= many).then_some(())
        })
        .await;
    }

    /// The requests of a case, and who got them.
    pub(crate) fn of_case(&self, case: &str) -> Vec<(SocketAddr, Seen)> {
        self.seen.lock().expect("no test panics while it holds this").remove(case).unwrap_or_default()
    }
}

/// A policy without errors: those that `check` refuses are thrown away.
pub(crate) fn valid_policy(luck: &mut Luck, at: &Addresses) -> (String, Resources) {
    for _ in 0..100 {
        let text = policy::any(luck, at);
        let file = SourceFile { path: "policy.yaml".to_owned(), text: text.clone().into_bytes() };
        let checked = outrigger_config::check(vec![file]);
        if let Some(policy) = checked.policy {
            return (text, policy.compile(None).expect("one Sidecar"));
        }
        let refused = checked.render_text(false);
        // What people may write by accident is fine; what this test writes by mistake is not.
        let known = ["OR144", "OR145", "OR126", "OR146"];
        let told = refused.lines().filter(|line| line.contains("error["));
        for line in told {
            assert!(known.iter().any(|code| line.contains(code)), "the generator is wrong: {line}\n{text}");
        }
    }
    panic!("a hundred policies in a row were refused");
}

/// A list, by commas.
pub(crate) fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// The real proxy, as a process of its own.
pub(crate) struct Proxy {
    process: Process,
    folder: TempDir,
}

impl Proxy {
    pub(crate) async fn start(policy: &str, admin: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy).expect("a temporary file is writable");
        let path = path.display().to_string();
        // One worker: lines of the access log stand in the order of the requests.
        let arguments = ["proxy", "--workers", "1", "--grace", "1s", "--log-level", "error", "-f", &path];
        let process = Process::start(env!("CARGO_BIN_EXE_outrigger"), arguments, &[]);
        until("the proxy to be ready", || async {
            tokio::net::TcpStream::connect(admin).await.ok()?;
            (client::get(admin, "/ready").await.status == 200).then_some(())
        })
        .await;
        Self { process, folder }
    }

    /// The access log so far, once it has as many lines.
    pub(crate) async fn log(&self, lines: usize) -> Vec<Value> {
        until(&format!("{lines} lines of the access log"), || async {
            let output = self.process.output();
            let log: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            (log.len() >= lines).then_some(log)
        })
        .await
    }

    /// `outrigger explain -o json` of the same policy file.
    pub(crate) fn explain(&self, arguments: &[String]) -> Value {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(["explain", "-o", "json", "-f"])
            .arg(self.folder.path().join("policy.yaml"))
            .args(arguments)
            .output()
            .expect("the binary runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Ends it.
    pub(crate) async fn end(mut self) {
        self.process.signal(Signal::KILL);
        self.process.exit().await;
    }
}
