//! The ways to a Service in words: each that was tried, in order, and why it led there or not.

use std::net::SocketAddr;

use outrigger_config::{
    model::{Destination, Egress, Origin, Resources, ServicePort},
    nearest,
};

use super::{
    hears::Heard,
    report::{Object, Step},
};
use crate::decide::Form;

/// What the words are made of.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) resources: &'a Resources,
    /// The host that it names, and the port if that was written.
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    pub(super) carried: Carried,
    /// The address that the caller dialled.
    pub(super) dialled: Option<SocketAddr>,
    pub(super) listener: &'a Object,
}

/// What comes by the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// A request in this form.
    Request(Form),
    /// A connection that is passed on whole.
    Connection,
}

/// Names that are shown where a host means no Service.
const NEAR: usize = 3;

/// The steps, the last of which decides.
pub(super) fn steps(ways: &[Heard], asked: Asked<'_>) -> Vec<Step> {
    let last = ways.len().saturating_sub(1);
    // What the dialled address does not tell, an authority that is an address may.
    let told = |at: usize| ways[..at].iter().any(|way| matches!(way, Heard::NoDestination(_)));
    let step = |(at, way)| {
        let by = if told(at) { "host" } else { "originalDestination" };
        step(way, by, asked, at == last)
    };
    ways.iter().enumerate().map(step).collect()
}

/// The Service port that the request means.
pub(super) fn service(ways: &[Heard]) -> Option<&ServicePort> {
    match ways.last()? {
        Heard::Pinned(port) | Heard::ClusterIp(port) | Heard::Host(port) | Heard::Endpoint(port, _) => {
            Some(port)
        }
        _ => None,
    }
}

fn step(way: &Heard, by: &'static str, asked: Asked<'_>, decides: bool) -> Step {
    let listener = &asked.listener.name;
    let (way, why, origin) = match way {
        Heard::NotPinned => {
            ("listener", format!("the listener {listener} is not pinned to a Service"), own(asked))
        }
        Heard::NoDestination(None) => (
            "originalDestination",
            "traffic was not redirected here: no original destination".to_owned(),
            None,
        ),
        Heard::NoDestination(Some(address)) => (
            "originalDestination",
            format!("no Service has {address} as cluster IP or as an endpoint's address"),
            None,
        ),
        Heard::NoHost(host) => ("host", nobody(host, asked), None),
        Heard::Inbound => {
            ("inbound", format!("what comes by {listener} is for the app behind it"), own(asked))
        }
        Heard::Pinned(port) => {
            let host = if asked.carried == Carried::Connection { "" } else { "; Host is not looked at" };
            ("listener", format!("the listener {listener} is pinned to {port}{host}"), own(asked))
        }
        Heard::ClusterIp(port) => {
            let address = match asked.dialled.filter(|_| by != "host") {
                Some(address) => address.to_string(),
                None => asked.host.to_owned(),
            };
            (by, format!("{address} is a cluster IP of {port}"), place(port, asked))
        }
        Heard::Endpoint(port, address) => {
            (by, format!("{address} is an endpoint of {port}: straight there, no routes"), place(port, asked))
        }
        Heard::Host(port) => ("host", answers(port, asked), place(port, asked)),
        Heard::NoSuchPort(name) => {
            let destination = asked.resources.destinations.iter().find(|one| one.name == *name);
            ("host", no_such_port(name, destination.map(AsRef::as_ref), asked), None)
        }
        Heard::Unnamed => {
            let why = "the ClientHello names no server, and nothing else says which Service is meant";
            ("host", why.to_owned(), None)
        }
        Heard::Outside => ("egress", outside(asked), None),
        Heard::Denied => ("egress", denied(asked), None),
        Heard::NotRedirected => (
            "inbound",
            format!(
                "{listener} takes only what `outrigger intercept` redirects; --destination says what was dialled"
            ),
            own(asked),
        ),
        Heard::NoListener => ("listener", "this policy has no such listener".to_owned(), None),
    };
    Step { way, decides, why, origin }
}

fn own(asked: Asked<'_>) -> Option<String> {
    asked.listener.origin.clone()
}

fn place(port: &ServicePort, asked: Asked<'_>) -> Option<String> {
    destination(asked.resources, port).map(|destination| destination.origin.to_string())
}

/// The destination of a Service port.
pub(super) fn destination<'a>(resources: &'a Resources, port: &ServicePort) -> Option<&'a Destination> {
    resources.destinations.iter().find(|one| one.name == port.service).map(AsRef::as_ref)
}

fn answers(port: &ServicePort, asked: Asked<'_>) -> String {
    let host = asked.host;
    let number = port.port;
    match asked.port {
        Some(_) => format!("`{host}` is a host of {}, which has port {number}", port.service),
        None if number == 80 => format!("`{host}` is a host of {}; without a port it is 80", port.service),
        None => {
            format!("`{host}` is a host of {}; without a port it is its only one, {number}", port.service)
        }
    }
}

fn no_such_port(
    name: &outrigger_config::model::ObjectName,
    destination: Option<&Destination>,
    asked: Asked<'_>,
) -> String {
    let host = asked.host;
    let ports: Vec<String> =
        destination.into_iter().flat_map(|one| &one.ports).map(|port| port.port.to_string()).collect();
    let asked = match asked.port {
        Some(port) => format!("no port {port}"),
        None => "no port 80 and more than one port, so the port must be written".to_owned(),
    };
    format!("`{host}` is a host of {name}, which has {asked}; it has {}", ports.join(", "))
}

/// Hosts that may have been meant, where no Service answers to the one that was asked for: first the names by which a
/// Service of that name is called from another namespace.
pub(super) fn near(ways: &[Heard], resources: &Resources) -> Vec<String> {
    let missed = ways.iter().find_map(|way| match way {
        Heard::NoHost(host) => Some(&**host),
        _ => None,
    });
    let Some(host) = missed else { return Vec::new() };
    let namesakes = resources.destinations.iter().filter(|one| *one.name.name == *host);
    let mut near: Vec<&str> = namesakes
        .filter_map(|one| one.hosts.iter().map(AsRef::as_ref).find(|known: &&str| known.starts_with(host)))
        .take(NEAR)
        .collect();
    let hosts = || resources.destinations.iter().flat_map(|one| &one.hosts).map(AsRef::as_ref);
    while near.len() < NEAR {
        let rest = hosts().filter(|known| !near.contains(known));
        let Some(next) = nearest(host, rest) else { break };
        near.push(next);
    }
    near.into_iter().map(str::to_owned).collect()
}

fn nobody(host: &str, asked: Asked<'_>) -> String {
    let namespace = &asked.resources.workload.name.namespace;
    let namesake = asked.resources.destinations.iter().find(|one| *one.name.name == *host);
    match namesake {
        Some(one) => format!(
            "`{host}` alone means a Service of namespace {namespace}, which has none of that name; {} is another",
            one.name
        ),
        None => format!("no Service answers to `{host}`"),
    }
}

fn outside(asked: Asked<'_>) -> String {
    let mode = match mode(asked) {
        Egress::Log => "Log: one log line, and",
        Egress::Allow | Egress::Deny => "Allow:",
    };
    match (asked.carried, asked.dialled) {
        (Carried::Connection, Some(address)) => {
            format!("egress is {mode} the connection goes to {address} itself")
        }
        (Carried::Connection, None) => {
            format!("egress is {mode} the connection goes to `{}` itself", asked.host)
        }
        (Carried::Request(Form::Origin), Some(address)) => {
            format!(
                "egress is {mode} the request goes to {address}, which was dialled, in its caller's version of HTTP"
            )
        }
        (Carried::Request(_), _) => {
            let host = asked.host;
            format!("egress is {mode} the request goes to `{host}` itself, in its caller's version of HTTP")
        }
    }
}

fn denied(asked: Asked<'_>) -> String {
    match asked.carried {
        Carried::Connection | Carried::Request(Form::Origin) => {
            "egress is Deny: what no Service answers to is refused".to_owned()
        }
        Carried::Request(Form::Absolute | Form::Connect) => {
            "requests in HTTP-proxy form reach only what the mesh knows, unless Mesh.spec.egress.mode allows it".to_owned()
        }
    }
}

fn mode(asked: Asked<'_>) -> Egress {
    match asked.carried {
        Carried::Connection | Carried::Request(Form::Origin) => asked.resources.mesh.egress,
        Carried::Request(Form::Absolute | Form::Connect) => asked.resources.mesh.proxy_form_egress,
    }
}

/// A named thing and its place.
pub(super) fn object(name: impl ToString, origin: &Origin) -> Object {
    Object { name: name.to_string(), origin: Some(origin.to_string()) }
}
