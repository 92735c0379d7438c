//! Lines are valid JSON whatever a caller sends, and say what the request was.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn entry() -> Entry<'static> {
    Entry {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_007),
        side: Side::Outbound,
        listener: "127.0.0.1:15001",
        peer: Some("127.0.0.1:40000".parse().expect("an address")),
        peer_identity: Some("spiffe://a/b"),
        method: "GET",
        authority: b"cart.shop",
        path: b"/items?id=7",
        protocol: "HTTP/1.1",
        status: 503,
        grpc_status: None,
        flag: Some(Flag::UF),
        reason: Some("connect_failed"),
        fallback: Some("stale"),
        bytes_in: 0,
        bytes_out: 1234567890,
        duration: Duration::from_micros(1_005),
        attempts: 2,
        upstream: Some("[::1]:80".parse().expect("an address")),
        service: Some("shop/cart:80"),
        route: Some("shop/cart/0"),
        request_id: Some(b"abc"),
        trace_id: Some(0x4bf9),
        dice: Some(0x0123_4567_89ab_cdef),
    }
}

fn line(entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    entry.write(&mut out);
    String::from_utf8(out).expect("a line is UTF-8")
}

#[test]
fn a_line_has_every_field() {
    let line = line(&entry());
    assert!(line.ends_with("}\n"));
    let value: Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(
        value,
        json!({
            "time": "2024-02-29T12:34:56.007Z", "side": "outbound", "listener": "127.0.0.1:15001",
            "peer": "127.0.0.1:40000", "peer_identity": "spiffe://a/b", "method": "GET", "authority": "cart.shop", "path": "/items?id=7",
            "protocol": "HTTP/1.1", "status": 503, "flags": "UF", "reason": "connect_failed",
            "fallback": "stale", "bytes_in": 0,
            "bytes_out": 1234567890, "duration_ms": 1.005, "attempts": 2, "upstream": "[::1]:80",
            "service": "shop/cart:80", "route": "shop/cart/0", "request_id": "abc",
            "trace_id": "00000000000000000000000000004bf9",
            "dice": "0x0123456789abcdef",
        })
    );
}

#[test]
fn the_reference_has_the_fields_of_a_line() {
    let line = line(&Entry { grpc_status: Some(14), ..entry() });
    let at = |field: &str| line.find(&format!("\"{field}\":"));
    let places: Vec<usize> = FIELDS.iter().filter_map(|(field, _)| at(field)).collect();
    let value: Value = serde_json::from_str(&line).expect("a line is JSON");
    let written = value.as_object().map(|fields| fields.len());
    assert_eq!((Some(places.len()), written), (written, Some(FIELDS.len())), "{line}");
    assert!(places.is_sorted(), "{line}");
}

#[test]
fn a_caller_cannot_forge_lines_or_drive_a_terminal() {
    let path = b"/a\"}\n{\"status\":200,\x00\x1b[2J\x7f\xc2\x9b\xe2\x80\xa8\\\xff\xfe!";
    let line = line(&Entry { path, ..entry() });
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.trim_end().chars().any(char::is_control));
    let value: Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(value["status"], 503);
    assert_eq!(
        value["path"].as_str(),
        Some("/a\"}\n{\"status\":200,\0\u{1b}[2J\u{7f}\u{9b}\u{2028}\\\u{fffd}\u{fffd}!")
    );
}

proptest! {
    #[test]
    fn any_bytes_give_one_line_that_reads_back(path in prop::collection::vec(any::<u8>(), 0..64), number in any::<u64>()) {
        let line = line(&Entry { path: &path, bytes_in: number, ..entry() });
        prop_assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).expect("a line is JSON");
        let lossy = String::from_utf8_lossy(&path);
        prop_assert_eq!(value["path"].as_str(), Some(lossy.as_ref()));
        prop_assert_eq!(value["bytes_in"].as_u64(), Some(number));
    }
}
