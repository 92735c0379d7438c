//! Differences as a person reads them.

use std::fmt;

use super::{Change, ChangeKind, FieldChange, SidecarDiff};

impl fmt::Display for SidecarDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told_of(&format!("Sidecar {}", self.sidecar)))
    }
}

impl SidecarDiff {
    /// The same under another heading: a Sidecar may stand for all callers of a namespace.
    pub fn told_of(&self, whom: &str) -> String {
        if self.changes.is_empty() {
            return format!("{whom}: nothing changes\n");
        }
        let changes = self.changes.iter().map(ToString::to_string);
        std::iter::once(format!("{whom}\n")).chain(changes).collect()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        write!(f, "  {sign} {}", self.subject)?;
        match &self.origin {
            Some(origin) => writeln!(f, "    ({origin})")?,
            None => writeln!(f)?,
        }
        for FieldChange { field, old, new } in &self.fields {
            match (self.kind, old, new) {
                (ChangeKind::Changed, old, new) => {
                    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
                    writeln!(f, "      {field}: {} -> {}", word(old), word(new))?;
                }
                (_, Some(value), _) | (_, _, Some(value)) if is_telling(field) => {
                    writeln!(f, "      {field}: {value}")?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a value of a subject that came or went says what it is for. Its settings are the defaults more often than
/// not; the JSON form has them all.
fn is_telling(field: &str) -> bool {
    ["matches", "backends", "protocol", "app", "service"].iter().any(|told| field.starts_with(told))
}
