//! One bad object keeps no other from the mesh: what has an error is left out, document by document, and reported.
//!
//! Documents are told apart by their `---` lines alone, so that one that is no YAML at all is left out like any other; lines
//! keep their numbers. An object that refers to one that was left out may have an error of its own then, and goes too.

use outrigger_config::{Checked, Finding, Policy, Severity, SourceFile, check};

/// What is taken, and what is not.
#[derive(Debug)]
pub(crate) struct Sound {
    /// Without the documents that have errors.
    pub(crate) policy: Policy,
    /// The documents that were left out, with what is wrong.
    pub(crate) left_out: Vec<LeftOut>,
    /// Warnings of what is taken.
    pub(crate) warnings: Vec<String>,
}

/// A document that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Its file.
    pub(crate) file: String,
    /// Its first line.
    pub(crate) line: u32,
    /// Its errors, each with place and field.
    pub(crate) errors: Vec<String>,
}

/// Takes what is sound of policy files.
pub(crate) fn take(mut files: Vec<SourceFile>) -> Sound {
    let mut left_out = Vec::new();
    loop {
        let Checked { policy, findings, .. } = check(files.clone());
        if let Some(policy) = policy {
            let warnings = findings.iter().map(ToString::to_string).collect();
            return Sound { policy, left_out, warnings };
        }
        let before = left_out.len();
        for error in findings.iter().filter(|finding| finding.severity() == Severity::Error) {
            leave_out(&mut files, error, &mut left_out);
        }
        files.retain(|file| !file.text.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b'-'));
        if left_out.len() == before {
            // Errors whose place is in no file: nothing can be told apart, so nothing is taken.
            let errors = findings.iter().map(ToString::to_string).collect();
            left_out.push(LeftOut { file: String::new(), line: 0, errors });
            files.clear();
        }
    }
}

/// Empties the document that an error stands in; all of the file where it stands in none.
fn leave_out(files: &mut [SourceFile], error: &Finding, left_out: &mut Vec<LeftOut>) {
    let Some(file) = files.iter_mut().find(|file| file.path == error.file()) else { return };
    let mut documents = documents(&file.text);
    let holds = |document: &Document| (document.first..=document.last).contains(&error.line());
    let Document { first, start, end, .. } = documents.find(holds).unwrap_or(Document {
        first: 1,
        last: u32::MAX,
        start: 0,
        end: file.text.len(),
    });
    for byte in file.text[start..end].iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
    let known = left_out.iter_mut().find(|one| one.file == file.path && one.line == first);
    match known {
        Some(known) => known.errors.push(error.to_string()),
        None => {
            left_out.push(LeftOut { file: file.path.clone(), line: first, errors: vec![error.to_string()] })
        }
    }
}

/// One document of a file: its lines from 1, and its bytes.
struct Document {
    first: u32,
    last: u32,
    start: usize,
    end: usize,
}

/// The documents of a file. A line that begins with `---` begins one, whatever it stands in (YAML 1.2, 9.1.2).
fn documents(text: &[u8]) -> std::vec::IntoIter<Document> {
    let mut all = vec![Document { first: 1, last: 0, start: 0, end: 0 }];
    let mut at = 0;
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let ends = line.get(3).is_none_or(u8::is_ascii_whitespace);
        if line.starts_with(b"---") && ends {
            // What follows on the line belongs to the document.
            all.push(Document { first: number, last: number, start: at + 3, end: at + line.len() });
        } else if let Some(document) = all.last_mut() {
            (document.last, document.end) = (number, at + line.len());
        }
        at += line.len();
    }
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tests::{POLICY, files};

    fn left_out(texts: &[(&str, &str)]) -> (Vec<(String, u32)>, usize) {
        let sound = take(files(texts));
        let objects = sound.policy.counts().into_iter().map(|(_, count)| count).sum();
        (sound.left_out.into_iter().map(|one| (one.file, one.line)).collect(), objects)
    }

    #[test]
    fn the_others_are_taken() {
        assert_eq!(left_out(&[("a.yaml", POLICY)]), (vec![], 5));
        let bad = POLICY.replace("ports: [{port: 80}], endpoints", "ports: [{port: 80000}], endpoints");
        assert_eq!(left_out(&[("a.yaml", &bad)]), (vec![("a.yaml".into(), 16)], 4));
        let broken =
            POLICY.replace("name: reviews, namespace: shop}\nspec: {ports", "name: reviews\nspec: {ports");
        let (out, objects) = left_out(&[("a.yaml", &broken), ("b.yaml", "kind: [")]);
        assert!(out.contains(&("a.yaml".into(), 16)) && out.contains(&("b.yaml".into(), 1)), "{out:?}");
        assert_eq!(objects, 4);
    }

    #[test]
    fn files_that_are_no_text_and_none_at_all() {
        let mut all = files(&[("a.yaml", POLICY)]);
        all.push(SourceFile { path: "b.yaml".into(), text: vec![0xff, 0xfe, b'x'] });
        let sound = take(all);
        assert_eq!((sound.left_out.len(), sound.left_out[0].file.as_str()), (1, "b.yaml"));
        assert_eq!(sound.policy.sidecars().len(), 3);
        assert!(take(Vec::new()).policy.sidecars().is_empty());
    }

    #[test]
    fn places_of_what_is_taken_stay() {
        let bad = "kind: [\n---".to_owned() + POLICY;
        let first = |text: &str| {
            let all = take(files(&[("a.yaml", text)])).policy.compile_namespace(&"shop".into());
            (all[0].workload.name.to_string(), all[0].workload.origin.line)
        };
        assert_eq!((first(POLICY), first(&bad)), (("shop/cart".into(), 4), ("shop/cart".into(), 5)));
    }
}
