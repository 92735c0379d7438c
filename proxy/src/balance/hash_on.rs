//! What of a request is hashed, and the hash: requests of one key go to one endpoint.
//!
//! Pure. The hash is the same on every proxy and after every restart, so all of them agree on the endpoint. It keeps nothing secret, and
//! a caller that chooses its key chooses its endpoint, as it may.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header::COOKIE};
use outrigger_config::model::HashOn;

use crate::{decide::mix, route::matcher::parameter};

/// The key of a request; `None`: it has no such thing.
pub(crate) fn key(on: &HashOn, headers: &HeaderMap, query: Option<&str>, peer: IpAddr) -> Option<u64> {
    match on {
        HashOn::Header(name) => {
            let mut values = headers.get_all(&**name).iter().map(|value| value.as_bytes()).peekable();
            values.peek()?;
            Some(values.fold(0, |sum, value| mix(sum) ^ hash(value)))
        }
        HashOn::Cookie(name) => cookie(headers, name).map(hash),
        HashOn::Query(name) => parameter(query, name).map(|value| hash(&value)),
        HashOn::SourceIp => Some(of_ip(peer)),
    }
}

/// The key of a connection that is passed on whole.
pub(crate) fn of_connection(on: &HashOn, peer: IpAddr) -> Option<u64> {
    (*on == HashOn::SourceIp).then(|| of_ip(peer))
}

fn of_ip(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()),
    }
}

/// The first cookie of the name.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let fields = headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The hash of an endpoint's address, for its place `number`.
pub(super) fn place(address: SocketAddr, number: u64) -> u64 {
    mix(of_ip(address.ip()) ^ mix(u64::from(address.port()) << 32 ^ number))
}

/// The hash of some bytes: SplitMix64's finisher over each eight of them.
fn hash(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(mix(bytes.len() as u64 ^ 0x9e37_79b9_7f4a_7c15), |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(sum.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ u64::from_le_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn each_source_is_read_and_may_be_absent() {
        let peer = IpAddr::from([10, 0, 0, 1]);
        let of = |on: &HashOn, fields: &[(&'static str, &'static str)], query| {
            key(on, &headers(fields), query, peer)
        };
        let header = HashOn::Header("x-user".into());
        assert_eq!(of(&header, &[("X-User", "a")], None), of(&header, &[("x-user", "a"), ("b", "c")], None));
        assert_ne!(of(&header, &[("x-user", "a")], None), of(&header, &[("x-user", "b")], None));
        assert_ne!(
            of(&header, &[("x-user", "a"), ("x-user", "b")], None),
            of(&header, &[("x-user", "a")], None)
        );
        assert_eq!(of(&header, &[("x-other", "a")], None), None);
        let cookie = HashOn::Cookie("id".into());
        assert_eq!(
            of(&cookie, &[("cookie", "xid=1; id=7;id=8")], None),
            of(&cookie, &[("cookie", "a=b"), ("cookie", "id=7")], None)
        );
        assert_eq!(of(&cookie, &[("cookie", "ID=1; id")], None), None);
        let query = HashOn::Query("q".into());
        assert_eq!(of(&query, &[], Some("a=b&q=%61")), of(&query, &[], Some("q=a&q=b")));
        assert_eq!((of(&query, &[], Some("r=1")), of(&query, &[], None)), (None, None));
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(of(&HashOn::SourceIp, &[], None), key(&HashOn::SourceIp, &headers(&[]), None, mapped));
        assert_eq!(of_connection(&HashOn::SourceIp, peer), of(&HashOn::SourceIp, &[], None));
        assert_eq!(of_connection(&query, peer), None);
    }

    #[test]
    fn the_hash_stays_what_it_is() {
        // Another value would send every key of a mesh to another endpoint while its proxies are replaced.
        assert_eq!(format!("{:016x}", hash(b"outrigger")), HASHED);
    }

    const HASHED: &str = "e07d79d78766760c";
}
