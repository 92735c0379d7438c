//! Services and methods of gRPC matches: names that a call can have.

use super::{Checks, regex};
use crate::{
    convert::{Spanned, Text},
    diagnostic::{Code, Fault},
    schema::{CallRule, CallType},
};

/// Characters of a name.
const LENGTH: usize = 1024;

/// Reports a condition that names nothing, or that no call can meet.
pub(super) fn check(rule: &CallRule, checks: &mut Checks<'_>) {
    if rule.service.is_none() && rule.method.is_none() {
        let message = "the condition names neither a service nor a method";
        let fault = Fault::error(Code::MissingField, rule.span, message);
        checks.push(fault.help("leave the condition out to match every call"));
    }
    if rule.kind == Some(CallType::RegularExpression) {
        rule.service.iter().chain(&rule.method).for_each(|written| regex::check(written, checks));
        return;
    }
    if let Some(service) = &rule.service {
        let name = service.value.0.strip_prefix('.').unwrap_or(&service.value.0);
        let valid = name.split('.').all(is_identifier);
        let help = match name.trim_matches('/').split_once('/') {
            Some((service, method)) => format!("write `service: {service}` and `method: {method}`"),
            None => "the package and the service, such as `shop.v1.Cart`".to_owned(),
        };
        named(service, "service", (valid, help), checks);
    }
    if let Some(method) = &rule.method {
        let help = "the method alone, such as `AddItem`";
        named(method, "method", (is_identifier(&method.value.0), help.to_owned()), checks);
    }
}

fn named(written: &Spanned<Text>, what: &str, (valid, help): (bool, String), checks: &mut Checks<'_>) {
    let name = &written.value.0;
    if name.len() > LENGTH {
        let message = format!("the {what} has {} bytes, the limit is {LENGTH}", name.len());
        return checks.push(Fault::error(Code::Name, written.span, message));
    }
    if !valid {
        let message = format!("`{name}` is not the name of a gRPC {what}");
        checks.push(Fault::error(Code::Name, written.span, message).help(help));
    }
}

/// A protobuf identifier: letters, digits and `_`, no digit first.
fn is_identifier(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
