//! The connection that is asked about: what its caller dials, and what it says first.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::uri::Authority;
use outrigger_config::SpiffeId;

use crate::{
    explain::{Door, QuestionError},
    listen::sni::ServerName,
};

/// The port of a TLS URL that has none.
const TLS_PORT: u16 = 443;

/// A connection, and how it comes.
#[derive(Clone, Debug)]
pub struct ConnectionQuestion {
    /// Its URL as a person wrote it: `tcp://db:5432`, `tls://db.example.com`.
    pub url: String,
    /// The listener that its caller dials; `None`: the one by which connections to the URL's host come.
    pub door: Option<Door>,
    /// The address that the caller dialled, where traffic is redirected.
    pub original_destination: Option<SocketAddr>,
    /// The caller's address.
    pub peer: IpAddr,
    /// The caller's identity.
    pub from: Option<SpiffeId>,
    /// What drives random choices; `None`: all shares are of interest.
    pub dice: Option<u64>,
    pub(super) says: Says,
    pub(super) host: String,
    pub(super) port: u16,
}

/// What a caller says first.
#[derive(Clone, Debug)]
pub(super) enum Says {
    /// Neither HTTP nor TLS, or nothing before the server speaks.
    Bytes,
    /// A ClientHello with this server name.
    Hello(Option<ServerName>),
}

impl ConnectionQuestion {
    /// Whether a word asks for a connection, and not for a request.
    pub fn is_asked_by(word: &str) -> bool {
        word.starts_with("tcp://") || word.starts_with("tls://")
    }

    /// Asks about a connection by its URL.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(url: &str) -> Result<Self, QuestionError> {
        let bad = |why| QuestionError::Connection(url.to_owned(), why);
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let authority: Authority = rest.parse().map_err(|_| bad("it is no host and port"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a connection has no user"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let (says, port) = match scheme {
            "tcp" => (Says::Bytes, authority.port_u16().ok_or_else(|| bad("a port is missing"))?),
            "tls" => {
                let name = ServerName::parse(host.as_bytes()).ok_or_else(|| bad("it is no server name"))?;
                (Says::Hello(name), authority.port_u16().unwrap_or(TLS_PORT))
            }
            _ => return Err(bad("the scheme is another")),
        };
        Ok(Self {
            url: url.to_owned(),
            door: None,
            original_destination: None,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            from: None,
            dice: None,
            says,
            host,
            port,
        })
    }

    /// The server name of its ClientHello.
    pub(super) fn server_name(&self) -> Option<&str> {
        match &self.says {
            Says::Hello(Some(name)) => Some(name.as_str()),
            Says::Hello(None) | Says::Bytes => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<(String, u16, Option<String>), QuestionError> {
        let asked = ConnectionQuestion::new(url)?;
        Ok((asked.host.clone(), asked.port, asked.server_name().map(str::to_owned)))
    }

    #[test]
    fn a_url_names_what_is_dialled_and_the_server() {
        let read = |url: &str| read(url).unwrap();
        assert_eq!(read("tcp://DB.shop.:5432"), ("db.shop".to_owned(), 5432, None));
        assert_eq!(read("tcp://[::1]:80"), ("::1".to_owned(), 80, None));
        let name = Some("a.example.com".to_owned());
        assert_eq!(read("tls://A.example.com"), ("a.example.com".to_owned(), 443, name));
        assert_eq!(read("tls://10.0.0.1:8443"), ("10.0.0.1".to_owned(), 8443, None), "an address is no name");
    }

    #[test]
    fn what_is_no_connection_says_why() {
        for (url, why) in [
            ("tcp://db", "a port is missing"),
            ("tcp://db:5432/x", "no host and port"),
            ("tcp://", "no host and port"),
            ("tcp://me@db:1", "has no user"),
            ("tls://a..b", "no server name"),
            ("udp://db:1", "another"),
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}
