//! A process under measurement: pinned to a core, its output kept in a file, killed with its handle.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long a process may take until its port answers.
const START_LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Process {
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on `core` and waits until `port` accepts a connection.
    pub(super) async fn start<A: AsRef<OsStr>>(
        core: &str,
        program: &Path,
        args: &[A],
        port: u16,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let log = dir.join(format!("{name}-{port}.log"));
        let out = fs::File::create(&log)?;
        // taskset replaces itself by the program: the process id stays.
        let child = Command::new("taskset")
            .args(["-c", core])
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().context("the process ended at once")?;
        let mut process = Process { child, pid, log };
        process.wait_for(port).await?;
        Ok(process)
    }

    async fn wait_for(&mut self, port: u16) -> anyhow::Result<()> {
        let end = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = self.child.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < end,
                "not listening on port {port} ({ended:?}); it said:\n{}",
                self.output()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What the process wrote, its end.
    pub(super) fn output(&self) -> String {
        let all = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// CPU time of all threads so far, user and system, in microseconds.
    pub(super) fn cpu_us(&self) -> anyhow::Result<f64> {
        let mut nanoseconds = 0u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread may end between the two reads; what it used is then lost, and no peer ends threads under load.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let running = text.split_whitespace().next().context("empty schedstat")?;
            nanoseconds += running.parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1_000.0)
    }

    /// Proportional set size in KiB: private pages and this process's share of shared ones.
    pub(super) fn pss_kib(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss line in smaps_rollup")?;
        let value = line.trim().trim_end_matches("kB").trim();
        value.parse().context("Pss is not a number")
    }

    /// Sends `signal` to the process.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid as i32).context("process id 0")?;
        kill_process(pid, signal).context("cannot signal the process")
    }
}
