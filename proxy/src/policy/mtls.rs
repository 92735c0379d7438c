//! `mtls`: what the mode of a port means for callers that have not shown who they are, as long as they are here.
//!
//! Requests are decided one by one, so a mode that changes holds for the next request of an open connection. What is a
//! tunnel by then was decided once, and is watched.

use std::{future::pending, net::SocketAddr};

use http::HeaderMap;

use crate::{
    ctx::Side,
    decide::{Decision, Refusal},
    error::Failure,
    listen::{Listener, connection::Connection, original_dst::Dialled},
    request::forwarded,
    runtime::snapshot::{ListenerKey, Snapshot},
    telemetry::{
        metrics::{InboundSecurity, Security},
        record::Arrival,
    },
    worker::Worker,
};

/// Tells the app who its caller has proved to be. What callers write there themselves, the strict check has taken off.
pub(crate) fn tell_app(headers: &mut HeaderMap, connection: &Connection) {
    if let Some(peer) = &connection.authenticated {
        forwarded::tell_certificate(headers, peer.xfcc());
    }
}

/// Lets a request in, or does not, as it was decided, and counts it by how it came. The connection of one that is refused
/// ends with the answer.
pub(crate) fn admit(connection: &Connection, decision: &Decision) -> Result<(), Failure> {
    let security = decision.rule().security.as_deref();
    let refused = matches!(decision, Decision::Refuse(Refusal { failure: Failure::NoIdentity, .. }));
    if refused {
        connection.ending.set(true);
    }
    count_on(security, connection.worker.id, (connection.identity().is_some(), refused));
    if refused { Err(Failure::NoIdentity) } else { Ok(()) }
}

/// The same for a connection that is passed on whole, or refused.
pub(crate) fn count_on(
    security: Option<&InboundSecurity>,
    worker: usize,
    (authenticated, refused): (bool, bool),
) {
    match (security, authenticated, refused) {
        (None, ..) => {}
        (Some(security), _, true) => security.refused(),
        (Some(security), true, false) => security.came(worker, Security::Mtls),
        (Some(security), false, false) => security.came(worker, Security::Plaintext),
    }
}

/// By which way somebody came to the app that has not shown who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anonymous {
    listener: ListenerKey,
    original: Option<SocketAddr>,
}

impl Anonymous {
    /// `None`: it has shown it, or it is the app itself that calls.
    pub(crate) fn of(arrival: &Arrival) -> Option<Self> {
        Self::by(&arrival.listener, arrival.dialled, arrival.authenticated.is_some())
    }

    /// The same of a connection that carries requests.
    pub(crate) fn of_connection(connection: &Connection) -> Option<Self> {
        Self::by(&connection.listener, connection.dialled, connection.identity().is_some())
    }

    fn by(listener: &Listener, dialled: Dialled, authenticated: bool) -> Option<Self> {
        let counts = listener.side == Side::Inbound && !authenticated;
        counts.then(|| Self { listener: listener.key, original: dialled.original() })
    }

    fn is_refused(self, snapshot: &Snapshot) -> bool {
        let app = snapshot.inbound(self.listener).and_then(|listener| listener.app(self.original));
        app.is_some_and(|app| app.refuses(None))
    }
}

/// Ready once policy refuses whoever a tunnel belongs to.
pub(crate) async fn refuses(worker: &Worker, who: Option<Anonymous>) {
    let Some(who) = who else { return pending().await };
    let mut changes = worker.policy_changes();
    while !who.is_refused(&worker.snapshot()) {
        if changes.changed().await.is_err() {
            // The proxy ends, and its connections by themselves.
            return pending().await;
        }
    }
}
