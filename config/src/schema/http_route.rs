//! gateway.networking.k8s.io/v1 `HTTPRoute`, with every upstream field. Filters and fields that are not enforced yet
//! stand in `unsupported`, not here.

use super::{Cors, Metadata, ParentRef, RequestMirror, SessionPersistence};
use crate::{
    convert::{
        Any, Bounded, HeaderName, HeaderValue, Host, Label, List, Port, Spanned, Subdomain, Text, choice,
        object,
    },
    duration::GepDuration,
    model::Redirect,
};

object! {
    /// Routes requests to the Services that it names as its parents: by path, headers, query and method to backends by
    /// weight, with changes to header and target on the way.
    ///
    /// Once a route is attached to a Service port, a request there that no rule matches is answered 404 `no_route`. A
    /// backend is another Service's endpoints; the routes of that Service do not apply again. A port has routes of one kind:
    /// where a GRPCRoute of the same namespace is attached too, this one does not hold (OR147).
    pub(crate) struct HTTPRoute {
        /// Name and namespace. In the Service's own namespace it serves every caller; in another one it serves callers from
        /// there, and replaces the former for them.
        metadata("metadata"): Metadata,
        /// The route.
        spec("spec"): HTTPRouteSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The route.
    pub(crate) struct HTTPRouteSpec {
        /// The Services whose requests it routes.
        parent_refs("parentRefs"): List<ParentRef, 32>,
        /// Ignored for Services, as the Gateway API has it (OR152).
        hostnames("hostnames"): List<Spanned<Text>, 16>,
        /// The rules. Without any, every request matches and is answered 500 `no_backend`.
        rules("rules"): List<HttpRule, 16>,
    }
    ignored { "useDefaultGateways": Text, }
}

object! {
    /// What happens to requests that one of the matches describes.
    pub(crate) struct HttpRule {
        /// The name, by which policies (`sectionName`), logs and metrics refer to it; its number from 0 unless set.
        name("name"): Option<Spanned<Subdomain>>,
        /// ORed; none is the path prefix `/`. Of all matches of all rules on the port the most specific that holds is taken.
        matches("matches"): List<HttpMatch, 64>,
        /// Changes to the request and its answer, in the order in which they stand.
        filters("filters"): List<Filter, 16>,
        /// Where requests go, by weight. None, or all weights 0: 500 `no_backend`.
        backend_refs("backendRefs"): List<BackendRef, 16>,
        /// Time limits, over those of any TrafficPolicy.
        timeouts("timeouts"): Option<RouteTimeouts>,
        /// When a failed attempt is repeated, over what any TrafficPolicy says.
        retry("retry"): Option<RouteRetry>,
        /// Keeps a caller with the endpoint that answered it first.
        session_persistence("sessionPersistence"): Option<SessionPersistence>,
    }
}

object! {
    /// Conditions that hold together.
    pub(crate) struct HttpMatch {
        /// Condition on the path; unless set, every path.
        path("path"): Option<PathRule>,
        /// Conditions on headers; all must hold. Of two on one header only the first counts (OR152).
        headers("headers"): List<HeaderRule, 16>,
        /// Conditions on query parameters; all must hold. Of two on one parameter only the first counts (OR152).
        query("queryParams"): List<QueryRule, 16>,
        /// Condition on the method; unless set, every method.
        method("method"): Option<Method>,
    }
}

object! {
    /// A condition on the path, as it is after dots, doubled slashes and escapes of plain characters are resolved. The
    /// query is no part of it.
    pub(crate) struct PathRule {
        /// How the value is compared.
        kind("type"): Option<PathType> = PathType::PathPrefix.word(),
        /// The path, or regular expression. A path begins with `/` and is canonical (OR124); an expression must compile
        /// within 1 MiB (OR122).
        value("value"): Option<Spanned<Text>> = "/",
    }
}

choice! {
    /// How a path is compared.
    pub(crate) enum PathType {
        /// The whole path.
        Exact = "Exact",
        /// Whole segments from the beginning: `/api` holds for `/api` and `/api/x`, not for `/apis`. A slash at the end of the
        /// value means nothing.
        PathPrefix = "PathPrefix",
        /// A regular expression for the whole path, in the syntax of the Rust crate `regex` (RE2-like, linear time).
        RegularExpression = "RegularExpression",
    }
}

object! {
    /// A condition on a header. Where the header is repeated, its values are joined with `,` first.
    pub(crate) struct HeaderRule {
        /// How the value is compared.
        kind("type"): Option<ValueType> = ValueType::Exact.word(),
        /// The header; letter case does not count.
        name("name"): Spanned<HeaderName>,
        /// The value, or regular expression; letter case counts.
        value("value"): Spanned<Text>,
    }
}

object! {
    /// A condition on a query parameter, after percent-decoding. Where it is repeated, the first one counts.
    pub(crate) struct QueryRule {
        /// How the value is compared.
        kind("type"): Option<ValueType> = ValueType::Exact.word(),
        /// The parameter; letter case counts.
        name("name"): Spanned<Text>,
        /// The value, or regular expression.
        value("value"): Spanned<Text>,
    }
}

choice! {
    /// How a value is compared.
    pub(crate) enum ValueType {
        /// Byte by byte.
        Exact = "Exact",
        /// A regular expression for the whole value.
        RegularExpression = "RegularExpression",
    }
}

choice! {
    /// A request method.
    pub(crate) enum Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// DELETE.
        Delete = "DELETE",
        /// CONNECT.
        Connect = "CONNECT",
        /// OPTIONS.
        Options = "OPTIONS",
        /// TRACE.
        Trace = "TRACE",
        /// PATCH.
        Patch = "PATCH",
    }
}

object! {
    /// A change to the request or its answer.
    pub(crate) struct Filter {
        /// Which of the other fields is meant; that one must be there and no other (OR112, OR126).
        kind("type"): Spanned<FilterType>,
        /// Changes request headers.
        request_header_modifier("requestHeaderModifier"): Option<HeaderModifier>,
        /// Changes headers of the answer.
        response_header_modifier("responseHeaderModifier"): Option<HeaderModifier>,
        /// Answers with a redirect. On a rule: all of its requests, and it has no backends. On a backendRef: the share that
        /// draws it, of which the backend gets nothing; the location comes of the request as its caller sent it.
        request_redirect("requestRedirect"): Option<RequestRedirect>,
        /// Changes host and path of the request on its way to the backend.
        url_rewrite("urlRewrite"): Option<UrlRewrite>,
        /// Sends copies of requests to another backend; may stand several times.
        request_mirror("requestMirror"): Option<RequestMirror>,
        /// Says which pages of other origins may use the answers.
        cors("cors"): Option<Cors>,
    }
}

choice! {
    /// The kind of a filter.
    pub(crate) enum FilterType {
        /// Changes request headers.
        RequestHeaderModifier = "RequestHeaderModifier",
        /// Changes headers of the answer.
        ResponseHeaderModifier = "ResponseHeaderModifier",
        /// Answers with a redirect.
        RequestRedirect = "RequestRedirect",
        /// Changes host and path.
        URLRewrite = "URLRewrite",
        /// Sends copies of requests to another backend.
        RequestMirror = "RequestMirror",
        /// Says which pages of other origins may use the answers.
        Cors = "CORS",
    }
}

object! {
    /// Header changes: set, then add, then remove. Headers that frame or route a request, such as Host, and those of the
    /// mesh cannot be changed (OR123).
    pub(crate) struct HeaderModifier {
        /// Replaces all values.
        set("set"): List<HeaderPair, 16>,
        /// Appends a value to those that are there, joined with `,`; `set-cookie` gets a field of its own.
        add("add"): List<HeaderPair, 16>,
        /// Removes all values.
        remove("remove"): List<Spanned<HeaderName>, 16>,
    }
}

object! {
    /// A header.
    pub(crate) struct HeaderPair {
        /// The name.
        name("name"): Spanned<HeaderName>,
        /// The value.
        value("value"): HeaderValue,
    }
}

object! {
    /// Where a share of the requests goes.
    pub(crate) struct BackendRef {
        /// `""` for a Service; `outrigger.dev` for a MeshService.
        group("group"): Option<Text> = "",
        /// `Service`, which may be a MeshService of that name, or `MeshService`.
        kind("kind"): Option<Text> = "Service",
        /// Its name. One that does not exist is a warning (OR143), and its share is answered 500 `no_backend`.
        name("name"): Spanned<Subdomain>,
        /// Its namespace; the route's unless set.
        namespace("namespace"): Option<Label>,
        /// Its port; a reference of kind MeshService to one with a single port may go without.
        port("port"): Option<Spanned<Port>>,
        /// Its share relative to the others; 0 gets nothing. A retry keeps the backend that the request drew.
        weight("weight"): Option<Spanned<Bounded<0, 1_000_000>>> = 1,
        /// Changes for this share alone, after those of the rule; or a redirect, which answers it.
        filters("filters"): List<Filter, 16>,
    }
}

object! {
    /// Time limits of a rule; `0s` is off.
    pub(crate) struct RouteTimeouts {
        /// For the whole request, from its complete head to the last byte of the answer. When it passes: 504
        /// `request_timeout`, or a reset if the answer has begun.
        request("request"): Option<Spanned<GepDuration>>,
        /// For one attempt, until the head of its answer; not longer than `request` (OR146). When it passes: a failed
        /// attempt, which may be repeated, else 504 `attempt_timeout`.
        backend_request("backendRequest"): Option<Spanned<GepDuration>>,
    }
}

object! {
    /// When a failed attempt of a rule is repeated; what must not be done twice is not repeated all the same. A
    /// connection that fails is always a reason; of a TrafficPolicy, the fields that are not here hold.
    pub(crate) struct RouteRetry {
        /// The statuses that are repeated; those of the TrafficPolicy unless set. A time limit of an attempt counts as
        /// 504.
        codes("codes"): List<Spanned<Bounded<400, 599>>, 16>,
        /// Repeats after the first try; those of a TrafficPolicy unless set, and 1 where none says how many.
        attempts("attempts"): Option<Spanned<Bounded<0, 20>>>,
        /// The least pause before a repeat, another endpoint or not; up to as much again is added at random.
        backoff("backoff"): Option<Spanned<GepDuration>>,
    }
}

object! {
    /// Answers with a redirect. What is left out is as in the request.
    pub(crate) struct RequestRedirect {
        /// The scheme of the location.
        scheme("scheme"): Option<RedirectScheme>,
        /// The host of the location.
        hostname("hostname"): Option<Spanned<Host>>,
        /// The path of the location.
        path("path"): Option<PathModifier>,
        /// The port of the location. Unless set: the scheme's own where `scheme` is written; else the Service's where
        /// `hostname` is; else the one by which the request came, as its Host has it, or the Service's. A port that is the
        /// scheme's own is not shown.
        port("port"): Option<Spanned<Port>>,
        /// 301, 302, 303, 307 or 308.
        status_code("statusCode"): Option<Spanned<Bounded<301, 308>>> = Redirect::STATUS,
    }
}

choice! {
    /// The scheme of a redirect.
    pub(crate) enum RedirectScheme {
        /// http.
        Http = "http",
        /// https.
        Https = "https",
    }
}

object! {
    /// Changes host and path of the request on its way to the backend.
    pub(crate) struct UrlRewrite {
        /// The new host, which the backend sees as Host or `:authority`.
        hostname("hostname"): Option<Spanned<Host>>,
        /// The new path. The query stays.
        path("path"): Option<PathModifier>,
    }
}

object! {
    /// How a path changes.
    pub(crate) struct PathModifier {
        /// Which of the other fields is meant.
        kind("type"): Spanned<PathModifierType>,
        /// The new path.
        full("replaceFullPath"): Option<Spanned<Text>>,
        /// What stands in the place of the prefix that the rule's only match names; refused unless the rule has exactly one
        /// match, of type PathPrefix (OR126).
        prefix("replacePrefixMatch"): Option<Spanned<Text>>,
    }
}

choice! {
    /// How a path changes.
    pub(crate) enum PathModifierType {
        /// It is replaced.
        ReplaceFullPath = "ReplaceFullPath",
        /// The matched prefix is replaced.
        ReplacePrefixMatch = "ReplacePrefixMatch",
    }
}
