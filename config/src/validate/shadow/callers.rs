//! Routes that no caller sees: a caller's own namespace has the first word, and its routes replace those of the Service.
//!
//! Only Sidecars tell who calls, and in a cluster there are none in the files; so these are notes, and where there is no
//! Sidecar nothing is said.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    diagnostic::{Code, Fault},
    validate::{
        Checks,
        arenas::{Arena, Arenas, Attached},
    },
    yaml::Span,
};

pub(super) fn check(arenas: &Arenas<'_>, checks: &mut Checks<'_>) {
    let sidecars = &checks.objects.sidecars;
    let callers: BTreeSet<&Arc<str>> = sidecars.iter().map(|sidecar| &sidecar.name.namespace).collect();
    if callers.is_empty() || checks.objects.unknown {
        return;
    }
    let mut unseen: Vec<Option<Fault>> = vec![None; checks.objects.routes.len()];
    let mut seen = vec![false; checks.objects.routes.len()];
    for (arena, attached) in arenas {
        let reason = unseen_by(arena, arenas, &callers);
        for (route, parent) in attached {
            match &reason {
                None => seen[*route] = true,
                Some(reason) => unseen[*route] = Some(fault(reason, parent.name.span)),
            }
        }
    }
    let notes = unseen.into_iter().zip(seen).filter_map(|(fault, seen)| fault.filter(|_| !seen));
    notes.for_each(|fault| checks.push(fault));
}

/// Why no Sidecar of the files gets the routes of a port.
enum Reason<'a> {
    /// They stand in a namespace in which nobody calls.
    Elsewhere(&'a Arc<str>),
    /// Each caller's namespace has routes of its own.
    Replaced(&'a Arc<str>, Span),
}

fn unseen_by<'a>(
    (service, port, namespace): &'a Arena,
    arenas: &Arenas<'a>,
    callers: &BTreeSet<&'a Arc<str>>,
) -> Option<Reason<'a>> {
    if *namespace != service.namespace {
        return (!callers.contains(namespace)).then_some(Reason::Elsewhere(namespace));
    }
    let own = |caller: &&'a Arc<str>| -> Option<(&'a Arc<str>, Span)> {
        let arena = (service.clone(), *port, (*caller).clone());
        let of_others = arenas.get(&arena).filter(|_| **caller != *namespace);
        let (_, parent): &Attached<'_> = of_others?.first()?;
        Some((*caller, parent.name.span))
    };
    let replaced: Option<Vec<(&Arc<str>, Span)>> = callers.iter().map(own).collect();
    replaced?.first().map(|(caller, place)| Reason::Replaced(caller, *place))
}

fn fault(reason: &Reason<'_>, place: Span) -> Fault {
    match reason {
        Reason::Elsewhere(namespace) => {
            let message = format!(
                "no Sidecar of these files sees the route: it is for callers in namespace `{namespace}` alone"
            );
            let help = "a route in the Service's own namespace is for every caller";
            Fault::note(Code::Shadowed, place, message).help(help)
        }
        Reason::Replaced(caller, by) => {
            let message = format!(
                "no Sidecar of these files sees the route: routes of namespace `{caller}` replace it for callers there"
            );
            Fault::note(Code::Shadowed, place, message).related(*by, "such a route is attached here")
        }
    }
}
