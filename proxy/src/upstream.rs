//! Towards an endpoint: connect, TLS, links between sidecars, pool, HTTP/1 and HTTP/2, one attempt; and beside requests, names and checks.

pub(crate) mod attempt;
pub(crate) mod connect;
pub(crate) mod dns;
pub(crate) mod far;
pub(crate) mod health_check;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod io;
pub(crate) mod limited;
pub(crate) mod mesh;
pub(crate) mod pool;
pub(crate) mod security;
pub(crate) mod stream;
pub(crate) mod tls;
