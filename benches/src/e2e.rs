//! End-to-end comparison: what one request costs each proxy, all of them measured in one interleaved run.
//!
//! The order of a run: start each peer alone and read its idle memory; start the backend; then, round after round, every peer in turn
//! is loaded to saturation (CPU per request, throughput, loaded memory) and at a fixed pace (latency). Medians over the rounds are reported.
//! A figure counts only if our own proxy proves that it did its whole work ([`proof`]), and only if every peer took part.

mod handshakes;
mod host;
mod load;
mod measure;
mod options;
mod peers;
mod ports;
mod process;
mod proof;
mod readme;
mod table;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use measure::Results;
use options::Options;
use peers::{Kind, Peer, Protocol, backend::Backend};

/// Core of the proxy under test. Client and backend share the other one.
const PROXY_CORE: &str = "1";
const OTHER_CORE: &str = "0";

/// Runs the comparison that the command line asks for. Exit code 1: a target was missed and `--assert` was given.
pub fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    options.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(&options))
}

async fn compare(options: &Options) -> anyhow::Result<ExitCode> {
    let host = host::describe()?;
    let dir = tempfile::tempdir().context("a folder for configurations and logs")?;
    let ports = ports::Ports::pick()?;

    let mut peers = Vec::new();
    for kind in options.peers() {
        eprintln!("starting {}", kind.name());
        peers.push(peers::start(kind, options, &ports, dir.path()).await?);
    }
    let backend = Backend::start(&ports, dir.path()).await?;

    let results = measure::rounds(options, &peers).await?;
    let handshakes = handshakes::measure(&peers, options.handshakes).await?;
    let own: Vec<&Peer> = peers.iter().filter(|peer| peer.is_outrigger()).collect();
    for peer in &own {
        proof::of_counts(peer, results.sent_per_door()).await?;
    }
    if let Some(peer) = own.first() {
        eprintln!("proof: {}", proof::of_limits(peer, &backend).await?);
    }

    let table = table::render(&results, &peers, &handshakes);
    println!("{}\n\n{table}", host.line());
    if options.write {
        readme::write(&host.line(), &table)?;
    }
    Ok(verdict(options, &results, &peers))
}

/// Compares with the targets, and says so on standard error.
fn verdict(options: &Options, results: &Results, peers: &[Peer]) -> ExitCode {
    let Some(own) = peers.iter().find(|peer| peer.is_own()) else {
        return ExitCode::SUCCESS;
    };
    let mut missed = false;
    let targets = [
        (Kind::Outrigger, Kind::Envoy, "of Envoy's", options.max_ratio),
        (Kind::Stages, Kind::TwoHops, "with every stage, of without", options.max_stages),
        (Kind::MtlsPair, Kind::EnvoyPair, "of the mTLS pair, of Envoy's", options.max_pair),
        (Kind::MtlsPair, Kind::HaproxyPair, "of the mTLS pair, of HAProxy's", options.max_pair_haproxy),
    ];
    for (kind, to, what, most) in targets {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let Some(ratio) = results.cpu_ratio(kind, to, protocol) else { continue };
            let fine = ratio <= most;
            missed |= !fine;
            let word = if fine { "met" } else { "MISSED" };
            eprintln!("target {word}: {protocol} CPU per request {what}: {ratio:.2}, at most {most:.2}");
        }
    }
    let idle = own.idle_pss_kib as f64 / 1024.0;
    let fine = idle < options.max_idle_mib;
    missed |= !fine;
    let word = if fine { "met" } else { "MISSED" };
    eprintln!("target {word}: idle PSS {idle:.1} MiB, below {:.0}", options.max_idle_mib);
    if missed && options.assert { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
