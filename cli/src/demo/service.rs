//! The toy services, in this process: `frontend` calls `reviews` over HTTP, `reviews` calls `ratings` over gRPC, each
//! through its own sidecar and by name. A knob each makes them misbehave.

mod frontend;
mod ratings;
mod reviews;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::{TcpListener, TcpStream};

use super::layout::Replica;

pub(super) use ratings::WATCH;

/// How a toy service misbehaves; all zero is well.
#[derive(Debug, Default)]
pub(super) struct Knobs {
    /// Of 100 requests, this many are answered 503 (gRPC: status 14).
    pub(super) errors: AtomicU32,
    /// Of 100 requests, this many end in a closed connection instead of an answer.
    pub(super) resets: AtomicU32,
    /// Every answer comes this many milliseconds later.
    pub(super) slow: AtomicU32,
}

impl Knobs {
    fn strikes(share: &AtomicU32) -> bool {
        let share = share.load(Ordering::Relaxed);
        share > 0 && rand::random_range(0..100) < share
    }

    async fn pause(&self) {
        let slow = self.slow.load(Ordering::Relaxed);
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(slow.into())).await;
        }
    }
}

/// A toy service that listens already, but does not serve yet: its sidecar's ports are not known.
pub(super) struct Service {
    listener: TcpListener,
    knobs: Arc<Knobs>,
}

impl Service {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { listener, knobs: Arc::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket has no address, which a bound one has.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves from now on, as the service that `replica` names.
    pub(super) fn serve(self, replica: &Replica) -> Arc<Knobs> {
        let knobs = self.knobs.clone();
        match replica.service {
            "frontend" => tokio::spawn(frontend::serve(self, replica.outbound)),
            "ratings" => tokio::spawn(ratings::serve(self, replica.name)),
            _ => tokio::spawn(reviews::serve(self, replica.clone())),
        };
        knobs
    }

    /// The next connection. Failures of one connection are its caller's to see.
    async fn accept(&self) -> TcpStream {
        loop {
            if let Ok((stream, _)) = self.listener.accept().await {
                // Fails only on a socket whose peer is gone already.
                let _ = stream.set_nodelay(true);
                return stream;
            }
        }
    }
}

/// Puts the gRPC prefix before a message: 1 byte of flags, 4 bytes of length.
pub(super) fn grpc_message(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("the demo's messages are short"));
    framed.put_slice(message);
    framed.freeze()
}
