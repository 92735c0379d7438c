//! Which folders to watch so that no replacement of a policy file goes unnoticed, and which names in them matter.
//!
//! A path is reached through folders and links, and each link may be moved: a ConfigMap swaps `..data`, a release
//! script swaps `current`. So the folder of every link on the way is watched, and the folder of what it points to.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Links that are followed; more are a loop.
const LINKS: usize = 40;

/// Where to look.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Folders to watch, not what is below them.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Names that matter.
    names: BTreeSet<PathBuf>,
    /// Folders in which every name matters.
    whole: BTreeSet<PathBuf>,
}

impl Places {
    /// The places of absolute paths, as they are now.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut places = Self::default();
        for path in paths {
            places.follow(path, LINKS);
            if !path.is_dir() {
                continue;
            }
            places.whole.insert(path.clone());
            places.folders.insert(path.clone());
            // Files that are links, as in a ConfigMap.
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.path().is_symlink()) {
                places.follow(&entry.path(), LINKS);
            }
        }
        places
    }

    /// Whether an event for this path concerns us.
    pub(super) fn concern(&self, path: &Path) -> bool {
        self.names.contains(path)
            || self.whole.contains(path)
            || path.parent().is_some_and(|folder| self.whole.contains(folder))
    }

    /// Adds a path with every link on the way to it.
    fn follow(&mut self, path: &Path, links: usize) {
        let Some(folder) = path.parent() else { return };
        self.names.insert(path.to_path_buf());
        self.folders.insert(folder.to_path_buf());
        if links == 0 {
            return;
        }
        // The link that is nearest to the root; what it points to is followed in turn, with the rest of the path.
        let on_the_way: Vec<&Path> = path.ancestors().collect();
        let Some(link) = on_the_way.into_iter().rev().find(|part| part.is_symlink()) else { return };
        let (Ok(target), Some(around)) = (fs::read_link(link), link.parent()) else { return };
        self.names.insert(link.to_path_buf());
        self.folders.insert(around.to_path_buf());
        let rest = path.strip_prefix(link).unwrap_or(Path::new(""));
        let target = around.join(target);
        let next = if rest.as_os_str().is_empty() { target } else { target.join(rest) };
        self.follow(&next, links - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_watched_through_its_folder_and_neighbours_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.yaml");
        fs::write(&file, "").unwrap();
        let places = Places::of(std::slice::from_ref(&file));
        assert!(places.folders.contains(folder.path()));
        assert!(places.concern(&file));
        assert!(!places.concern(&folder.path().join("other.log")));
    }

    #[test]
    fn everything_in_a_folder_matters_and_the_folder_itself() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::of(&[folder.path().to_path_buf()]);
        assert!(places.concern(&folder.path().join("new.yaml")));
        assert!(places.concern(folder.path()));
        assert!(places.folders.contains(folder.path().parent().unwrap()));
    }

    #[test]
    fn every_link_on_the_way_matters() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("releases/1")).unwrap();
        fs::write(at("releases/1/mesh.yaml"), "").unwrap();
        symlink("releases/1", at("current")).unwrap();
        symlink("current", at("policy")).unwrap();
        let places = Places::of(&[at("policy/mesh.yaml")]);
        for name in ["policy", "current", "releases/1/mesh.yaml"] {
            assert!(places.concern(&at(name)), "{name}: {places:?}");
        }
        for folder in ["", "releases/1"] {
            assert!(places.folders.iter().any(|known| *known == at(folder)), "{folder}: {places:?}");
        }
    }

    #[test]
    fn a_config_map_is_watched_at_its_data_link() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("..1")).unwrap();
        fs::write(at("..1/mesh.yaml"), "").unwrap();
        symlink("..1", at("..data")).unwrap();
        symlink("..data/mesh.yaml", at("mesh.yaml")).unwrap();
        for path in [at("mesh.yaml"), root.path().to_path_buf()] {
            let places = Places::of(&[path]);
            assert!(places.concern(&at("..data")) && places.folders.contains(root.path()), "{places:?}");
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(Places::of(&[root.path().join("a")]).concern(&root.path().join("b")));
    }
}
