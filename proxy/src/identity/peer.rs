//! Who the other end of an authenticated connection is, and how the app is told.

use std::fmt::Write as _;

use http::HeaderValue;
use outrigger_config::SpiffeId;
use rustls::CommonState;

use super::{PeerFault, Svid};

/// The other end of a connection whose handshake is finished.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    id: SpiffeId,
    xfcc: HeaderValue,
}

impl Peer {
    /// The peer of a connection; `own` is the certificate that it was shown.
    ///
    /// # Errors
    /// The peer showed no certificate, or one that the handshake should have refused.
    pub(crate) fn of(connection: &CommonState, own: &Svid) -> Result<Self, PeerFault> {
        let shown = connection.peer_certificates().unwrap_or_default();
        let leaf = shown.first().ok_or(PeerFault::NoCertificate)?;
        let svid = Svid::parse(leaf)?;
        let mut text = String::new();
        write!(text, "By={};Hash={};URI={}", own.id(), svid.sha256(), svid.id())
            .expect("writing to a String does not fail");
        let xfcc = HeaderValue::try_from(text).expect("ids have letters, digits and five signs");
        Ok(Self { id: svid.id().clone(), xfcc })
    }

    /// Who it is.
    pub(crate) fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The value of `x-forwarded-client-cert` for the app: `By=<own id>;Hash=<SHA-256>;URI=<peer's id>`.
    pub(crate) fn xfcc(&self) -> &HeaderValue {
        &self.xfcc
    }
}
