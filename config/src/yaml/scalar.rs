//! What a plain scalar means, with YAML's surprises kept apart instead of settled silently.
//!
//! `off` is a boolean to YAML 1.1 readers (kubectl among them) and a string to 1.2 ones; `010` is 8 or 10. Such values
//! get kinds of their own, and whoever reads them refuses them with a remedy.

/// The type of a plain scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    /// Empty, `~`, `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// `yes`, `no`, `on`, `off`: a boolean to some readers.
    LooseBool(bool),
    /// A decimal integer without leading zeros.
    Integer,
    /// An integer that readers differ about: leading zeros, `0x`, `0o`, `0b`, underscores.
    LooseInteger,
    /// A number with fraction or exponent, infinity, or not a number.
    Float,
    /// Anything else.
    String,
}

/// The type of a scalar that was written without quotes.
pub(crate) fn resolve(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "true" | "True" | "TRUE" => return ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => return ScalarKind::Bool(false),
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return ScalarKind::LooseBool(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return ScalarKind::LooseBool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | "-.Inf" | "-.INF" | ".nan" | ".NaN" | ".NAN" => {
            return ScalarKind::Float;
        }
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return ScalarKind::String;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let loose = digits.len() > 1 && digits.starts_with('0');
        return if loose { ScalarKind::LooseInteger } else { ScalarKind::Integer };
    }
    if is_loose_integer(digits) {
        return ScalarKind::LooseInteger;
    }
    if is_float(digits) { ScalarKind::Float } else { ScalarKind::String }
}

fn is_loose_integer(digits: &str) -> bool {
    let radix = [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)];
    if let Some((rest, radix)) = radix.iter().find_map(|(prefix, r)| Some((digits.strip_prefix(prefix)?, *r)))
    {
        return !rest.is_empty() && rest.chars().all(|c| c == '_' || c.is_digit(radix));
    }
    digits.contains('_') && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

fn is_float(digits: &str) -> bool {
    digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.parse::<f64>().is_ok()
}
