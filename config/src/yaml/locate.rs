//! Finds the field path of a place: `spec.rules[0].matches[1].path.value`.
//!
//! Paths are wanted only for findings, so nothing keeps them while a file is converted; they are read off the tree
//! when a finding is made. A copy made by an alias has the place, and so the path, of what it copies.

use std::fmt::Write;

use super::{Node, Span, Value};

/// The path of the deepest field of `root` that holds the place; empty for the root itself.
pub(crate) fn field_path(root: &Node, place: &Span) -> String {
    let mut path = String::new();
    let mut node = root;
    loop {
        // A block mapping begins where its first key does; the whole span tells the two apart. A list that is not
        // indented can have the very span of its only item; then the item is meant.
        let is_item =
            matches!(&node.value, Value::Seq(items) if items.iter().any(|item| item.span == *place));
        if node.span == *place && !is_item {
            return path;
        }
        match &node.value {
            Value::Scalar { .. } => return path,
            Value::Seq(items) => {
                let Some((index, item)) = items.iter().enumerate().find(|(_, item)| item.span.holds(place))
                else {
                    return path;
                };
                let _ = write!(path, "[{index}]");
                node = item;
            }
            Value::Map(entries) => {
                let held =
                    entries.iter().find(|entry| entry.key_span.holds(place) || entry.value.span.holds(place));
                let Some(entry) = held else { return path };
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&entry.key);
                if entry.key_span.holds(place) {
                    return path;
                }
                node = &entry.value;
            }
        }
    }
}

/// The path with its indices left out: `spec.rules[].matches[].path.value`, which names the field of a schema.
pub(crate) fn pattern_of(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ if inside => continue,
            _ => {}
        }
        pattern.push(c);
    }
    pattern
}
