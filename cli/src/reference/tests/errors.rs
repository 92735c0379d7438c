//! The page of answers that the proxy makes itself, from the table that makes them.

use outrigger_proxy::error::{Failure, Flag};

const INTRO: &str = "# Errors

Answers that the proxy makes itself, because there is nobody who could answer. Each carries `x-outrigger-error: <reason>`, which
no app can forge, and its reason and flag stand in the access log and, as label `flag`, in `outrigger_requests_total`. The
caller learns the reason, never the policy. A gRPC caller gets HTTP 200 with the gRPC code in trailers. A failure after the
head of the answer has gone out cannot change the status any more: the stream is reset, or a gRPC call ends with code 14.

What to look at first:

| status | most often |
|---|---|
| 404 `no_service` | no Service answers to this host and port, and [egress](hosts.md) is `Deny` (as it is for requests in HTTP-proxy form unless set) |
| 404 `no_route` | a route is attached to the Service, and [none of its rules](routing.md) matches: add one for `/` |
| 500 `no_backend` | the rule's `backendRefs` are missing, all of weight 0, or this share points at a Service that does not exist; `outrigger check` names it (OR143, OR144) |
| 503 `no_endpoint` | the Service has no endpoint: no EndpointSlice, none that is ready, a DNS name that never resolved |
| 503 `connect_failed`, `connect_timeout` | nothing listens on the endpoint, or nothing in between lets the connection through |
| 503 `upstream_reset` | the endpoint closed the connection before it answered, and [the request could not be repeated](retries.md) |
| 504 `request_timeout`, `attempt_timeout` | `timeouts.request`, `timeouts.attempt`, or a gRPC caller's own deadline |
";

pub(super) fn page() -> String {
    let mut page = INTRO.to_owned();
    page.push_str("\n## All of them\n\n| reason | HTTP | gRPC | flag | when |\n|---|---|---|---|---|\n");
    for (failure, when) in Failure::all() {
        let form = failure.form();
        let row = (form.reason, form.status.as_u16(), form.grpc, form.flag.as_str());
        page.push_str(&format!("| `{}` | {} | {} | {} | {when} |\n", row.0, row.1, row.2, row.3));
    }
    page.push_str("\n## Flags\n\nA request without a failure has the flag `-` in metrics, and none in the access log.\n\n| flag | means |\n|---|---|\n");
    for (flag, means) in Flag::MEANINGS {
        page.push_str(&format!("| {} | {} |\n", flag.as_str(), means.trim()));
    }
    page
}
