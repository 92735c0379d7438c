//! Rules of routes.

use std::sync::Arc;

use super::{
    field::{Fault, Field, named, one_of, record, required},
    proto,
};
use crate::model::{
    Backend, BackendTarget, CallMatch, ConnectionBackend, ConnectionRule, Cors, HeaderMatch, HeaderModifier,
    HostPattern, Mirror, Names, OriginPattern, PathMatch, PathRewrite, QueryMatch, Redirect, Rewrite,
    RouteKind, RouteMatch, RouteRule, RuleId, ServerNameMatch, SessionCarrier, SessionPersistence, Share,
    StringMatch,
};

record! {
    RuleId { kind, route, rule };
    RouteRule {
        id, origin, rank, matches, request_headers, response_headers, redirect, rewrite, cors, mirrors, backends,
        session, settings,
    } sound |of| if of.matches.is_empty() { Err("it matches nothing") } else { Ok(()) };
    RouteMatch { path, headers, query, method, origin };
    CallMatch { service, method };
    HeaderMatch { name, value };
    QueryMatch { name, value };
    HeaderModifier { set, add, remove };
    Backend {
        weight, target, request_headers, response_headers, redirect, rewrite, cors, mirrors, origin,
    };
    Mirror { target, share, origin };
    Share { numerator, denominator } sound |of| {
        if of.denominator == 0 || of.numerator > of.denominator { Err("it is no share") } else { Ok(()) }
    };
    Redirect { scheme, host, path, port, status };
    Rewrite { host, path };
    Cors { origins, credentials, methods, headers, expose, max_age, origin };
    SessionPersistence { name, carrier, absolute, idle, origin };
    ConnectionRule { id, origin, rank, server_names, backends, settings };
    ConnectionBackend { weight, target, origin };
}

one_of! {
    PathMatch in path_match { Exact(exact), Prefix(prefix), Regex(regex), Grpc(grpc) }
    bare {}
    fields {}
}

one_of! {
    StringMatch in string_match { Exact(exact), Regex(regex) }
    bare {}
    fields {}
}

one_of! {
    PathRewrite in path_rewrite { Full(full) }
    bare {}
    fields { Prefix(prefix): PrefixRewrite { matched, replacement } }
}

one_of! {
    OriginPattern in origin_pattern {}
    bare { Any }
    fields { Web(web): WebOrigin { secure, host, port } }
}

one_of! {
    HostPattern in host_pattern { Below(below), Exact(exact) }
    bare { Any }
    fields {}
}

one_of! {
    ServerNameMatch in server_name_match { Exact(exact), Below(below) }
    bare {}
    fields {}
}

one_of! {
    SessionCarrier in session_carrier {}
    bare { Header }
    fields { Cookie(cookie): SessionCookie { permanent, paths } }
}

one_of! {
    Names in names { Listed(listed) }
    bare { Any }
    fields {}
}

impl Field<i32> for RouteKind {
    fn put(&self) -> i32 {
        let word = match self {
            Self::GRPCRoute => proto::RouteKind::GrpcRoute,
            Self::HTTPRoute => proto::RouteKind::HttpRoute,
            Self::TLSRoute => proto::RouteKind::TlsRoute,
            Self::TCPRoute => proto::RouteKind::TcpRoute,
        };
        word as i32
    }

    fn take(wire: i32) -> Result<Self, Fault> {
        match proto::RouteKind::try_from(wire) {
            Ok(proto::RouteKind::GrpcRoute) => Ok(Self::GRPCRoute),
            Ok(proto::RouteKind::HttpRoute) => Ok(Self::HTTPRoute),
            Ok(proto::RouteKind::TlsRoute) => Ok(Self::TLSRoute),
            Ok(proto::RouteKind::TcpRoute) => Ok(Self::TCPRoute),
            Ok(proto::RouteKind::Unspecified) => Err(Fault::new("it is missing")),
            Err(_) => Err(Fault::new(format!("{wire} is no value known here"))),
        }
    }
}

impl Field<proto::BackendTarget> for BackendTarget {
    fn put(&self) -> proto::BackendTarget {
        use proto::backend_target::Kind;
        let kind = match self {
            Self::Service(port) => Kind::Service(port.put()),
            Self::Invalid { reason } => Kind::Invalid(reason.put()),
        };
        proto::BackendTarget { kind: Some(kind) }
    }

    fn take(wire: proto::BackendTarget) -> Result<Self, Fault> {
        use proto::backend_target::Kind;
        match wire.kind {
            None => Err(Fault::new("it is none of what is known here")),
            Some(Kind::Service(port)) => named("service", port).map(Self::Service),
            Some(Kind::Invalid(reason)) => Ok(Self::Invalid { reason: reason.into() }),
        }
    }
}

required!(BackendTarget: proto::BackendTarget);

impl Field<proto::NameList> for Vec<Arc<str>> {
    fn put(&self) -> proto::NameList {
        proto::NameList { names: self.iter().map(Field::put).collect() }
    }

    fn take(wire: proto::NameList) -> Result<Self, Fault> {
        named("names", wire.names)
    }
}

impl Field<proto::Pair> for (Arc<str>, Arc<str>) {
    fn put(&self) -> proto::Pair {
        proto::Pair { name: self.0.put(), value: self.1.put() }
    }

    fn take(wire: proto::Pair) -> Result<Self, Fault> {
        Ok((wire.name.into(), wire.value.into()))
    }
}
