//! The backend: nginx, answering 1 KiB to everything, HTTP/1 on one port and HTTP/2 (prior knowledge) on another.

use std::path::Path;

use rustix::process::Signal;

use super::super::OTHER_CORE;
use super::super::ports::Ports;
use super::super::process::Process;
use super::{locate, write};

/// Bytes of each answer.
const ANSWER: usize = 1024;

pub(in crate::e2e) struct Backend(Process);

impl Backend {
    pub(in crate::e2e) async fn start(ports: &Ports, dir: &Path) -> anyhow::Result<Self> {
        let text = format!(
            "daemon off; master_process off; worker_processes 1;
pid {dir}/backend.pid; error_log {dir}/backend.error crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {dir}/backend.body;
  keepalive_requests 1000000000; keepalive_timeout 1h; default_type text/plain;
  http2_max_concurrent_streams 1000;
  server {{
    listen 127.0.0.1:{http1};
    listen 127.0.0.1:{http2} http2;
    location / {{ return 200 \"{answer}\"; }}
  }}
}}
",
            dir = dir.display(),
            http1 = ports.backend_http1,
            http2 = ports.backend_http2,
            answer = "x".repeat(ANSWER),
        );
        let config = write(dir, "backend.conf", &text)?;
        let program = locate(Path::new("nginx"))?;
        let args = ["-c".to_owned(), config];
        let port = ports.backend_http1;
        Process::start(OTHER_CORE, &program, &args, port, dir).await.map(Backend)
    }

    /// From now on connections are taken by the kernel and no request is answered.
    pub(in crate::e2e) fn freeze(&self) -> anyhow::Result<()> {
        self.0.signal(Signal::STOP)
    }

    /// From now on connections are refused.
    pub(in crate::e2e) fn kill(&self) -> anyhow::Result<()> {
        self.0.signal(Signal::KILL)
    }
}
