//! `/config_dump`: the policy in use as it was compiled, where it came from, and why the last change was refused.

use serde_json::{Value, json};

use crate::{runtime::status::Status, telemetry::timestamp};

/// The whole answer.
pub(super) fn dump(status: &Status) -> Value {
    let loaded = status.loaded();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "sources": *status.sources(),
        "generation": loaded.as_ref().map(|loaded| loaded.generation),
        "applied": loaded.as_ref().map(|loaded| timestamp::text(loaded.at)),
        "rejected": status.rejection().map(|rejection| json!({
            "time": timestamp::text(rejection.at),
            "findings": rejection.findings,
            "text": rejection.text,
        })),
        "listeners": *status.listeners(),
        "resources": loaded.map(|loaded| serde_json::to_value(&*loaded.resources).unwrap_or_else(|error| {
            json!({"error": error.to_string()})
        })),
    })
}
