//! gateway.networking.k8s.io/v1 `HTTPRoute`, with every upstream field. Filters and fields that are not enforced yet
//! stand in `unsupported`, not here.

use super::{Metadata, ParentRef};
use crate::{
    convert::{
        Any, Bounded, HeaderName, HeaderValue, Host, Label, List, Port, Spanned, Subdomain, Text, choice,
        object,
    },
    duration::GepDuration,
};

object! {
    /// Routes requests to the Services that it names as its parents.
    pub(crate) struct HTTPRoute {
        /// Name and namespace. In the Service's own namespace it serves every caller, elsewhere callers from there.
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
        /// Ignored for Services, as the Gateway API has it.
        hostnames("hostnames"): List<Spanned<Text>, 16>,
        /// The rules. Without any, every request matches and nothing answers it.
        rules("rules"): List<Rule, 16>,
    }
    ignored { "useDefaultGateways": Text, }
}

object! {
    /// What happens to requests that one of the matches describes.
    pub(crate) struct Rule {
        /// The name, by which policies refer to it.
        name("name"): Option<Spanned<Subdomain>>,
        /// ORed; none is the path prefix `/`.
        matches("matches"): List<Match, 64>,
        /// Changes to the request and its answer.
        filters("filters"): List<Filter, 16>,
        /// Where requests go, by weight.
        backend_refs("backendRefs"): List<BackendRef, 16>,
        /// Time limits.
        timeouts("timeouts"): Option<RouteTimeouts>,
        /// When a failed attempt is repeated.
        retry("retry"): Option<RouteRetry>,
    }
}

object! {
    /// Conditions that hold together.
    pub(crate) struct Match {
        /// Condition on the path; the prefix `/` unless set.
        path("path"): Option<PathRule>,
        /// Conditions on headers.
        headers("headers"): List<HeaderRule, 16>,
        /// Conditions on query parameters.
        query("queryParams"): List<QueryRule, 16>,
        /// Condition on the method.
        method("method"): Option<Method>,
    }
}

object! {
    /// A condition on the path.
    pub(crate) struct PathRule {
        /// How the value is compared; PathPrefix unless set.
        kind("type"): Option<PathType>,
        /// The path, or regular expression; `/` unless set.
        value("value"): Option<Spanned<Text>>,
    }
}

choice! {
    /// How a path is compared.
    pub(crate) enum PathType {
        /// The whole path.
        Exact = "Exact",
        /// Whole segments from the beginning.
        PathPrefix = "PathPrefix",
        /// A regular expression for the whole path.
        RegularExpression = "RegularExpression",
    }
}

object! {
    /// A condition on a header.
    pub(crate) struct HeaderRule {
        /// How the value is compared; Exact unless set.
        kind("type"): Option<ValueType>,
        /// The header; letter case does not count.
        name("name"): Spanned<HeaderName>,
        /// The value, or regular expression.
        value("value"): Spanned<Text>,
    }
}

object! {
    /// A condition on a query parameter.
    pub(crate) struct QueryRule {
        /// How the value is compared; Exact unless set.
        kind("type"): Option<ValueType>,
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
        /// Which of the other fields is meant.
        kind("type"): Spanned<FilterType>,
        /// Changes request headers.
        request_header_modifier("requestHeaderModifier"): Option<HeaderModifier>,
        /// Changes headers of the answer.
        response_header_modifier("responseHeaderModifier"): Option<HeaderModifier>,
        /// Answers with a redirect; only on a rule, and without backends.
        request_redirect("requestRedirect"): Option<RequestRedirect>,
        /// Changes host and path of the request on its way to the backend.
        url_rewrite("urlRewrite"): Option<UrlRewrite>,
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
    }
}

object! {
    /// Header changes: set, then add, then remove.
    pub(crate) struct HeaderModifier {
        /// Replaces all values.
        set("set"): List<HeaderPair, 16>,
        /// Appends a value.
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
        /// `""` for a Service, which is the default; `outrigger.dev` for a MeshService.
        group("group"): Option<Text>,
        /// `Service`, which is the default, or `MeshService`.
        kind("kind"): Option<Text>,
        /// Its name.
        name("name"): Spanned<Subdomain>,
        /// Its namespace; the route's unless set.
        namespace("namespace"): Option<Label>,
        /// Its port; a MeshService with one port may go without.
        port("port"): Option<Spanned<Port>>,
        /// Its share relative to the others; 1 unless set.
        weight("weight"): Option<Spanned<Bounded<0, 1_000_000>>>,
        /// Changes for this share alone.
        filters("filters"): List<Filter, 16>,
    }
}

object! {
    /// Time limits of a rule; `0s` is off.
    pub(crate) struct RouteTimeouts {
        /// For the whole request.
        request("request"): Option<Spanned<GepDuration>>,
        /// For one attempt, until the head of its answer.
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
        /// Repeats after the first try; those of the TrafficPolicy unless set, else 1.
        attempts("attempts"): Option<Spanned<Bounded<0, 20>>>,
        /// The least pause before a repeat.
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
        /// The port of the location; the scheme's own where a scheme is written. A scheme's own port is not shown.
        port("port"): Option<Spanned<Port>>,
        /// 301, 302, 303, 307 or 308; 302 unless set.
        status_code("statusCode"): Option<Spanned<Bounded<301, 308>>>,
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
        /// The new host.
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
        /// What stands in the place of the prefix that the rule's only match names.
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
