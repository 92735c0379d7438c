//! Puts the measured table between its two markers in `benches/README.md`.

use std::fs;
use std::path::Path;

use anyhow::Context;

const BEGIN: &str = "<!-- e2e: written by benches/run --write -->\n";
const END: &str = "<!-- e2e: end -->";

pub(super) fn write(host: &str, table: &str) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let old = fs::read_to_string(&path)?;
    let new = replaced(&old, &format!("{host}\n\n{table}\n"))
        .with_context(|| format!("{} has lost its markers", path.display()))?;
    fs::write(&path, new)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn replaced(old: &str, table: &str) -> Option<String> {
    let from = old.find(BEGIN)? + BEGIN.len();
    let to = from + old[from..].find(END)?;
    Some(format!("{}{table}{}", &old[..from], &old[to..]))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, replaced};

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let old = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let new = replaced(&old, "new\n");
        assert_eq!(new, Some(format!("before\n{BEGIN}new\n{END}\nafter\n")));
        assert_eq!(replaced("no markers", "new"), None);
    }

    #[test]
    fn the_readme_has_the_markers() {
        let readme = include_str!("../../README.md");
        assert!(replaced(readme, "").is_some());
    }
}
