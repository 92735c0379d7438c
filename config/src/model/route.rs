//! Route rules, as the Gateway API has them, resolved: every reference is a destination or a reason why not.

use std::sync::Arc;

use super::{Cors, ObjectName, Origin, ServicePort, SessionPersistence, TrafficSettings};

/// Which kind of object a rule comes from. In the Gateway API's order (GEP-1294): where several kinds are attached to
/// one port of a Service, the first of them holds and the others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub enum RouteKind {
    /// gateway.networking.k8s.io/v1 GRPCRoute.
    GRPCRoute,
    /// gateway.networking.k8s.io/v1 HTTPRoute.
    HTTPRoute,
    /// gateway.networking.k8s.io/v1 TLSRoute.
    TLSRoute,
    /// gateway.networking.k8s.io/v1 TCPRoute.
    TCPRoute,
}

impl RouteKind {
    /// Every kind, in the order of precedence.
    pub const ALL: [Self; 4] = [Self::GRPCRoute, Self::HTTPRoute, Self::TLSRoute, Self::TCPRoute];

    /// The kind as policy files have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::GRPCRoute => "GRPCRoute",
            Self::HTTPRoute => "HTTPRoute",
            Self::TLSRoute => "TLSRoute",
            Self::TCPRoute => "TCPRoute",
        }
    }

    /// Whether its rules take whole connections, and not requests.
    pub fn is_opaque(self) -> bool {
        matches!(self, Self::TLSRoute | Self::TCPRoute)
    }
}

/// Names one rule: `namespace/name/rule`, where a rule without a name is its index from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct RuleId {
    /// The kind of the route.
    pub kind: RouteKind,
    /// The route.
    pub route: ObjectName,
    /// The rule's name, or its index.
    pub rule: Arc<str>,
}

impl std::fmt::Display for RuleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.route, self.rule)
    }
}

/// One rule of a route: if one of its matches holds, its filters apply and one of its backends answers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RouteRule {
    /// Its name in logs, metrics and explanations.
    pub id: RuleId,
    /// Where the rule stands.
    pub origin: Origin,
    /// Rank among the rules of one port where two matches are equally specific: older route first, then
    /// namespace/name, then the order of rules. Lower wins.
    pub rank: u32,
    /// ORed; never empty (no match written means the prefix `/`, of a GRPCRoute every call).
    pub matches: Vec<RouteMatch>,
    /// Applied to the request, in order.
    pub request_headers: Vec<HeaderModifier>,
    /// Applied to the answer, in order.
    pub response_headers: Vec<HeaderModifier>,
    /// The answer to every request of the rule: then it has no backends.
    pub redirect: Option<Redirect>,
    /// Changes host and path, after the headers.
    pub rewrite: Option<Rewrite>,
    /// Which pages of other origins may use its answers.
    pub cors: Option<Cors>,
    /// Where copies of its requests go, as these changes leave them; at most 16.
    pub mirrors: Vec<Mirror>,
    /// The share of weight 0 is nothing; no backend, or all weights 0: 500.
    pub backends: Vec<Backend>,
    /// Keeps callers with the endpoints that answered them first.
    pub session: Option<SessionPersistence>,
    /// Settings for requests of this rule, merged over the Service's.
    pub settings: Arc<TrafficSettings>,
}

/// All conditions of a match hold together.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RouteMatch {
    /// Condition on the canonical path.
    pub path: PathMatch,
    /// Conditions on headers; each must hold.
    pub headers: Vec<HeaderMatch>,
    /// Conditions on query parameters; each must hold. The first of repeated parameters counts.
    pub query: Vec<QueryMatch>,
    /// Condition on the method, case-sensitive.
    pub method: Option<Arc<str>>,
    /// Where the match stands.
    pub origin: Origin,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact(Arc<str>),
    /// Whole segments: `/api` holds for `/api` and `/api/x`, not for `/apis`. Kept without trailing slash, the root as `/`.
    Prefix(Arc<str>),
    /// A regular expression that must match the whole path.
    Regex(Arc<str>),
    /// A gRPC call: POST, a content type of gRPC, and the path `/service/method`.
    Grpc(CallMatch),
}

/// A condition on what a gRPC call calls. `None`: any, also a path that names neither.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct CallMatch {
    /// The service, with its package.
    pub service: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StringMatch {
    /// Equal, byte by byte.
    Exact(Arc<str>),
    /// A regular expression that must match the whole value.
    Regex(Arc<str>),
}

/// A condition on a header. Repeated headers are joined with `,` first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct HeaderMatch {
    /// Lower-cased name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: StringMatch,
}

/// A condition on a query parameter, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct QueryMatch {
    /// Case-sensitive name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: StringMatch,
}

/// Header changes in the Gateway API's order: set, add, remove. Names are lower-cased and valid, as are values.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct HeaderModifier {
    /// Replaces all values.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Appends: `existing,new` in one field.
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// Removes all values.
    pub remove: Vec<Arc<str>>,
}

/// One backend of a rule.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Backend {
    /// Its share, relative to the rule's others; 0 gets none.
    pub weight: u32,
    /// Where it points.
    pub target: BackendTarget,
    /// Applied after the rule's own.
    pub request_headers: Vec<HeaderModifier>,
    /// Applied to the answer, before the rule's own.
    pub response_headers: Vec<HeaderModifier>,
    /// The answer to every request of this share: then the backend gets none.
    pub redirect: Option<Redirect>,
    /// Changes host and path; never beside one of the rule.
    pub rewrite: Option<Rewrite>,
    /// Which pages of other origins may use its answers; never beside one of the rule.
    pub cors: Option<Cors>,
    /// Where copies of this share go, as the rule's and these changes leave them; at most 16.
    pub mirrors: Vec<Mirror>,
    /// Where it stands.
    pub origin: Origin,
}

/// Where copies of requests go. Their answers are thrown away.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mirror {
    /// Where it points. One that is invalid takes nothing and touches no caller.
    pub target: BackendTarget,
    /// How many of the requests are copied.
    pub share: Share,
    /// Where it stands.
    pub origin: Origin,
}

/// A part of the requests: `numerator` of `denominator`, which is not 0 and not the smaller of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// So many.
    pub numerator: u32,
    /// Of so many.
    pub denominator: u32,
}

/// What a backendRef resolves to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendTarget {
    /// A destination port of the same [`super::Resources`]. Its endpoints are used, its routes are not.
    Service(ServicePort),
    /// Nothing that exists: its share of the requests is answered 500.
    Invalid {
        /// Why, in words.
        reason: Arc<str>,
    },
}

/// An answer that sends the caller elsewhere. What is `None` is as in the request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// A valid host, lower-cased.
    pub host: Option<Arc<str>>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// The port; with a scheme and without a port it is the scheme's own.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Redirect {
    /// The status where none is written.
    pub const STATUS: u32 = 302;
}

/// What changes in a request's target on its way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rewrite {
    /// A valid host, lower-cased.
    pub host: Option<Arc<str>>,
    /// The path.
    pub path: Option<PathRewrite>,
}

/// How a path changes. Paths are valid and canonical.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathRewrite {
    /// To this one.
    Full(Arc<str>),
    /// The prefix that the rule's only match names becomes another.
    Prefix {
        /// What is replaced, without trailing slash: empty for the root.
        matched: Arc<str>,
        /// What comes in its place; may be empty.
        replacement: Arc<str>,
    },
}
