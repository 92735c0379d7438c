//! What goes over the cables of a router, byte by byte.
//!
//! A packet socket in the router's namespace gets every frame that comes in or goes out. Needs root.

use std::{
    io::Read as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{namespace::Namespace, wait::until};

/// Frames of every protocol (`ETH_P_ALL`), in network order.
const EVERY_PROTOCOL: i32 = (3_u16).to_be() as i32;

/// Reads along.
pub struct Tap {
    seen: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// On all cables of `router`.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub async fn on(router: &Namespace) -> Self {
        let socket = router
            .run(async {
                let every = Some(Protocol::from(EVERY_PROTOCOL));
                let socket = Socket::new(Domain::PACKET, Type::RAW, every).expect("root may read along");
                socket.set_recv_buffer_size(8 * 1024 * 1024).expect("a buffer");
                socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
                socket
            })
            .await;
        let (seen, stop) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicBool>::default());
        let (into, stopped) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            // Larger than any frame, also one that the cable's offloads have left whole.
            let mut frame = vec![0; 256 * 1024];
            while !stopped.load(Relaxed) {
                // An error is the time limit.
                if let Ok(count) = (&socket).read(&mut frame) {
                    into.lock().expect("no test panics while it holds this").extend(&frame[..count]);
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Whether these bytes were in one of the frames.
    pub fn saw(&self, needle: &str) -> bool {
        let seen = self.seen.lock().expect("no test panics while it holds this");
        seen.windows(needle.len()).any(|window| window == needle.as_bytes())
    }

    /// How many bytes were seen.
    pub fn bytes(&self) -> usize {
        self.seen.lock().expect("no test panics while it holds this").len()
    }

    /// Waits until everything is seen that went over the cables before: a datagram from `host` to `to` goes after it.
    pub async fn catch_up(&self, host: &Namespace, to: SocketAddr) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let marker = format!("<marker {} {}>", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let bytes = marker.clone().into_bytes();
        host.run(async move {
            let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
            socket.send_to(&bytes, to).await.expect("the router is there");
        })
        .await;
        until("the tap to see the marker", || async { self.saw(&marker).then_some(()) }).await;
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told already.
            let _ = thread.join();
        }
    }
}
