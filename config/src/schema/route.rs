//! A route of any kind, in the one form in which checks and compilation see it.
//!
//! Each kind is read by its own schema, which has its own fields and words; what was written is kept as it is. A kind
//! that lacks a field has nothing in it here.

use super::{
    BackendRef, Filter, GRPCRoute, HTTPRoute, Metadata, ParentRef, RouteRetry, RouteTimeouts,
    ServerNamePattern, SessionPersistence, TCPRoute, TLSRoute,
    grpc_route::{GrpcMatch, GrpcRule},
    http_route::{HttpMatch, HttpRule},
    tcp_route::{ConnectionBackendRef, ConnectionRuleBody},
};
use crate::{
    convert::{List, Spanned, Subdomain, Text},
    model::RouteKind,
    yaml::Span,
};

/// A route.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) kind: RouteKind,
    /// It is of an earlier version of its kind, which may hold what the current one may not.
    pub(crate) is_former: bool,
    pub(crate) metadata: Metadata,
    pub(crate) spec: RouteSpec,
}

/// What it attaches to, and its rules.
#[derive(Clone, Debug)]
pub(crate) struct RouteSpec {
    pub(crate) parent_refs: List<ParentRef, 32>,
    /// Of routes of requests, which have no use for them.
    pub(crate) hostnames: List<Spanned<Text>, 16>,
    /// Of a TLSRoute.
    pub(crate) server_names: List<Spanned<ServerNamePattern>, 1024>,
    pub(crate) rules: List<Rule, 16>,
}

/// What happens to requests that one of the matches describes.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) span: Span,
    pub(crate) name: Option<Spanned<Subdomain>>,
    pub(crate) matches: List<Match, 64>,
    pub(crate) filters: List<Filter, 16>,
    pub(crate) backend_refs: List<BackendRef, 16>,
    pub(crate) timeouts: Option<RouteTimeouts>,
    pub(crate) retry: Option<RouteRetry>,
    pub(crate) session_persistence: Option<SessionPersistence>,
}

/// Conditions that hold together.
#[derive(Clone, Debug)]
pub(crate) enum Match {
    /// Of an HTTPRoute.
    Http(HttpMatch),
    /// Of a GRPCRoute.
    Grpc(GrpcMatch),
}

impl Match {
    /// Where it stands.
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Http(one) => one.span,
            Self::Grpc(one) => one.span,
        }
    }
}

impl From<HTTPRoute> for Route {
    fn from(route: HTTPRoute) -> Self {
        let spec = route.spec;
        Self {
            kind: RouteKind::HTTPRoute,
            is_former: false,
            metadata: route.metadata,
            spec: RouteSpec {
                parent_refs: spec.parent_refs,
                hostnames: spec.hostnames,
                server_names: List::default(),
                rules: spec.rules.map(Rule::from),
            },
        }
    }
}

impl From<GRPCRoute> for Route {
    fn from(route: GRPCRoute) -> Self {
        let spec = route.spec;
        Self {
            kind: RouteKind::GRPCRoute,
            is_former: false,
            metadata: route.metadata,
            spec: RouteSpec {
                parent_refs: spec.parent_refs,
                hostnames: spec.hostnames,
                server_names: List::default(),
                rules: spec.rules.map(Rule::from),
            },
        }
    }
}

impl From<TCPRoute> for Route {
    fn from(route: TCPRoute) -> Self {
        let spec = route.spec;
        Self {
            kind: RouteKind::TCPRoute,
            is_former: false,
            metadata: route.metadata,
            spec: RouteSpec {
                parent_refs: spec.parent_refs,
                hostnames: List::default(),
                server_names: List::default(),
                rules: spec.rules.map(Rule::from),
            },
        }
    }
}

impl From<TLSRoute> for Route {
    fn from(route: TLSRoute) -> Self {
        let spec = route.spec;
        Self {
            kind: RouteKind::TLSRoute,
            is_former: false,
            metadata: route.metadata,
            spec: RouteSpec {
                parent_refs: spec.parent_refs,
                hostnames: List::default(),
                server_names: spec.hostnames,
                rules: spec.rules.map(Rule::from),
            },
        }
    }
}

impl From<HttpRule> for Rule {
    fn from(rule: HttpRule) -> Self {
        let HttpRule { span, name, matches, filters, backend_refs, timeouts, retry, session_persistence } =
            rule;
        let matches = matches.map(Match::Http);
        Self { span, name, matches, filters, backend_refs, timeouts, retry, session_persistence }
    }
}

impl From<GrpcRule> for Rule {
    fn from(rule: GrpcRule) -> Self {
        let GrpcRule { span, name, matches, filters, backend_refs, session_persistence } = rule;
        Self {
            span,
            name,
            matches: matches.map(Match::Grpc),
            filters: filters.map(Filter::from),
            backend_refs: backend_refs.map(BackendRef::from),
            timeouts: None,
            retry: None,
            session_persistence,
        }
    }
}

impl From<ConnectionRuleBody> for Rule {
    fn from(rule: ConnectionRuleBody) -> Self {
        let ConnectionRuleBody { span, name, backend_refs } = rule;
        Self {
            span,
            name,
            matches: List::default(),
            filters: List::default(),
            backend_refs: backend_refs.map(BackendRef::from),
            timeouts: None,
            retry: None,
            session_persistence: None,
        }
    }
}

impl From<ConnectionBackendRef> for BackendRef {
    fn from(backend: ConnectionBackendRef) -> Self {
        let ConnectionBackendRef { span, group, kind, name, namespace, port, weight } = backend;
        Self { span, group, kind, name, namespace, port, weight, filters: List::default() }
    }
}
