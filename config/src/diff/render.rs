//! Differences as a person reads them.

use std::fmt;

use super::{Change, ChangeKind, FieldChange, SidecarDiff};

impl fmt::Display for SidecarDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return writeln!(f, "Sidecar {}: nothing changes", self.sidecar);
        }
        writeln!(f, "Sidecar {}", self.sidecar)?;
        self.changes.iter().try_for_each(|change| change.fmt(f))
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
