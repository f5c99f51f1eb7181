//! Cgroups as the probes know them: by the kernel's id.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::mounts::Hierarchies;

/// The kernel's id of a cgroup: the inode number of its folder (on 64-bit machines; kernfs, `kernfs_ino`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// Where the cgroup2 file system is mounted; none if it is not.
#[must_use]
pub fn mount_point() -> Option<PathBuf> {
    Some(Hierarchies::read().ok()?.unified?.point)
}

/// The id of the cgroup whose folder this is.
///
/// # Errors
///
/// If the folder cannot be looked at.
pub fn id(folder: &Path) -> std::io::Result<CgroupId> {
    fs::metadata(folder).map(|metadata| CgroupId(metadata.ino()))
}

/// All cgroups below a folder, itself included, by id; with their paths below `mount`. What vanishes meanwhile, or may not be looked
/// at, is left out.
#[must_use]
pub fn below(mount: &Path, folder: &Path) -> HashMap<CgroupId, String> {
    walk(mount, folder).0
}

/// As [`below`], and whether all could be looked at: a cgroup that is not among them does not exist then.
pub(crate) fn walk(mount: &Path, folder: &Path) -> (HashMap<CgroupId, String>, bool) {
    let mut found = HashMap::new();
    let mut open = vec![folder.to_path_buf()];
    let mut is_whole = true;
    while let Some(folder) = open.pop() {
        let looked = id(&folder).and_then(|id| {
            let path = folder.strip_prefix(mount).unwrap_or(&folder);
            found.insert(id, format!("/{}", path.display()));
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                }
            }
            Ok(())
        });
        // A folder that vanishes meanwhile is no reason to doubt the others.
        is_whole &= match looked {
            Ok(()) => true,
            Err(error) => matches!(
                Errno::from_io_error(&error),
                Some(Errno::NOENT | Errno::NODEV)
            ),
        };
    }
    is_whole &= !found.is_empty();
    (found, is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_that_could_not_look_everywhere_says_so() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path();
        fs::create_dir(folder.join("child")).expect("a folder below it");
        let (found, is_whole) = walk(folder, folder);
        let mut paths: Vec<_> = found.into_values().collect();
        paths.sort();
        assert_eq!(
            (paths, is_whole),
            (vec!["/".to_owned(), "/child".to_owned()], true)
        );

        let nowhere = walk(folder, &folder.join("gone"));
        assert_eq!(nowhere, (HashMap::new(), false));
        let file = folder.join("file");
        fs::write(&file, "").expect("a file");
        assert!(!walk(folder, &file).1);
    }
}
