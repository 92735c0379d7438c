//! Listeners in front of the app, and what stands behind them: one app, or, where connections are redirected, the app at
//! whatever port was dialled.

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::{
    SpiffeId,
    model::{self, MtlsMode, ServicePort},
};

use super::{
    opaque::ConnectionRule,
    snapshot::{ListenerKey, Rule},
};

/// A listener in front of the app.
#[derive(Debug)]
pub struct Inbound {
    /// Its name across snapshots.
    pub key: ListenerKey,
    /// The app; behind an intercepted listener, at ports that `ports` does not list.
    pub app: App,
    /// The app at single ports that a caller may have dialled, by port.
    pub ports: Box<[(u16, App)]>,
    /// What it was built from.
    pub source: model::InboundListener,
}

impl Inbound {
    /// The app, and all its ports of which something is known.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        [&self.app].into_iter().chain(self.ports.iter().map(|(_, app)| app))
    }

    /// The app that a connection is for; behind an intercepted listener the one at the port that was dialled. `None`: it
    /// must have been redirected, and was not. Nor may a stranger dial what is bound to loopback.
    pub(crate) fn app(&self, original: Option<SocketAddr>) -> Option<&App> {
        if !self.source.is_intercepted() {
            return Some(&self.app);
        }
        let port = original.filter(|address| !address.ip().is_loopback())?.port();
        let listed = self.ports.binary_search_by_key(&port, |(port, _)| *port);
        Some(listed.map_or(&self.app, |at| &self.ports[at].1))
    }
}

/// The app behind an inbound listener, or one port of it.
#[derive(Debug)]
pub struct App {
    /// Where it listens; `None`: at the address that the caller dialled, and the rule's backend has no endpoint.
    pub address: Option<SocketAddr>,
    /// The Service that it serves.
    pub service: Option<ServicePort>,
    /// Whether its callers must show who they are.
    pub mtls: MtlsMode,
    /// What it speaks, and the settings that a callee enforces.
    pub rule: Arc<Rule>,
    /// What becomes of connections.
    pub connections: Connections,
}

impl App {
    /// Whether such a caller is refused, whatever it wants.
    pub(crate) fn refuses(&self, identity: Option<&SpiffeId>) -> bool {
        self.mtls == MtlsMode::Strict && identity.is_none()
    }
}

/// What an app's connections carry.
#[derive(Debug)]
pub enum Connections {
    /// Requests; a connection that carries none, and is refused, is counted by this rule.
    Requests(Arc<ConnectionRule>),
    /// Anything: they are passed to the app whole.
    Whole(Arc<ConnectionRule>),
    /// Requests, or by this rule anything else: the first bytes tell.
    Either(Arc<ConnectionRule>),
}
