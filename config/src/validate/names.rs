//! One object per kind, namespace and name; one Mesh; no name shared by a Service and a MeshService.

use std::collections::HashMap;

use super::Checks;
use crate::{
    convert::is_label,
    diagnostic::{Code, Fault},
    model::{ObjectName, RouteKind},
    objects::Object,
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    unique("Sidecar", &objects.sidecars, checks);
    for kind in RouteKind::ALL {
        unique(kind.word(), objects.routes_of(kind), checks);
    }
    unique("TrafficPolicy", &objects.policies, checks);
    unique("EndpointSlice", &objects.slices, checks);
    let mesh_services = unique("MeshService", &objects.mesh_services, checks);
    let services = unique("Service", &objects.services, checks);
    // Their names become hosts, of which a name is one label.
    for (name, span) in mesh_services.iter().chain(&services) {
        if !is_label(&name.name) {
            let message = format!("`{}` is not a valid name for a Service", name.name);
            let help = "one DNS label: lower-case letters, digits and `-`, no dots";
            checks.push(Fault::error(Code::Name, *span, message).help(help));
        }
    }
    for (name, span) in &mesh_services {
        if let Some(other) = services.get(name) {
            let message = format!("`{name}` is both a Service and a MeshService");
            let fault = Fault::error(Code::DuplicateObject, *span, message)
                .related(*other, "the Service")
                .help("rename one of the two; references of kind Service would mean either");
            checks.push(fault);
        }
    }
    if let [first, others @ ..] = objects.meshes.as_slice() {
        for other in others {
            let fault = Fault::error(Code::DuplicateObject, other.span, "there is more than one Mesh")
                .related(first.span, "the first Mesh")
                .help("put all settings into one Mesh object");
            checks.push(fault);
        }
    }
}

/// Reports the second and further objects of one name; returns the first of each.
fn unique<'a, T: 'a>(
    kind: &str,
    objects: impl IntoIterator<Item = &'a Object<T>>,
    checks: &mut Checks<'_>,
) -> HashMap<&'a ObjectName, Span> {
    let mut in_order: Vec<&Object<T>> = objects.into_iter().collect();
    in_order.sort_by_key(|object| (object.span.file, object.span.start));
    let mut first: HashMap<&ObjectName, Span> = HashMap::new();
    for object in in_order {
        match first.get(&object.name) {
            Some(span) => {
                let message = format!("there are two objects {kind} `{}`", object.name);
                let fault = Fault::error(Code::DuplicateObject, object.span, message)
                    .related(*span, "the first one")
                    .help("rename or remove one of the two");
                checks.push(fault);
            }
            None => {
                first.insert(&object.name, object.span);
            }
        }
    }
    first
}
