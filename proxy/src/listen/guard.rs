//! A bug in one request must not end the others on its connection: a panic becomes that request's failure.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
};

/// The future panicked; the panic hook has told where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs a request. What it holds is dropped before the error is returned, and nothing else of it is shared, but for
/// the worker's cells, which are never left half-written.
pub(crate) async fn guard<T>(mut request: Pin<&mut impl Future<Output = T>>) -> Result<T, Panicked> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_a_value_a_value() {
        assert_eq!(guard(pin!(async { 1 })).await, Ok(1));
        let broken = pin!(async {
            tokio::task::yield_now().await;
            std::panic::resume_unwind(Box::new("this test's bug"))
        });
        assert_eq!(guard::<u8>(broken).await, Err(Panicked));
    }
}
