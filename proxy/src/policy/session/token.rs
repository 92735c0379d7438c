//! The token of a session: what it says, and the seal by which only proxies that have the rule read and make it.
//!
//! Sealed with AES-256-GCM-SIV, under a key that follows from the names of the rule and of its sessions: replicas, restarts
//! and every proxy of one policy agree on it, and a token of another rule, or one that was changed, does not open. So the key is
//! no secret from whoever knows the policy: see `docs/THREAT_MODEL.md`. Pure: no clock, no random number of its own.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// The form of the token. Another one would not be read, and be replaced.
const VERSION: u8 = 1;
/// Times, backend, address, port.
const BODY: usize = 6 + 6 + 8 + 16 + 2;
const TAG: usize = 16;
const SEALED: usize = 1 + NONCE_LEN + BODY + TAG;

/// Makes one token differ from the next.
pub(super) type Salt = [u8; NONCE_LEN];

/// What tells one backend of a rule from the others, wherever it stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BackendTag([u8; 8]);

impl BackendTag {
    /// Of the `nth` reference of a rule to `backend`.
    pub(super) fn new(backend: &str, nth: u8) -> Self {
        let hash = digest::digest(&digest::SHA256, &[backend.as_bytes(), &[0, nth]].concat());
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash.as_ref()[..8]);
        Self(tag)
    }
}

/// What a token says. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) created: u64,
    pub(super) used: u64,
    pub(super) backend: BackendTag,
    /// In its plainest form: see [`plain`].
    pub(super) endpoint: SocketAddr,
}

/// Seals and opens the tokens of one rule.
#[derive(Debug)]
pub(super) struct Seal(LessSafeKey);

impl Seal {
    /// By the names that a token belongs to.
    pub(super) fn new(names: &[&str]) -> Self {
        let mut context =
            hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, b"outrigger session token 1"));
        for name in names {
            context.update(&(name.len() as u64).to_be_bytes());
            context.update(name.as_bytes());
        }
        let key = UnboundKey::new(&AES_256_GCM_SIV, context.sign().as_ref());
        Self(LessSafeKey::new(key.expect("SHA-256 gives the 32 bytes that AES-256 wants")))
    }

    /// The token as text that may stand in a cookie and in a header; `None` if sealing fails, which it does not.
    pub(super) fn seal(&self, token: &Token, salt: Salt) -> Option<String> {
        let mut body = Vec::with_capacity(BODY + TAG);
        body.extend_from_slice(&token.created.to_be_bytes()[2..]);
        body.extend_from_slice(&token.used.to_be_bytes()[2..]);
        body.extend_from_slice(&token.backend.0);
        let ip = match token.endpoint.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        body.extend_from_slice(&ip.octets());
        body.extend_from_slice(&token.endpoint.port().to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(salt);
        self.0.seal_in_place_append_tag(nonce, Aad::from([VERSION]), &mut body).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&[VERSION], &salt[..], &body].concat()))
    }

    /// What a token says; `None`: it was not sealed for these names, or was changed.
    pub(super) fn open(&self, text: &[u8]) -> Option<Token> {
        // Room for what the decoder may ask for beside what it writes.
        let mut sealed = [0; SEALED + 3];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut sealed).ok()?;
        let [VERSION, rest @ ..] = &mut sealed[..length] else { return None };
        let (salt, body) = rest.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*salt);
        let body: &[u8] = self.0.open_in_place(nonce, Aad::from([VERSION]), body).ok()?;
        let body: &[u8; BODY] = body.try_into().ok()?;
        let (created, rest) = body.split_first_chunk::<6>()?;
        let (used, rest) = rest.split_first_chunk::<6>()?;
        let (backend, rest) = rest.split_first_chunk::<8>()?;
        let (ip, port) = rest.split_first_chunk::<16>()?;
        let port = u16::from_be_bytes(port.try_into().ok()?);
        Some(Token {
            created: millis(created),
            used: millis(used),
            backend: BackendTag(*backend),
            endpoint: plain(SocketAddr::new(Ipv6Addr::from(*ip).into(), port)),
        })
    }
}

/// An address without what a token does not keep: an IPv4 address as such, no flow and no scope.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn millis(bytes: &[u8; 6]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(endpoint: &str) -> Token {
        let endpoint = endpoint.parse().unwrap();
        Token { created: 1_800_000_000_123, used: (1 << 48) - 1, backend: BackendTag::new("a", 0), endpoint }
    }

    #[test]
    fn what_is_sealed_can_be_opened_by_the_same_names_alone() {
        let seal = Seal::new(&["shop/cart/0", "cart"]);
        for endpoint in ["10.0.0.1:80", "[2001:db8::1]:65535"] {
            let text = seal.seal(&token(endpoint), [7; 12]).unwrap();
            assert_eq!(text.len(), 90, "{text}");
            assert_eq!(seal.open(text.as_bytes()), Some(token(endpoint)));
            assert_eq!(Seal::new(&["shop/cart/0", "cart"]).open(text.as_bytes()), Some(token(endpoint)));
            assert_eq!(Seal::new(&["shop/cart/", "0cart"]).open(text.as_bytes()), None);
        }
        assert_eq!(plain("[::ffff:10.0.0.1]:80".parse().unwrap()), "10.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_none() {
        let seal = Seal::new(&["x"]);
        let text = seal.seal(&token("10.0.0.1:80"), [7; 12]).unwrap();
        for at in 0..text.len() {
            for other in [b'A', b'B', b'-', b'%', 0xff] {
                let mut changed = text.clone().into_bytes();
                if changed[at] != other {
                    changed[at] = other;
                    assert_eq!(seal.open(&changed), None, "{at}");
                }
            }
            assert_eq!(seal.open(&text.as_bytes()[..at]), None);
        }
        for foreign in ["", "A", "AQ", &"A".repeat(90), &"A".repeat(10_000), &format!("{text}AAAA")] {
            assert_eq!(seal.open(foreign.as_bytes()), None);
        }
    }

    #[test]
    fn nothing_of_it_stands_there_in_the_clear() {
        let seal = Seal::new(&["x"]);
        let raw = |salt| URL_SAFE_NO_PAD.decode(seal.seal(&token("10.1.2.3:80"), salt).unwrap()).unwrap();
        let (one, other) = (raw([1; 12]), raw([2; 12]));
        assert!(!one.windows(4).any(|bytes| bytes == [10, 1, 2, 3]));
        let alike = one[13..].iter().zip(&other[13..]).filter(|(a, b)| a == b).count();
        assert!(alike < 8, "two tokens for one endpoint have nothing in common: {alike}");
    }
}
