//! HAProxy: one thread, one frontend per protocol; or two such processes with mutual TLS between them.

use std::path::Path;

use super::super::ports::{PeerPorts, Ports};
use super::certificates::{Certificates, Own};
use super::{Kind, PREFIXES, Recipe, locate, version, write};

pub(super) fn recipe(own: PeerPorts, ports: &Ports, dir: &Path) -> anyhow::Result<Recipe> {
    let program = locate(Path::new("haproxy"))?;
    let text = format!(
        "{DEFAULTS}{http1}{http2}",
        http1 = routes("http1", own.http1, &server(ports.backend_http1, "")),
        http2 = routes("http2", own.http2, &server(ports.backend_http2, " proto h2")),
    );
    let title = format!("HAProxy {}", version(&program, &["-v"])?);
    let args = arguments(write(dir, "haproxy.cfg", &text)?);
    Ok(Recipe::single(title, own, program, args))
}

/// The caller's process with the routes, the service's behind it; HTTP/1 over TLS, or HTTP/2 over TLS.
pub(super) fn pair(own: PeerPorts, ports: &Ports, dir: &Path) -> anyhow::Result<Recipe> {
    let program = locate(Path::new("haproxy"))?;
    let certificates = Certificates::make(dir)?;
    let tls = |own: &Own, alpn: &str| {
        format!(" ssl crt {} ca-file {} verify required alpn {alpn}", own.both, certificates.authority)
    };
    let near = |at: usize, alpn| server(own.inner[at], &tls(&certificates.caller, alpn));
    let near = format!(
        "{DEFAULTS}{}{}",
        routes("http1", own.http1, &near(0, "http/1.1")),
        routes("http2", own.http2, &near(1, "h2")),
    );
    let far = |name: &str, at: usize, alpn: &str, app: &str| {
        let tls = tls(&certificates.service, alpn);
        let bind = own.inner[at];
        format!(
            "frontend {name}\n  bind 127.0.0.1:{bind}{tls}\n  default_backend {name}\nbackend {name}\n{app}"
        )
    };
    let far = format!(
        "{DEFAULTS}{}{}",
        far("http1", 0, "http/1.1", &server(ports.backend_http1, "")),
        far("http2", 1, "h2", &server(ports.backend_http2, " proto h2")),
    );
    let near = arguments(write(dir, "caller.cfg", &near)?);
    let far = arguments(write(dir, "service.cfg", &far)?);
    Ok(Recipe::pair(Kind::HaproxyPair.name(), own, program, [near, far], certificates))
}

fn arguments(config: String) -> Vec<String> {
    vec!["-db".to_owned(), "-f".to_owned(), config]
}

const DEFAULTS: &str = "global
  nbthread 1
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode http
  retries 2
  retry-on conn-failure empty-response response-timeout 502 503 504
  http-reuse always
  timeout http-request 10s
  timeout http-keep-alive 1h
  timeout client 5m
  timeout connect 1s
  timeout server 10s
";

/// The line of a server.
fn server(port: u16, more: &str) -> String {
    format!("  server one 127.0.0.1:{port}{more} pool-max-conn 128\n")
}

/// A frontend, and one backend per route, as each route may have its own settings.
fn routes(name: &str, listen: u16, server: &str) -> String {
    let protocol = if name == "http2" { " proto h2" } else { "" };
    let mut text = format!("frontend {name}\n  bind 127.0.0.1:{listen}{protocol}\n");
    for (index, prefix) in PREFIXES.iter().enumerate() {
        text += &format!("  use_backend {name}-{index} if {{ path_beg {prefix} }}\n");
    }
    for index in 0..PREFIXES.len() {
        text += &format!("backend {name}-{index}\n{server}");
    }
    text
}
