//! What the rule and its backend change in a head, and the hygiene of answers.

use http::{HeaderValue, Version, header::CONNECTION, request::Parts};

use crate::{
    decide::Forward,
    error::Failure,
    policy::mirror::Copies,
    request::{
        response::{self, Answer, ResponseContext},
        strict::Checked,
    },
    route::rewrite,
};

/// Changes the request's head: the rule first, then its backend, each its header and then its target. The mirrors of
/// each get the head as it is then.
pub(crate) fn on_request(
    head: &mut Parts,
    forward: Option<&Forward>,
    copies: &mut Copies,
) -> Result<(), Failure> {
    let Some(forward) = forward else { return Ok(()) };
    for changes in [forward.of_rule(), forward.of_backend()] {
        changes.headers.iter().for_each(|modifier| modifier.apply(&mut head.headers));
        if let Some(change) = changes.rewrite {
            rewrite::rewrite(head, change).map_err(|_| Failure::Internal)?;
        }
        copies.take(changes.mirrors, head);
    }
    Ok(())
}

/// What is known of an answer beside its head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// It is a sidecar's, which has proved who it is.
    pub(crate) sidecar: bool,
    /// The caller's body has not been read to its end, and will not be.
    pub(crate) body_unread: bool,
}

/// Brings the answer's head into the form that the caller's version wants, then lets the backend and the rule change it.
pub(crate) fn on_answer(
    head: &mut http::response::Parts,
    forward: Option<&Forward>,
    checked: &Checked,
    known: Known,
) -> Result<Answer, Failure> {
    let context = ResponseContext {
        downstream: checked.version,
        trailers: checked.trailers,
        upstream_authenticated: known.sidecar,
    };
    let answer = response::prepare(head, &context)?;
    for modifier in forward.into_iter().flat_map(Forward::response_headers) {
        modifier.apply(&mut head.headers);
    }
    if known.body_unread && checked.version != Version::HTTP_2 {
        // The caller's body stands unread on the connection: nothing after it can be told from it.
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}
