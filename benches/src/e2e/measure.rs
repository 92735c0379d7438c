//! The rounds: every peer in turn, each round starting with the next one, so that drift of the machine falls on all alike.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval};

use super::load::Load;
use super::options::Options;
use super::peers::{Door, Kind, Peer, Protocol};

/// One peer, one protocol, one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) kind: Kind,
    pub(super) protocol: Protocol,
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) loaded_pss_kib: f64,
}

pub(super) struct Results {
    samples: Vec<Sample>,
    sent_per_door: u64,
}

/// Runs one warm-up round and the measured ones.
pub(super) async fn rounds(options: &Options, peers: &[Peer]) -> anyhow::Result<Results> {
    let dir = tempfile::tempdir()?;
    let mut results = Results { samples: Vec::new(), sent_per_door: 0 };
    for round in 0..=options.rounds {
        eprintln!("round {round} of {} (0 warms up)", options.rounds);
        let first = round % peers.len();
        for peer in peers[first..].iter().chain(&peers[..first]) {
            for door in &peer.doors {
                let sample = one(options, peer, door, dir.path())
                    .await
                    .with_context(|| format!("{}, {}", peer.kind.name(), door.protocol))?;
                if round > 0 {
                    results.samples.push(sample);
                }
            }
        }
        results.sent_per_door += options.requests + paced_requests(options);
    }
    Ok(results)
}

/// Two seconds of the pace.
fn paced_requests(options: &Options) -> u64 {
    options.pace * 2
}

async fn one(options: &Options, peer: &Peer, door: &Door, dir: &std::path::Path) -> anyhow::Result<Sample> {
    let mut load =
        Load { protocol: door.protocol, port: door.port, requests: options.requests, pace: None, dir };
    let before = peer.cpu_us()?;
    let mut largest = 0;
    let saturated = {
        let mut run = std::pin::pin!(load.run());
        let mut tick = interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                outcome = &mut run => break outcome?,
                _ = tick.tick() => largest = largest.max(peer.pss_kib(door)?),
            }
        }
    };
    let cpu_us = (peer.cpu_us()? - before) / options.requests as f64;

    load.pace = Some(options.pace);
    load.requests = paced_requests(options);
    let paced = load.run().await?;
    Ok(Sample {
        kind: peer.kind,
        protocol: door.protocol,
        cpu_us,
        per_second: saturated.per_second,
        p50_us: paced.p50_us as f64,
        p99_us: paced.p99_us as f64,
        loaded_pss_kib: largest as f64,
    })
}

impl Results {
    /// Median over the rounds; `None` where the peer does not speak the protocol.
    pub(super) fn median(&self, kind: Kind, protocol: Protocol, field: fn(&Sample) -> f64) -> Option<f64> {
        let values = self.samples.iter().filter(|s| s.kind == kind && s.protocol == protocol);
        median(values.map(field).collect())
    }

    /// Median over the rounds of the ratio of two peers' CPU per request in the same round.
    pub(super) fn cpu_ratio(&self, kind: Kind, to: Kind, protocol: Protocol) -> Option<f64> {
        let of = |kind| {
            let matching = move |s: &&Sample| s.kind == kind && s.protocol == protocol;
            self.samples.iter().filter(matching).map(|s| s.cpu_us)
        };
        median(of(kind).zip(of(to)).map(|(own, other)| own / other).collect())
    }

    /// Requests that each door of each peer was sent, warm-up included.
    pub(super) fn sent_per_door(&self) -> u64 {
        self.sent_per_door
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
