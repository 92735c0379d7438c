//! One accept task per bind address: it owns the listening socket and hands each connection to the worker with the
//! fewest.
//!
//! There is no SO_REUSEPORT: a taken port is an error, port 0 works, and closing a listener resets nobody. Running out
//! of descriptors pauses accepting; it never ends it.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use super::{Listener, original_dst::canonical};

/// After a failed accept: long enough for descriptors to come back, short enough not to be noticed.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections the kernel may hold for us; a burst of a few thousand must not be refused.
const BACKLOG: i32 = 4096;

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Arc<Listener>,
    pub(crate) seat: Seat,
}

/// A worker as the accept tasks see it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) send: mpsc::UnboundedSender<Accepted>,
    pub(crate) open: Arc<AtomicUsize>,
}

/// Counts one connection of its worker while it lives.
#[derive(Debug)]
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Binds `addr`.
pub(crate) fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // Connections of an earlier process in TIME_WAIT must not block a restart; a live listener still does.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the task is aborted. Must be called on the background runtime.
pub(crate) fn spawn(
    socket: std::net::TcpListener,
    listener: Arc<Listener>,
    doors: Vec<Door>,
    most: usize,
) -> io::Result<JoinHandle<()>> {
    let socket = TcpListener::from_std(socket)?;
    Ok(tokio::spawn(async move {
        let mut full = false;
        loop {
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(listener = %listener.bound, %error, "accept failed, pausing");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let open: usize = doors.iter().map(|door| door.open.load(Relaxed)).sum();
            if open >= most {
                if !full {
                    tracing::warn!(listener = %listener.bound, limit = most, "connection limit reached, closing new ones");
                }
                full = true;
                listener.metrics.connection_refused();
                continue;
            }
            full = false;
            hand_over(stream, peer, &listener, &doors);
        }
    }))
}

fn hand_over(stream: tokio::net::TcpStream, peer: SocketAddr, listener: &Arc<Listener>, doors: &[Door]) {
    let Some(door) = doors.iter().min_by_key(|door| door.open.load(Relaxed)) else { return };
    // Both fail only on a socket that is already dead.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = stream.into_std() else { return };
    door.open.fetch_add(1, Relaxed);
    let seat = Seat(door.open.clone());
    let peer = canonical(peer);
    // A worker that is gone means that the process is ending.
    let _ = door.send.send(Accepted { stream, peer, listener: listener.clone(), seat });
}
