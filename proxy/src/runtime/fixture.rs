//! Snapshots out of policy files, for tests: the road that a policy takes in production, in one call.

use outrigger_config::{SourceFile, model::Resources};

use super::{
    build,
    snapshot::{ListenerKey, Snapshot},
};
use crate::{ctx::Side, telemetry::metrics::Metrics};

/// Compiles a policy with one Sidecar.
pub(crate) fn resources(policy: &str) -> Resources {
    let file = SourceFile { path: "policy.yaml".to_owned(), text: policy.as_bytes().to_vec() };
    let checked = outrigger_config::check(vec![file]);
    match checked.policy {
        Some(policy) if checked.errors() == 0 => policy.compile(None).expect("a test policy has one Sidecar"),
        _ => panic!("{}", checked.render_text(false)),
    }
}

/// The first snapshot of a policy.
pub(crate) fn snapshot(policy: &str) -> Snapshot {
    build(&resources(policy), None, &Metrics::new(1)).expect("a checked policy builds")
}

/// The snapshot after another one.
pub(crate) fn next(policy: &str, previous: &Snapshot) -> Snapshot {
    build(&resources(policy), Some(previous), &Metrics::new(1)).expect("a checked policy builds")
}

/// The key of the first listener of an address.
pub(crate) fn key(side: Side, bind: &str) -> ListenerKey {
    ListenerKey { side, bind: bind.parse().expect("an address"), nth: 0 }
}
