//! What a change of policy means for traffic: two policies in, the differences of what each Sidecar is told out.
//!
//! It compares resources, never texts: moving an object to another file, or writing down a default, is no difference,
//! and one line of `Mesh.spec.defaults` is as many as the rules that it reaches. [`facts`] lays resources out as
//! subjects with named values; nothing here knows a field by name, so none can be forgotten.

mod facts;
mod render;

use std::collections::BTreeMap;

use crate::{
    CompileError, Policy,
    model::{ObjectName, Origin},
};
use facts::{Fact, Facts};

/// The differences for one Sidecar.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct SidecarDiff {
    /// The Sidecar.
    pub sidecar: ObjectName,
    /// By subject; empty: its traffic is treated as before.
    pub changes: Vec<Change>,
}

/// One subject that differs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Change {
    /// What it is: `rule shop/reviews/canary of shop/reviews:80`, `endpoint 10.0.0.1:80 of shop/reviews:80`, `mesh`.
    pub subject: String,
    /// Whether it came, went or differs.
    pub kind: ChangeKind,
    /// Where it stands in the new policy, or stood in the old one.
    pub origin: Option<Origin>,
    /// What differs; of a subject that came or went, all that is known of it.
    pub fields: Vec<FieldChange>,
}

/// What became of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the new policy has it.
    Added,
    /// Only the old policy has it.
    Removed,
    /// Both have it, with other values.
    Changed,
}

/// One value that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldChange {
    /// The field as the model names it: `settings.timeouts.request`.
    pub field: String,
    /// The value before; `None`: there was none.
    pub old: Option<String>,
    /// The value after; `None`: there is none.
    pub new: Option<String>,
}

impl Policy {
    /// What changes for traffic when `self` is replaced by `new`: for the Sidecar that is named, or for every Sidecar
    /// of either. A Sidecar that only one of them has is one change.
    ///
    /// # Errors
    /// When neither has a Sidecar, or neither has the one that is named.
    pub fn diff(&self, new: &Self, sidecar: Option<&ObjectName>) -> Result<Vec<SidecarDiff>, CompileError> {
        let (before, after) = (self.sidecars(), new.sidecars());
        let mut names: Vec<_> = before.iter().chain(&after).cloned().collect();
        names.sort();
        names.dedup();
        if let Some(name) = sidecar {
            if !names.contains(name) {
                new.compile(Some(name))?;
            }
            names.retain(|one| one == name);
        }
        if names.is_empty() {
            return Err(CompileError::NoSidecar);
        }
        names.into_iter().map(|name| self.diff_of(new, name)).collect()
    }

    fn diff_of(&self, new: &Self, sidecar: ObjectName) -> Result<SidecarDiff, CompileError> {
        let facts = |policy: &Self| match policy.sidecars().contains(&sidecar) {
            true => policy.compile(Some(&sidecar)).map(|resources| Some(Facts::of(&resources))),
            false => Ok(None),
        };
        let changes = match (facts(self)?, facts(new)?) {
            (Some(old), Some(new)) => compare(old, new),
            (old, new) => whole(old, new),
        };
        Ok(SidecarDiff { sidecar, changes })
    }
}

/// A Sidecar that came or went: one change, since all else follows from it.
fn whole(old: Option<Facts>, new: Option<Facts>) -> Vec<Change> {
    let (kind, facts) = match (old, new) {
        (None, Some(new)) => (ChangeKind::Added, new),
        (Some(old), _) => (ChangeKind::Removed, old),
        (None, None) => return Vec::new(),
    };
    let sidecar = facts.subjects.into_iter().filter(|(subject, _)| subject.starts_with("sidecar"));
    sidecar.map(|(subject, fact)| one_sided(subject, fact, kind)).collect()
}

fn compare(mut old: Facts, mut new: Facts) -> Vec<Change> {
    facts::keep_common_order(&mut old, &mut new);
    let mut changes = Vec::new();
    for (subject, fact) in new.subjects {
        match old.subjects.remove(&subject) {
            None => changes.push(one_sided(subject, fact, ChangeKind::Added)),
            Some(before) => {
                let fields = fields(before.values, fact.values);
                if !fields.is_empty() {
                    changes.push(Change { subject, kind: ChangeKind::Changed, origin: fact.origin, fields });
                }
            }
        }
    }
    let gone = old.subjects.into_iter();
    changes.extend(gone.map(|(subject, fact)| one_sided(subject, fact, ChangeKind::Removed)));
    changes.sort_by(|a, b| a.subject.cmp(&b.subject));
    changes
}

fn one_sided(subject: String, fact: Fact, kind: ChangeKind) -> Change {
    let fields = match kind {
        ChangeKind::Removed => fields(fact.values, BTreeMap::new()),
        _ => fields(BTreeMap::new(), fact.values),
    };
    Change { subject, kind, origin: fact.origin, fields }
}

fn fields(mut old: BTreeMap<String, String>, new: BTreeMap<String, String>) -> Vec<FieldChange> {
    let mut changed: Vec<_> = new
        .into_iter()
        .filter_map(|(field, value)| match old.remove(&field) {
            Some(before) if before == value => None,
            before => Some(FieldChange { field, old: before, new: Some(value) }),
        })
        .collect();
    changed.extend(old.into_iter().map(|(field, value)| FieldChange { field, old: Some(value), new: None }));
    changed.sort_by(|a, b| a.field.cmp(&b.field));
    changed
}

#[cfg(test)]
mod tests;
