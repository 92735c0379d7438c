//! Lets hyper spawn on the worker's own thread; the tasks need not be `Send`.

use std::future::Future;

use hyper::rt::Executor;

#[derive(Clone, Copy)]
pub(super) struct LocalExec;

impl<F> Executor<F> for LocalExec
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
