//! The caller's end of a link between sidecars: the handshake, the first frame of bytes that are passed on, and what a
//! request says to the other sidecar.
//!
//! Whose certificate is believed is for `identity/` to say. What fails here is work that never started; there is no way
//! back to plaintext.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::model::AppProtocol;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{io::MeteredIo, stream::Stream};
use crate::{
    balance::PinnedPeer,
    identity::{Identity, MeshProtocol, PeerFault},
    request::{
        strict::{ATTEMPT, ORIG_PROTO, TIMEOUT_MS},
        switch::Switch,
    },
    telemetry::metrics::{MeshFault, TlsFault},
};

const ATTEMPT_FIELD: HeaderName = HeaderName::from_static(ATTEMPT);
const TIMEOUT_FIELD: HeaderName = HeaderName::from_static(TIMEOUT_MS);
const PROTO_FIELD: HeaderName = HeaderName::from_static(ORIG_PROTO);

/// The version of the first frame of a link whose bytes are passed on.
const FRAME_VERSION: u8 = 1;

/// What is spoken on a link that is to become this, or to carry this.
pub(crate) fn protocol(switch: Option<&Switch>, carries: AppProtocol) -> MeshProtocol {
    match (switch, carries) {
        (Some(Switch::Upgrade(_)), _) => MeshProtocol::Http1,
        // What a tunnel carries is the caller's to say, and no request precedes it.
        (Some(Switch::Connect), _) | (None, AppProtocol::Tcp | AppProtocol::Tls) => MeshProtocol::Tcp,
        (None, AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Grpc) => MeshProtocol::Http2,
    }
}

/// Speaks mutual TLS on a connected socket: the peer must be who is pinned, and speak what the link is for.
pub(crate) async fn handshake(
    io: MeteredIo,
    addr: SocketAddr,
    (own, peer): (&Arc<Identity>, &Arc<PinnedPeer>),
    protocol: MeshProtocol,
) -> Result<TlsStream<MeteredIo>, MeshFault> {
    let config = own.current().client(protocol, peer.identity())?;
    // An address is no SNI, so nobody on the way reads who is called.
    let name = ServerName::IpAddress(addr.ip().into());
    let connected = TlsConnector::from(config).connect(name, io).await;
    let stream = connected.map_err(|error| fault(&error))?;
    match stream.get_ref().1.alpn_protocol() == Some(protocol.alpn()) {
        true => Ok(stream),
        // A peer that ignores ALPN would take what follows for something else.
        false => Err(TlsFault::Alpn.into()),
    }
}

fn fault(error: &io::Error) -> MeshFault {
    match PeerFault::of(error) {
        Some(fault) => fault.into(),
        None => TlsFault::of(error).into(),
    }
}

/// Begins a link whose bytes are passed on: says which port the caller has dialled.
pub(super) async fn begin_bytes(stream: &mut Stream, port: u16) -> io::Result<()> {
    let [high, low] = port.to_be_bytes();
    stream.write_all(&[FRAME_VERSION, 2, high, low]).await?;
    stream.flush().await
}

/// What a request says to the other sidecar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// The version that the far app is meant to get, where the link's own does not say it: [`Told::version`].
    pub(crate) version: Option<&'static str>,
    /// Which attempt it is, from 0: only one hop repeats a request.
    pub(crate) attempt: u32,
    /// What is left of its deadline.
    pub(crate) left: Option<Duration>,
}

impl Told {
    /// What would be spoken without the link: the caller's own version, or what policy says of the port. So an app gets the
    /// same from a sidecar that has an identity as from one that has none.
    pub(crate) fn version(without: AppProtocol, switch: Option<&Switch>) -> Option<&'static str> {
        match (without, switch) {
            (AppProtocol::Http1, _) => Some("HTTP/1.1"),
            // The link of an upgrade speaks HTTP/1.1.
            (_, Some(Switch::Upgrade(_))) => Some("HTTP/2"),
            (_, Some(Switch::Connect) | None) => None,
        }
    }

    /// Writes it. Only for sidecars that have proved who they are: anybody else would take it for the app's.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let attempt = match self.attempt {
            // Nearly always, and then nothing is allocated.
            0 => HeaderValue::from_static("0"),
            later => HeaderValue::from(later),
        };
        headers.insert(ATTEMPT_FIELD, attempt);
        if let Some(left) = self.left {
            // A deadline that has not passed is never told as one that has.
            let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
            headers.insert(TIMEOUT_FIELD, HeaderValue::from(millis));
        }
        if let Some(version) = self.version {
            headers.insert(PROTO_FIELD, HeaderValue::from_static(version));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::switch::Upgrade;

    #[test]
    fn a_link_speaks_what_it_is_for() {
        let upgrade = Switch::Upgrade(Upgrade { protocols: HeaderValue::from_static("websocket") });
        for http in [AppProtocol::Http1, AppProtocol::Http2, AppProtocol::Grpc] {
            assert_eq!(protocol(None, http), MeshProtocol::Http2);
            assert_eq!(protocol(Some(&upgrade), http), MeshProtocol::Http1);
            assert_eq!(protocol(Some(&Switch::Connect), http), MeshProtocol::Tcp);
        }
        assert_eq!(protocol(None, AppProtocol::Tcp), MeshProtocol::Tcp);
        assert_eq!(protocol(None, AppProtocol::Tls), MeshProtocol::Tcp);
    }

    #[test]
    fn a_sidecar_is_told_version_attempt_and_what_is_left() {
        let told = |version, attempt, left| {
            let mut headers = HeaderMap::new();
            Told { version, attempt, left }.write(&mut headers);
            let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (field(ORIG_PROTO), field(ATTEMPT), field(TIMEOUT_MS))
        };
        let text = |text: &str| Some(text.to_owned());
        let left = Some(Duration::from_micros(1_500_900));
        let plain = |without| Told::version(without, None);
        assert_eq!(told(plain(AppProtocol::Http1), 0, left), (text("HTTP/1.1"), text("0"), text("1500")));
        let upgrade = Switch::Upgrade(Upgrade { protocols: HeaderValue::from_static("websocket") });
        for (without, version) in [(AppProtocol::Http1, "HTTP/1.1"), (AppProtocol::Http2, "HTTP/2")] {
            assert_eq!(Told::version(without, Some(&upgrade)), Some(version));
        }
        assert_eq!(told(plain(AppProtocol::Http2), 2, None), (None, text("2"), None));
        assert_eq!(told(plain(AppProtocol::Grpc), 0, Some(Duration::from_micros(1))).2, text("1"));
    }
}
