//! Cgroups as the probes know them: by the kernel's id.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The kernel's id of a cgroup: the inode number of its folder (on 64-bit machines; kernfs, `kernfs_ino`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// Where the cgroup2 file system is mounted, by /proc/self/mountinfo; none if it is not.
#[must_use]
pub fn mount_point() -> Option<PathBuf> {
    cgroup2_in(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Finds the cgroup2 mount in the text of a mountinfo file (see proc(5)): the type stands behind ` - `, the mount
/// point is the fifth field.
fn cgroup2_in(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let path = mount.split(' ').nth(4)?;
        (kind.split(' ').next()? == "cgroup2").then(|| PathBuf::from(unescape(path)))
    })
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

/// All cgroups below a folder, itself included, by id; with their paths below `mount`. What vanishes meanwhile is left
/// out.
#[must_use]
pub fn below(mount: &Path, folder: &Path) -> HashMap<CgroupId, String> {
    let mut found = HashMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let Ok(id) = id(&folder) else { continue };
        let path = folder.strip_prefix(mount).unwrap_or(&folder);
        found.insert(id, format!("/{}", path.display()));
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        open.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found
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
    }
}
