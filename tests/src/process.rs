//! The real binary as a child process: its output line by line, its signals, its exit code.
//!
//! The caller brings the path (`env!("CARGO_BIN_EXE_outrigger")` in `cli/tests/`), so that Cargo has built what is run.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::wait::within;

/// A running child. Dropping it kills it.
pub struct Process {
    child: Child,
    pid: Pid,
    lines: Arc<Lines>,
}

#[derive(Default)]
struct Lines {
    all: Mutex<Vec<String>>,
    changed: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    lines: usize,
    /// Outputs that have ended.
    closed: usize,
}

impl Process {
    /// Starts `program` with `arguments` and these environment variables; no input, both outputs read.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        program: impl AsRef<Path>,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Self {
        let program = program.as_ref();
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let pid =
            child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("a child that runs has an id");
        let lines = Arc::new(Lines::default());
        tokio::spawn(read(child.stdout.take().expect("stdout is piped"), lines.clone()));
        tokio::spawn(read(child.stderr.take().expect("stderr is piped"), lines.clone()));
        Self { child, pid, lines }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for a line, of either output, that contains `needle`, and gives it.
    ///
    /// # Panics
    /// When the process ends without it.
    pub async fn line(&self, needle: &str) -> String {
        let mut changed = self.lines.changed.subscribe();
        let find = || self.output().lines().find(|line| line.contains(needle)).map(str::to_owned);
        let what = format!("a line with {needle:?} from the process");
        let _ = within(&what, changed.wait_for(|state| state.closed == 2 || find().is_some())).await;
        find()
            .unwrap_or_else(|| panic!("the process ended without a line with {needle:?}:\n{}", self.output()))
    }

    /// Everything it wrote so far, both outputs in order of arrival.
    pub fn output(&self) -> String {
        self.lines.all.lock().expect("no test panics while it holds this").join("\n")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the child is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the child still runs");
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> ExitStatus {
        within("the process to end", self.child.wait()).await.expect("a child can be waited for")
    }
}

async fn read(stream: impl AsyncRead + Unpin, into: Arc<Lines>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        into.all.lock().expect("no test panics while it holds this").push(line);
        into.changed.send_modify(|state| state.lines += 1);
    }
    into.changed.send_modify(|state| state.closed += 1);
}
