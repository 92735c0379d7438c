//! Policy from files and folders: which files belong to it, in which order, and their bytes.
//!
//! It reads and nothing more: what the bytes mean is `outrigger_config::check`'s to say.

pub(crate) mod files;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use outrigger_config::SourceFile;

use crate::error::SourceError;

/// Bytes of one policy file. 10,000 routes are some 4 MiB; a log file named by mistake is more.
pub const FILE_LIMIT: u64 = 64 * 1024 * 1024;

/// The ends of a policy file's name in a folder. A file that is named itself may be called anything.
const ENDS: [&str; 3] = ["yaml", "yml", "json"];

/// The path that means standard input.
pub const STANDARD_INPUT: &str = "-";

/// Reads policy files, in the order given; of a folder the policy files directly in it, by name. Names that begin with
/// a dot are left out: editors' swap files, and the `..data` links of a mounted ConfigMap. [`STANDARD_INPUT`] is a file
/// too, which findings call `<stdin>`; a second one is empty.
///
/// # Errors
/// The first path that cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, SourceError> {
    let mut files = Vec::new();
    for path in paths {
        let about = |source| SourceError::of(path.clone(), source);
        if path.as_os_str() == STANDARD_INPUT {
            files.push(from(&mut io::stdin().lock(), path)?);
            continue;
        }
        if fs::metadata(path).map_err(about)?.is_dir() {
            let listed = list(path)?;
            if listed.is_empty() {
                return Err(SourceError::Empty(path.clone()));
            }
            files.extend(listed.iter().map(|file| read_file(file)).collect::<Result<Vec<_>, _>>()?);
        } else {
            files.push(read_file(path)?);
        }
    }
    Ok(files)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let about = |source| SourceError::of(folder.to_path_buf(), source);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(about)? {
        let path = entry.map_err(about)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let policy = path.extension().is_some_and(|end| ENDS.iter().any(|known| end == *known));
        if policy && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<SourceFile, SourceError> {
    let about = |source| SourceError::of(path.to_path_buf(), source);
    let size = fs::metadata(path).map_err(about)?.len();
    if size > FILE_LIMIT {
        return Err(SourceError::TooLarge { path: path.to_path_buf(), size, limit: FILE_LIMIT });
    }
    let text = fs::read(path).map_err(about)?;
    Ok(SourceFile { path: path.display().to_string(), text })
}

/// Reads what has no size to ask for.
fn from(input: &mut impl Read, path: &Path) -> Result<SourceFile, SourceError> {
    let mut text = Vec::new();
    let read = input.take(FILE_LIMIT + 1).read_to_end(&mut text);
    let size = read.map_err(|source| SourceError::of(path.to_path_buf(), source))? as u64;
    if size > FILE_LIMIT {
        return Err(SourceError::TooLarge { path: path.to_path_buf(), size, limit: FILE_LIMIT });
    }
    Ok(SourceFile { path: "<stdin>".to_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[SourceFile]) -> Vec<&str> {
        files.iter().filter_map(|file| file.path.rsplit('/').next()).collect()
    }

    #[test]
    fn reads_what_belongs_to_a_folder_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", "c.json", "notes.txt", ".swap.yaml"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("deeper.yaml")).unwrap();
        let files = read(&[folder.path().to_path_buf(), folder.path().join("notes.txt")]).unwrap();
        assert_eq!(names(&files), ["a.yaml", "b.yml", "c.json", "notes.txt"]);
        assert_eq!(files[0].text, b"a.yaml");
    }

    #[test]
    fn follows_the_links_of_a_mounted_config_map() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("..2026_01");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("mesh.yaml"), "x").unwrap();
        std::os::unix::fs::symlink(&data, folder.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/mesh.yaml", folder.path().join("mesh.yaml")).unwrap();
        assert_eq!(names(&read(&[folder.path().to_path_buf()]).unwrap()), ["mesh.yaml"]);
    }

    #[test]
    fn standard_input_is_a_file_with_the_same_limit() {
        let file = from(&mut &b"kind: x"[..], Path::new("-")).unwrap();
        assert_eq!((file.path.as_str(), file.text.as_slice()), ("<stdin>", &b"kind: x"[..]));
        let endless = from(&mut io::repeat(b' '), Path::new("-")).unwrap_err();
        assert!(matches!(endless, SourceError::TooLarge { .. }), "{endless}");
    }

    #[test]
    fn says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let empty = read(&[folder.path().to_path_buf()]).unwrap_err().to_string();
        assert!(empty.ends_with("policy files end in .yaml, .yml or .json"), "{empty}");
        let missing = read(&[folder.path().join("no.yaml")]).unwrap_err().to_string();
        assert!(missing.ends_with("no.yaml: no such file or folder; check the path after -f"), "{missing}");
    }
}
