//! Reads the bytes of one policy file into trees of spanned nodes, one per document.
//!
//! serde stops at the first error and forgets positions, so a file is read once into our own tree, with the place of
//! every key and value; all later findings point into it. This layer knows YAML and its budgets, not policy: it must
//! not look at what keys mean. A file that breaks YAML's grammar or a budget is one fault; duplicate keys and tags
//! are faults of their own and reading goes on.

mod build;
mod locate;
mod node;
mod scalar;

pub(crate) use locate::{field_path, pattern_of};
pub(crate) use node::{Entry, Node, Span, Value};
pub(crate) use scalar::ScalarKind;

use crate::diagnostic::{Code, Fault, Severity};

/// What one file may cost. Every limit is a fault that names the limit.
pub(crate) mod budget {
    /// Bytes of one file.
    pub(crate) const BYTES: usize = 32 * 1024 * 1024;
    /// Nesting of lists and mappings.
    pub(crate) const DEPTH: usize = 64;
    /// Nodes that a person wrote in one file.
    pub(crate) const NODES: usize = 4_000_000;
    /// Nodes that anchors and aliases copy in one file: enough for shared blocks, far below a bomb.
    pub(crate) const ALIASED: usize = 100_000;
}

/// The documents of one file, without the empty ones.
pub(crate) struct Documents {
    /// Roots, in order. Empty where the file could not be read.
    pub(crate) roots: Vec<Node>,
    /// Whether the whole file was read; otherwise objects of it are unknown.
    pub(crate) complete: bool,
}

/// The text of a file as UTF-8, without its byte-order mark, or the fault that makes it unreadable.
pub(crate) fn decode(file: u32, bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > budget::BYTES {
        let message = format!("the file has {} bytes, the limit is {}", bytes.len(), budget::BYTES);
        return Err(Fault::error(Code::Budget, Span::start_of(file), message)
            .help("split the policy into several files"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Fault::error(Code::Encoding, Span::start_of(file), "the file is UTF-16, not UTF-8")
            .help("save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let valid = String::from_utf8_lossy(&bytes[..at]);
        let last_line = valid.rsplit('\n').next().unwrap_or_default();
        let span = Span {
            file,
            start: at as u32,
            end: at as u32 + 1,
            line: valid.matches('\n').count() as u32 + 1,
            column: last_line.chars().count() as u32 + 1,
        };
        let message = format!("byte 0x{:02x} is not valid UTF-8", bytes[at]);
        Fault::error(Code::Encoding, span, message).help("save the file as UTF-8")
    })
}

/// Reads all documents of one file. Faults are pushed; a file that does not parse leaves exactly one.
pub(crate) fn read(file: u32, text: &str, faults: &mut Vec<Fault>) -> Documents {
    let mut own = Vec::new();
    match build::documents(file, text, &mut own) {
        Ok(roots) => {
            faults.append(&mut own);
            if roots.is_empty() {
                let fault = Fault::error(Code::Empty, Span::start_of(file), "the file holds no object");
                faults.push(fault.help("delete the file, or write at least one object into it"));
            }
            Documents { complete: true, roots }
        }
        Err(fault) => {
            debug_assert_eq!(fault.severity, Severity::Error);
            faults.push(*fault);
            Documents { roots: Vec::new(), complete: false }
        }
    }
}

#[cfg(test)]
mod tests;
