//! gateway.networking.k8s.io/v1 `TLSRoute` (v1alpha2 and v1alpha3 have the same fields), with every upstream field.

use std::sync::Arc;

use schemars::{Schema, json_schema};

use super::{Metadata, ParentRef, tcp_route::ConnectionRuleBody};
use crate::{
    convert::{Any, List, Problem, Spanned, Text, is_subdomain, object, parsed},
    diagnostic::Code,
    model::ServerNameMatch,
};

object! {
    /// Sends the TLS connections of the Services that it names as its parents to backends by weight, by the server name that
    /// the caller's ClientHello names. The TLS itself stays between caller and endpoint.
    ///
    /// It holds on ports of TLS and TCP, and on those that declare nothing, which are ports of TLS then. A port has routes of
    /// one kind: TLSRoutes displace TCPRoutes there (OR147). Once one is attached, a connection whose name no TLSRoute has
    /// is ended with the alert `unrecognized_name`; what is no TLS, or sends no ClientHello within
    /// `limits.headerTimeout`, is closed.
    ///
    /// The most specific name wins: an exact one, then the longest `*.` one, then a route without names; then the older
    /// route, then the first by namespace and name, then the first rule.
    ///
    /// Objects of `v1alpha3` and `v1alpha2` are read too, and may hold what they could: several rules, and no names.
    pub(crate) struct TLSRoute {
        /// Name and namespace. In the Service's own namespace it serves every caller; in another one it serves callers from
        /// there, and replaces the former for them.
        metadata("metadata"): Metadata,
        /// The route.
        spec("spec"): TLSRouteSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The route.
    pub(crate) struct TLSRouteSpec {
        /// The Services whose connections it routes.
        parent_refs("parentRefs"): List<ParentRef, 32>,
        /// The server names, ORed; at least one (OR112). Of `v1alpha2` and `v1alpha3` there may be none: then it holds for
        /// every name, and for a ClientHello without one.
        hostnames("hostnames"): List<Spanned<ServerNamePattern>, 1024>,
        /// The rule, which takes every connection; exactly one (OR112, OR116). Of `v1alpha2` and `v1alpha3` there may be more, of
        /// which the first does (OR145).
        rules("rules"): List<ConnectionRuleBody, 16>,
    }
    ignored { "useDefaultGateways": Text, }
}

/// A server name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerNamePattern(pub(crate) ServerNameMatch);

impl ServerNamePattern {
    fn parse(text: &str) -> Result<Self, Problem> {
        let below = text.strip_prefix("*.");
        let name: Arc<str> = below.unwrap_or(text).into();
        if is_subdomain(&name) && name.parse::<std::net::IpAddr>().is_err() {
            return Ok(Self(match below {
                Some(_) => ServerNameMatch::Below(name),
                None => ServerNameMatch::Exact(name),
            }));
        }
        let help = if text.contains('*') {
            "a wildcard is the whole first label, such as `*.example.com`"
        } else if name.parse::<std::net::IpAddr>().is_ok() {
            "a ClientHello names no addresses; leave the names out, or write a TCPRoute"
        } else {
            "a host name in lower case such as `reviews.example.com`, or `*.example.com`"
        };
        Err(Problem::new(Code::Name, format!("`{text}` is not a valid server name"), help))
    }

    fn schema() -> Schema {
        json_schema!({
            "title": "host name, such as `reviews.example.com` or `*.example.com`",
            "type": "string", "minLength": 1, "maxLength": 255,
        })
    }
}

parsed!(ServerNamePattern);
