//! What callees hold: rate limits and limits of concurrency, which stand where the callee can see them.

use super::Checks;
use crate::{
    convert::{HeaderName, Spanned},
    diagnostic::{Code, Fault},
};

/// Headers that proxies keep to themselves are gone before policy looks at a request.
pub(super) fn header_arrives(header: &Spanned<HeaderName>, checks: &mut Checks<'_>) {
    if header.value.0.starts_with("x-outrigger-") {
        let message = format!("`{}` never arrives: proxies keep such headers to themselves", header.value.0);
        let fault = Fault::warning(Code::NoEffect, header.span, message);
        checks.push(fault.help("take a name that does not begin with `x-outrigger-`"));
    }
}
