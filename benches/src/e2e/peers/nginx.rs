//! nginx. It speaks no HTTP/2 to a backend, so it takes part in HTTP/1 alone.

use std::path::Path;

use super::super::ports::{PeerPorts, Ports};
use super::{Command, Door, PREFIXES, Protocol, Recipe, locate, version, write};

pub(super) fn recipe(own: PeerPorts, ports: &Ports, dir: &Path) -> anyhow::Result<Recipe> {
    let program = locate(Path::new("nginx"))?;
    let locations: String = PREFIXES
        .iter()
        .map(|prefix| format!("    location {prefix} {{ proxy_pass http://backend; }}\n"))
        .collect();
    let text = format!(
        "daemon off; master_process off; worker_processes 1;
pid {dir}/nginx.pid; error_log {dir}/error crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  upstream backend {{
    server 127.0.0.1:{backend} max_fails=5 fail_timeout=10s;
    keepalive 128; keepalive_requests 1000000000; keepalive_time 24h;
  }}
  server {{
    listen 127.0.0.1:{own};
    proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
    proxy_connect_timeout 1s; proxy_read_timeout 2s; proxy_send_timeout 2s;
    proxy_next_upstream error timeout http_502 http_503 http_504;
    proxy_next_upstream_tries 3; proxy_next_upstream_timeout 10s;
{locations}  }}
}}
",
        dir = dir.display(),
        backend = ports.backend_http1,
        own = own.http1,
    );
    let config = write(dir, "nginx.conf", &text)?;
    Ok(Recipe {
        title: format!("nginx {}", version(&program, &["-v"])?),
        doors: vec![Door { protocol: Protocol::Http1, port: own.http1, process: 0 }],
        commands: vec![Command { program, args: vec!["-c".to_owned(), config], port: own.http1 }],
        certificates: None,
    })
}
