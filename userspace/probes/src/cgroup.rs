//! Cgroups as the probes know them: by the kernel's id.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// The kernel's id of a cgroup: the inode number of its folder (on 64-bit machines; kernfs, `kernfs_ino`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// Where the cgroup2 file system is mounted, by /proc/self/mountinfo; none if it is not.
#[must_use]
pub fn mount_point() -> Option<PathBuf> {
    cgroup2_in(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Finds the cgroup2 mount in the text of a mountinfo file (see proc(5)): the type stands behind ` - `, what of the file system is
/// mounted is the fourth field, the mount point the fifth. One that shows all of it comes before one that shows a part.
fn cgroup2_in(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        (kind.split(' ').next()? == "cgroup2").then(|| (root != "/", PathBuf::from(unescape(path))))
    });
    // Of equal ones the first.
    mounts
        .min_by_key(|(is_part, _)| *is_part)
        .map(|(_, path)| path)
}

/// The kernel writes blanks in paths as three octal digits.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
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
    fn the_cgroup2_mount_is_found_in_hybrid_and_pure_layouts() {
        let hybrid = "36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:5 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            cgroup2_in(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        let pure = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(cgroup2_in(pure), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(
            cgroup2_in("30 23 0:26 / /a\\040b rw - cgroup2 none rw\n"),
            Some(PathBuf::from("/a b"))
        );
        assert_eq!(cgroup2_in("30 23 0:26 / /sys rw - sysfs sysfs rw\n"), None);
        let part = "29 23 0:26 /pods /srv/pods rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            cgroup2_in(&format!("{part}{pure}")),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(cgroup2_in(part), Some(PathBuf::from("/srv/pods")));
    }

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
