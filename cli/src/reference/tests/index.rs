//! The index of the reference.

use outrigger_config::{KINDS, reference, referenced_kinds};

pub(super) fn page() -> String {
    let mut page =
        "# Reference\n\nWhat policy files may hold, and what each of it does. The same on the terminal: \
        `outrigger reference TrafficPolicy.spec.retry`; for editors: `outrigger schema TrafficPolicy`.\n\n\
        | kind | for |\n|---|---|\n"
            .to_owned();
    for kind in referenced_kinds().filter_map(reference) {
        let about = match KINDS.contains(&kind.kind) {
            true => kind.description.split("\n\n").next().unwrap_or_default().to_owned(),
            false => "Not supported yet.".to_owned(),
        };
        page.push_str(&format!("| [{}]({}.md) | {about} |\n", kind.kind, kind.kind));
    }
    page.push_str(
        "\n| page | tells |\n|---|---|\n\
         | [hosts](hosts.md) | which Service a request means |\n\
         | [routing](routing.md) | which rule takes a request, and which backend |\n\
         | [connections](connections.md) | what a port speaks, and what becomes of TCP and TLS |\n\
         | [load balancing](load-balancing.md) | which endpoint of a backend gets a request |\n\
         | [mutual TLS](mtls.md) | who is called, and by whom: certificates, modes, rotation |\n\
         | [precedence](precedence.md) | which value holds where several policies have one |\n\
         | [retries](retries.md) | what is repeated, and what never is |\n\
         | [outlier detection](outlier-detection.md) | which endpoints are left out because they fail |\n\
         | [health checks](health-checks.md) | how endpoints are asked whether they are well |\n\
         | [sessions](sessions.md) | how a caller stays with its endpoint |\n\
         | [rate limits](rate-limits.md) | how many requests a Service takes, and from whom |\n\
         | [concurrency](concurrency.md) | how many requests a Service works on at once, and which come first |\n\
         | [fault injection](fault-injection.md) | delays and failures that are made on purpose |\n\
         | [errors](errors.md) | answers that the proxy makes itself: 404, 500, 503 and the others |\n\
         | [metrics](metrics.md) | what `/metrics` shows |\n\
         | [access log](access-log.md) | the fields of a line |\n\
         | [findings](findings.md) | what `outrigger check` finds, by code |\n\
         | [commands](commands.md) | the command line |\n",
    );
    page
}
