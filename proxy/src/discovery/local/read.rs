//! Which files belong to a policy, in which order, and their bytes. What the bytes mean is `outrigger_config`'s to say.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
};

use outrigger_config::SourceFile;

/// Bytes of one policy file. 10,000 routes are some 4 MiB; a log file named by mistake is more.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The ends of a policy file's name in a folder. A file that is named itself may be called anything.
const ENDS: [&str; 3] = ["yaml", "yml", "json"];

/// Why policy files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not let us.
    #[error("{}: {source}; {}", path.display(), remedy(source))]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no policy, or far too much of one.
    #[error("{}: {size} bytes are more than a policy file may have ({FILE_BYTES})", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The folder has no policy file.
    #[error("{}: the folder holds no policy file; policy files end in .yaml, .yml or .json", .0.display())]
    Empty(PathBuf),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path, or put the file back",
        io::ErrorKind::PermissionDenied => "let this user read it",
        _ => "check the file",
    }
}

/// Reads policy files, in the order given; of a folder the policy files directly in it, by name. Names that begin with
/// a dot are left out: editors' swap files, and the `..data` links of a mounted ConfigMap.
///
/// # Errors
/// The first path that cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        if fs::metadata(path).map_err(about(path))?.is_dir() {
            let listed = list(path)?;
            if listed.is_empty() {
                return Err(ReadError::Empty(path.clone()));
            }
            for file in listed {
                files.push(read_file(&file)?);
            }
        } else {
            files.push(read_file(path)?);
        }
    }
    Ok(files)
}

fn about(path: &Path) -> impl Fn(io::Error) -> ReadError {
    let path = path.to_path_buf();
    move |source| ReadError::Unreadable { path: path.clone(), source }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(about(folder))? {
        let path = entry.map_err(about(folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let policy = path.extension().is_some_and(|end| ENDS.iter().any(|known| end == *known));
        // A link that points nowhere is kept: reading it says so, and says which.
        if policy && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<SourceFile, ReadError> {
    let size = fs::metadata(path).map_err(about(path))?.len();
    if size > FILE_BYTES {
        return Err(ReadError::TooLarge { path: path.to_path_buf(), size });
    }
    let text = fs::read(path).map_err(about(path))?;
    Ok(SourceFile { path: path.display().to_string(), text })
}

/// A number that differs when names or contents differ. Not for anything that an attacker chooses.
pub(super) fn signature(read: &Result<Vec<SourceFile>, ReadError>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match read {
        Ok(files) => files.iter().for_each(|file| (&file.path, &file.text).hash(&mut hasher)),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish()
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
    fn says_what_is_wrong_and_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: PathBuf| read(&[path]).unwrap_err().to_string();
        assert!(error(folder.path().to_path_buf()).ends_with(".yaml, .yml or .json"));
        assert!(error(folder.path().join("no.yaml")).ends_with("check the path, or put the file back"));
        std::os::unix::fs::symlink("nowhere", folder.path().join("link.yaml")).unwrap();
        assert!(error(folder.path().to_path_buf()).contains("link.yaml: No such file"));
        let huge = fs::File::create(folder.path().join("huge.log")).unwrap();
        huge.set_len(FILE_BYTES + 1).unwrap();
        assert!(error(folder.path().join("huge.log")).contains("more than a policy file may have"));
    }

    #[test]
    fn signatures_tell_contents_and_names_apart() {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let of = |files: Vec<SourceFile>| signature(&Ok(files));
        assert_eq!(of(vec![file("a", "x")]), of(vec![file("a", "x")]));
        assert_ne!(of(vec![file("a", "x")]), of(vec![file("a", "y")]));
        assert_ne!(of(vec![file("a", "x")]), of(vec![file("b", "x")]));
        assert_ne!(of(vec![file("a", "xb")]), of(vec![file("ax", "b")]));
    }
}
