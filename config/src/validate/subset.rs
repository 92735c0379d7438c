//! Subsets: that there is something to be a part of, and something in it.

use super::Checks;
use crate::{
    compile::in_subset,
    diagnostic::{Code, Fault},
    model::ObjectName,
    objects::Object,
    schema::{MeshService, SubsetBody},
    services::Source,
};

/// Of a MeshService that is one; `false`: it is none.
pub(super) fn check(object: &Object<MeshService>, checks: &mut Checks<'_>) -> bool {
    let spec = &object.body.spec;
    let Some(subset) = &spec.subset else { return false };
    if let Some(own) = spec.endpoints.first() {
        let message = "a subset has the endpoints of another MeshService, and none of its own";
        let fault = Fault::error(Code::Conflict, own.span, message).related(subset.span, "the subset");
        checks.push(fault.help("remove `endpoints`, or `subset`"));
    }
    if subset.labels.0.is_empty() {
        let message = "the subset names no labels";
        let fault = Fault::error(Code::MissingField, subset.span, message);
        checks.push(fault.help("such as `labels: {version: v2}`"));
    }
    of(object, subset, checks);
    true
}

fn of(object: &Object<MeshService>, subset: &SubsetBody, checks: &mut Checks<'_>) {
    let place = subset.of.name.span;
    let name = ObjectName::new(object.name.namespace.clone(), subset.of.name.value.0.clone());
    let Some(entry) = checks.service(&name, place) else { return };
    let whole = match entry.source {
        Source::Core(_) => {
            let message = format!("`{name}` is a v1 Service, whose endpoints have no labels");
            let fault =
                Fault::error(Code::WrongReference, place, message).related(entry.span, "it stands here");
            return checks.push(fault.help("a subset is one of a MeshService"));
        }
        Source::Mesh(whole) => whole,
    };
    if let Some(own) = &whole.body.spec.subset {
        let message = format!("`{name}` is a subset itself");
        let fault = Fault::error(Code::WrongReference, place, message).related(own.span, "the subset");
        return checks.push(fault.help("name the MeshService that has the endpoints, with all labels"));
    }
    let all = &whole.body.spec.endpoints;
    if all.complete && !subset.labels.0.is_empty() && !all.iter().any(|one| in_subset(one, subset)) {
        let message = format!("no endpoint of `{name}` has these labels: every request is answered 503");
        let fault = Fault::warning(Code::NoEndpoints, subset.span, message);
        checks.push(fault.related(entry.span, format!("`{name}` stands here")));
    }
}
