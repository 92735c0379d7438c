//! The two tables of the README, one per protocol.

use std::fmt::Write;

use super::measure::{Results, Sample};
use super::peers::{Kind, Peer, Protocol};

pub(super) fn render(results: &Results, peers: &[Peer]) -> String {
    let mut out = String::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (connections, streams) = protocol.concurrency();
        let _ = writeln!(
            out,
            "**{protocol}** both ways, {connections} connections x {streams} request(s) at a time\n\n\
             | proxy | CPU us/request | of Envoy's | of bare hyper's | requests/s | p50 / p99 us | idle / loaded PSS MiB |\n\
             |---|---|---|---|---|---|---|"
        );
        for peer in peers {
            let _ = writeln!(out, "{}", row(results, peer, protocol));
        }
        if let Some(ratio) = results.cpu_ratio(Kind::Stages, Kind::TwoHops, protocol) {
            let _ = writeln!(out, "\nEvery stage configured, of the same two hops without: {ratio:.2}.");
        }
        out.push('\n');
    }
    out.trim_end().to_owned()
}

fn row(results: &Results, peer: &Peer, protocol: Protocol) -> String {
    let median = |field: fn(&Sample) -> f64| results.median(peer.kind, protocol, field);
    let cell =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let ratio = |to| cell(results.cpu_ratio(peer.kind, to, protocol), 2);
    format!(
        "| {} | {} | {} | {} | {} | {} / {} | {:.1} / {} |",
        peer.title,
        cell(median(|s| s.cpu_us), 1),
        ratio(Kind::Envoy),
        ratio(Kind::Bare),
        cell(median(|s| s.per_second), 0),
        cell(median(|s| s.p50_us), 0),
        cell(median(|s| s.p99_us), 0),
        peer.idle_pss_kib as f64 / 1024.0,
        cell(median(|s| s.loaded_pss_kib / 1024.0), 1),
    )
}
