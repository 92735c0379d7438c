//! One access-log line for a connection that was passed on whole: the fields of a request's line that it has.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::line::{
    push_address, push_dice, push_milliseconds, push_number, push_text, push_trace, push_word,
};
use crate::{ctx::Side, error::Flag, telemetry::timestamp};

/// What is known about a connection when it has ended. Absent fields are left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEntry<'a> {
    /// When it was accepted.
    pub time: SystemTime,
    /// Which way it went.
    pub side: Side,
    /// The listener's address, as the policy gives it.
    pub listener: &'a str,
    /// Who connected.
    pub peer: SocketAddr,
    /// Who it has proved to be.
    pub peer_identity: Option<&'a str>,
    /// The port that its proxy says it has dialled.
    pub named_port: Option<u16>,
    /// `TLS` where a ClientHello was read, else `TCP`.
    pub protocol: &'a str,
    /// The server name of the ClientHello.
    pub server_name: Option<&'a str>,
    /// The flag of what ended it, if that was no orderly end.
    pub flag: Option<Flag>,
    /// The same in a word.
    pub reason: Option<&'a str>,
    /// Bytes from the caller that the upstream took.
    pub bytes_in: u64,
    /// Bytes from the upstream that the caller took.
    pub bytes_out: u64,
    /// From the accepted connection to its end.
    pub duration: Duration,
    /// How many endpoints were tried.
    pub attempts: u32,
    /// The last of them.
    pub upstream: Option<SocketAddr>,
    /// The destination, as `namespace/name:port`.
    pub service: &'a str,
    /// The route rule.
    pub route: &'a str,
    /// The trace that its span belongs to, where it is recorded.
    pub trace_id: Option<u128>,
    /// What drove its random choices: `outrigger explain --dice` repeats them.
    pub dice: u64,
}

/// Every field of a line with what it says, in the order in which they are written: the reference of the access log.
pub const CONNECTION_FIELDS: &[(&str, &str)] = &[
    ("time", "When the connection was accepted, in UTC, with milliseconds."),
    ("side", "`inbound` or `outbound`."),
    ("listener", "The address of the listener, as the policy gives it."),
    ("peer", "The caller's address and port."),
    ("peer_identity", "The SPIFFE ID that the caller has shown; absent where it is anonymous."),
    ("named_port", "The port that the caller's proxy says its app has dialled; where it speaks mutual TLS."),
    ("protocol", "`TLS` where a ClientHello was read, else `TCP`."),
    ("server_name", "The server name of the ClientHello."),
    ("flags", "The flag of what ended it, if that was no orderly end."),
    ("reason", "The same in a word."),
    ("bytes_in", "Bytes from the caller that the endpoint took."),
    ("bytes_out", "Bytes from the endpoint that the caller took."),
    ("duration_ms", "Milliseconds from the accepted connection to its end, with three decimals."),
    ("attempts", "How many endpoints were tried."),
    ("upstream", "The last of them."),
    ("service", "The destination, as `namespace/name:port`; `app` or `egress` where it is no Service."),
    ("route", "The rule, as `namespace/name/rule`; `default` where no route decides."),
    ("trace_id", "The trace that the connection's span belongs to, where it is recorded."),
    (
        "dice",
        "The number that drove the choices of the connection: `outrigger explain --dice` makes them again.",
    ),
];

impl ConnectionEntry<'_> {
    /// Appends the line, with its newline.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        timestamp::push(out, self.time);
        out.push(b'"');
        push_word(out, "side", self.side.as_str());
        push_text(out, "listener", self.listener.as_bytes());
        push_address(out, "peer", Some(self.peer));
        if let Some(id) = self.peer_identity {
            push_text(out, "peer_identity", id.as_bytes());
        }
        if let Some(port) = self.named_port {
            push_number(out, "named_port", u64::from(port));
        }
        push_word(out, "protocol", self.protocol);
        if let Some(name) = self.server_name {
            push_text(out, "server_name", name.as_bytes());
        }
        if let Some(flag) = self.flag {
            push_word(out, "flags", flag.as_str());
        }
        if let Some(reason) = self.reason {
            push_text(out, "reason", reason.as_bytes());
        }
        push_number(out, "bytes_in", self.bytes_in);
        push_number(out, "bytes_out", self.bytes_out);
        push_milliseconds(out, "duration_ms", self.duration);
        push_number(out, "attempts", u64::from(self.attempts));
        push_address(out, "upstream", self.upstream);
        push_text(out, "service", self.service.as_bytes());
        push_text(out, "route", self.route.as_bytes());
        push_trace(out, self.trace_id);
        push_dice(out, self.dice);
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_has_every_field() {
        let mut out = Vec::new();
        let entry = ConnectionEntry {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_007),
            side: Side::Outbound,
            listener: "127.0.0.1:15001",
            peer: "127.0.0.1:40000".parse().expect("an address"),
            peer_identity: Some("spiffe://a/b"),
            named_port: Some(5432),
            protocol: "TLS",
            server_name: Some("db.example.com"),
            flag: Some(Flag::UR),
            reason: Some("upstream_cut"),
            bytes_in: 3,
            bytes_out: 5,
            duration: Duration::from_micros(1_005),
            attempts: 2,
            upstream: Some("[::1]:80".parse().expect("an address")),
            service: "shop/db:5432",
            route: "default",
            trace_id: Some(3),
            dice: 11,
        };
        entry.write(&mut out);
        let value: Value = serde_json::from_slice(&out).expect("a line is JSON");
        assert_eq!(
            value,
            json!({
                "time": "2024-02-29T12:34:56.007Z", "side": "outbound", "listener": "127.0.0.1:15001",
                "peer": "127.0.0.1:40000", "peer_identity": "spiffe://a/b", "named_port": 5432, "protocol": "TLS", "server_name": "db.example.com", "flags": "UR",
                "reason": "upstream_cut", "bytes_in": 3, "bytes_out": 5, "duration_ms": 1.005, "attempts": 2,
                "upstream": "[::1]:80", "service": "shop/db:5432", "route": "default",
                "trace_id": "00000000000000000000000000000003", "dice": "0x000000000000000b",
            })
        );
        let line = String::from_utf8(out).expect("a line is UTF-8");
        let mut rest = line.as_str();
        for (field, _) in CONNECTION_FIELDS {
            let at = rest.find(&format!("\"{field}\":")).unwrap_or_else(|| panic!("{field}: {line}"));
            rest = &rest[at + 1..];
        }
        assert_eq!(value.as_object().expect("an object").len(), CONNECTION_FIELDS.len());
    }
}
