//! Which example stands for which kind: what the reference shows, and `tests/examples.rs` runs.

/// The example of one kind.
pub struct Example {
    /// The kind.
    pub kind: &'static str,
    /// Files of `examples/`, given to the proxy together; the first is the one that shows the kind.
    pub files: &'static [&'static str],
    /// What it shows, in a sentence or two.
    pub shows: &'static str,
    /// Commands to try while the proxy runs, with what to expect.
    pub commands: &'static [&'static str],
    /// The test that runs it, below `tests/tests/`.
    pub test: &'static str,
}

/// The examples, by kind.
pub const EXAMPLES: &[Example] = &[
    Example {
        kind: "Sidecar",
        files: &["quickstart.yaml"],
        shows: "A service on port 3000 that calls one other service. The proxy listens for both.",
        commands: &[
            "curl localhost:8080/                       # reaches the service on port 3000",
            "curl -H 'Host: reviews' localhost:15001/   # reaches 127.0.0.1:9001 or :9002",
        ],
        test: "examples.rs",
    },
    Example {
        kind: "MeshService",
        files: &["mesh-service.yaml"],
        shows: "A destination with two kinds of endpoints and names of its own.",
        commands: &[
            "curl -H 'Host: reviews' localhost:15001/               # by its name",
            "curl -H 'Host: reviews.example.com' localhost:15001/   # by a host of its own",
        ],
        test: "examples.rs",
    },
    Example {
        kind: "TrafficPolicy",
        files: &["retries.yaml"],
        shows: "Time limits and repeats for a Service, and other ones for one rule of its route.",
        commands: &[
            "curl -H 'Host: orders' localhost:15001/orders/7        # a GET is repeated, up to three times",
            "curl -H 'Host: orders' localhost:15001/orders -d '{}'  # a POST is not",
        ],
        test: "examples.rs",
    },
    Example {
        kind: "Mesh",
        files: &["mesh.yaml", "quickstart.yaml"],
        shows: "Settings for every proxy, here with the policy of one sidecar: an access log, and one repeat for everything.",
        commands: &[
            "curl localhost:8080/                       # leaves a line of JSON on the proxy's standard output",
        ],
        test: "examples.rs",
    },
    Example {
        kind: "Service",
        files: &["kubernetes-service.yaml"],
        shows: "A Service and its endpoints as a cluster has them; `kubectl get service,endpointslice -o yaml` serves as well.",
        commands: &[
            "curl -H 'Host: catalog' localhost:15001/               # reaches 127.0.0.1:9001, the endpoint of port 80",
            "curl -H 'Host: catalog:8080' localhost:15001/          # reaches 127.0.0.1:9002, over HTTP/2",
        ],
        test: "examples.rs",
    },
    Example {
        kind: "EndpointSlice",
        files: &["kubernetes-service.yaml"],
        shows: "The endpoints of a Service: one that is ready, and one that is not and gets nothing.",
        commands: &[
            "curl localhost:9000/                       # the listener that is pinned to port 80 of `catalog`",
        ],
        test: "examples.rs",
    },
    Example {
        kind: "HTTPRoute",
        files: &["canary.yaml"],
        shows: "One request in ten goes to the new version; testers get it always, by a header.",
        commands: &[
            "curl -i -H 'Host: reviews' localhost:15001/                      # one in ten from 127.0.0.1:9002",
            "curl -i -H 'Host: reviews' -H 'x-tester: yes' localhost:15001/   # always from 127.0.0.1:9002",
        ],
        test: "examples.rs",
    },
    Example {
        kind: "GRPCRoute",
        files: &["grpc-routes.yaml"],
        shows: "Calls by service and method: writes go to the primary, reads are shared out, and one search in ten goes to a new version.",
        commands: &[
            "grpcurl -plaintext -authority catalog:50051 127.0.0.1:15001 shop.v1.Catalog/Search   # one in ten at :50064",
            "grpcurl -plaintext -authority catalog:50051 127.0.0.1:15001 shop.v1.Catalog/Put      # at :50061, with x-primary",
        ],
        test: "grpc_routes.rs",
    },
    Example {
        kind: "TCPRoute",
        files: &["tcp.yaml"],
        shows: "A database behind its own proxy; one connection in ten goes to the new one.",
        commands: &[
            "psql -h 127.0.0.1 -p 5433            # a connection: nine in ten through 127.0.0.1:15432",
        ],
        test: "tcp.rs",
    },
    Example {
        kind: "TLSRoute",
        files: &["tls-passthrough.yaml"],
        shows: "TLS of the app's own, led by the server name: one name has a server to itself, all below a domain share another.",
        commands: &[
            "curl -k --connect-to ::127.0.0.1:8443 https://accounts.example.com/   # reaches 127.0.0.1:9444",
            "curl -k --connect-to ::127.0.0.1:8443 https://other.example.com/      # reaches 127.0.0.1:9443",
            "curl -k --connect-to ::127.0.0.1:8443 https://example.org/            # alert: unrecognized name",
        ],
        test: "tls_route.rs",
    },
];
