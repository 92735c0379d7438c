//! gateway.networking.k8s.io/v1 `GRPCRoute`, with every upstream field. Filters and fields that are not enforced yet
//! stand in `unsupported`, not here.

use super::{
    Filter, FilterType, HeaderModifier, HeaderRule, Metadata, ParentRef, RequestMirror, SessionPersistence,
    http_route::BackendRef,
};
use crate::convert::{Any, Bounded, Label, List, Port, Spanned, Subdomain, Text, choice, object};

object! {
    /// Routes gRPC calls to the Services that it names as its parents: by service, method and headers to backends by weight,
    /// with changes to headers on the way.
    ///
    /// A call is a POST whose content type is `application/grpc`, with or without a suffix, over HTTP/2 or HTTP/1.1. Once a
    /// GRPCRoute is attached to a Service port, a call there that no rule matches is answered `UNIMPLEMENTED` (12) `no_route`,
    /// and a request that is no call is answered 404. A port has routes of one kind: GRPCRoutes displace the HTTPRoutes of
    /// their namespace there (OR147).
    ///
    /// Of all matches of all rules on the port the most specific that holds is taken: one on service and method, then on a
    /// service, then on a method; names before expressions, longer ones first; then the one with most headers; then that of
    /// the older route, of the route first by namespace and name, of the first rule.
    pub(crate) struct GRPCRoute {
        /// Name and namespace. In the Service's own namespace it serves every caller; in another one it serves callers from
        /// there, and replaces the former for them.
        metadata("metadata"): Metadata,
        /// The route.
        spec("spec"): GRPCRouteSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The route.
    pub(crate) struct GRPCRouteSpec {
        /// The Services whose calls it routes.
        parent_refs("parentRefs"): List<ParentRef, 32>,
        /// Ignored for Services, as the Gateway API has it (OR152).
        hostnames("hostnames"): List<Spanned<Text>, 16>,
        /// The rules. Without any, every call matches and is answered `UNAVAILABLE` (14) `no_backend`.
        rules("rules"): List<GrpcRule, 16>,
    }
    ignored { "useDefaultGateways": Text, }
}

object! {
    /// What happens to calls that one of the matches describes.
    pub(crate) struct GrpcRule {
        /// The name, by which policies (`sectionName`), logs and metrics refer to it; its number from 0 unless set.
        name("name"): Option<Spanned<Subdomain>>,
        /// ORed; none is every call.
        matches("matches"): List<GrpcMatch, 64>,
        /// Changes to the call and its answer, in the order in which they stand.
        filters("filters"): List<GrpcFilter, 16>,
        /// Where calls go, by weight. None, or all weights 0: `UNAVAILABLE` (14) `no_backend`.
        backend_refs("backendRefs"): List<GrpcBackendRef, 16>,
        /// Keeps a caller with the endpoint that answered it first. Callers of gRPC mostly have no cookies: `type: Header` is theirs.
        session_persistence("sessionPersistence"): Option<SessionPersistence>,
    }
}

object! {
    /// Conditions that hold together.
    pub(crate) struct GrpcMatch {
        /// Condition on what is called; every service and method unless set.
        method("method"): Option<CallRule>,
        /// Conditions on headers, which gRPC calls metadata; all must hold. Of two on one header only the first counts (OR152).
        headers("headers"): List<HeaderRule, 16>,
    }
}

object! {
    /// A condition on the service and the method that are called; at least one of the two must be there (OR112).
    pub(crate) struct CallRule {
        /// How both are compared.
        kind("type"): Option<CallType> = CallType::Exact.word(),
        /// The service with its package, as `shop.v1.Cart`, or a regular expression; any unless set. protobuf's form with a dot
        /// before it means the same.
        service("service"): Option<Spanned<Text>>,
        /// The method, or a regular expression; any unless set.
        method("method"): Option<Spanned<Text>>,
    }
}

choice! {
    /// How service and method are compared.
    pub(crate) enum CallType {
        /// Byte by byte; letter case counts.
        Exact = "Exact",
        /// A regular expression for the whole name, in the syntax of the Rust crate `regex` (RE2-like, linear time).
        RegularExpression = "RegularExpression",
    }
}

object! {
    /// A change to the call or its answer.
    pub(crate) struct GrpcFilter {
        /// Which of the other fields is meant; that one must be there and no other (OR112, OR126).
        kind("type"): Spanned<GrpcFilterType>,
        /// Changes request headers.
        request_header_modifier("requestHeaderModifier"): Option<HeaderModifier>,
        /// Changes headers of the answer.
        response_header_modifier("responseHeaderModifier"): Option<HeaderModifier>,
        /// Sends copies of calls to another backend; may stand several times.
        request_mirror("requestMirror"): Option<RequestMirror>,
    }
}

choice! {
    /// The kind of a filter.
    pub(crate) enum GrpcFilterType {
        /// Changes request headers.
        RequestHeaderModifier = "RequestHeaderModifier",
        /// Changes headers of the answer.
        ResponseHeaderModifier = "ResponseHeaderModifier",
        /// Sends copies of calls to another backend.
        RequestMirror = "RequestMirror",
    }
}

object! {
    /// Where a share of the calls goes.
    pub(crate) struct GrpcBackendRef {
        /// `""` for a Service; `outrigger.dev` for a MeshService.
        group("group"): Option<Text> = "",
        /// `Service`, which may be a MeshService of that name, or `MeshService`.
        kind("kind"): Option<Text> = "Service",
        /// Its name. One that does not exist, or of which the policy says that it speaks HTTP/1.1, is a warning (OR143), and its
        /// share is answered `UNAVAILABLE` (14) `no_backend`.
        name("name"): Spanned<Subdomain>,
        /// Its namespace; the route's unless set.
        namespace("namespace"): Option<Label>,
        /// Its port; a reference of kind MeshService to one with a single port may go without.
        port("port"): Option<Spanned<Port>>,
        /// Its share relative to the others; 0 gets nothing. A retry keeps the backend that the call drew.
        weight("weight"): Option<Spanned<Bounded<0, 1_000_000>>> = 1,
        /// Changes for this share alone, after those of the rule.
        filters("filters"): List<GrpcFilter, 16>,
    }
}

impl From<GrpcFilter> for Filter {
    fn from(filter: GrpcFilter) -> Self {
        let kind = match filter.kind.value {
            GrpcFilterType::RequestHeaderModifier => FilterType::RequestHeaderModifier,
            GrpcFilterType::ResponseHeaderModifier => FilterType::ResponseHeaderModifier,
            GrpcFilterType::RequestMirror => FilterType::RequestMirror,
        };
        Self {
            span: filter.span,
            kind: Spanned { value: kind, span: filter.kind.span },
            request_header_modifier: filter.request_header_modifier,
            response_header_modifier: filter.response_header_modifier,
            request_redirect: None,
            url_rewrite: None,
            request_mirror: filter.request_mirror,
            cors: None,
        }
    }
}

impl From<GrpcBackendRef> for BackendRef {
    fn from(backend: GrpcBackendRef) -> Self {
        let GrpcBackendRef { span, group, kind, name, namespace, port, weight, filters } = backend;
        Self { span, group, kind, name, namespace, port, weight, filters: filters.map(Filter::from) }
    }
}
