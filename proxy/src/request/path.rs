//! The canonical path: one spelling for route, authorization and upstream.
//!
//! Two spellings that a server may read as the same path must not be two paths for a rule. So dot segments are
//! resolved, empty segments merged, escapes of unreserved characters decoded and all other escapes written with upper
//! case digits (RFC 3986 6.2.2). What has no safe reading is refused. Nothing here looks at the query, and no escape of
//! a reserved character is decoded: that would change what the path means.

use crate::error::Malformed;

/// How strict the path rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRules {
    /// Nothing decides by path: an escaped slash or a backslash is the upstream's own matter.
    Plain,
    /// A route or an authorization rule decides by path: `%2f`, `%5c`, `\` and `..;` are refused, because servers
    /// differ in whether they are separators.
    Policy,
}

/// The canonical form of `path`; `None` when it already is. Costs one scan and no allocation in that case.
///
/// # Errors
/// [`Malformed::Path`] for a path that does not begin with `/`, has a byte outside of printable ASCII, a `#`, a broken
/// escape, an escaped NUL, or leads above the root; and for what [`PathRules::Policy`] refuses.
pub fn canonical(path: &str, rules: PathRules) -> Result<Option<String>, Malformed> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Malformed::Path);
    }
    match scan(bytes, rules)? {
        Form::Canonical => Ok(None),
        Form::Rewrite => {
            let decoded = decode_unreserved(bytes);
            if rules == PathRules::Policy && has_parameter_on_dots(&decoded) {
                return Err(Malformed::Path);
            }
            let resolved = resolve(&decoded)?;
            if resolved == bytes {
                return Ok(None);
            }
            // Only printable ASCII passed the scan, and decoding yields nothing else.
            String::from_utf8(resolved).map(Some).map_err(|_| Malformed::Path)
        }
    }
}

#[derive(PartialEq)]
enum Form {
    Canonical,
    Rewrite,
}

/// Refuses what has no safe reading, and says whether the rest may need rewriting.
fn scan(bytes: &[u8], rules: PathRules) -> Result<Form, Malformed> {
    let mut form = Form::Canonical;
    let mut previous = 0u8;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            // An empty segment, or a segment that begins with a dot: `resolve` tells dot segments from dot files.
            b'/' | b'.' if previous == b'/' => form = Form::Rewrite,
            b'%' if escape(bytes, at, rules)? == Form::Rewrite => form = Form::Rewrite,
            b'\\' if rules == PathRules::Policy => return Err(Malformed::Path),
            b'#' | 0..=0x20 | 0x7f.. => return Err(Malformed::Path),
            _ => {}
        }
        previous = byte;
    }
    Ok(form)
}

/// Checks the escape that begins at `at`.
fn escape(bytes: &[u8], at: usize, rules: PathRules) -> Result<Form, Malformed> {
    let (Some(&high), Some(&low)) = (bytes.get(at + 1), bytes.get(at + 2)) else {
        return Err(Malformed::Path);
    };
    let value = decode(high, low).ok_or(Malformed::Path)?;
    match value {
        0 => Err(Malformed::Path),
        b'/' | b'\\' if rules == PathRules::Policy => Err(Malformed::Path),
        _ if is_unreserved(value) || high.is_ascii_lowercase() || low.is_ascii_lowercase() => {
            Ok(Form::Rewrite)
        }
        _ => Ok(Form::Canonical),
    }
}

fn decode(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Decodes escapes of unreserved characters and raises the digits of the others. All escapes are whole: `scan` saw them.
fn decode_unreserved(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after_escape @ ..]) => {
                match decode(*high, *low) {
                    Some(value) if is_unreserved(value) => out.push(value),
                    _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
                rest = after_escape;
            }
            _ => out.push(byte),
        }
    }
    out
}

/// A segment `.` or `..` with a path parameter: some servers drop the parameter and then climb.
fn has_parameter_on_dots(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| segment.starts_with(b"..;") || segment.starts_with(b".;"))
}

/// Resolves dot segments and merges empty ones.
fn resolve(path: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut ends_with_slash = false;
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        ends_with_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = out.iter().rposition(|&byte| byte == b'/').ok_or(Malformed::Path)?;
                out.truncate(parent);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if ends_with_slash || out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
