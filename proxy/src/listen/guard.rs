//! A bug in one request must not end the others on its connection: a panic becomes that request's failure.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// The future panicked; the panic hook has told where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs a request. What it holds is dropped before the error is returned, and nothing else of it is shared, but for
/// the worker's cells, which are never left half-written.
pub(crate) async fn guard<T>(request: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut request = pin!(request);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_a_value_a_value() {
        assert_eq!(guard(async { 1 }).await, Ok(1));
        let broken = guard::<u8>(async {
            tokio::task::yield_now().await;
            std::panic::resume_unwind(Box::new("this test's bug"))
        });
        assert_eq!(broken.await, Err(Panicked));
    }
}
