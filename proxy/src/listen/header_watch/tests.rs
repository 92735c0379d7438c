//! Heads that stall, in both protocols, at every place where they can; and chunking, which must not matter.

use proptest::prelude::*;

use super::*;
use crate::listen::detect::PREFACE;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_secs(10),
        connection_idle: Duration::from_secs(100),
        ..Limits::default()
    }
}

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let mut bytes = (payload as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, 1]);
    bytes.resize(bytes.len() + payload, b'x');
    bytes
}

struct Clock(Instant);

impl Clock {
    fn at(&self, secs: u64) -> Instant {
        self.0 + Duration::from_secs(secs)
    }
    fn seconds(&self, watch: &HeaderWatch) -> Option<(u64, Expiry)> {
        watch.deadline(&limits()).map(|(at, expiry)| ((at - self.0).as_secs(), expiry))
    }
}

fn watch(protocol: Protocol) -> (Clock, HeaderWatch) {
    let now = Instant::now();
    (Clock(now), HeaderWatch::new(protocol, now))
}

#[test]
fn http1_first_head_counts_from_accept() {
    let (clock, mut watch) = watch(Protocol::Http1);
    assert_eq!(clock.seconds(&watch), Some((10, Expiry::FirstHead)));
    watch.bytes_read(b"GET / HT", clock.at(8));
    watch.bytes_read(b"TP/1.1\r\n", clock.at(9));
    assert_eq!(clock.seconds(&watch), Some((10, Expiry::FirstHead)));
    watch.bytes_read(b"\r\n", clock.at(9));
    watch.head_complete(Some(4));
    assert_eq!(clock.seconds(&watch), None);
    watch.bytes_read(b"body", clock.at(50));
    assert_eq!(clock.seconds(&watch), None);
    watch.answer_done(clock.at(60));
    assert_eq!(clock.seconds(&watch), Some((160, Expiry::Idle)));
}

#[test]
fn http1_later_heads_count_from_their_first_byte() {
    let (clock, mut watch) = watch(Protocol::Http1);
    watch.bytes_read(b"GET / HTTP/1.1\r\n\r\n", clock.at(0));
    watch.head_complete(Some(0));
    watch.answer_done(clock.at(1));
    watch.bytes_read(b"G", clock.at(90));
    watch.bytes_read(b"ET / HTTP/1.1\r\n", clock.at(99));
    assert_eq!(clock.seconds(&watch), Some((100, Expiry::HeadOpen)));
    watch.bytes_read(b"\r\n", clock.at(99));
    watch.head_complete(Some(0));
    watch.answer_done(clock.at(99));
    assert_eq!(clock.seconds(&watch), Some((199, Expiry::Idle)));
    watch.bytes_read(b"", clock.at(150));
    assert_eq!(clock.seconds(&watch), Some((199, Expiry::Idle)));
}

#[test]
fn http1_a_head_that_came_with_the_last_request_counts_from_its_answer() {
    let (clock, mut watch) = watch(Protocol::Http1);
    watch.bytes_read(b"POST / HTTP/1.1\r\n\r\nab", clock.at(0));
    watch.head_complete(Some(3));
    watch.bytes_read(b"cGET / HT", clock.at(1));
    watch.answer_done(clock.at(50));
    assert_eq!(clock.seconds(&watch), Some((60, Expiry::HeadOpen)));
    watch.bytes_read(b"TP/1.1\r\n\r\n", clock.at(55));
    assert_eq!(clock.seconds(&watch), Some((60, Expiry::HeadOpen)));
    watch.head_complete(Some(0));
    watch.answer_done(clock.at(56));
    assert_eq!(clock.seconds(&watch), Some((156, Expiry::Idle)));
}

#[test]
fn http2_preface_alone_is_no_head() {
    let (clock, mut watch) = watch(Protocol::Http2);
    watch.bytes_read(PREFACE, clock.at(1));
    watch.bytes_read(&frame(4, 0, 18), clock.at(2));
    assert_eq!(clock.seconds(&watch), Some((10, Expiry::FirstHead)));
    watch.bytes_read(&frame(HEADERS, END_HEADERS, 30), clock.at(3));
    assert_eq!(clock.seconds(&watch), Some((100, Expiry::Idle)));
    watch.head_complete(None);
    assert_eq!(clock.seconds(&watch), None);
    watch.answer_done(clock.at(4));
    assert_eq!(clock.seconds(&watch), Some((104, Expiry::Idle)));
}

#[test]
fn http2_block_is_open_until_end_headers() {
    let (clock, mut watch) = watch(Protocol::Http2);
    watch.bytes_read(PREFACE, clock.at(0));
    watch.bytes_read(&frame(HEADERS, END_HEADERS, 3), clock.at(0));
    watch.head_complete(None);
    watch.bytes_read(&frame(HEADERS, 0, 3), clock.at(20));
    for second in 21..29 {
        watch.bytes_read(&frame(CONTINUATION, 0, 1), clock.at(second));
        assert_eq!(clock.seconds(&watch), Some((30, Expiry::HeadOpen)), "{second}");
    }
    watch.bytes_read(&frame(CONTINUATION, END_HEADERS, 0), clock.at(29));
    assert_eq!(clock.seconds(&watch), None);
}

#[test]
fn http2_partial_frames_are_open_but_for_data() {
    let (clock, mut watch) = watch(Protocol::Http2);
    watch.bytes_read(PREFACE, clock.at(0));
    watch.bytes_read(&frame(HEADERS, END_HEADERS, 3), clock.at(0));
    watch.head_complete(None);
    for partial in [1usize, 8, 9, 10] {
        let (head, rest) = (frame(HEADERS, END_HEADERS, 5), partial);
        watch.bytes_read(&head[..rest], clock.at(40));
        watch.bytes_read(&[], clock.at(45));
        assert_eq!(clock.seconds(&watch), Some((50, Expiry::HeadOpen)), "{partial}");
        watch.bytes_read(&head[rest..], clock.at(46));
        assert_eq!(clock.seconds(&watch), None);
    }
    let data = frame(0, 0, 70_000);
    watch.bytes_read(&data[..10_000], clock.at(60));
    assert_eq!(clock.seconds(&watch), None);
    watch.bytes_read(&data[10_000..], clock.at(900));
    assert_eq!(clock.seconds(&watch), None);
}

#[test]
fn http2_a_head_that_begins_as_another_ends_has_its_own_time() {
    let (clock, mut watch) = watch(Protocol::Http2);
    watch.bytes_read(PREFACE, clock.at(0));
    watch.bytes_read(&frame(HEADERS, 0, 3), clock.at(0));
    let mut bytes = frame(CONTINUATION, END_HEADERS, 3);
    bytes.extend(&frame(HEADERS, 0, 3));
    watch.bytes_read(&bytes, clock.at(9));
    assert_eq!(clock.seconds(&watch), Some((19, Expiry::HeadOpen)));
}

/// An upload whose reads always end inside of a frame header is no stalled head.
#[test]
fn http2_reads_that_straddle_frames_do_not_add_up() {
    let (clock, mut watch) = watch(Protocol::Http2);
    watch.bytes_read(PREFACE, clock.at(0));
    watch.bytes_read(&frame(HEADERS, END_HEADERS, 3), clock.at(0));
    watch.head_complete(None);
    let data = frame(0, 0, 100);
    watch.bytes_read(&data[..5], clock.at(1));
    for second in 2..40 {
        let mut bytes = data[5..].to_vec();
        bytes.extend(&data[..5]);
        watch.bytes_read(&bytes, clock.at(second));
        assert_eq!(clock.seconds(&watch), Some((second + 10, Expiry::HeadOpen)));
    }
}

proptest! {
    /// The state after some bytes does not depend on how they were cut.
    #[test]
    fn any_chunking(
        frames in proptest::collection::vec((0u8..11, any::<u8>(), 0usize..40), 0..12),
        keep in 0usize..600,
        cut in 1usize..23,
    ) {
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, payload) in frames {
            bytes.extend(frame(kind, flags, payload));
        }
        bytes.truncate(keep);
        let now = Instant::now();
        let mut whole = HeaderWatch::new(Protocol::Http2, now);
        whole.bytes_read(&bytes, now);
        let mut cut_up = HeaderWatch::new(Protocol::Http2, now);
        for chunk in bytes.chunks(cut) {
            cut_up.bytes_read(chunk, now);
        }
        prop_assert_eq!(whole.deadline(&limits()), cut_up.deadline(&limits()));
    }

    #[test]
    fn never_panics(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let now = Instant::now();
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut watch = HeaderWatch::new(protocol, now);
            for chunk in &chunks {
                watch.bytes_read(chunk, now);
                watch.head_complete(chunk.first().map(|first| u64::from(*first)));
                watch.answer_done(now);
                let _ = watch.deadline(&limits());
            }
        }
    }
}
