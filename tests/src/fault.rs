//! A bad network between the proxy and a backend: a TCP relay that delays, drips, cuts, resets or swallows.
//!
//! It stands in for `tc netem`, which needs root and is often missing. A fault holds for connections made after it was
//! set; [`Fault::BlackHole`] also freezes the open ones, as a pulled cable would.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What the network does to a connection. "Down" is from the backend to the proxy, "up" the other way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing bad.
    #[default]
    None,
    /// Every piece of data, both ways, comes this much later.
    Delay(Duration),
    /// Down, one byte each time.
    Drip(Duration),
    /// RST once this many bytes went down.
    ResetAfterDown(usize),
    /// RST once this many bytes went up; 0 is at once.
    ResetAfterUp(usize),
    /// FIN down once this many bytes went down, as if the answer were complete.
    Truncate(usize),
    /// Nothing passes either way, nothing ends.
    BlackHole,
    /// The backend's way down ends with FIN at once, while up stays open.
    HalfClose,
}

/// A running relay. Dropping it resets nothing, but accepts no more.
pub struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    next: Arc<Mutex<Option<Fault>>>,
    accepted: watch::Receiver<usize>,
    accept: JoinHandle<()>,
}

impl FaultProxy {
    /// A relay on a free port to `backend`, without a fault.
    pub async fn to(backend: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let fault = watch::Sender::new(Fault::None);
        let (count, accepted) = watch::channel(0);
        let next = Arc::default();
        let faults = Faults { next: Arc::clone(&next), now: fault.subscribe() };
        let accept = tokio::spawn(accept(listener, backend, faults, count));
        Self { address, fault, next, accepted, accept }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the network does this.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// The next connection alone has this fault.
    pub fn set_once(&self, fault: Fault) {
        *self.next.lock().expect("no test panics while it holds this") = Some(fault);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.accepted.borrow()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// What connections get: the one fault that waits for the next, or the one that holds for all.
struct Faults {
    next: Arc<Mutex<Option<Fault>>>,
    now: watch::Receiver<Fault>,
}

async fn accept(listener: TcpListener, backend: SocketAddr, faults: Faults, count: watch::Sender<usize>) {
    while let Ok((near, _)) = listener.accept().await {
        count.send_modify(|n| *n += 1);
        let once = faults.next.lock().expect("no test panics while it holds this").take();
        let (mine, live) = (once.unwrap_or(*faults.now.borrow()), faults.now.clone());
        tokio::spawn(async move {
            if let Ok(far) = TcpStream::connect(backend).await {
                relay(near, far, mine, live).await;
            }
        });
    }
}

/// Relays until one way breaks, then ends both ends the same way.
async fn relay(mut near: TcpStream, mut far: TcpStream, fault: Fault, live: watch::Receiver<Fault>) {
    // Options on a socket that the peer has reset fail; the relay then ends by itself.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let broken = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        tokio::try_join!(
            copy(near_read, far_write, Rule::up(fault), live.clone()),
            copy(far_read, near_write, Rule::down(fault), live),
        )
        .is_err()
    };
    if broken {
        let _ = (near.set_zero_linger(), far.set_zero_linger());
    }
}

/// What happens to one way of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    /// Before each piece.
    delay: Duration,
    /// One byte a piece.
    drip: bool,
    /// After this many bytes the way ends.
    end: Option<(usize, End)>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Fin,
    Reset,
}

impl Rule {
    fn up(fault: Fault) -> Self {
        match fault {
            Fault::Delay(delay) => Self { delay, ..Self::default() },
            Fault::ResetAfterUp(bytes) => Self { end: Some((bytes, End::Reset)), ..Self::default() },
            _ => Self::default(),
        }
    }

    fn down(fault: Fault) -> Self {
        match fault {
            Fault::Delay(delay) => Self { delay, ..Self::default() },
            Fault::Drip(delay) => Self { delay, drip: true, ..Self::default() },
            Fault::ResetAfterDown(bytes) => Self { end: Some((bytes, End::Reset)), ..Self::default() },
            Fault::Truncate(bytes) => Self { end: Some((bytes, End::Fin)), ..Self::default() },
            Fault::HalfClose => Self { end: Some((0, End::Fin)), ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// Copies one way until FIN (passed on), the rule's end, or an error, which resets the connection.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    rule: Rule,
    mut live: watch::Receiver<Fault>,
) -> io::Result<()> {
    let mut passed = 0;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let room = match rule.end {
            Some((limit, End::Fin)) if passed >= limit => return to.shutdown().await,
            Some((limit, End::Reset)) if passed >= limit => return Err(io::ErrorKind::ConnectionReset.into()),
            Some((limit, _)) => limit - passed,
            None => usize::MAX,
        };
        let room = room.min(if rule.drip { 1 } else { buffer.len() });
        let n = from.read(&mut buffer[..room]).await?;
        // A relay that is dropped while the network is a black hole stays one: the channel's end passes nothing.
        if live.wait_for(|fault| *fault != Fault::BlackHole).await.is_err() {
            std::future::pending::<()>().await;
        }
        if n == 0 {
            return to.shutdown().await;
        }
        if !rule.delay.is_zero() {
            tokio::time::sleep(rule.delay).await;
        }
        to.write_all(&buffer[..n]).await?;
        passed += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::{Answer, Backend},
        raw::{Ended, RawClient},
    };

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    async fn through(fault: Fault) -> (String, Ended) {
        let backend = Backend::http1("b").await;
        backend.answer(|_| Answer::text("0123456789"));
        let relay = FaultProxy::to(backend.address()).await;
        relay.set(fault);
        let mut client = RawClient::connect(relay.address()).await;
        // A reset at byte 0 may come before the request is written.
        let _ = client.try_send(GET).await;
        let (_, ended) = client.read_to_end().await;
        (client.text(), ended)
    }

    #[tokio::test]
    async fn each_fault_ends_as_it_says() {
        let (text, ended) = through(Fault::None).await;
        assert!(text.ends_with("0123456789") && ended == Ended::Fin, "{text}");
        let (text, ended) = through(Fault::Drip(Duration::ZERO)).await;
        assert!(text.ends_with("0123456789") && ended == Ended::Fin, "{text}");
        assert_eq!(through(Fault::Truncate(8)).await, ("HTTP/1.1".to_owned(), Ended::Fin));
        assert_eq!(through(Fault::HalfClose).await, (String::new(), Ended::Fin));
        assert_eq!(through(Fault::ResetAfterUp(0)).await, (String::new(), Ended::Reset));
        assert_eq!(through(Fault::ResetAfterDown(8)).await.1, Ended::Reset);
    }

    #[tokio::test]
    async fn a_black_hole_freezes_open_connections() {
        let backend = Backend::http1("b").await;
        let relay = FaultProxy::to(backend.address()).await;
        let mut client = RawClient::connect(relay.address()).await;
        relay.set(Fault::BlackHole);
        client.send(GET).await;
        assert!(client.is_silent_for(Duration::from_millis(20)).await);
        relay.set(Fault::None);
        client.read_until("200 OK").await;
    }
}
