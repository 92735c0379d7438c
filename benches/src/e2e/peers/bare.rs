//! The floor: hyper with nothing in between (upstream HTTP/2 by the `h2` crate). One process per protocol.

use std::path::Path;

use super::super::ports::{PeerPorts, Ports};
use super::{Command, Door, Protocol, Recipe};

pub(super) fn recipe(floor: &Path, own: PeerPorts, ports: &Ports) -> Recipe {
    let door = |protocol, port, process| Door { protocol, port, process };
    let command = |mode: &str, listen: u16, upstream: u16| {
        let address = |port| format!("127.0.0.1:{port}");
        let args = vec![mode.to_owned(), address(listen), address(upstream)];
        Command { program: floor.to_owned(), args, port: listen }
    };
    Recipe {
        title: "bare hyper".to_owned(),
        doors: vec![door(Protocol::Http1, own.http1, 0), door(Protocol::Http2, own.http2, 1)],
        commands: vec![
            command("http1", own.http1, ports.backend_http1),
            command("http2-h2", own.http2, ports.backend_http2),
        ],
        certificates: None,
    }
}
