//! From the documents of a file to typed objects: which kind a document is, and what happens to those that are none
//! of ours.

use crate::{
    convert::{Context, FromNode},
    diagnostic::{Code, Fault},
    model::ObjectName,
    objects::{Object, Objects},
    schema::{GRPCRoute, HTTPRoute, KNOWN, KindName, Metadata, OURS, Route, TCPRoute, TLSRoute},
    suggest, unsupported,
    yaml::{Node, Span, Value},
};

/// API groups of which Outrigger reads kinds; the empty one is the core group.
const GROUPS: &[&str] = &["", "discovery.k8s.io", "gateway.networking.k8s.io", "outrigger.dev"];

/// Kinds of the Gateway API that configure gateways, not sidecars.
const GATEWAY_KINDS: &[&str] = &[
    "BackendLBPolicy",
    "BackendTLSPolicy",
    "BackendTrafficPolicy",
    "Gateway",
    "GatewayClass",
    "ListenerSet",
    "ReferenceGrant",
    "UDPRoute",
    "XBackendTrafficPolicy",
    "XListenerSet",
    "XMesh",
];

/// Reads one document, which is an object or a List of objects.
pub(crate) fn document(root: &Node, objects: &mut Objects, faults: &mut Vec<Fault>) {
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("expected an object with `apiVersion` and `kind`, found {}", root.describe());
        faults.push(Fault::error(Code::WrongType, root.span, message));
        objects.unknown = true;
        return;
    }
    if let Some(items) = list_items(root) {
        return items.iter().for_each(|item| document(item, objects, faults));
    }
    let written = header(root, "apiVersion", faults).zip(header(root, "kind", faults));
    let Some(((api_version, version_span), (kind, kind_span))) = written else {
        objects.unknown = true;
        return;
    };
    let known = KNOWN.iter().find(|known| known.kind == kind);
    match known {
        Some(known) if accepts(known, api_version) => object(known.kind, root, kind_span, objects, faults),
        _ => {
            let fault = stranger(known, (api_version, version_span), (kind, kind_span));
            if fault.severity == crate::Severity::Error {
                remember_broken(known.map_or(kind, |known| known.kind), root, objects);
            }
            faults.push(fault);
        }
    }
}

fn accepts(known: &KindName, api_version: &str) -> bool {
    known.has(api_version)
        || unsupported::is(known.kind, "") && group(known.api_version) == group(api_version)
}

/// The items of a `List`, as `kubectl get -o yaml` writes them.
fn list_items(root: &Node) -> Option<&[Node]> {
    let (kind, _) = root.text_of("kind")?;
    let (api_version, _) = root.text_of("apiVersion")?;
    let is_list = kind.strip_suffix("List").is_some_and(|item| {
        item.is_empty() || KNOWN.iter().any(|known| known.kind == item && known.has(api_version))
    });
    match &root.get("items")?.value {
        Value::Seq(items) if is_list => Some(items),
        _ => None,
    }
}

/// `apiVersion` or `kind`, which every object has.
fn header<'n>(root: &'n Node, key: &str, faults: &mut Vec<Fault>) -> Option<(&'n str, Span)> {
    let found = root.text_of(key);
    if found.is_none() {
        let fault = match root.get(key) {
            Some(node) => {
                let message = format!("expected a string, found {}", node.describe());
                Fault::error(Code::WrongType, node.span, message)
            }
            None => {
                let example =
                    if key == "kind" { "`kind: Sidecar`" } else { "`apiVersion: outrigger.dev/v1alpha1`" };
                Fault::error(Code::MissingField, root.span, format!("the object has no `{key}`"))
                    .help(format!("such as {example}"))
            }
        };
        faults.push(fault);
    }
    found
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// An object that is none of the known kinds: a slip, or of no concern.
fn stranger(
    known: Option<&KindName>,
    (api_version, version_span): (&str, Span),
    (kind, kind_span): (&str, Span),
) -> Fault {
    let group = group(api_version);
    if let Some(known) = known {
        let ours = known.api_version == OURS && suggest::nearest(group, ["outrigger.dev"]).is_some();
        if GROUPS.contains(&group) || ours {
            let message = format!("`{api_version}` is not the apiVersion of {kind}");
            return Fault::error(Code::UnknownKind, version_span, message)
                .help(format!("write `apiVersion: {}`", known.api_version));
        }
    }
    let here: Vec<&str> = KNOWN
        .iter()
        .filter(|known| self::group(known.api_version) == group)
        .map(|known| known.kind)
        .collect();
    let near = suggest::nearest(kind, here.iter().copied());
    let closed = group == "outrigger.dev" || group == "gateway.networking.k8s.io" && near.is_some();
    if (closed || near.is_some()) && !GATEWAY_KINDS.contains(&kind) && !CORE_KINDS.contains(&kind) {
        let message = format!("there is no kind `{kind}` in `{api_version}`");
        return Fault::error(Code::UnknownKind, kind_span, message).maybe_help(suggest::help(kind, &here));
    }
    Fault::note(
        Code::Skipped,
        kind_span,
        format!("skipped: {kind} of `{api_version}` is no policy of Outrigger"),
    )
}

/// Kinds of the core group whose names are near to Service.
const CORE_KINDS: &[&str] = &["ServiceAccount"];

/// Keeps the name of an object that could not be read, so that references to it are not reported too.
fn remember_broken(kind: &str, root: &Node, objects: &mut Objects) {
    let name = root.get("metadata").and_then(|metadata| {
        let (name, _) = metadata.text_of("name")?;
        let namespace = metadata.text_of("namespace").map_or("default", |(namespace, _)| namespace);
        Some(ObjectName::new(namespace, name))
    });
    match name {
        Some(name) => {
            objects.broken.insert((kind.to_owned(), name));
        }
        None => objects.unknown = true,
    }
}

fn object(kind: &'static str, root: &Node, kind_span: Span, objects: &mut Objects, faults: &mut Vec<Fault>) {
    if unsupported::is(kind, "") {
        let fault = Fault::error(Code::NotSupported, kind_span, format!("{kind} is not supported yet"));
        faults.push(fault.help("remove the object; this version would not enforce it"));
        return remember_broken(kind, root, objects);
    }
    let cx = &mut Context::new(kind, root, faults);
    let read = match kind {
        "Sidecar" => add(root, cx, &mut objects.sidecars, |body| &body.metadata),
        "MeshService" => add(root, cx, &mut objects.mesh_services, |body| &body.metadata),
        "Service" => add(root, cx, &mut objects.services, |body| &body.metadata),
        "EndpointSlice" => add(root, cx, &mut objects.slices, |body| &body.metadata),
        "HTTPRoute" => add_route::<HTTPRoute>(root, cx, &mut objects.routes),
        "GRPCRoute" => add_route::<GRPCRoute>(root, cx, &mut objects.routes),
        "TLSRoute" => add_route::<TLSRoute>(root, cx, &mut objects.routes),
        "TCPRoute" => add_route::<TCPRoute>(root, cx, &mut objects.routes),
        "TrafficPolicy" => add(root, cx, &mut objects.policies, |body| &body.metadata),
        "Mesh" => add(root, cx, &mut objects.meshes, |body| &body.metadata),
        _ => None,
    };
    if read.is_none() {
        remember_broken(kind, root, objects);
    }
}

fn add<T: FromNode>(
    root: &Node,
    cx: &mut Context<'_>,
    objects: &mut Vec<Object<T>>,
    metadata: fn(&T) -> &Metadata,
) -> Option<()> {
    let body = T::from_node(root, cx)?;
    objects.push(Object::new(body, metadata));
    Some(())
}

fn add_route<T: FromNode + Into<Route>>(
    root: &Node,
    cx: &mut Context<'_>,
    objects: &mut Vec<Object<Route>>,
) -> Option<()> {
    let mut body: Route = T::from_node(root, cx)?.into();
    let current = KNOWN.iter().find(|known| known.kind == body.kind.word());
    let written = root.text_of("apiVersion");
    body.is_former = written.zip(current).is_some_and(|((is, _), known)| is != known.api_version);
    objects.push(Object::new(body, |route| &route.metadata));
    Some(())
}
