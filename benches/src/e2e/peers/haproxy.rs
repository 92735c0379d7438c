//! HAProxy: one thread, one frontend per protocol.

use std::path::Path;

use super::super::ports::{PeerPorts, Ports};
use super::{PREFIXES, Recipe, locate, version, write};

pub(super) fn recipe(own: PeerPorts, ports: &Ports, dir: &Path) -> anyhow::Result<Recipe> {
    let program = locate(Path::new("haproxy"))?;
    let text = format!(
        "global
  nbthread 1
  maxconn 4096
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
{http1}{http2}",
        http1 = pair("http1", own.http1, ports.backend_http1, ""),
        http2 = pair("http2", own.http2, ports.backend_http2, " proto h2"),
    );
    let config = write(dir, "haproxy.cfg", &text)?;
    let title = format!("HAProxy {}", version(&program, &["-v"])?);
    let args = vec!["-db".to_owned(), "-f".to_owned(), config];
    Ok(Recipe::single(title, own, program, args))
}

/// A frontend, and one backend per route, as each route may have its own settings.
fn pair(name: &str, listen: u16, backend: u16, protocol: &str) -> String {
    let mut text = format!("frontend {name}\n  bind 127.0.0.1:{listen}{protocol}\n");
    for (index, prefix) in PREFIXES.iter().enumerate() {
        text += &format!("  use_backend {name}-{index} if {{ path_beg {prefix} }}\n");
    }
    for index in 0..PREFIXES.len() {
        text += &format!(
            "backend {name}-{index}\n  server one 127.0.0.1:{backend}{protocol} pool-max-conn 128\n"
        );
    }
    text
}
