//! Regular expressions: valid, and small once compiled, with the caret at the place inside them.

use regex::bytes::RegexBuilder;
use regex_syntax::Parser;

use super::Checks;
use crate::{
    convert::{Spanned, Text},
    diagnostic::{Code, Fault},
    yaml::Span,
};

/// Characters of an expression.
const LENGTH: usize = 1024;

/// Bytes of a compiled expression. Matching stays linear in any case; this bounds the memory of a snapshot with
/// thousands of expressions.
const COMPILED: usize = 1024 * 1024;

/// Reports an expression that the proxy would refuse.
pub(super) fn check(written: &Spanned<Text>, checks: &mut Checks<'_>) {
    let pattern = &*written.value.0;
    if pattern.len() > LENGTH {
        let message = format!("the regular expression has {} bytes, the limit is {LENGTH}", pattern.len());
        return checks.push(Fault::error(Code::Regex, written.span, message));
    }
    let (range, problem) = match Parser::new().parse(pattern) {
        Ok(_) => return size(pattern, written.span, checks),
        Err(regex_syntax::Error::Parse(error)) => {
            (error.span().start.offset..error.span().end.offset, error.kind().to_string())
        }
        Err(regex_syntax::Error::Translate(error)) => {
            (error.span().start.offset..error.span().end.offset, error.kind().to_string())
        }
        Err(other) => (0..0, other.to_string()),
    };
    let help = lookaround(&problem)
        .then_some("look-around and back-references are left out on purpose: matching stays linear");
    let fault = Fault::error(
        Code::Regex,
        inside(written, range),
        format!("the regular expression is not valid: {problem}"),
    );
    checks.push(fault.maybe_help(help.map(str::to_owned)));
}

fn lookaround(problem: &str) -> bool {
    problem.contains("look-around") || problem.contains("backreferences")
}

fn size(pattern: &str, span: Span, checks: &mut Checks<'_>) {
    // As the proxy compiles it: the whole value must match, and a comment of `x` mode may end the pattern.
    let build = |wrapped: &str| RegexBuilder::new(wrapped).size_limit(COMPILED).build().is_ok();
    if !build(&format!(r"\A(?:{pattern})\z")) && !build(&format!("\\A(?:{pattern}\n)\\z")) {
        let message = format!("the regular expression takes more than {} KiB when compiled", COMPILED / 1024);
        let help = "shorten its repetitions, such as `{1000}`; `\\w` and `\\d` hold all of Unicode, `[a-z]` does not";
        checks.push(Fault::error(Code::Regex, span, message).help(help));
    }
}

/// The place inside the scalar. Escapes of a quoted scalar move what follows them; then the whole scalar is meant.
fn inside(written: &Spanned<Text>, range: std::ops::Range<usize>) -> Span {
    let text = &*written.value.0;
    let extra = (written.span.end - written.span.start) as usize;
    let lead = match extra.checked_sub(text.len()) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return written.span,
    };
    let Some(before) = text.get(..range.start) else { return written.span };
    let start = written.span.start + (lead + range.start) as u32;
    let width = range.len().max(1) as u32;
    let column = written.span.column + (lead + before.chars().count()) as u32;
    Span { start, end: start + width, column, ..written.span }
}
