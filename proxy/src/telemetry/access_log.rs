//! The access log: one JSON line per request on standard output.
//!
//! A worker writes lines into a buffer of its own; full buffers go through a bounded channel to one thread that writes
//! them out. A slow reader of standard output costs lines, which are counted, and never time: no worker ever waits.

mod connection;
mod line;

pub use connection::{CONNECTION_FIELDS, ConnectionEntry};
pub use line::{Entry, FIELDS};

use std::{
    cell::RefCell,
    io::{self, Write},
    os::fd::AsFd as _,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};

use super::metrics::Metrics;

/// A buffer of this size goes to the writer at once.
const BUFFER_BYTES: usize = 16 * 1024;
/// A buffer that is not full goes to the writer after this.
const LINGER: Duration = Duration::from_millis(50);
/// Buffers on their way to the writer, all workers together: 4 MiB at most.
const BUFFERS_IN_FLIGHT: usize = 256;

enum Message {
    Lines {
        text: Vec<u8>,
        count: u64,
    },
    /// Everything before this is written: say so.
    Flush(oneshot::Sender<()>),
}

/// The writer's end; one per proxy.
#[derive(Clone, Debug)]
pub struct AccessLog {
    writer: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
}

impl AccessLog {
    /// Starts the writer thread on standard output.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn stdout(metrics: Arc<Metrics>) -> io::Result<Self> {
        // Not `io::stdout()`: its lock and line buffer belong to whoever prints for people.
        let output = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::to(output, metrics)
    }

    /// Starts the writer thread on `output`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn to(output: impl Write + Send + 'static, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (writer, messages) = mpsc::channel(BUFFERS_IN_FLIGHT);
        let counts = metrics.clone();
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_out(output, messages, &counts))?;
        Ok(Self { writer, metrics })
    }

    /// The end that one worker writes to. Must be called on that worker's runtime: a task is started there that sends
    /// lines on when they have lain for 50 ms.
    pub fn worker_handle(&self) -> Rc<WorkerLog> {
        let log = Rc::new(WorkerLog {
            buffer: RefCell::default(),
            waiting: Notify::new(),
            writer: self.writer.clone(),
            metrics: self.metrics.clone(),
        });
        tokio::task::spawn_local(send_lingering(log.clone()));
        log
    }

    /// Waits until everything that was logged before is written, but no longer than `within`.
    pub async fn flush(&self, within: Duration) {
        let (done, written) = oneshot::channel();
        let flushed = async {
            // What lies in the workers' buffers has been sent on by then.
            tokio::time::sleep(2 * LINGER).await;
            if self.writer.send(Message::Flush(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if tokio::time::timeout(within, flushed).await.is_err() {
            tracing::warn!("standard output takes no more access-log lines; the last ones may be lost");
        }
    }
}

#[derive(Debug, Default)]
struct Buffer {
    text: Vec<u8>,
    count: u64,
}

/// One worker's end of the access log.
#[derive(Debug)]
pub struct WorkerLog {
    buffer: RefCell<Buffer>,
    waiting: Notify,
    writer: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
}

impl WorkerLog {
    /// Logs a request that has ended. Never waits.
    pub fn log(&self, entry: &Entry<'_>) {
        self.write(|out| entry.write(out));
    }

    /// Logs a connection that has ended. Never waits.
    pub fn log_connection(&self, entry: &ConnectionEntry<'_>) {
        self.write(|out| entry.write(out));
    }

    fn write(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.text.is_empty() {
            // One line may be longer than a buffer; most are 400 bytes.
            buffer.text.reserve(BUFFER_BYTES + 1024);
            self.waiting.notify_one();
        }
        line(&mut buffer.text);
        buffer.count += 1;
        if buffer.text.len() >= BUFFER_BYTES {
            self.send(&mut buffer);
        }
    }

    /// Sends what lies in the buffer to the writer. Never waits.
    pub fn flush(&self) {
        self.send(&mut self.buffer.borrow_mut());
    }

    fn send(&self, buffer: &mut Buffer) {
        if buffer.text.is_empty() {
            return;
        }
        let Buffer { text, count } = std::mem::take(buffer);
        if self.writer.try_send(Message::Lines { text, count }).is_err() {
            self.metrics.access_log_dropped(count);
        }
    }
}

/// Sends on what has lain for [`LINGER`].
async fn send_lingering(log: Rc<WorkerLog>) {
    loop {
        log.waiting.notified().await;
        tokio::time::sleep(LINGER).await;
        log.flush();
    }
}

/// The writer thread: ends when the last sender is gone.
fn write_out(mut output: impl Write, mut messages: mpsc::Receiver<Message>, metrics: &Metrics) {
    let mut complained = false;
    while let Some(message) = messages.blocking_recv() {
        match message {
            Message::Lines { text, count } => {
                let Err(error) = output.write_all(&text).and_then(|()| output.flush()) else { continue };
                metrics.access_log_dropped(count);
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%error, "the access log cannot be written");
                }
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
