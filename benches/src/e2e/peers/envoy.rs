//! Envoy: one worker, one listener per protocol, each route with time-out, per-try time-out and retry policy; or two such
//! processes with mutual TLS between them, of which the second has one route that sets a time-out.

use std::path::Path;

use serde_json::{Value, json};

use super::super::ports::{PeerPorts, Ports};
use super::certificates::{CALLER, Certificates, Own, SERVICE};
use super::{Kind, PREFIXES, Recipe, locate, version, write};

pub(super) fn recipe(envoy: &Path, own: PeerPorts, ports: &Ports, dir: &Path) -> anyhow::Result<Recipe> {
    let program = locate(envoy)?;
    let upstreams = [ports.backend_http1, ports.backend_http2];
    let config = config(own.admin, [own.http1, own.http2], routes, upstreams);
    let args = arguments(write(dir, "envoy.json", &config.to_string())?);
    let title = format!("Envoy {}", version(&program, &["--version"])?);
    Ok(Recipe::single(title, own, program, args))
}

/// The caller's process with the routes, the service's behind it; HTTP/1 over TLS, or HTTP/2 over TLS.
pub(super) fn pair(envoy: &Path, own: PeerPorts, ports: &Ports, dir: &Path) -> anyhow::Result<Recipe> {
    let program = locate(envoy)?;
    let certificates = Certificates::make(dir)?;
    let mut near = config(own.admin, [own.http1, own.http2], routes, own.inner);
    let mut far = config(own.inner_admin, own.inner, through, [ports.backend_http1, ports.backend_http2]);
    for (at, alpn) in ["http/1.1", "h2"].into_iter().enumerate() {
        near["static_resources"]["clusters"][at]["transport_socket"] =
            tls("UpstreamTlsContext", &certificates.caller, (&certificates, SERVICE), alpn);
        far["static_resources"]["listeners"][at]["filter_chains"][0]["transport_socket"] =
            tls("DownstreamTlsContext", &certificates.service, (&certificates, CALLER), alpn);
    }
    let near = arguments(write(dir, "caller.json", &near.to_string())?);
    let far = arguments(write(dir, "service.json", &far.to_string())?);
    Ok(Recipe::pair(Kind::EnvoyPair.name(), own, program, [near, far], certificates))
}

fn arguments(config: String) -> Vec<String> {
    let args = ["-c", &config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
    args.map(str::to_owned).into()
}

/// Two listeners and what they lead to, HTTP/1 and HTTP/2.
fn config(admin: u16, listen: [u16; 2], routes: fn(&str) -> Vec<Value>, upstreams: [u16; 2]) -> Value {
    json!({
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [
                listener("http1", "HTTP1", listen[0], routes("http1")),
                listener("http2", "HTTP2", listen[1], routes("http2")),
            ],
            "clusters": [
                cluster("http1", upstreams[0], json!({"http_protocol_options": {}})),
                cluster("http2", upstreams[1], json!({"http2_protocol_options": {}})),
            ],
        },
    })
}

/// TLS 1.3 with a certificate on both sides; `peer` is the only one that is believed.
fn tls(context: &str, own: &Own, (certificates, peer): (&Certificates, &str), alpn: &str) -> Value {
    let mut made = json!({
        "@type": format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{context}"),
        "common_tls_context": {
            "alpn_protocols": [alpn],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [{
                "certificate_chain": {"filename": own.certificate},
                "private_key": {"filename": own.key},
            }],
            "validation_context": {
                "trusted_ca": {"filename": certificates.authority},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
            },
        },
    });
    if context == "DownstreamTlsContext" {
        made["require_client_certificate"] = json!(true);
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": made})
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn routes(cluster: &str) -> Vec<Value> {
    PREFIXES.iter().map(|prefix| route(prefix, cluster)).collect()
}

/// Everything to the app.
fn through(cluster: &str) -> Vec<Value> {
    vec![json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "10s"}})]
}

fn listener(name: &str, codec: &str, port: u16, routes: Vec<Value>) -> Value {
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
