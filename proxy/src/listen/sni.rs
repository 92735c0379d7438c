//! The server name of a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3), and whether a proxy of the mesh has sent it (RFC 7301),
//! read without taking part in the handshake.
//!
//! A pure core: the shell reads, feeds what it read in any chunking, and replays all of it to whoever is chosen. Bounded:
//! a ClientHello above [`MOST`] bytes, records included, is none. With Encrypted ClientHello the name is the outer one,
//! which is what its sender wants the path to see. This file must not judge versions, ciphers or anything else of
//! the handshake: that is the endpoints' affair.

/// The longest ClientHello with its record headers. Real ones have 300 bytes to 2.5 KiB, with post-quantum key shares.
pub const MOST: usize = 16 * 1024;

/// A TLS record's header: type, version, length.
const RECORD_HEADER: usize = 5;
/// The most that a record of plaintext carries (RFC 8446 5.1).
const RECORD_MOST: usize = 1 << 14;
/// A handshake message's header: type, length.
const MESSAGE_HEADER: usize = 4;

/// The protocols that proxies of the mesh speak with each other, as ALPN names them.
pub(crate) const MESH: [&[u8]; 3] = [b"outrigger-h2", b"outrigger-http/1.1", b"outrigger-tcp"];

/// What the bytes so far say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They may begin a ClientHello that is not whole yet.
    NeedMore,
    /// A whole ClientHello.
    Hello(Hello),
    /// No ClientHello begins like this.
    Malformed,
}

/// What a ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server that is meant.
    pub name: Option<ServerName>,
    /// It offers a protocol that only proxies of the mesh speak.
    pub mesh: bool,
}

/// A host name: lower-cased, without trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(Box<str>);

impl ServerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// RFC 6066 has names in ASCII and no addresses; an address is as good as no name. `None`: not a name at all.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Option<Self>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Some(None);
        }
        let label = |label: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        let valid = text.len() <= 253 && text.split('.').all(label);
        valid.then(|| Some(Self(text.to_ascii_lowercase().into())))
    }
}

/// Follows the first bytes of one connection.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// The header of the record that is being read.
    header: [u8; RECORD_HEADER],
    header_read: usize,
    /// What is left of that record.
    record_left: usize,
    /// The handshake message, without the records around it.
    message: Vec<u8>,
    seen: usize,
}

impl Reader {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. Once it says something other than [`Verdict::NeedMore`] that is final, and it must not
    /// be fed again.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Verdict {
        while !bytes.is_empty() {
            if self.record_left == 0 {
                let take = bytes.len().min(RECORD_HEADER - self.header_read);
                self.header[self.header_read..self.header_read + take].copy_from_slice(&bytes[..take]);
                self.header_read += take;
                bytes = &bytes[take..];
                if !self.record_may_be() {
                    return Verdict::Malformed;
                }
                continue;
            }
            let take = bytes.len().min(self.record_left);
            self.record_left -= take;
            self.message.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            match self.whole() {
                Some(true) => {
                    let end = MESSAGE_HEADER + length(&self.message[1..MESSAGE_HEADER]);
                    let hello = client_hello(&mut Fields(&self.message[MESSAGE_HEADER..end]));
                    return hello.map_or(Verdict::Malformed, Verdict::Hello);
                }
                Some(false) => {}
                None => return Verdict::Malformed,
            }
        }
        Verdict::NeedMore
    }

    /// Looks at as much of a record header as is there; a whole one opens its record.
    fn record_may_be(&mut self) -> bool {
        let known = &self.header[..self.header_read];
        // Handshake, version 3.x: whatever the minor version says, the record has this form.
        if known.iter().zip([0x16, 3]).any(|(byte, wanted)| *byte != wanted) {
            return false;
        }
        if self.header_read < RECORD_HEADER {
            return true;
        }
        self.header_read = 0;
        self.record_left = length(&self.header[3..]);
        self.seen += RECORD_HEADER + self.record_left;
        (1..=RECORD_MOST).contains(&self.record_left)
    }

    /// Whether the message is whole; `None`: it is no ClientHello, or too long for one.
    fn whole(&self) -> Option<bool> {
        let kind = *self.message.first()?;
        if kind != 1 {
            return None;
        }
        let Some(header) = self.message.get(1..MESSAGE_HEADER) else { return Some(false) };
        let end = MESSAGE_HEADER + length(header);
        if self.message.len() >= end {
            return Some(true);
        }
        // Headers count too: a message in records of one byte each costs six times its length.
        let least = self.seen - self.record_left + (end - self.message.len());
        (least <= MOST).then_some(false)
    }
}

/// The number in two or three bytes, the highest first.
fn length(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// What is left of a structure.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A vector whose length stands before it in `prefix` bytes.
    fn vector(&mut self, prefix: usize) -> Option<Fields<'a>> {
        let count = length(self.take(prefix)?);
        self.take(count).map(Fields)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The body of a ClientHello; `None`: malformed.
fn client_hello(fields: &mut Fields<'_>) -> Option<Hello> {
    // legacy_version, random
    fields.take(2 + 32)?;
    let session_id = fields.vector(1)?;
    let cipher_suites = fields.vector(2)?;
    let compression_methods = fields.vector(1)?;
    if session_id.0.len() > 32 || cipher_suites.is_empty() || compression_methods.is_empty() {
        return None;
    }
    // TLS 1.2 may go without extensions.
    if fields.is_empty() {
        return Some(Hello::default());
    }
    let mut extensions = fields.vector(2)?;
    if !fields.is_empty() {
        return None;
    }
    let (mut name, mut alpn) = (None, None);
    while !extensions.is_empty() {
        let kind = length(extensions.take(2)?);
        let mut body = extensions.vector(2)?;
        match kind {
            0 => {
                let found = server_name(&mut body)?;
                // Two would be read differently by two readers.
                if name.replace(found).is_some() {
                    return None;
                }
            }
            16 => {
                // Whoever breaks this rule, or says it twice, is no proxy of the mesh.
                let first = alpn.is_none();
                alpn = Some(first && offers_mesh(&mut body).unwrap_or(false));
            }
            _ => {}
        }
    }
    Some(Hello { name: name.flatten(), mesh: alpn == Some(true) })
}

/// The extension `application_layer_protocol_negotiation`: a list of names; `None`: malformed.
fn offers_mesh(body: &mut Fields<'_>) -> Option<bool> {
    let mut list = body.vector(2)?;
    if list.is_empty() || !body.is_empty() {
        return None;
    }
    let mut mesh = false;
    while !list.is_empty() {
        let name = list.vector(1).filter(|name| !name.is_empty())?;
        mesh |= MESH.contains(&name.0);
    }
    Some(mesh)
}

/// The extension `server_name`: a list of which only one type of name was ever defined.
fn server_name(body: &mut Fields<'_>) -> Option<Option<ServerName>> {
    let mut list = body.vector(2)?;
    if list.is_empty() || !body.is_empty() {
        return None;
    }
    let mut name = None;
    while !list.is_empty() {
        let kind = length(list.take(1)?);
        let text = list.vector(2)?;
        if kind == 0 && name.replace(ServerName::parse(text.0)?).is_some() {
            return None;
        }
    }
    name
}

#[cfg(test)]
mod tests;
