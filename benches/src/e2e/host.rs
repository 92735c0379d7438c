//! What a reader must know to read the figures: commit, kernel, processor, command.

use std::fs;
use std::process::Command;

use anyhow::Context;

/// A load average above this, before the start, is worth a warning.
const BUSY: f64 = 0.5;

pub(super) struct Host {
    commit: String,
    kernel: String,
    processor: String,
    cores: usize,
    command: String,
    load: String,
}

pub(super) fn describe() -> anyhow::Result<Host> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("kernel release")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let busy = load.parse::<f64>().is_ok_and(|load| load > BUSY);
    if busy {
        eprintln!(
            "warning: load {load} before the start: something else is running, the figures will suffer"
        );
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    Ok(Host {
        commit: commit(),
        kernel: kernel.trim().to_owned(),
        processor: processor.to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        load,
        command: format!("benches/run {}", args.join(" ")).trim().to_owned(),
    })
}

/// The commit, with `+` where the product's own files differ from it. The README is left out: the bench itself writes it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changes = git(&["status", "--porcelain", "--", ":!benches/README.md"]);
    match changes {
        Some(changes) if changes.is_empty() => commit,
        _ => commit + "+",
    }
}

impl Host {
    /// One line above the table.
    pub(super) fn line(&self) -> String {
        format!(
            "Commit `{}`, Linux {}, {} ({} cores), load {} before the start, `{}`.",
            self.commit, self.kernel, self.processor, self.cores, self.load, self.command
        )
    }
}
