//! The pages of metrics and of the access log, from the lists that make them.

use outrigger_proxy::telemetry::{access_log, metrics::FAMILIES};

pub(super) fn page() -> String {
    let mut page = "# Metrics\n\nWhat the admin API shows under `/metrics`, for Prometheus. No label value comes from a request, so the number of \
        series is bounded by the policy. `service` is `namespace/name:port`, `route` is `namespace/name/rule`, `side` is \
        `inbound` or `outbound`; `flag` is one of [the flags](errors.md#flags).\n\n\
        | metric | type | labels | meaning | series at most |\n|---|---|---|---|---|\n"
        .to_owned();
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", family.kind).to_lowercase();
        let (name, labels, help) = (family.name, labels.join(", "), family.help);
        page.push_str(&format!("| `{name}` | {kind} | {labels} | {help} | {} |\n", family.bound));
    }
    page
}

pub(super) fn access_log() -> String {
    let mut page = "# Access log\n\n`Mesh.spec.telemetry.accessLog: {format: json}` writes one JSON object a line to standard output for each request, \
        and for each connection that is [passed on whole](connections.md), when it has ended. A line is never torn, and dropped rather than waited for where standard output is too slow \
        (`outrigger_access_log_dropped_total`). Fields without a value are left out.\n\n\
        | field | meaning |\n|---|---|\n"
        .to_owned();
    for (field, meaning) in access_log::FIELDS {
        page.push_str(&format!("| `{field}` | {meaning} |\n"));
    }
    page.push_str("\n## Connections\n\nA line of a connection that is passed on whole has no method and no status.\n\n| field | meaning |\n|---|---|\n");
    for (field, meaning) in access_log::CONNECTION_FIELDS {
        page.push_str(&format!("| `{field}` | {meaning} |\n"));
    }
    page
}
