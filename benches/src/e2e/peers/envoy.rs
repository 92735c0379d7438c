//! Envoy: one worker, one listener per protocol, each route with time-out, per-try time-out and retry policy.

use std::path::Path;

use serde_json::{Value, json};

use super::super::ports::{PeerPorts, Ports};
use super::{PREFIXES, Recipe, locate, version, write};

pub(super) fn recipe(envoy: &Path, own: PeerPorts, ports: &Ports, dir: &Path) -> anyhow::Result<Recipe> {
    let program = locate(envoy)?;
    let config = json!({
        "admin": {"address": address(own.admin)},
        "static_resources": {
            "listeners": [
                listener("http1", "HTTP1", own.http1),
                listener("http2", "HTTP2", own.http2),
            ],
            "clusters": [
                cluster("http1", ports.backend_http1, json!({"http_protocol_options": {}})),
                cluster("http2", ports.backend_http2, json!({"http2_protocol_options": {}})),
            ],
        },
    });
    let config = write(dir, "envoy.json", &config.to_string())?;
    let args = ["-c", &config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
    let title = format!("Envoy {}", version(&program, &["--version"])?);
    Ok(Recipe::single(title, own, program, args.map(str::to_owned).into()))
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn listener(name: &str, codec: &str, port: u16) -> Value {
    let routes: Vec<Value> = PREFIXES.iter().map(|prefix| route(prefix, name)).collect();
    json!({
        "name": name,
        "address": address(port),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "codec_type": codec,
                "stream_idle_timeout": "300s",
                "request_headers_timeout": "10s",
                // Outrigger makes no request id either.
                "generate_request_id": false,
                "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }],
            },
        }]}],
    })
}

fn route(prefix: &str, cluster: &str) -> Value {
    json!({
        "match": {"prefix": prefix},
        "route": {
            "cluster": cluster,
            "timeout": "10s",
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset,gateway-error",
                "num_retries": 2,
                "per_try_timeout": "2s",
                "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
            },
        },
    })
}

fn cluster(name: &str, backend: u16, protocol: Value) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": protocol,
            },
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(backend)}}]}],
        },
    })
}
