//! Follows an HTTP/1 stream far enough to tell whether a part of the next head came with the last request.
//!
//! hyper reads ahead: such a part stands in its buffer, up to 96 KiB, while the connection looks idle. The end of a
//! head is searched for only until it is found; a body is skipped by counting. What cannot be told counts as a part of
//! a head, which costs a caller no more than an idle connection.

/// The end of a head.
const END: &[u8; 4] = b"\r\n\r\n";

/// A place in the stream of requests.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The last three bytes of what came before, for an end that is cut between two reads.
    last: [u8; 3],
    /// How many bytes came after the end of the current head, if that was seen.
    after: Option<u64>,
    /// The stream ends as a head or a chunked body does.
    ends_clean: bool,
}

impl Heads {
    /// Takes bytes while no request is open: they are a head, and what follows it.
    pub(super) fn head(&mut self, bytes: &[u8]) {
        match &mut self.after {
            Some(after) => *after += bytes.len() as u64,
            None => self.after = self.find_end(bytes).map(|end| (bytes.len() - end) as u64),
        }
        self.remember(bytes);
    }

    /// Takes bytes while a request is open: its body, and what follows it.
    pub(super) fn body(&mut self, bytes: &[u8]) {
        if let Some(after) = &mut self.after {
            *after += bytes.len() as u64;
        }
        self.remember(bytes);
    }

    /// The request is over; its body had this length, or said by itself where it ends. Says whether more came than it.
    pub(super) fn next(&mut self, length: Option<u64>) -> bool {
        match (self.after.take(), length) {
            (Some(0), _) => false,
            (Some(after), Some(length)) => after > length,
            _ => !self.ends_clean,
        }
    }

    /// Where in `bytes` the first byte after a head stands.
    fn find_end(&self, bytes: &[u8]) -> Option<usize> {
        let mut seam = [0; 6];
        seam[..3].copy_from_slice(&self.last);
        let more = bytes.len().min(3);
        seam[3..3 + more].copy_from_slice(&bytes[..more]);
        if let Some(at) = find(&seam[..3 + more]) {
            return Some(at - 3);
        }
        find(bytes)
    }

    fn remember(&mut self, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(3);
        let (kept, new) = (3 - bytes[from..].len(), &bytes[from..]);
        self.ends_clean = match bytes {
            [.., a, b, c, d] => [*a, *b, *c, *d] == *END,
            // Shorter than the end itself: what came before has the rest.
            _ => [&self.last[..], bytes].concat().ends_with(END),
        };
        self.last.copy_within(3 - kept.., 0);
        self.last[kept..].copy_from_slice(new);
    }
}

/// Where the first [`END`] in `bytes` is over. Looks at every fourth byte, as nothing else in a head is a line end.
fn find(bytes: &[u8]) -> Option<usize> {
    let mut at = 3;
    loop {
        match bytes.get(at)? {
            b'\n' if bytes[at - 3..=at] == *END => return Some(at + 1),
            b'\n' => at += 2,
            b'\r' => at += 1,
            _ => at += 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_over() {
        for (stream, length, left) in [
            ("GET / HTTP/1.1\r\n\r\n", Some(0), false),
            ("GET / HTTP/1.1\r\n\r\nGET", Some(0), true),
            ("POST / HTTP/1.1\r\n\r\nabc", Some(3), false),
            ("POST / HTTP/1.1\r\n\r\nab", Some(3), false),
            ("POST / HTTP/1.1\r\n\r\nabcG", Some(3), true),
            ("POST / HTTP/1.1\r\n\r\n3\r\nabc\r\n0\r\n\r\n", None, false),
            ("POST / HTTP/1.1\r\n\r\n3\r\nabc\r\n0\r\n\r\nG", None, true),
        ] {
            let mut heads = Heads::default();
            heads.head(stream.as_bytes());
            assert_eq!(heads.next(length), left, "{stream:?}");
        }
    }

    #[test]
    fn a_request_that_came_with_the_last_one() {
        let mut heads = Heads::default();
        heads.head(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n");
        heads.body(b"\r\n");
        assert!(heads.next(Some(0)), "the second one");
        assert!(!heads.next(Some(0)));
    }

    proptest! {
        #[test]
        fn any_chunking(text in "[a\\r\\n]{0,24}", cut in 1usize..6, length in proptest::option::of(0u64..8)) {
            let mut whole = Heads::default();
            whole.head(text.as_bytes());
            let mut parts = Heads::default();
            for part in text.as_bytes().chunks(cut) {
                parts.head(part);
            }
            prop_assert_eq!(whole.after, parts.after);
            prop_assert_eq!(whole.after, text.find("\r\n\r\n").map(|at| (text.len() - at - 4) as u64));
            prop_assert_eq!(whole.next(length), parts.next(length));
        }
    }
}
