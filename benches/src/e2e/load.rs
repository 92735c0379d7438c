//! h2load: one run, its throughput, and the latencies out of its per-request log.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use tokio::process::Command;

use super::OTHER_CORE;
use super::peers::{PATH, Protocol};

/// One run of the client. `pace`: requests per second of all connections together; without it, as fast as answers come.
pub(super) struct Load<'a> {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) requests: u64,
    pub(super) pace: Option<u64>,
    pub(super) dir: &'a Path,
}

/// What the client saw. Latencies in microseconds.
pub(super) struct Outcome {
    pub(super) per_second: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

impl Load<'_> {
    /// Every request must succeed with a 2xx answer, else the figure would be that of an error path.
    pub(super) async fn run(&self) -> anyhow::Result<Outcome> {
        let log = self.log_file();
        let (connections, streams) = self.protocol.concurrency();
        let mut command = Command::new("taskset");
        command
            .args(["-c", OTHER_CORE, "h2load"])
            .args(["-c", &connections.to_string()])
            .args(["-m", &streams.to_string()])
            .args(["-n", &self.requests.to_string()])
            .kill_on_drop(true);
        if self.protocol == Protocol::Http1 {
            command.arg("--h1");
        }
        if let Some(pace) = self.pace {
            let each = (pace / connections).max(1);
            command.arg(format!("--rps={each}"));
            command.arg(format!("--log-file={}", log.display()));
        }
        command.arg(format!("http://127.0.0.1:{}{PATH}", self.port));
        let output = command.output().await.context("cannot run h2load")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let answered = between(&text, "status codes: ", " 2xx")
            .with_context(|| format!("h2load gave no result:\n{text}"))?;
        ensure!(
            answered == self.requests as f64,
            "only {answered} of {} requests got a 2xx answer:\n{text}",
            self.requests
        );
        let per_second = between(&text, "s, ", " req/s").context("h2load gave no rate")?;
        let (p50_us, p99_us) = if self.pace.is_some() { percentiles(&log)? } else { (0, 0) };
        Ok(Outcome { per_second, p50_us, p99_us })
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join(format!("h2load-{}.tsv", self.port))
    }
}

/// The number that stands right before `end`, after `start`.
fn between(text: &str, start: &str, end: &str) -> Option<f64> {
    let before = &text[..text.find(end)?];
    let from = before.rfind(start)? + start.len();
    before[from..].trim().parse().ok()
}

/// Third column: microseconds until the end of the answer. The file is removed, as h2load appends.
fn percentiles(log: &Path) -> anyhow::Result<(u64, u64)> {
    let text = fs::read_to_string(log).context("h2load's log")?;
    fs::remove_file(log)?;
    let mut histogram = Histogram::<u64>::new(3)?;
    for line in text.lines() {
        let column = line.split('\t').nth(2).context("h2load's log is short")?;
        histogram.record(column.parse()?)?;
    }
    Ok((histogram.value_at_quantile(0.5), histogram.value_at_quantile(0.99)))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn h2loads_summary_is_read() {
        let text = "finished in 1.50s, 26600.25 req/s, 26.1MB/s\n\
                    status codes: 40000 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(between(text, "s, ", " req/s"), Some(26600.25));
        assert_eq!(between(text, "status codes: ", " 2xx"), Some(40000.0));
        assert_eq!(between(text, "status codes: ", " 9xx"), None);
    }
}
