//! Hosts that two destinations claim: the older object wins, and the other learns of it.

use std::{collections::HashMap, sync::Arc};

use super::Checks;
use crate::{
    compile::qualified,
    diagnostic::{Code, Fault},
    model::ObjectName,
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let mut written: Vec<_> = checks.objects.mesh_services.iter().collect();
    written.sort_by(|a, b| a.age().cmp(&b.age()));
    let mut claims: HashMap<Arc<str>, (&ObjectName, Span)> = HashMap::new();
    let mut faults = Vec::new();
    for object in written {
        for host in object.body.spec.hosts.iter() {
            match claims.get(&host.value.0) {
                Some((owner, span)) => {
                    faults.push(claimed_twice(&host.value.0, host.span, owner, *span));
                }
                None => {
                    claims.insert(host.value.0.clone(), (&object.name, host.span));
                }
            }
        }
    }
    for entry in checks.services.sorted() {
        for host in qualified(entry.name) {
            if let Some((owner, span)) = claims.get(&host).filter(|(owner, _)| *owner != entry.name) {
                let message = format!("`{}` does not answer to its own name `{host}`", entry.name);
                let fault = Fault::warning(Code::HostClaimed, entry.span, message)
                    .related(*span, format!("`{owner}` claims it"))
                    .help("remove the host there, or rename one of the two");
                faults.push(fault);
            }
        }
    }
    checks.faults.append(&mut faults);
}

fn claimed_twice(host: &str, span: Span, owner: &ObjectName, first: Span) -> Fault {
    let message = format!("the host `{host}` belongs to `{owner}`, so this claim has no effect");
    Fault::warning(Code::HostClaimed, span, message)
        .related(first, "claimed first here")
        .help("of two objects that claim a host the older one has it; remove one of the claims")
}
