//! Tunnels between streams in memory, where time is paused, and between real sockets, where a reset can be seen.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, Interest, duplex},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, spawn_local},
    time::{Instant, timeout},
};

use super::*;
use crate::upstream::io::MeteredIo;

/// Both counts of a tunnel.
#[derive(Default)]
struct Counts {
    up: Cell<u64>,
    down: Cell<u64>,
}

/// A running tunnel with its two far ends.
struct Running<S> {
    caller: S,
    upstream: S,
    counts: Rc<Counts>,
    end: JoinHandle<End>,
}

fn start<C, U, S>(
    legs: (Leg<C>, Leg<U>),
    far: (S, S),
    idle: Option<Duration>,
    read: &'static [u8],
) -> Running<S>
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
    U: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let counts = Rc::new(Counts::default());
    let deadlines = Deadlines::new();
    spawn_local(deadlines.clone().run());
    let moved = counts.clone();
    let tunnel = Tunnel::new(legs.0, legs.1).after(Bytes::from_static(read));
    let end = spawn_local(async move {
        tunnel
            .run(idle, &deadlines, |peer, bytes| {
                let count = if peer == Peer::Caller { &moved.up } else { &moved.down };
                count.set(count.get() + bytes);
            })
            .await
    });
    Running { caller: far.0, upstream: far.1, counts, end }
}

/// A tunnel between streams in memory that hold `room` bytes each way.
fn in_memory(room: usize, idle: Option<Duration>) -> Running<DuplexStream> {
    let (caller, near_caller) = duplex(room);
    let (upstream, near_upstream) = duplex(room);
    start((Leg::new(near_caller, None), Leg::new(near_upstream, None)), (caller, upstream), idle, b"")
}

async fn pair() -> (TcpStream, Leg<MeteredIo>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (far, near) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (io, link) = MeteredIo::new(near.unwrap().0);
    (far.unwrap(), Leg::new(io, Some(link)))
}

/// A tunnel between sockets.
async fn over_sockets() -> Running<TcpStream> {
    let ((caller, near_caller), (upstream, near_upstream)) = (pair().await, pair().await);
    start((near_caller, near_upstream), (caller, upstream), None, b"")
}

/// What `read` gives once the other side has broken off; a wait that is far too long is a failure.
async fn until_error(mut stream: impl AsyncRead + Unpin) -> (Vec<u8>, io::Result<usize>) {
    let mut got = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut got)).await.expect("an end");
    (got, read)
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

#[tokio::test(start_paused = true, flavor = "local")]
async fn passes_each_end_alone_and_counts_both_ways_while_it_runs() {
    let mut tunnel = in_memory(64, None);
    tunnel.caller.write_all(b"question").await.unwrap();
    let mut got = [0; 8];
    tunnel.upstream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"question");
    assert_eq!((tunnel.counts.up.get(), tunnel.counts.down.get()), (8, 0));
    tunnel.caller.shutdown().await.unwrap();
    assert_eq!(tunnel.upstream.read(&mut got).await.unwrap(), 0, "the caller's end arrives alone");
    let answer = async {
        for _ in 0..10 {
            let piece = b"an answer longer than the room there is, in pieces, ";
            tunnel.upstream.write_all(piece).await.unwrap();
        }
        tunnel.upstream.shutdown().await.unwrap();
    };
    let ((), (answer, end)) = tokio::join!(answer, until_error(tunnel.caller));
    assert_eq!((answer.len(), end.unwrap()), (520, 520));
    assert_eq!(tunnel.end.await.unwrap(), End::Closed(Peer::Caller));
    assert_eq!((tunnel.counts.up.get(), tunnel.counts.down.get()), (8, 520));
}

#[tokio::test(start_paused = true, flavor = "local")]
async fn an_upstream_that_speaks_first_and_ends_first_is_heard() {
    let mut tunnel = in_memory(64, None);
    tunnel.upstream.write_all(b"220 ready").await.unwrap();
    tunnel.upstream.shutdown().await.unwrap();
    let mut greeting = Vec::new();
    tunnel.caller.read_to_end(&mut greeting).await.unwrap();
    assert_eq!(greeting, b"220 ready");
    tunnel.caller.write_all(b"bye").await.unwrap();
    tunnel.caller.shutdown().await.unwrap();
    assert_eq!(until_error(tunnel.upstream).await.0, b"bye");
    assert_eq!(tunnel.end.await.unwrap(), End::Closed(Peer::Upstream));
}

#[tokio::test(start_paused = true, flavor = "local")]
async fn what_was_read_before_goes_first() {
    let ((mut caller, near_caller), (upstream, near_upstream)) = (duplex(64), duplex(4));
    let legs = (Leg::new(near_caller, None), Leg::new(near_upstream, None));
    caller.write_all(b", second").await.unwrap();
    caller.shutdown().await.unwrap();
    let tunnel = start(legs, (caller, upstream), None, b"first, of which only some fits");
    assert_eq!(until_error(tunnel.upstream).await.0, b"first, of which only some fits, second");
}

#[tokio::test(start_paused = true, flavor = "local")]
async fn reads_no_more_than_one_chunk_ahead_of_a_side_that_does_not_take_it() {
    let mut tunnel = in_memory(100, None);
    let mut sent = 0_usize;
    while let Ok(written) = timeout(Duration::from_secs(1), tunnel.caller.write(&[7; 64 * 1024])).await {
        sent += written.unwrap();
    }
    assert!(sent <= CHUNK + 3 * 100, "{sent} bytes were taken for an upstream that reads none");
    tunnel.caller.shutdown().await.unwrap();
    let got = until_error(tunnel.upstream).await.0;
    assert!(got.len() == sent && got.iter().all(|byte| *byte == 7), "{} of {sent}", got.len());
}

#[tokio::test(start_paused = true, flavor = "local")]
async fn ends_when_nothing_moves_for_too_long_and_not_before() {
    let idle = Duration::from_secs(60);
    let mut tunnel = in_memory(64, Some(idle));
    let start = Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(idle - Duration::from_secs(1)).await;
        tunnel.upstream.write_all(b"still here").await.unwrap();
        tunnel.caller.read_exact(&mut [0; 10]).await.unwrap();
    }
    assert_eq!((&mut tunnel.end).await.unwrap(), End::Idle);
    let took = start.elapsed();
    let expected = 5 * (idle - Duration::from_secs(1)) + idle;
    assert!(took >= expected && took <= expected + Duration::from_millis(50), "{took:?}");
}

#[tokio::test(start_paused = true, flavor = "local")]
async fn a_stalled_reader_counts_as_idle() {
    let mut tunnel = in_memory(64, Some(Duration::from_secs(5)));
    let caller = &mut tunnel.caller;
    let stalled = timeout(Duration::from_secs(60), async { while caller.write(&[1; 1024]).await.is_ok() {} });
    assert!(stalled.await.is_ok(), "the caller's side ends");
    assert_eq!(tunnel.end.await.unwrap(), End::Idle);
}

#[tokio::test(flavor = "local")]
async fn a_reset_becomes_a_reset_on_the_other_side() {
    for broken in [Peer::Caller, Peer::Upstream] {
        let mut tunnel = over_sockets().await;
        tunnel.caller.write_all(b"x").await.unwrap();
        tunnel.upstream.read_exact(&mut [0]).await.unwrap();
        let (dead, alive) = match broken {
            Peer::Caller => (tunnel.caller, tunnel.upstream),
            Peer::Upstream => (tunnel.upstream, tunnel.caller),
        };
        reset(dead);
        let seen = until_error(alive).await.1.unwrap_err();
        assert_eq!(seen.kind(), ErrorKind::ConnectionReset, "{broken:?}");
        assert_eq!(tunnel.end.await.unwrap(), End::Reset(broken));
    }
}

#[tokio::test(flavor = "local")]
async fn a_peer_that_ended_its_half_is_still_missed_when_it_breaks_off() {
    let mut tunnel = over_sockets().await;
    tunnel.caller.shutdown().await.unwrap();
    assert_eq!(tunnel.upstream.read(&mut [0]).await.unwrap(), 0);
    reset(tunnel.caller);
    // Nothing is left to be read, so the reset shows as the socket's error.
    let failed = tunnel.upstream.ready(Interest::ERROR);
    timeout(Duration::from_secs(20), failed).await.expect("a reset").unwrap();
    assert_eq!(tunnel.end.await.unwrap(), End::Reset(Peer::Caller));
}

#[tokio::test(flavor = "local")]
async fn an_orderly_end_is_no_reset_and_a_cut_is_one() {
    let mut tunnel = over_sockets().await;
    tunnel.caller.write_all(&[5; 300_000]).await.unwrap();
    tunnel.caller.shutdown().await.unwrap();
    let (got, end) = until_error(&mut tunnel.upstream).await;
    assert_eq!((got.len(), end.is_ok()), (300_000, true));
    tunnel.upstream.shutdown().await.unwrap();
    assert_eq!(until_error(tunnel.caller).await.1.unwrap(), 0);
    assert_eq!(tunnel.end.await.unwrap(), End::Closed(Peer::Caller));

    let tunnel = over_sockets().await;
    // As when the worker ends while tunnels are open.
    tokio::task::yield_now().await;
    tunnel.end.abort();
    for stream in [tunnel.caller, tunnel.upstream] {
        let seen = until_error(stream).await.1.unwrap_err();
        assert_eq!(seen.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test(flavor = "local")]
async fn what_an_upstream_said_before_it_refused_the_rest_is_passed_on() {
    let mut tunnel = over_sockets().await;
    tunnel.caller.write_all(b"begin").await.unwrap();
    tunnel.upstream.read_exact(&mut [0; 5]).await.unwrap();
    tunnel.upstream.write_all(b"413").await.unwrap();
    reset(tunnel.upstream);
    // Whether these are sent before the reset is known is the kernel's affair.
    let _ = tunnel.caller.write_all(&[0; 1000]).await;
    let mut got = [0; 3];
    tunnel.caller.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"413");
    assert_eq!(tunnel.end.await.unwrap(), End::Reset(Peer::Upstream));
}
