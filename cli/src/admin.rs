//! Reads the admin API of a running proxy: one GET, one answer as JSON, and what to do where there is none.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// A proxy that does not answer within this is in trouble itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The address of the admin API, as every command that reads a running proxy takes it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Admin {
    /// Where the proxy's admin API listens.
    #[arg(long = "admin", value_name = "IP:PORT", default_value = "127.0.0.1:15000")]
    address: SocketAddr,
}

impl Admin {
    /// What the proxy answers to a GET of `path`.
    ///
    /// # Errors
    /// When nobody answers, or not in the way of this version's proxy.
    pub(crate) fn get<T: DeserializeOwned>(self, path: &str) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let at = self.address;
        let asked = async { tokio::time::timeout(TIMEOUT, ask(at, path)).await };
        let Ok(answer) = runtime.block_on(asked) else {
            bail!("the proxy's admin API at {at} does not answer within {TIMEOUT:?}");
        };
        let (status, body) = answer?;
        if status != StatusCode::OK {
            bail!("http://{at}{path} answers {status}: is it the admin API of a proxy of this version?");
        }
        let unread =
            || format!("http://{at}{path} answers something else: is it a proxy of another version?");
        serde_json::from_slice(&body).with_context(unread)
    }
}

async fn ask(at: SocketAddr, path: &str) -> Result<(StatusCode, Bytes)> {
    let unreached = || {
        format!("no proxy's admin API at {at}; start the proxy, or say where it listens with --admin IP:PORT")
    };
    let stream = TcpStream::connect(at).await.with_context(unreached)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request =
        Request::builder().uri(path).header(header::HOST, at.to_string()).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        Ok::<_, hyper::Error>((answer.status(), answer.into_body().collect().await?.to_bytes()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let not_http = || format!("{at} does not answer as a proxy's admin API does");
    tokio::select! {
        answer = &mut exchange => answer.with_context(not_http),
        // It ends before the answer is taken where both came together.
        ended = &mut connection => {
            ended.with_context(not_http)?;
            exchange.await.with_context(not_http)
        }
    }
}
