//! One gRPC stream, opened before the first edit and meant to outlive the last: what a reload must not break.

use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::{sync::watch, task::JoinHandle};

use super::{client::Grpc, service::WATCH};

/// What has become of the stream.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamState {
    /// Messages so far.
    pub(super) messages: u64,
    /// Why it ended, if it has.
    pub(super) ended: Option<String>,
}

/// The open stream. Dropping it ends it.
pub(super) struct Stream {
    state: watch::Receiver<StreamState>,
    task: JoinHandle<()>,
}

impl Stream {
    /// Opens the stream through the sidecar that `ratings` leads to.
    pub(super) fn open(ratings: Grpc) -> Self {
        let (send, state) = watch::channel(StreamState::default());
        let task = tokio::spawn(follow(Arc::new(ratings), send));
        Self { state, task }
    }

    /// How it is.
    pub(super) fn state(&self) -> StreamState {
        self.state.borrow().clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(ratings: Arc<Grpc>, state: watch::Sender<StreamState>) {
    let end = |why: String| state.send_modify(|state| state.ended = Some(why));
    let mut body = match ratings.open(WATCH, b"7").await {
        Ok(response) => response.into_body(),
        Err(error) => return end(format!("it could not be opened: {error}")),
    };
    loop {
        match body.frame().await {
            Some(Ok(frame)) if frame.is_data() => state.send_modify(|state| state.messages += 1),
            Some(Ok(_)) => {}
            Some(Err(error)) => return end(error.to_string()),
            None => return end("it was ended by the other side".to_owned()),
        }
    }
}
