//! The proxies compared, one file each. All get the same task: one worker, a table of routes by path prefix of which the last one is asked for,
//! time-outs and retries on, upstream connections kept, no access log, over the loopback: in plaintext, and the pairs with
//! mutual TLS between their two processes.

pub(super) mod backend;
mod bare;
pub(super) mod certificates;
mod envoy;
mod haproxy;
mod nginx;
mod outrigger;

pub(super) use outrigger::RETRIES;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;

use super::options::Options;
use super::ports::{PeerPorts, Ports};
use super::process::Process;
use certificates::Certificates;

/// Path prefixes of the route table; the client asks for the last one.
const PREFIXES: [&str; 8] =
    ["/account/", "/basket/", "/catalog/", "/delivery/", "/images/", "/orders/", "/search/", "/api/"];
/// What the client asks for.
pub(super) const PATH: &str = "/api/items";
/// Between start and the reading of idle memory.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Connections, and requests at a time on each.
    pub(super) fn concurrency(self) -> (u64, u64) {
        match self {
            Protocol::Http1 => (32, 1),
            Protocol::Http2 => (8, 10),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Http1 => "HTTP/1",
            Protocol::Http2 => "HTTP/2",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Bare,
    Nginx,
    Haproxy,
    Envoy,
    Outrigger,
    /// Both sidecars of a call in one process: the caller's outbound and the service's inbound.
    TwoHops,
    /// The same, with every policy stage configured.
    Stages,
    /// Two sidecars as processes of their own, with mutual TLS between them.
    MtlsPair,
    /// The same of HAProxy.
    HaproxyPair,
    /// The same of Envoy.
    EnvoyPair,
}

impl Kind {
    pub(super) const ALL: [Kind; 10] = [
        Kind::Outrigger,
        Kind::Bare,
        Kind::Nginx,
        Kind::Haproxy,
        Kind::Envoy,
        Kind::TwoHops,
        Kind::Stages,
        Kind::MtlsPair,
        Kind::HaproxyPair,
        Kind::EnvoyPair,
    ];

    /// Whether it is two processes with mutual TLS between them.
    pub(super) fn is_pair(self) -> bool {
        matches!(self, Kind::MtlsPair | Kind::HaproxyPair | Kind::EnvoyPair)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Bare => "bare hyper",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "HAProxy",
            Kind::Envoy => "Envoy",
            Kind::Outrigger => "Outrigger",
            Kind::TwoHops => "Outrigger, two hops",
            Kind::Stages => "Outrigger, two hops, every stage",
            Kind::MtlsPair => "Outrigger, mTLS pair",
            Kind::HaproxyPair => "HAProxy, mTLS pair",
            Kind::EnvoyPair => "Envoy, mTLS pair",
        }
    }
}

/// Where one protocol is served, and by which of the peer's processes.
pub(super) struct Door {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    process: usize,
}

/// One proxy under measurement, running.
pub(super) struct Peer {
    pub(super) kind: Kind,
    /// Name and version.
    pub(super) title: String,
    pub(super) doors: Vec<Door>,
    /// Of the first process, or of both of a pair, after start and before any request.
    pub(super) idle_pss_kib: u64,
    pub(super) ports: PeerPorts,
    /// Those of a pair.
    pub(super) certificates: Option<Certificates>,
    processes: Vec<Process>,
}

impl Peer {
    /// CPU time of all its processes so far, microseconds.
    pub(super) fn cpu_us(&self) -> anyhow::Result<f64> {
        self.processes.iter().map(Process::cpu_us).sum()
    }

    /// Memory of what serves a door now: of one process, or of both of a pair.
    pub(super) fn pss_kib(&self, door: &Door) -> anyhow::Result<u64> {
        let serves = |index: usize| self.kind.is_pair() || index == door.process;
        let serving = self.processes.iter().enumerate().filter(|(index, _)| serves(*index));
        serving.map(|(_, process)| process.pss_kib()).sum()
    }

    /// CPU time of the process that the pair's link leads to, microseconds.
    pub(super) fn far_cpu_us(&self) -> anyhow::Result<f64> {
        self.processes.last().context("a peer without a process")?.cpu_us()
    }

    /// Whether it is the one that is compared with the others.
    pub(super) fn is_own(&self) -> bool {
        self.kind == Kind::Outrigger
    }

    /// Whether it is Outrigger in any shape, and so must prove its work.
    pub(super) fn is_outrigger(&self) -> bool {
        matches!(self.kind, Kind::Outrigger | Kind::TwoHops | Kind::Stages | Kind::MtlsPair)
    }

    /// Port of its admin interface.
    pub(super) fn admin(&self) -> u16 {
        self.ports.admin
    }
}

/// What a peer's file says: how it is started and where it then listens.
struct Recipe {
    title: String,
    doors: Vec<Door>,
    commands: Vec<Command>,
    certificates: Option<Certificates>,
}

/// A process of a peer, and the port by which it shows that it is there.
struct Command {
    program: PathBuf,
    args: Vec<String>,
    port: u16,
}

impl Recipe {
    /// One process that serves both protocols.
    fn single(title: String, ports: PeerPorts, program: PathBuf, args: Vec<String>) -> Self {
        let door = |protocol, port| Door { protocol, port, process: 0 };
        Recipe {
            title,
            doors: vec![door(Protocol::Http1, ports.http1), door(Protocol::Http2, ports.http2)],
            commands: vec![Command { program, args, port: ports.http1 }],
            certificates: None,
        }
    }

    /// One process that serves both protocols, and the one that it leads to.
    fn pair(
        title: &str,
        ports: PeerPorts,
        program: PathBuf,
        [near, far]: [Vec<String>; 2],
        certificates: Certificates,
    ) -> Self {
        let far = Command { program: program.clone(), args: far, port: ports.inner[0] };
        let near = Self::single(title.to_owned(), ports, program, near);
        let commands = near.commands.into_iter().chain([far]).collect();
        Recipe { commands, certificates: Some(certificates), ..near }
    }
}

/// Starts a peer alone on its core and reads its idle memory.
pub(super) async fn start(kind: Kind, options: &Options, ports: &Ports, dir: &Path) -> anyhow::Result<Peer> {
    // A name of one word: HAProxy splits paths at blanks.
    let dir = dir.join(format!("{kind:?}"));
    fs::create_dir_all(&dir)?;
    let own = ports.peer[kind as usize];
    let recipe = match kind {
        Kind::Bare => bare::recipe(&options.floor, own, ports),
        Kind::Nginx => nginx::recipe(own, ports, &dir)?,
        Kind::Haproxy => haproxy::recipe(own, ports, &dir)?,
        Kind::Envoy => envoy::recipe(&options.envoy, own, ports, &dir)?,
        Kind::Outrigger | Kind::TwoHops | Kind::Stages | Kind::MtlsPair => {
            outrigger::recipe(kind, &options.proxy, own, ports, &dir)?
        }
        Kind::HaproxyPair => haproxy::pair(own, ports, &dir)?,
        Kind::EnvoyPair => envoy::pair(&options.envoy, own, ports, &dir)?,
    };
    let mut peer = Peer {
        kind,
        title: recipe.title,
        doors: recipe.doors,
        idle_pss_kib: 0,
        ports: own,
        certificates: recipe.certificates,
        processes: Vec::new(),
    };
    for (index, Command { program, args, port }) in recipe.commands.iter().enumerate() {
        let process = Process::start(super::PROXY_CORE, program, args, *port, &dir).await?;
        if index == 0 || kind.is_pair() {
            tokio::time::sleep(SETTLE).await;
            peer.idle_pss_kib += process.pss_kib()?;
        }
        peer.processes.push(process);
    }
    Ok(peer)
}

/// The absolute path of a program: as given, or found on PATH. A missing peer ends the comparison.
fn locate(program: &Path) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = if program.components().count() > 1 {
        program.canonicalize().ok()
    } else {
        // nginx and HAProxy stand in sbin, which is not on every user's path.
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        folders.map(|folder| folder.join(program)).find(|full| full.is_file())
    };
    found.with_context(|| {
        let program = program.display();
        format!("{program} is missing, and a comparison without it would not be one: run benches/run, which sets it up")
    })
}

/// First line of what `program args` prints, on either stream, holding the version.
fn version(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let number = text.split([' ', '/', '-', '+', '\n']).find(|word| {
        let digits = word.starts_with(|c: char| c.is_ascii_digit());
        digits && word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.')
    });
    ensure!(number.is_some(), "{} tells no version: {text}", program.display());
    Ok(number.unwrap_or_default().to_owned())
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = dir.join(name);
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}
