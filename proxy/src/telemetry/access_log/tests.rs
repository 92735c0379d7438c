//! Lines arrive, in time; a stuck reader costs lines and no time.

use std::{
    sync::{Mutex, mpsc as std_mpsc},
    time::SystemTime,
};

use super::*;
use crate::ctx::Side;

/// Writes into memory, after it was let through.
struct Gate {
    open: std_mpsc::Receiver<()>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.recv().map_err(io::Error::other)?;
        self.written.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn entry(path: &[u8]) -> Entry<'_> {
    Entry {
        time: SystemTime::UNIX_EPOCH,
        side: Side::Inbound,
        listener: "l",
        peer: None,
        peer_identity: None,
        method: "GET",
        authority: b"a",
        path,
        protocol: "HTTP/2",
        status: 200,
        grpc_status: Some(0),
        flag: None,
        reason: None,
        fallback: None,
        bytes_in: 0,
        bytes_out: 0,
        duration: Duration::ZERO,
        attempts: 1,
        upstream: None,
        service: None,
        route: None,
        request_id: None,
        trace_id: None,
        dice: None,
    }
}

/// Runs `test` on a worker's runtime, with a log whose writer takes one buffer per message into the sender.
fn with_log<F: Future>(test: impl FnOnce(AccessLog, std_mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) -> F) {
    let (gate, open) = std_mpsc::channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let log = AccessLog::to(Gate { open, written: written.clone() }, Metrics::new(1)).expect("a thread");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test(log, gate, written));
}

#[test]
fn a_single_line_does_not_linger() {
    with_log(|log, gate, written| async move {
        let worker = log.worker_handle();
        gate.send(()).expect("the writer lives");
        worker.log(&entry(b"/one"));
        let arrived = async {
            while written.lock().expect("not poisoned").is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), arrived).await.expect("sent without another line");
        let text = String::from_utf8(written.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(text.contains("\"path\":\"/one\"") && text.ends_with("}\n"), "{text}");
    });
}

#[test]
fn a_stuck_reader_costs_lines_that_are_counted() {
    with_log(|log, gate, written| async move {
        let worker = log.worker_handle();
        let lines = 2 * BUFFERS_IN_FLIGHT;
        let long = vec![b'x'; BUFFER_BYTES];
        for _ in 0..lines {
            worker.log(&entry(&long));
        }
        let dropped = || {
            let text = log.metrics.render();
            let line = text.lines().find_map(|line| line.strip_prefix("outrigger_access_log_dropped_total "));
            line.and_then(|count| count.parse::<usize>().ok()).unwrap_or(0)
        };
        // The writer may have taken one buffer out of the channel before it got stuck.
        assert!((lines - BUFFERS_IN_FLIGHT - 1..=lines - BUFFERS_IN_FLIGHT).contains(&dropped()));
        for _ in 0..lines {
            gate.send(()).expect("the writer lives");
        }
        log.flush(Duration::from_secs(5)).await;
        let text = written.lock().expect("not poisoned");
        assert_eq!(text.split(|byte| *byte == b'\n').count() - 1 + dropped(), lines);
    });
}

#[test]
fn flush_takes_what_still_lies_with_a_worker() {
    with_log(|log, gate, written| async move {
        let worker = log.worker_handle();
        gate.send(()).expect("the writer lives");
        worker.log(&entry(b"/last"));
        log.flush(Duration::from_secs(5)).await;
        assert!(String::from_utf8_lossy(&written.lock().expect("not poisoned")).contains("/last"));
    });
}

#[test]
fn flush_gives_up_on_a_stuck_reader() {
    with_log(|log, _gate, _written| async move {
        let worker = log.worker_handle();
        worker.log(&entry(b"/"));
        worker.flush();
        log.flush(Duration::from_millis(200)).await;
    });
}

#[test]
fn a_reader_that_went_away_costs_lines_that_are_counted() {
    with_log(|log, gate, _written| async move {
        drop(gate);
        let worker = log.worker_handle();
        worker.log(&entry(b"/"));
        worker.flush();
        log.flush(Duration::from_secs(5)).await;
        assert!(log.metrics.render().contains("outrigger_access_log_dropped_total 1\n"));
    });
}
