//! One access-log line: the fields of a request, written as a JSON object.
//!
//! Written by hand into a buffer that is reused, because it happens once per request: no tree of values, no string per
//! field. Whatever a caller sends, the line stays one line of valid JSON: control characters are escaped (C1 and DEL
//! too, which terminals obey) and bytes that are not UTF-8 become U+FFFD.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use crate::{ctx::Side, error::Flag, telemetry::timestamp};

/// What is known about a request when it has ended. Absent fields are left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When the request's head was complete.
    pub time: SystemTime,
    /// Which way it went.
    pub side: Side,
    /// The listener's address, as the policy gives it.
    pub listener: &'a str,
    /// Who sent it.
    pub peer: Option<SocketAddr>,
    /// Who the sender has proved to be.
    pub peer_identity: Option<&'a str>,
    /// Its method.
    pub method: &'a str,
    /// Host or `:authority`.
    pub authority: &'a [u8],
    /// Path and query, as they came.
    pub path: &'a [u8],
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'a str,
    /// The status that the caller got; 499 if it went away.
    pub status: u16,
    /// `grpc-status` of a gRPC answer.
    pub grpc_status: Option<u32>,
    /// The flag of a failure.
    pub flag: Option<Flag>,
    /// `x-outrigger-error` of a failure.
    pub reason: Option<&'a str>,
    /// What stands for the Service's answer.
    pub fallback: Option<&'a str>,
    /// Body bytes from the caller.
    pub bytes_in: u64,
    /// Body bytes to the caller.
    pub bytes_out: u64,
    /// From the complete head to the last byte of the answer.
    pub duration: Duration,
    /// How many attempts were made; 0 if none.
    pub attempts: u32,
    /// The endpoint of the last attempt.
    pub upstream: Option<SocketAddr>,
    /// The destination, as `namespace/name:port`.
    pub service: Option<&'a str>,
    /// The route rule.
    pub route: Option<&'a str>,
    /// `x-request-id`.
    pub request_id: Option<&'a [u8]>,
    /// The trace that the request's spans belong to; `None`: none are made.
    pub trace_id: Option<u128>,
    /// What drove its random choices: `outrigger explain --dice` repeats them. `None`: nothing was decided.
    pub dice: Option<u64>,
}

/// Every field of a line with what it says, in the order in which they are written: the reference of the access log.
pub const FIELDS: &[(&str, &str)] = &[
    ("time", "When the head of the request was complete, in UTC, with milliseconds."),
    ("side", "`inbound` or `outbound`."),
    ("listener", "The address of the listener, as the policy gives it."),
    ("peer", "The caller's address and port."),
    ("peer_identity", "The SPIFFE ID that the caller has shown; absent where it is anonymous."),
    ("method", "The method."),
    ("authority", "Host or `:authority`, as the caller sent it."),
    ("path", "Path and query, as the caller sent them."),
    ("protocol", "What the caller spoke: `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`."),
    ("status", "The HTTP status that the caller got; 499 if it went away before the answer ended."),
    ("grpc_status", "The gRPC code of a gRPC answer."),
    ("flags", "The flag of a failure."),
    ("reason", "The reason of a failure, as in `x-outrigger-error`."),
    (
        "fallback",
        "What the caller got instead of the Service's answer: `stale`, `response` or `service`. `flags` and `reason` then say \
         what went wrong before, where it was no answer of the Service itself.",
    ),
    ("bytes_in", "Bytes of the request's body, as far as it was read."),
    ("bytes_out", "Bytes of the answer's body."),
    (
        "duration_ms",
        "Milliseconds from the complete head to the last byte of the answer, with three decimals.",
    ),
    ("attempts", "How many attempts were made; 0 where the proxy answered without one."),
    ("upstream", "The endpoint of the last attempt."),
    ("service", "The destination, as `namespace/name:port`."),
    ("route", "The rule, as `namespace/name/rule`; `default` where no route decides."),
    ("request_id", "`x-request-id`: the caller's, or the one that the proxy made."),
    ("trace_id", "The trace that the request's spans belong to, where it is recorded."),
    (
        "dice",
        "The number that drove the choices of the request: `outrigger explain --dice` makes them again. Absent where \
         nothing was decided.",
    ),
];

impl Entry<'_> {
    /// Appends the line, with its newline.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        timestamp::push(out, self.time);
        out.push(b'"');
        push_word(out, "side", self.side.as_str());
        push_text(out, "listener", self.listener.as_bytes());
        push_address(out, "peer", self.peer);
        if let Some(id) = self.peer_identity {
            push_text(out, "peer_identity", id.as_bytes());
        }
        push_text(out, "method", self.method.as_bytes());
        push_text(out, "authority", self.authority);
        push_text(out, "path", self.path);
        push_word(out, "protocol", self.protocol);
        push_number(out, "status", u64::from(self.status));
        if let Some(status) = self.grpc_status {
            push_number(out, "grpc_status", u64::from(status));
        }
        if let Some(flag) = self.flag {
            push_word(out, "flags", flag.as_str());
        }
        if let Some(reason) = self.reason {
            push_text(out, "reason", reason.as_bytes());
        }
        if let Some(fallback) = self.fallback {
            push_word(out, "fallback", fallback);
        }
        push_number(out, "bytes_in", self.bytes_in);
        push_number(out, "bytes_out", self.bytes_out);
        push_milliseconds(out, "duration_ms", self.duration);
        push_number(out, "attempts", u64::from(self.attempts));
        push_address(out, "upstream", self.upstream);
        if let Some(service) = self.service {
            push_text(out, "service", service.as_bytes());
        }
        if let Some(route) = self.route {
            push_text(out, "route", route.as_bytes());
        }
        if let Some(id) = self.request_id {
            push_text(out, "request_id", id);
        }
        push_trace(out, self.trace_id);
        if let Some(dice) = self.dice {
            push_dice(out, dice);
        }
        out.extend_from_slice(b"}\n");
    }
}

fn push_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A value of ours, that needs no escape.
pub(super) fn push_word(out: &mut Vec<u8>, key: &str, word: &str) {
    push_key(out, key);
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

/// A value that somebody else chose.
pub(super) fn push_text(out: &mut Vec<u8>, key: &str, text: &[u8]) {
    push_key(out, key);
    out.push(b'"');
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    let clean = text.iter().position(|byte| !plain(byte)).unwrap_or(text.len());
    let (clean, rest) = text.split_at(clean);
    out.extend_from_slice(clean);
    if !rest.is_empty() {
        push_escaped(out, rest);
    }
    out.push(b'"');
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                // Line separators are line ends to some readers of JSON.
                control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                    let _ = write!(out, "\\u{:04x}", u32::from(control));
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

pub(super) fn push_number(out: &mut Vec<u8>, key: &str, number: u64) {
    push_key(out, key);
    push_digits(out, number);
}

fn push_digits(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Milliseconds with three decimals.
pub(super) fn push_milliseconds(out: &mut Vec<u8>, key: &str, duration: Duration) {
    push_key(out, key);
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    push_digits(out, micros / 1000);
    out.push(b'.');
    timestamp::push_padded(out, micros % 1000, 3);
}

/// In hexadecimal and quotes: readers of JSON keep no more than 53 bits of a number.
pub(super) fn push_trace(out: &mut Vec<u8>, trace: Option<u128>) {
    if let Some(id) = trace {
        push_key(out, "trace_id");
        // Once per trace that is recorded. Writing to memory cannot fail.
        let _ = write!(out, "\"{id:032x}\"");
    }
}

pub(super) fn push_dice(out: &mut Vec<u8>, dice: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    push_key(out, "dice");
    out.extend_from_slice(b"\"0x");
    out.extend((0..16).rev().map(|digit| HEX[(dice >> (4 * digit)) as usize & 15]));
    out.push(b'"');
}

pub(super) fn push_address(out: &mut Vec<u8>, key: &str, address: Option<SocketAddr>) {
    let Some(address) = address else { return };
    push_key(out, key);
    out.push(b'"');
    match address {
        SocketAddr::V4(address) => {
            for (index, octet) in address.ip().octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_digits(out, u64::from(octet));
            }
            out.push(b':');
            push_digits(out, u64::from(address.port()));
        }
        SocketAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
