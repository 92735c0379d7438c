//! Follows HTTP/2 frames over any chunking of the bytes, just far enough to tell whether a header block is open.
//!
//! No frame is judged: h2 does that. Here a stream of garbage is frames of odd lengths, and ends by h2's verdict.

use crate::listen::detect::PREFACE;

const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// A place in the stream of frames.
#[derive(Debug)]
pub(super) struct Frames {
    place: Place,
    /// A block began and its END_HEADERS has not come.
    block_open: bool,
}

#[derive(Debug)]
enum Place {
    /// So many bytes of the preface are missing.
    Preface(u8),
    /// In a frame header, of which so many bytes are here.
    Header { bytes: [u8; FRAME_HEADER], len: u8 },
    /// In a payload, of which so many bytes are missing.
    Payload { left: u32, kind: Kind },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    /// Part of a header block; `last` if it carries END_HEADERS.
    Block {
        last: bool,
    },
    Other,
}

/// What ended within some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// A header block.
    pub(super) head: bool,
    /// Whatever was open: for a moment the caller owed nothing.
    pub(super) closed: bool,
}

impl Frames {
    /// At the start of a connection.
    pub(super) fn new() -> Self {
        // 24 bytes.
        Self { place: Place::Preface(PREFACE.len() as u8), block_open: false }
    }

    /// Whether the caller owes the rest of something that is not DATA: the preface, a frame header, a header block, or
    /// a frame that h2 reads whole before it acts on it.
    pub(super) fn is_open(&self) -> bool {
        self.block_open
            || match &self.place {
                Place::Preface(_) => true,
                Place::Header { len, .. } => *len > 0,
                Place::Payload { kind, .. } => *kind != Kind::Data,
            }
    }

    /// Takes the next bytes and says what ended among them.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Step {
        let mut step = Step::default();
        while !bytes.is_empty() {
            let taken = match &mut self.place {
                Place::Preface(missing) => {
                    let taken = bytes.len().min(usize::from(*missing));
                    *missing -= taken as u8;
                    if *missing == 0 {
                        self.place = Place::frame();
                    }
                    taken
                }
                Place::Header { bytes: header, len } => {
                    let from = usize::from(*len);
                    let taken = bytes.len().min(FRAME_HEADER - from);
                    header[from..from + taken].copy_from_slice(&bytes[..taken]);
                    *len += taken as u8;
                    if usize::from(*len) == FRAME_HEADER {
                        let header = *header;
                        step.head |= self.begin(header);
                    }
                    taken
                }
                Place::Payload { left, kind } => {
                    let taken = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(*left);
                    *left -= taken;
                    if *left == 0 {
                        let kind = *kind;
                        step.head |= self.end(kind);
                    }
                    taken as usize
                }
            };
            bytes = &bytes[taken..];
            step.closed |= !self.is_open();
        }
        step
    }

    /// A frame header is whole.
    fn begin(&mut self, header: [u8; FRAME_HEADER]) -> bool {
        let left = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let last = header[4] & END_HEADERS != 0;
        let kind = match header[3] {
            DATA => Kind::Data,
            HEADERS | CONTINUATION => Kind::Block { last },
            _ => Kind::Other,
        };
        if matches!(kind, Kind::Block { .. }) {
            self.block_open = true;
        }
        if left == 0 {
            return self.end(kind);
        }
        self.place = Place::Payload { left, kind };
        false
    }

    /// A payload is whole; says whether a header block ended with it.
    fn end(&mut self, kind: Kind) -> bool {
        self.place = Place::frame();
        let ended = kind == Kind::Block { last: true };
        if ended {
            self.block_open = false;
        }
        ended
    }
}

impl Place {
    fn frame() -> Self {
        Self::Header { bytes: [0; FRAME_HEADER], len: 0 }
    }
}
