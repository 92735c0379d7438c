//! Durations as GEP-2257 writes them: `500ms`, `1m30s`, `0s`.

use std::time::Duration;

use schemars::{Schema, json_schema};

use crate::{
    convert::{Context, FromNode, Problem},
    diagnostic::Code,
    yaml::Node,
};

/// Reads a duration as policy files write it.
///
/// # Errors
/// What is wrong with the text, and what was probably meant.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    GepDuration::parse(text).map(|duration| duration.0).map_err(|problem| problem.to_string())
}

/// A duration. One to four parts, each of one to five digits and a unit of `h`, `m`, `s`, `ms`; no fractions, no sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GepDuration(pub(crate) Duration);

impl GepDuration {
    /// Parses a duration.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let problem = || {
            let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let help = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                format!("add a unit: `{text}s` or `{text}ms`")
            } else if let Some(better) = better(&compact) {
                format!("did you mean `{better}`?")
            } else {
                "whole numbers with `h`, `m`, `s` or `ms`, such as `500ms` or `1m30s`".to_owned()
            };
            Problem::new(Code::Duration, format!("`{text}` is not a duration"), help)
        };
        total(text).map(Self).ok_or_else(problem)
    }
}

fn total(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        // `ms` before `m`: the longer unit is meant.
        let (unit, tail) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find_map(|(unit, millis)| Some((millis, tail.strip_prefix(unit)?)))?;
        total += Duration::from_millis(number * unit);
        rest = tail;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

/// The duration as a policy file would have it, in the largest units that are exact. Parts of a millisecond, which no
/// policy can have, are shown as a fraction.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if Duration::from_millis(rest) != duration {
        return format!("{duration:?}");
    }
    let mut text = String::new();
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= millis {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// What was probably meant, if a common other way of writing explains it.
fn better(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let units = [("milliseconds", "ms"), ("seconds", "s"), ("secs", "s"), ("sec", "s"), ("minutes", "m")];
    let more =
        [("mins", "m"), ("min", "m"), ("hours", "h"), ("msec", "ms"), ("millis", "ms"), ("second", "s")];
    let replaced = units.iter().chain(&more).find_map(|(word, unit)| {
        let number = lower.strip_suffix(word)?;
        Some(format!("{number}{unit}"))
    });
    let candidate = replaced.unwrap_or(lower);
    if total(&candidate).is_some() {
        return Some(candidate);
    }
    let seconds: f64 = candidate.strip_suffix('s')?.parse().ok()?;
    let whole = (seconds * 1000.0).round();
    (seconds > 0.0 && whole < 100_000.0).then(|| format!("{}ms", whole as u64))
}

impl FromNode for GepDuration {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        // A bare number is the commonest slip, so it is told apart from other wrong types.
        let Some((text, _)) = node.scalar() else {
            cx.wrong_type(node, "a duration", Some("such as `500ms` or `1m30s`".to_owned()));
            return None;
        };
        Self::parse(text).map_err(|problem| cx.push(problem.at(node.span))).ok()
    }
}

impl schemars::JsonSchema for GepDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({"title": "duration, such as `500ms` or `1m30s`", "type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_the_units_are_four() {
        for (text, millis) in [
            ("500ms", 500),
            ("1m30s", 90_000),
            ("0s", 0),
            ("99999h", 359_996_400_000),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(
                GepDuration::parse(text).ok(),
                Some(GepDuration(Duration::from_millis(millis))),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["0s", "500ms", "3s", "1m30s", "5m", "1h", "1h1m1s1ms"] {
            let GepDuration(duration) = GepDuration::parse(text).unwrap();
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(format_duration(Duration::from_millis(90_000)), "1m30s");
        assert_eq!(format_duration(Duration::from_micros(1500)), "1.5ms");
    }

    #[test]
    fn anything_else_is_refused_with_what_was_meant() {
        for text in ["", "5", "5 sec", "1.5s", "-1s", "1d", "100000s", "1h1m1s1ms1s", "s", "1us"] {
            assert!(GepDuration::parse(text).is_err(), "{text}");
        }
        assert_eq!(better("5sec").as_deref(), Some("5s"));
        assert_eq!(better("1.5s").as_deref(), Some("1500ms"));
    }
}
