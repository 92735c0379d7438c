//! Random policies: Services of two kinds, routes of two kinds in two namespaces, everything that a rule may have.
//!
//! Words come from small sets, so that rules meet requests, and each other, often enough.

use std::net::SocketAddr;

use super::{
    luck::Luck,
    world::{Addresses, joined},
};

/// The backends' number of Services.
pub(crate) const SERVICES: usize = 6;
/// Values that headers and query parameters have.
pub(crate) const VALUES: [&str; 3] = ["1", "2", "foo"];
/// Headers that conditions and filters speak of.
pub(crate) const HEADERS: [&str; 3] = ["x-a", "x-b", "x-c"];
/// Query parameters.
pub(crate) const PARAMETERS: [&str; 2] = ["q", "r"];
/// Segments of paths.
pub(crate) const SEGMENTS: [&str; 4] = ["a", "b", "api", "v1"];
/// gRPC services.
pub(crate) const GRPC_SERVICES: [&str; 2] = ["shop.Cart", "shop.v1.Catalog"];
/// gRPC methods.
pub(crate) const GRPC_METHODS: [&str; 3] = ["Add", "Get", "GetAll"];

/// The namespace of a Service: most stand in that of the caller.
pub(crate) fn namespace(service: usize) -> &'static str {
    if service < 4 { "shop" } else { "bank" }
}

/// Whether a Service speaks gRPC, and has GRPCRoutes.
pub(crate) fn is_grpc(service: usize) -> bool {
    service == 3
}

/// A cluster IP, of those Services that have one.
pub(crate) fn cluster_ip(service: usize) -> Option<String> {
    (service % 2 == 1).then(|| format!("10.96.0.{}", service + 1))
}

/// The ports of a Service.
pub(crate) fn ports(service: usize) -> &'static [u16] {
    match service % 3 {
        0 => &[80, 8080],
        1 => &[80],
        _ => &[8080],
    }
}

/// A whole policy.
pub(crate) fn any(luck: &mut Luck, at: &Addresses) -> String {
    let mut documents = vec![sidecar(luck, at), mesh(luck)];
    for service in 0..SERVICES {
        documents.push(destination(luck, service, at));
        let routes = luck.number(0, 2);
        documents.extend((0..routes).map(|number| route(luck, service, number)));
        if luck.chance(40) {
            documents.push(traffic(luck, service));
        }
    }
    documents.join("---\n")
}

fn sidecar(luck: &mut Luck, at: &Addresses) -> String {
    let Addresses { outbound, pinned, inbound, admin, backends, .. } = at;
    let (app, protocol) = luck.one(&[(backends[0], "http1"), (backends[backends.len() - 1], "http2")]);
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         inbound: [{{bind: \"{inbound}\", app: \"{app}\", protocol: {protocol}, service: {{name: s0, port: 80}}}}]\n  \
         outbound:\n  - {{bind: \"{outbound}\"}}\n  - {{bind: \"{pinned}\", service: {{name: s0, port: 80}}}}\n  \
         admin: {{bind: \"{admin}\"}}\n"
    )
}

fn mesh(luck: &mut Luck) -> String {
    let egress = luck.one(&["Deny", "Deny", "Allow", "Log"]);
    let defaults = luck.perhaps(50, |luck| {
        format!("defaults: {{timeouts: {{request: {}}}}}, ", luck.one(&["30s", "1m", "0s"]))
    });
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec: {{egress: {{mode: {egress}}}, \
         {defaults}telemetry: {{accessLog: {{format: json}}}}}}\n"
    )
}

/// A MeshService, or a Service with a cluster IP and its EndpointSlice.
fn destination(luck: &mut Luck, service: usize, at: &Addresses) -> String {
    let endpoints = endpoints(luck, service, at);
    let namespace = namespace(service);
    let meta = format!("metadata: {{name: s{service}, namespace: {namespace}");
    let Some(ip) = cluster_ip(service) else {
        let protocol = if is_grpc(service) { "grpc" } else { at.speaks(service) };
        let ports = ports(service).iter().map(|port| format!("{{port: {port}, protocol: {protocol}}}"));
        let hosts = luck.perhaps(50, |_| format!("hosts: [s{service}.example.com], "));
        // Behind TLS there is one endpoint.
        let front = at.front(at.speaks(service));
        let (tls, endpoints) = match luck.chance(25) {
            true => (format!("tls: {}, ", at.tls), vec![(front, 1)]),
            false => (String::new(), endpoints),
        };
        let endpoints =
            endpoints.iter().map(|(address, weight)| format!("{{address: \"{address}\", weight: {weight}}}"));
        return format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\n{meta}}}\nspec: {{{hosts}{tls}ports: [{}], endpoints: [{}]}}\n",
            joined(ports),
            joined(endpoints)
        );
    };
    let protocol = match (is_grpc(service), at.speaks(service)) {
        (true, _) => "grpc",
        (_, "http2") => "kubernetes.io/h2c",
        _ => "http",
    };
    let named =
        ports(service).iter().map(|port| format!("{{name: p{port}, port: {port}, appProtocol: {protocol}}}"));
    let mut text = format!(
        "apiVersion: v1\nkind: Service\n{meta}}}\nspec: {{clusterIP: {ip}, ports: [{}]}}\n",
        joined(named)
    );
    for (number, (address, _)) in endpoints.iter().enumerate() {
        let named = ports(service).iter().map(|port| format!("{{name: p{port}, port: {}}}", address.port()));
        text.push_str(&format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {{name: s{service}-{number}, \
             namespace: {namespace}, labels: {{kubernetes.io/service-name: s{service}}}}}\nports: [{}]\nendpoints: [{{addresses: \
             [\"{}\"]}}]\n",
            joined(named),
            address.ip()
        ));
    }
    text
}

/// None now and then: then requests are refused.
fn endpoints(luck: &mut Luck, service: usize, at: &Addresses) -> Vec<(SocketAddr, usize)> {
    let all = at.of(service);
    let many = if luck.chance(8) { 0 } else { luck.number(1, all.len()) };
    all.into_iter().take(many).map(|address| (address, luck.number(1, 3))).collect()
}

fn traffic(luck: &mut Luck, service: usize) -> String {
    let namespace = namespace(service);
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: s{service}, namespace: {namespace}}}\nspec: \
         {{targetRefs: [{{kind: Service, name: s{service}}}], timeouts: {{request: {}, attempt: 20s}}, retry: {{attempts: {}}}, \
         loadBalancer: {{policy: {}}}}}\n",
        luck.one(&["30s", "45s"]),
        luck.number(0, 2),
        luck.one(&["leastRequest", "roundRobin", "random", "peakEwma"]),
    )
}

/// A route of the Service's namespace, or of the caller's.
fn route(luck: &mut Luck, service: usize, number: usize) -> String {
    let kind = if is_grpc(service) { "GRPCRoute" } else { "HTTPRoute" };
    let own = luck.one(&[namespace(service), "shop"]);
    let port = luck.perhaps(40, |luck| format!(", port: {}", luck.one(ports(service))));
    let many = luck.number(1, 5);
    let rules: String = (0..many).map(|at| rule(luck, service, at)).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r{service}-{number}, namespace: {own}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: s{service}, namespace: {}{port}}}]\n  rules:\n{rules}",
        namespace(service)
    )
}

fn rule(luck: &mut Luck, service: usize, at: usize) -> String {
    if is_grpc(service) {
        return grpc_rule(luck, at);
    }
    let name = luck.perhaps(50, |_| format!("name: n{at}, "));
    // A prefix can be replaced where a rule has one match and that is a prefix.
    let prefix = luck.chance(40);
    let matches = match prefix {
        true => format!("{{path: {{value: {}}}}}", path(luck)),
        false => luck.list(0, 3, http_match),
    };
    if luck.chance(12) {
        let filter = redirect(luck, prefix);
        return format!("  - {{{name}matches: [{matches}], filters: [{filter}]}}\n");
    }
    let rewrites = luck.chance(25);
    let mut filters = header_filters(luck);
    if rewrites {
        filters.push(rewrite(luck, prefix));
    }
    filters.extend((0..luck.one(&[0, 0, 0, 1, 2])).map(|_| mirror(luck)));
    let shares = luck.chance(20);
    if shares {
        filters.push(cors(luck));
    }
    let may = May { rewrite: prefix && !rewrites, redirect: true, cors: !shares };
    let backends = luck.list(1, 3, |luck| backend(luck, may));
    let timeouts = luck.perhaps(20, |luck| format!(", timeouts: {{request: {}}}", luck.one(&["25s", "0s"])));
    format!(
        "  - {{{name}matches: [{matches}], filters: [{}], backendRefs: [{backends}]{timeouts}}}\n",
        filters.join(", ")
    )
}

fn grpc_rule(luck: &mut Luck, at: usize) -> String {
    let name = luck.perhaps(50, |_| format!("name: n{at}, "));
    let matches = luck.list(0, 2, |luck| {
        let method = match luck.number(0, 3) {
            0 => format!("method: {{service: {}}}", luck.one(&GRPC_SERVICES)),
            1 => format!(
                "method: {{service: {}, method: {}}}",
                luck.one(&GRPC_SERVICES),
                luck.one(&GRPC_METHODS)
            ),
            2 => "method: {type: RegularExpression, service: 'shop\\..*', method: \"Get.*\"}".to_owned(),
            _ => format!("method: {{method: {}}}", luck.one(&GRPC_METHODS)),
        };
        let headers = luck.perhaps(40, |luck| format!(", headers: [{}]", condition(luck, &HEADERS)));
        format!("{{{method}{headers}}}")
    });
    let mut filters = header_filters(luck);
    filters.extend((0..luck.one(&[0, 0, 1])).map(|_| mirror(luck)));
    let backends = luck.list(1, 3, |luck| backend(luck, May::default()));
    format!(
        "  - {{{name}matches: [{matches}], filters: [{}], backendRefs: [{backends}]}}\n",
        filters.join(", ")
    )
}

fn path(luck: &mut Luck) -> String {
    let many = luck.number(0, 2);
    let segments: String = (0..many).map(|_| format!("/{}", luck.one(&SEGMENTS))).collect();
    if segments.is_empty() { "/".to_owned() } else { segments }
}

fn http_match(luck: &mut Luck) -> String {
    let mut conditions = Vec::new();
    match luck.number(0, 4) {
        0 => conditions.push(format!("path: {{type: Exact, value: {}}}", path(luck))),
        1 => conditions.push("path: {type: RegularExpression, value: '/(a|api)/[bv].*'}".to_owned()),
        2 | 3 => conditions.push(format!("path: {{type: PathPrefix, value: {}}}", path(luck))),
        _ => {}
    }
    if luck.chance(30) {
        conditions.push(format!("headers: [{}]", condition(luck, &HEADERS)));
    }
    if luck.chance(25) {
        conditions.push(format!("queryParams: [{}]", condition(luck, &PARAMETERS)));
    }
    if luck.chance(25) {
        conditions.push(format!("method: {}", luck.one(&["GET", "POST", "PUT"])));
    }
    format!("{{{}}}", conditions.join(", "))
}

fn condition(luck: &mut Luck, names: &[&str]) -> String {
    let name = luck.one(names);
    match luck.chance(30) {
        true => format!("{{name: {name}, type: RegularExpression, value: '[12](,.*)?'}}"),
        false => format!("{{name: {name}, value: \"{}\"}}", luck.one(&VALUES)),
    }
}

fn header_filters(luck: &mut Luck) -> Vec<String> {
    let mut filters = Vec::new();
    for (kind, field) in [
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
    ] {
        if luck.chance(30) {
            let pair = |luck: &mut Luck| {
                format!("{{name: {}, value: {}}}", luck.one(&["x-a", "x-b"]), luck.one(&["new", "newer"]))
            };
            let set = luck.perhaps(60, |luck| format!("set: [{}], ", pair(luck)));
            let add = luck.perhaps(60, |luck| {
                format!("add: [{{name: x-c, value: {}}}], ", luck.one(&["more", "most"]))
            });
            let remove = luck.perhaps(30, |luck| format!("remove: [{}], ", luck.one(&["x-d", "x-echo"])));
            let changes = format!("{set}{add}{remove}");
            if !changes.is_empty() {
                filters.push(format!("{{type: {kind}, {field}: {{{}}}}}", changes.trim_end_matches(", ")));
            }
        }
    }
    filters
}

fn path_change(luck: &mut Luck, prefix: bool) -> String {
    match prefix && luck.chance(70) {
        true => format!("path: {{type: ReplacePrefixMatch, replacePrefixMatch: {}}}", path(luck)),
        false => format!(
            "path: {{type: ReplaceFullPath, replaceFullPath: /full{}}}",
            path(luck).trim_end_matches('/')
        ),
    }
}

fn rewrite(luck: &mut Luck, prefix: bool) -> String {
    let host = luck.perhaps(60, |_| "hostname: inner.example.com".to_owned());
    let path = if host.is_empty() || luck.chance(60) { path_change(luck, prefix) } else { String::new() };
    let parts = [host, path].into_iter().filter(|part| !part.is_empty());
    format!("{{type: URLRewrite, urlRewrite: {{{}}}}}", joined(parts))
}

fn redirect(luck: &mut Luck, prefix: bool) -> String {
    let parts = [
        luck.perhaps(40, |luck| format!("scheme: {}", luck.one(&["http", "https"]))),
        luck.perhaps(40, |_| "hostname: moved.example.com".to_owned()),
        luck.perhaps(40, |luck| format!("port: {}", luck.one(&["80", "443", "8443"]))),
        luck.perhaps(50, |luck| path_change(luck, prefix)),
        format!("statusCode: {}", luck.one(&["301", "302", "303", "307", "308"])),
    ];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    format!("{{type: RequestRedirect, requestRedirect: {{{}}}}}", joined(parts))
}

/// A filter that copies some or all requests.
fn mirror(luck: &mut Luck) -> String {
    let percent = luck.perhaps(60, |luck| format!(", percent: {}", luck.one(&["0", "30", "70"])));
    format!("{{type: RequestMirror, requestMirror: {{backendRef: {{{}}}{percent}}}}}", reference(luck))
}

fn cors(luck: &mut Luck) -> String {
    let origins = luck.one(&[
        "\"*\"",
        "\"http://a.example.com\"",
        "\"https://*.example.com\", \"http://a.example.com\"",
    ]);
    let credentials = luck.perhaps(30, |_| ", allowCredentials: true".to_owned());
    let methods = luck.perhaps(60, |luck| format!(", allowMethods: [{}]", luck.one(&["PUT", "\"*\""])));
    let headers = luck.perhaps(50, |luck| format!(", allowHeaders: [{}]", luck.one(&["x-a, x-b", "\"*\""])));
    let exposed = luck.perhaps(40, |_| ", exposeHeaders: [x-echo]".to_owned());
    format!("{{type: CORS, cors: {{allowOrigins: [{origins}]{credentials}{methods}{headers}{exposed}}}}}")
}

/// What points at a port of a Service, or at nothing.
fn reference(luck: &mut Luck) -> String {
    let service = luck.number(0, SERVICES - 1);
    let name = if luck.chance(6) { "gone".to_owned() } else { format!("s{service}") };
    let port = if luck.chance(4) { 9 } else { luck.one(ports(service)) };
    let group = match cluster_ip(service) {
        Some(_) => "",
        None => luck.one(&["", "group: outrigger.dev, kind: MeshService, "]),
    };
    format!("{group}name: {name}, namespace: {}, port: {port}", namespace(service))
}

/// What the filters of a backend may do: some stand on its rule already.
#[derive(Clone, Copy, Default)]
struct May {
    rewrite: bool,
    redirect: bool,
    cors: bool,
}

/// A backendRef; some point at nothing.
fn backend(luck: &mut Luck, may: May) -> String {
    let reference = reference(luck);
    let weight = luck.perhaps(70, |luck| format!(", weight: {}", luck.number(0, 4)));
    let mut filters = if luck.chance(30) { header_filters(luck) } else { Vec::new() };
    if may.redirect && luck.chance(10) {
        // Of which prefix it is, the rule's match need not say.
        filters.push(redirect(luck, false));
    } else {
        if may.rewrite && luck.chance(15) {
            filters.push(rewrite(luck, true));
        }
        filters.extend((0..luck.one(&[0, 0, 0, 0, 1])).map(|_| mirror(luck)));
    }
    if may.cors && luck.chance(10) {
        filters.push(cors(luck));
    }
    let filters =
        if filters.is_empty() { String::new() } else { format!(", filters: [{}]", filters.join(", ")) };
    format!("{{{reference}{weight}{filters}}}")
}
