//! The page of findings: each code with what it means and one golden file that has it.

use std::fs;

use outrigger_config::{Checked, Code, SourceFile, check};

use super::root;

/// What only a proxy finds, when it takes a policy up.
const OF_PROXIES: [Code; 1] = [Code::NamedFile];

pub(super) fn page() -> String {
    let files: Vec<(SourceFile, Checked)> =
        goldens().into_iter().map(|file| (file.clone(), check(vec![file]))).collect();
    let mut page = "# Findings\n\nWhat `outrigger check` says of policy files, by code. An error keeps the policy from being used; with a \
        warning it is used, and probably does not do what its author wanted; a note tells what was left out on purpose. \
        On the terminal: `outrigger reference OR145`.\n"
        .to_owned();
    for code in Code::ALL {
        page.push_str(&format!("\n## {} {}\n", code.as_str(), code.meaning().trim_end_matches('.')));
        match example(*code, &files) {
            Some(example) => {
                page.push_str(&format!("\nLevel: {}. {}\n", levels(*code, &files), code.advice()));
                page.push_str(&format!("\n```text\n{}\n```\n", example.trim_end()));
            }
            None if OF_PROXIES.contains(code) => {
                page.push_str(&format!("\nLevel: {}. {}\n", code.severity().as_str(), code.advice()));
            }
            None => panic!("{} has no golden file in config/tests/findings", code.as_str()),
        }
    }
    page
}

/// Every golden file of findings.
fn goldens() -> Vec<SourceFile> {
    let folder = root().join("config/tests/findings");
    let mut files: Vec<SourceFile> = fs::read_dir(folder)
        .expect("the golden files are there")
        .map(|entry| entry.expect("a golden file").path())
        .map(|path| SourceFile {
            text: fs::read(&path).expect("a golden file is readable"),
            path: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The levels at which the code occurs, the worst first.
fn levels(code: Code, files: &[(SourceFile, Checked)]) -> String {
    let all = files.iter().flat_map(|(_, checked)| &checked.findings);
    let mut levels: Vec<_> =
        all.filter(|finding| finding.kind() == code).map(|finding| finding.severity()).collect();
    levels.sort();
    levels.dedup();
    levels.iter().map(|level| level.as_str()).collect::<Vec<_>>().join(" or ")
}

/// The finding as it is shown, from the golden file that has least beside it.
fn example(code: Code, files: &[(SourceFile, Checked)]) -> Option<String> {
    let having = files.iter().filter(|(_, checked)| checked.findings.iter().any(|one| one.kind() == code));
    let (file, _) = having.min_by_key(|(_, checked)| checked.findings.len())?;
    let mut checked = check(vec![file.clone()]);
    checked.findings.retain(|finding| finding.kind() == code);
    checked.findings.truncate(1);
    Some(checked.render_text(false))
}
