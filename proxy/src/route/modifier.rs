//! Header changes of a rule or backend, ready to apply. In the Gateway API's order: set, add, remove.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{Entry, SET_COOKIE},
};
use outrigger_config::model;

use crate::runtime::BuildError;

/// A RequestHeaderModifier or ResponseHeaderModifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modifier {
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    remove: Box<[HeaderName]>,
}

impl Modifier {
    pub(crate) fn compile(from: &model::HeaderModifier) -> Result<Self, BuildError> {
        let pairs = |pairs: &[(std::sync::Arc<str>, std::sync::Arc<str>)]| {
            pairs
                .iter()
                .map(|(name, value)| Ok((header_name(name)?, header_value(value)?)))
                .collect::<Result<Box<[_]>, BuildError>>()
        };
        Ok(Self {
            set: pairs(&from.set)?,
            add: pairs(&from.add)?,
            remove: from.remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?,
        })
    }

    /// Changes `headers`.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            add(headers, name, value);
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// `existing,new` in one field, as the Gateway API has it; but a cookie stays a field of its own, since a comma may stand
/// inside one (RFC 9110, section 5.3).
fn add(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(value.clone());
        }
        Entry::Occupied(mut entry) if *name == SET_COOKIE => entry.append(value.clone()),
        Entry::Occupied(mut entry) => {
            let mut joined = Vec::new();
            for old in entry.iter() {
                joined.extend_from_slice(old.as_bytes());
                joined.push(b',');
            }
            joined.extend_from_slice(value.as_bytes());
            // Both sides are valid values, and so is a comma.
            if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                entry.insert(joined);
            }
        }
    }
}

pub(crate) fn header_name(name: &str) -> Result<HeaderName, BuildError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| BuildError::HeaderName(name.into()))
}

pub(crate) fn header_value(value: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(value).map_err(|_| BuildError::HeaderValue(value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(modifier: &model::HeaderModifier, headers: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        Modifier::compile(modifier).unwrap().apply(&mut map);
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn set_add_remove() {
        let modifier = model::HeaderModifier {
            set: vec![("a".into(), "1".into())],
            add: vec![("b".into(), "2".into()), ("c".into(), "3".into())],
            remove: vec!["d".into()],
        };
        let mut lines = changed(&modifier, &[("a", "0"), ("a", "00"), ("b", "x"), ("b", "y"), ("d", "gone")]);
        lines.sort();
        assert_eq!(lines, ["a: 1", "b: x,y,2", "c: 3"]);
    }

    #[test]
    fn cookies_are_never_joined() {
        let modifier =
            model::HeaderModifier { add: vec![("set-cookie".into(), "b=2".into())], ..Default::default() };
        assert_eq!(changed(&modifier, &[("set-cookie", "a=1")]), ["set-cookie: a=1", "set-cookie: b=2"]);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let bad = |set: (&str, &str)| {
            Modifier::compile(&model::HeaderModifier {
                set: vec![(set.0.into(), set.1.into())],
                ..Default::default()
            })
        };
        assert!(matches!(bad(("a b", "1")), Err(BuildError::HeaderName(_))));
        assert!(matches!(bad(("a", "1\n2")), Err(BuildError::HeaderValue(_))));
    }
}
