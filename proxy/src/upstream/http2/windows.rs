//! How much one stream of a link between sidecars may have under way: little at first, more while its reader keeps up.
//!
//! A link is shared by many requests, so a stream whose reader has paused must hold little, and one whose reader is fast must not
//! wait for the window to open. HTTP/2 sets the window of all streams of a connection at once (RFC 9113 section 6.9.2): it
//! grows with the fastest reader, and a paused one holds [`LARGEST`] at most. A pure core, [`Reader::took`], and the
//! driver of a connection, which alone may change its settings.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Builder, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

/// What one stream may have under way at first.
pub(super) const SMALLEST: u32 = 64 * 1024;
/// And at most.
const LARGEST: u32 = 1024 * 1024;
/// Streams that one sidecar takes on a link.
const STREAMS: u32 = 250;
/// What a connection may have under way: all of its streams at their largest, so that no paused reader holds back others.
const CONNECTION: u32 = 256 * LARGEST;
/// A reader that takes half a window in this time keeps up.
const KEEPS_UP: Duration = Duration::from_millis(50);

const _: () = assert!(CONNECTION >= STREAMS * LARGEST);

/// The settings of a link.
pub(super) fn settings(builder: &mut Builder) {
    builder
        .initial_window_size(SMALLEST)
        .initial_connection_window_size(CONNECTION)
        // Messages of one byte in a paused stream are no attack: the peer is a sidecar, and the windows bound their bytes.
        .data_frame_budget(STREAMS as usize * LARGEST as usize * 256);
}

/// The windows of a link's streams.
#[derive(Debug)]
pub(super) struct Windows {
    size: Cell<u32>,
    /// The driver has told the peer so.
    told: Cell<u32>,
    driver: RefCell<Option<Waker>>,
}

impl Windows {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { size: Cell::new(SMALLEST), told: Cell::new(SMALLEST), driver: RefCell::default() })
    }

    fn grow(&self) {
        self.size.set((self.size.get() * 2).min(LARGEST));
        if let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// What the peer has to be told.
    fn untold(&self, cx: &Context<'_>) -> Option<u32> {
        if self.size.get() == LARGEST && self.told.get() == LARGEST {
            return None;
        }
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        (self.size.get() != self.told.get()).then(|| self.size.get())
    }

    /// Drives a link to its end.
    pub(super) async fn drive<T: AsyncRead + AsyncWrite + Unpin>(&self, mut link: Connection<T, Bytes>) {
        poll_fn(|cx| {
            if let Some(size) = self.untold(cx)
                // While the peer has not taken the last change it is told no other; its word for it comes by here again.
                && link.set_initial_window_size(size).is_ok()
            {
                self.told.set(size);
            }
            // Every stream hears of an error by itself.
            Pin::new(&mut link).poll(cx).map(drop)
        })
        .await;
    }
}

/// How fast one stream is read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    taken: Cell<u32>,
    /// When it had taken the last half of a window.
    since: Cell<Option<Instant>>,
}

impl Reader {
    /// So many bytes were taken. Short answers look at no clock.
    #[inline]
    pub(super) fn took(&self, bytes: usize, windows: &Windows) {
        let taken = self.taken.get().saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if taken < windows.size.get() / 2 {
            self.taken.set(taken);
        } else {
            self.half(Instant::now(), windows);
        }
    }

    fn half(&self, now: Instant, windows: &Windows) {
        self.taken.set(0);
        let before = self.since.replace(Some(now));
        let keeps_up = before.is_some_and(|before| now.saturating_duration_since(before) <= KEEPS_UP);
        if keeps_up && windows.size.get() < LARGEST {
            windows.grow();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The window after a reader has taken these, each after a pause in milliseconds.
    fn after(taken: &[(u64, usize)]) -> u32 {
        let windows = Windows::new();
        let reader = Reader::default();
        let mut now = Instant::now();
        for (pause, bytes) in taken {
            now += Duration::from_millis(*pause);
            let sum = reader.taken.get() + *bytes as u32;
            if sum < windows.size.get() / 2 {
                reader.took(*bytes, &windows);
            } else {
                reader.half(now, &windows);
            }
        }
        windows.size.get()
    }

    #[test]
    fn a_window_grows_while_its_reader_keeps_up() {
        const HALF: usize = SMALLEST as usize / 2;
        assert_eq!(after(&[]), SMALLEST);
        assert_eq!(after(&[(0, 1000), (0, 16_000)]), SMALLEST, "a short answer");
        assert_eq!(after(&[(0, HALF), (10, HALF)]), SMALLEST * 2);
        assert_eq!(after(&[(0, HALF), (51, HALF), (51, HALF)]), SMALLEST, "it does not keep up");
        let fast: Vec<_> = (0..1000).map(|_| (1, 16_384)).collect();
        assert_eq!(after(&fast), LARGEST, "and not beyond");
    }

    /// Sends as much as the windows let through, until so many bytes have gone or nothing more goes; gives the largest room
    /// that there was.
    async fn send(mut stream: h2::SendStream<Bytes>, mut left: usize) -> usize {
        let mut largest = 0;
        while left > 0 {
            stream.reserve_capacity(left.min(2 * LARGEST as usize));
            let room = poll_fn(|cx| stream.poll_capacity(cx));
            let Ok(Some(Ok(room))) = tokio::time::timeout(Duration::from_secs(1), room).await else { break };
            largest = largest.max(room);
            let part = room.min(left);
            left -= part;
            stream.send_data(Bytes::from(vec![0; part]), left == 0).unwrap();
        }
        largest
    }

    /// What a server finds as room for an answer, on a stream that is read, and then on one that is not.
    #[tokio::test(start_paused = true)]
    async fn the_far_side_is_told_of_it_and_a_paused_reader_has_its_bound() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_send_buffer_size(4 * LARGEST as usize);
            let mut link = builder.handshake::<_, Bytes>(far).await.unwrap();
            let mut sent = Vec::new();
            while let Some(Ok((_, mut respond))) = link.accept().await {
                let stream = respond.send_response(http::Response::new(()), false).unwrap();
                sent.push(tokio::spawn(send(stream, 32 * LARGEST as usize)));
            }
            sent
        });
        let mut builder = Builder::new();
        settings(&mut builder);
        let (client, link) = builder.handshake::<_, Bytes>(near).await.unwrap();
        let (windows, reader) = (Windows::new(), Reader::default());
        let calls = async {
            let mut client = client.ready().await.unwrap();
            let request = || http::Request::get("http://a/").body(()).unwrap();
            let (read, _) = client.send_request(request(), true).unwrap();
            let mut body = read.await.unwrap().into_body();
            while let Some(data) = body.data().await {
                let length = data.unwrap().len();
                body.flow_control().release_capacity(length).unwrap();
                reader.took(length, &windows);
            }
            let (paused, _) = client.send_request(request(), true).unwrap();
            let held = paused.await.unwrap().into_body();
            // Until the far side has found out that nothing more goes.
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(held);
        };
        let ((), ()) = tokio::join!(calls, async { windows.drive(link).await });
        let sent = server.await.unwrap();
        let mut rooms = Vec::new();
        for one in sent {
            rooms.push(one.await.unwrap());
        }
        assert_eq!(rooms.len(), 2);
        assert!(rooms[0] > SMALLEST as usize * 2, "{rooms:?}");
        assert!(rooms[1] <= LARGEST as usize, "{rooms:?}");
    }
}
