//! Balancing: what is hashed where something is, and what would have no effect.

use super::Checks;
use crate::{
    convert::{Setting, Strict},
    diagnostic::{Code, Fault},
    schema::{Balance, LoadBalancerBody},
};

/// Of one policy body.
pub(super) fn check(written: &Strict<LoadBalancerBody>, checks: &mut Checks<'_>) {
    let Some(body) = &written.0 else { return };
    let hashing = body.policy.0.filter(|policy| matches!(policy, Balance::RingHash | Balance::Maglev));
    match (hashing, &body.hash_on.0) {
        (Some(policy), None) => {
            let message = format!("`policy: {}` needs `hashOn` beside it", policy.word());
            let fault = Fault::error(Code::MissingField, body.span, message);
            checks.push(fault.help("say what of a request is hashed, such as `hashOn: {header: x-user}`"));
        }
        (None, Some(on)) => {
            let message = "`hashOn` has no effect without `policy: ringHash` or `policy: maglev` beside it";
            checks.push(Fault::warning(Code::NoEffect, on.span, message));
        }
        _ => {}
    }
    if let (Some(policy), Setting::Set(slow)) = (hashing, &body.slow_start) {
        let message =
            format!("`slowStart` has no effect with `policy: {}`, which goes by hash", policy.word());
        checks.push(Fault::warning(Code::NoEffect, slow.span, message));
    }
    let sidecars = &checks.objects.sidecars;
    if let Setting::Set(locality) = &body.locality
        && !sidecars.is_empty()
        && sidecars.iter().all(|sidecar| sidecar.body.spec.zone.is_none())
    {
        let message = "`locality` has no effect: no Sidecar says in which zone it stands";
        let fault = Fault::warning(Code::NoEffect, locality.span, message);
        checks.push(fault.help("write `zone` into the spec of the Sidecar"));
    }
}
