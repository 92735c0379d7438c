//! The proof that the proxy which was measured did its whole work: routes, metrics, retries and time-outs.
//!
//! Figures of a proxy that skips its work are worthless, so the comparison fails without this. Counters and the policy in force are the
//! proxy's own words; that the limits act is then seen from outside, by taking the backend away.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::peers::backend::Backend;
use super::peers::{PATH, Peer, RETRIES};

/// Longer than the policy's whole time-out, 10 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Checks that `peer`, of which each door was sent `sent` requests, has counted all of them by the policy's rules.
pub(super) async fn of_counts(peer: &Peer, sent: u64) -> anyhow::Result<()> {
    let metrics = get(peer.admin(), "/metrics").await?.body;
    let dump = get(peer.admin(), "/config_dump").await?.body;
    let dump: Value = serde_json::from_str(&dump).context("/config_dump is not JSON")?;
    for service in ["http1", "http2"] {
        counted(&metrics, service, sent).with_context(|| peer.title.clone())?;
        in_force(&dump, service)?;
    }
    if peer.kind.is_pair() {
        let metrics = get(peer.ports.inner_admin, "/metrics").await?.body;
        authenticated(&metrics, 2 * sent)?;
    }
    Ok(())
}

/// The far side of a pair was sent at least `sent` requests by mutual TLS, and none in plaintext.
fn authenticated(metrics: &str, sent: u64) -> anyhow::Result<()> {
    let by = |word: &str| {
        let label = format!("security=\"{word}\"");
        sum(metrics, "outrigger_inbound_security_total", |labels| labels.contains(&label))
    };
    let (mtls, plaintext) = (by("mtls"), by("plaintext"));
    ensure!(
        mtls >= sent as f64 && plaintext == 0.0,
        "of {sent} requests, {mtls} came by mutual TLS and {plaintext} in plaintext"
    );
    Ok(())
}

/// Takes the backend away, and sees the limits and retries of `peer` act. Returns what was found, in words.
pub(super) async fn of_limits(peer: &Peer, backend: &Backend) -> anyhow::Result<String> {
    backend.freeze()?;
    let started = Instant::now();
    let frozen = get(peer.doors[0].port, PATH).await?.status;
    let waited = started.elapsed();
    ensure!(frozen == 504, "a backend that does not answer must give 504 by time-out, not {frozen}");
    backend.kill()?;
    let refused = get(peer.doors[0].port, PATH).await?.status;
    ensure!(refused == 503, "a dead backend must give 503, not {refused}");
    let metrics = get(peer.admin(), "/metrics").await?.body;
    let retries = sum(&metrics, "outrigger_retries_total", |_| true);
    ensure!(retries > 0.0, "outrigger_retries_total stayed 0 with the backend away");
    Ok(format!(
        "all requests counted on their routes; frozen backend: 504 after {:.1} s; dead backend: 503; {retries} retries",
        waited.as_secs_f64()
    ))
}

/// Every request of the route of `service` was routed, counted and timed.
fn counted(metrics: &str, service: &str, sent: u64) -> anyhow::Result<()> {
    let route = format!("route=\"bench/{service}/api\"");
    let on_route = |labels: &str| labels.contains(&route);
    let answered = |labels: &str| on_route(labels) && labels.contains("code=\"200\"");
    let found = sum(metrics, "outrigger_requests_total", answered);
    ensure!(
        found == sent as f64,
        "outrigger_requests_total has {found} of the {sent} requests sent: {route}"
    );
    let timed = sum(metrics, "outrigger_request_duration_seconds_count", on_route);
    ensure!(
        timed == sent as f64,
        "outrigger_request_duration_seconds has {timed} of {sent} requests: {route}"
    );
    Ok(())
}

/// The rule that the requests took has the retries and time-outs of the policy file.
pub(super) fn in_force(dump: &Value, service: &str) -> anyhow::Result<()> {
    let rule = find(dump, &|value| value["id"]["rule"] == "api" && value["id"]["route"]["name"] == service);
    let settings =
        &rule.with_context(|| format!("/config_dump has no rule bench/{service}/api"))?["settings"];
    let (retry, timeouts) = (&settings["retry"], &settings["timeouts"]);
    let fine = retry["attempts"] == RETRIES
        && retry["on"]["connect_failure"] == true
        && timeouts["request"]["secs"] == 10
        && timeouts["attempt"]["secs"] == 2
        && timeouts["connect"]["secs"] == 1;
    ensure!(fine, "the policy in force for {service} is not the file's: {settings}");
    Ok(())
}

struct Answer {
    status: u16,
    body: String,
}

/// One HTTP/1.0 request on a connection of its own.
async fn get(port: u16, path: &str) -> anyhow::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(ANSWER_LIMIT, exchange)
        .await
        .with_context(|| format!("no answer from port {port}, {path}"))??;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the answer's head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer { status, body: body.to_owned() })
}

/// Sum of the samples of `name` in the Prometheus text format whose labels `keep` accepts.
fn sum(metrics: &str, name: &str, keep: impl Fn(&str) -> bool) -> f64 {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let value = value.split_whitespace().next()?.parse::<f64>().ok()?;
        keep(labels).then_some(value)
    });
    samples.sum()
}

/// The first value, at any depth, that `wanted` accepts.
fn find<'a>(value: &'a Value, wanted: &impl Fn(&Value) -> bool) -> Option<&'a Value> {
    if wanted(value) {
        return Some(value);
    }
    match value {
        Value::Object(fields) => fields.values().find_map(|inner| find(inner, wanted)),
        Value::Array(items) => items.iter().find_map(|inner| find(inner, wanted)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{in_force, sum};
    use serde_json::json;

    #[test]
    fn samples_of_one_metric_are_added_by_label() {
        let text =
            "# TYPE a counter\na{route=\"x\",code=\"200\"} 3\na{route=\"y\"} 4\na_more{route=\"x\"} 9\na 1\n";
        assert_eq!(sum(text, "a", |_| true), 8.0);
        assert_eq!(sum(text, "a", |labels| labels.contains("route=\"x\"")), 3.0);
    }

    #[test]
    fn a_rule_is_found_at_any_depth_and_its_settings_are_compared() {
        let seconds = |secs: u64| json!({"secs": secs, "nanos": 0});
        let rule = |attempt: u64| {
            json!({"listed": [{
                "id": {"kind": "HTTPRoute", "route": {"namespace": "bench", "name": "http1"}, "rule": "api"},
                "settings": {
                    "retry": {"attempts": 2, "on": {"connect_failure": true}},
                    "timeouts": {"request": seconds(10), "attempt": seconds(attempt), "connect": seconds(1)},
                },
            }]})
        };
        assert!(in_force(&rule(2), "http1").is_ok());
        assert!(in_force(&rule(3), "http1").is_err());
        assert!(in_force(&rule(2), "http2").is_err());
    }
}
