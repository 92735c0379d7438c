//! Times on the command line: written as in policy files, by the same reader.

use std::time::Duration;

/// Reads a duration such as `500ms`, `20s` or `1m30s`.
///
/// # Errors
/// When the text is none, with what was probably meant.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    outrigger_config::parse_duration(text)
}
