//! The floor: the smallest reverse proxies that hyper and h2 allow, one worker thread, own connection pool, no policy.
//!
//! They answer two questions. What does a request cost before it has met any of our code (the "bare hyper" row of the
//! end-to-end table)? And which client should speak HTTP/2 upstream, hyper's or the `h2` crate's own? Every mode therefore shares
//! accept loop, windows and buffer sizes, and differs only in what its name says. Not a proxy to be used: no check of requests, no time-outs,
//! no retries, no hop-by-hop handling.

mod h2_both;
mod h2_client;
mod http1;
mod hyper_client;
mod local_exec;

use std::net::SocketAddr;
use std::str::FromStr;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

/// Stream window on both sides, bytes (RELIABILITY: what callers outside the mesh get).
const STREAM_WINDOW: u32 = 64 * 1024;
/// Connection window on both sides, bytes.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What one stream may hold for sending, bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams per downstream connection.
const MAX_STREAMS: u32 = 250;

/// Which pair of server and client carries the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// hyper's HTTP/1 server, `hyper::client::conn::http1` with a pool of our own.
    Http1,
    /// hyper's HTTP/2 server, `hyper::client::conn::http2`.
    Http2Hyper,
    /// hyper's HTTP/2 server, the `h2` crate as client.
    Http2H2,
    /// The `h2` crate at both ends.
    H2Both,
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match name {
            "http1" => Ok(Mode::Http1),
            "http2-hyper" => Ok(Mode::Http2Hyper),
            "http2-h2" => Ok(Mode::Http2H2),
            "h2-both" => Ok(Mode::H2Both),
            _ => anyhow::bail!("unknown mode `{name}`: http1, http2-hyper, http2-h2 or h2-both"),
        }
    }
}

/// Serves for ever: everything that arrives at `listen` goes to `upstream`. One thread does all of it.
pub fn run(mode: Mode, listen: SocketAddr, upstream: SocketAddr) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        match mode {
            Mode::Http1 => http1::serve(listener, upstream).await,
            Mode::Http2Hyper => hyper_client::serve(listener, upstream).await,
            Mode::Http2H2 => h2_client::serve(listener, upstream).await,
            Mode::H2Both => h2_both::serve(listener, upstream).await,
        }
    })
}

async fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn dial(upstream: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
