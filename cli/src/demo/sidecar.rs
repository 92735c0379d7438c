//! A sidecar as a real child process: this binary's own `proxy` command, with its log in a file.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use super::{client::Http1, layout::Replica, scrape::Counted};

/// How long a sidecar may take from its start to `/ready`.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end after SIGTERM, beyond which it is killed.
const END: Duration = Duration::from_secs(5);

/// A running sidecar. Dropping it kills it.
pub(super) struct Sidecar {
    replica: Replica,
    policy: PathBuf,
    log: PathBuf,
    child: Child,
    admin: Http1,
    /// What processes of this sidecar counted that have been killed since.
    before: Counted,
    latest: Counted,
}

impl Sidecar {
    /// Starts the sidecar of `replica` and waits until it is ready.
    ///
    /// # Errors
    /// When it ends instead, with the last lines of its log.
    pub(super) async fn start(replica: &Replica, policy: &Path) -> Result<Self> {
        let log = policy.with_file_name(format!("{}.log", replica.name));
        let child = spawn(replica, policy, &log)?;
        let mut sidecar = Self {
            replica: replica.clone(),
            policy: policy.to_path_buf(),
            log,
            child,
            admin: Http1::new(replica.admin, "admin"),
            before: Counted::default(),
            latest: Counted::default(),
        };
        sidecar.wait_ready().await?;
        Ok(sidecar)
    }

    /// The replica that it stands beside.
    pub(super) fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Kills it, as the kernel does when memory runs out: no drain, open requests die.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot kill the sidecar of {}", self.replica.name))?;
        self.before += self.latest;
        self.latest = Counted { generation: self.latest.generation, ..Counted::default() };
        Ok(())
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// As [`Sidecar::start`].
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.replica, &self.policy, &self.log)?;
        self.wait_ready().await
    }

    /// Reads its metrics; one that is not there keeps what was read last.
    pub(super) async fn refresh(&mut self) {
        if let Ok(page) = self.admin.get("/metrics").await {
            self.latest = Counted::read(&String::from_utf8_lossy(&page.body));
        }
    }

    /// What it counted, by the last look at its metrics, in all processes that it had.
    pub(super) fn counted(&self) -> Counted {
        let mut counted = self.before;
        counted += self.latest;
        counted
    }

    /// Ends it gracefully.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // Fails only when it is gone, which is what is wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(END, self.child.wait()).await.is_err() {
            // A process that cannot be killed is reported by nobody better than by its presence.
            let _ = self.child.kill().await;
        }
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let end = Instant::now() + START;
        loop {
            if self.admin.get("/ready").await.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the sidecar of {} ended with {status}:\n{}", self.replica.name, self.last_words());
            }
            if Instant::now() > end {
                bail!(
                    "the sidecar of {} is not ready after {START:?}:\n{}",
                    self.replica.name,
                    self.last_words()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn spawn(replica: &Replica, policy: &Path, log: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let log = File::options().create(true).append(true).open(log).context("cannot write a sidecar's log")?;
    Command::new(&program)
        .args(["proxy", "--workers", "1", "--grace", "1s", "--sidecar"])
        .arg(format!("demo/{}", replica.name))
        .arg("-f")
        .arg(policy)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share a sidecar's log")?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}
