//! The tables of the README: one per protocol, one of pairs per protocol, one of handshakes.

use std::fmt::Write;

use super::handshakes::Handshakes;
use super::measure::{Results, Sample};
use super::peers::{Kind, Peer, Protocol};

pub(super) fn render(results: &Results, peers: &[Peer], handshakes: &[Handshakes]) -> String {
    let mut out = String::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (connections, streams) = protocol.concurrency();
        let _ = writeln!(
            out,
            "**{protocol}** both ways, {connections} connections x {streams} request(s) at a time\n\n\
             | proxy | CPU us/request | of Envoy's | of bare hyper's | requests/s | p50 / p99 us | idle / loaded PSS MiB |\n\
             |---|---|---|---|---|---|---|"
        );
        for peer in peers.iter().filter(|peer| !peer.kind.is_pair()) {
            let _ = writeln!(out, "{}", row(results, peer, protocol, [Kind::Envoy, Kind::Bare]));
        }
        if let Some(ratio) = results.cpu_ratio(Kind::Stages, Kind::TwoHops, protocol) {
            let _ = writeln!(out, "\nEvery stage configured, of the same two hops without: {ratio:.2}.");
        }
        out.push('\n');
    }
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (connections, streams) = protocol.concurrency();
        let _ = writeln!(
            out,
            "**{protocol}** over a pair of processes with mutual TLS between them, {connections} connections x {streams} request(s) at a time\n\n\
             | pair | CPU us/request, both | of Envoy's | of HAProxy's | requests/s | p50 / p99 us | idle / loaded PSS MiB, both |\n\
             |---|---|---|---|---|---|---|"
        );
        for peer in peers.iter().filter(|peer| peer.kind.is_pair()) {
            let row = row(results, peer, protocol, [Kind::EnvoyPair, Kind::HaproxyPair]);
            let _ = writeln!(out, "{row}");
        }
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "**Connections** to the far side of a pair: a full mutual handshake and one request each\n\n\
         | pair | CPU us/connection | connections/s of CPU | connections/s measured | key exchange |\n\
         |---|---|---|---|---|"
    );
    for Handshakes { kind, cpu_us, per_second, key_exchange } in handshakes {
        let of_cpu = 1e6 / cpu_us;
        let name = kind.name();
        let _ = writeln!(out, "| {name} | {cpu_us:.0} | {of_cpu:.0} | {per_second:.0} | {key_exchange} |");
    }
    out.trim_end().to_owned()
}

fn row(results: &Results, peer: &Peer, protocol: Protocol, of: [Kind; 2]) -> String {
    let median = |field: fn(&Sample) -> f64| results.median(peer.kind, protocol, field);
    let cell =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let ratio = |to| cell(results.cpu_ratio(peer.kind, to, protocol), 2);
    format!(
        "| {} | {} | {} | {} | {} | {} / {} | {:.1} / {} |",
        peer.title,
        cell(median(|s| s.cpu_us), 1),
        ratio(of[0]),
        ratio(of[1]),
        cell(median(|s| s.per_second), 0),
        cell(median(|s| s.p50_us), 0),
        cell(median(|s| s.p99_us), 0),
        peer.idle_pss_kib as f64 / 1024.0,
        cell(median(|s| s.loaded_pss_kib / 1024.0), 1),
    )
}
