//! When a downstream connection has had its time: a head that does not end, a first head that does not come, a
//! connection that nobody uses.
//!
//! A pure core that follows the bytes a caller sends, from the first one that the HTTP server sees. hyper's own header
//! timeout would close idle keep-alive connections too, and h2 has none; a caller that sends a head one byte a minute
//! would hold a connection for ever. Bodies are none of its business: for these there is the stream idle timeout.
//!
//! On HTTP/1 a head ends when the server says so ([`HeaderWatch::head_complete`]). On HTTP/2 the watch follows the
//! 9-byte frame headers itself, because a header block may stretch over any number of CONTINUATION frames before h2
//! tells anybody. DATA is skipped by its length.

use std::time::{Duration, Instant};

use outrigger_config::model::Limits;

mod frames;
mod heads;

use frames::Frames;
use heads::Heads;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2, the preface included.
    Http2,
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// No complete head came in time after accept.
    FirstHead,
    /// A head stays open.
    HeadOpen,
    /// No request is open, and none came for long.
    Idle,
}

/// Follows one downstream connection.
#[derive(Debug)]
pub struct HeaderWatch {
    follow: Follow,
    accepted: Instant,
    first_head_seen: bool,
    open_since: Option<Instant>,
    requests: u32,
    idle_since: Instant,
}

#[derive(Debug)]
enum Follow {
    Http1 {
        heads: Heads,
        /// Of the open request's body; `None`: it says by itself where it ends.
        length: Option<u64>,
    },
    Http2(Frames),
}

impl HeaderWatch {
    /// A connection that was accepted at `accepted`: TLS and protocol detection count into the time of the first head.
    pub fn new(protocol: Protocol, accepted: Instant) -> Self {
        let follow = match protocol {
            Protocol::Http1 => Follow::Http1 { heads: Heads::default(), length: None },
            Protocol::Http2 => Follow::Http2(Frames::new()),
        };
        Self { follow, accepted, first_head_seen: false, open_since: None, requests: 0, idle_since: accepted }
    }

    /// The server read these bytes, in the order of the stream; those that detection read before are fed too.
    pub fn bytes_read(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.follow {
            Follow::Http1 { heads, .. } if self.requests > 0 => heads.body(bytes),
            Follow::Http1 { heads, .. } => {
                heads.head(bytes);
                self.open_since = self.open_since.or(Some(now));
            }
            Follow::Http2(frames) => {
                let was_open = frames.is_open();
                let step = frames.follow(bytes);
                self.first_head_seen |= step.head;
                if !frames.is_open() {
                    self.open_since = None;
                } else if !was_open || step.closed {
                    self.open_since = Some(now);
                }
            }
        }
    }

    /// The server handed over a request, with a body of this length where that is known from the start. Any number may
    /// be open on HTTP/2.
    pub fn head_complete(&mut self, body: Option<u64>) {
        self.requests += 1;
        self.first_head_seen = true;
        if let Follow::Http1 { length, .. } = &mut self.follow {
            *length = body;
            self.open_since = None;
        }
    }

    /// The answer to a request is written, or given up.
    pub fn answer_done(&mut self, now: Instant) {
        self.requests = self.requests.saturating_sub(1);
        if self.requests > 0 {
            return;
        }
        self.idle_since = now;
        if let Follow::Http1 { heads, length } = &mut self.follow {
            // hyper parses what came of the next head only now, so its time begins now.
            self.open_since = heads.next(*length).then_some(now);
        }
    }

    /// How many requests are open.
    pub fn open_requests(&self) -> u32 {
        self.requests
    }

    /// When the connection has had its time, and why. `None` while requests are open and no head is. It moves with
    /// every call of the others; a timer that fires early asks again.
    pub fn deadline(&self, limits: &Limits) -> Option<(Instant, Expiry)> {
        let open = self.open_since.and_then(|since| after(since, limits.header_timeout, Expiry::HeadOpen));
        if !self.first_head_seen {
            // A head that is open at that time has had its own time no longer than this.
            return after(self.accepted, limits.header_timeout, Expiry::FirstHead);
        }
        if open.is_none() && self.requests == 0 {
            return after(self.idle_since, limits.connection_idle, Expiry::Idle);
        }
        open
    }
}

/// `None` where the clock cannot hold the sum: then it never comes.
fn after(since: Instant, wait: Duration, expiry: Expiry) -> Option<(Instant, Expiry)> {
    since.checked_add(wait).map(|at| (at, expiry))
}

#[cfg(test)]
mod tests;
