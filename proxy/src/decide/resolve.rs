//! Which Service a request means. The order of the ways is the promise; each is one function call here.
//!
//! A host whose Service has no port of the request's number means no Service: what reaches `reviews.example.com:8443`
//! when the mesh knows only port 80 of it goes where any foreign destination goes, as egress says. An authority without
//! a port means port 80, or the only port of a Service that has just one. An authority that is an address means what
//! dialling that address would mean.

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::model::Egress;

use super::{Facts, Form, Head, Recorder, Resolution, Way};
use crate::{
    ctx::Side,
    error::Failure,
    runtime::{
        inbound::App,
        snapshot::{ListenerKey, OutboundTarget, Port, Snapshot},
    },
};

/// What a request means.
pub(super) enum Meaning<'a> {
    /// The app behind an inbound listener.
    App(&'a App),
    /// A Service port, with its routes.
    Port(&'a Arc<Port>),
    /// One endpoint of a Service port, without its routes.
    Endpoint(&'a Arc<Port>, SocketAddr),
    /// Something outside.
    Outside {
        /// Egress is in `Log` mode.
        log: bool,
    },
    /// Nothing that the request may reach.
    Nothing(Failure),
}

pub(super) fn resolve<'a, R: Recorder>(
    snapshot: &'a Snapshot,
    key: ListenerKey,
    head: &Head<'_>,
    facts: &Facts<'_>,
    recorder: &mut R,
) -> Meaning<'a> {
    if key.side == Side::Inbound {
        let Some(listener) = snapshot.inbound(key) else { return no_listener(recorder) };
        let Some(app) = listener.app(facts.original_destination) else {
            recorder.resolved(Resolution::NotRedirected);
            return Meaning::Nothing(Failure::Loop);
        };
        recorder.resolved(Resolution::Inbound);
        return Meaning::App(app);
    }
    match snapshot.outbound(key).map(|listener| &listener.target) {
        Some(OutboundTarget::Pinned(port)) => {
            recorder.resolved(Resolution::Pinned(&port.name));
            return Meaning::Port(port);
        }
        Some(OutboundTarget::ByAuthority) => recorder.passed(Way::Listener),
        None => return no_listener(recorder),
    }
    if let Some(meant) = facts.original_destination.and_then(|to| by_address(snapshot, to, recorder)) {
        return meant;
    }
    recorder.passed(Way::OriginalDestination(facts.original_destination));
    let egress = match facts.form {
        Form::Origin => snapshot.mesh.egress,
        Form::Absolute | Form::Connect => snapshot.mesh.proxy_form_egress,
    };
    by_authority(snapshot, egress, head, recorder)
}

fn by_address<'a, R: Recorder>(
    snapshot: &'a Snapshot,
    address: SocketAddr,
    recorder: &mut R,
) -> Option<Meaning<'a>> {
    if let Some(port) = snapshot.by_cluster_ip(address) {
        recorder.resolved(Resolution::ClusterIp(&port.name));
        return Some(Meaning::Port(port));
    }
    let port = snapshot.by_endpoint(address)?;
    recorder.resolved(Resolution::Endpoint(&port.name, address));
    Some(Meaning::Endpoint(port, address))
}

fn by_authority<'a, R: Recorder>(
    snapshot: &'a Snapshot,
    egress: Egress,
    head: &Head<'_>,
    recorder: &mut R,
) -> Meaning<'a> {
    if let Some(host) = snapshot.by_host(head.host) {
        let port = match head.port {
            None => host.default_port.as_ref(),
            Some(number) => host.service.port(number),
        };
        match port {
            Some(port) => {
                recorder.resolved(Resolution::Host(&port.name));
                return Meaning::Port(port);
            }
            None => recorder.resolved(Resolution::NoSuchPort(&host.service)),
        }
    } else {
        let address = head.host.parse().ok().map(|ip| SocketAddr::new(ip, head.port.unwrap_or(80)));
        if let Some(meant) = address.and_then(|address| by_address(snapshot, address, recorder)) {
            return meant;
        }
        recorder.passed(Way::Host(head.host));
    }
    match egress {
        Egress::Allow => outside(recorder, false),
        Egress::Log => outside(recorder, true),
        Egress::Deny => {
            recorder.resolved(Resolution::Denied);
            Meaning::Nothing(Failure::NoService)
        }
    }
}

fn outside<R: Recorder>(recorder: &mut R, log: bool) -> Meaning<'static> {
    recorder.resolved(Resolution::Outside);
    Meaning::Outside { log }
}

/// The connection outlived its listener: whoever owns the connection is draining it.
fn no_listener<R: Recorder>(recorder: &mut R) -> Meaning<'static> {
    recorder.resolved(Resolution::NoListener);
    Meaning::Nothing(Failure::NoPolicy)
}
