//! Where the cgroup hierarchies are: the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What tells of the mounts that this process can see.
pub const MOUNTS: &str = "/proc/self/mountinfo";

/// The cgroup hierarchies that this process can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The cgroup2 hierarchy: the only one (pure) or one beside those of version 1 (hybrid).
    pub unified: Option<Mount>,
    /// Hierarchies of version 1, by controller (`cpu`, `memory`, …).
    pub v1: BTreeMap<String, Mount>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Folder that it is mounted at.
    pub point: PathBuf,
    /// The cgroup that is seen there: `/`, unless a container sees a part only.
    pub root: String,
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo`.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(MOUNTS)?))
    }

    /// Finds the hierarchies in the text of a mountinfo file. What is mounted over is not seen; of several mounts of
    /// one hierarchy the one that shows it from its root is taken, else the first.
    #[must_use]
    pub fn parse(mountinfo: &str) -> Self {
        let mut visible: Vec<Line> = Vec::new();
        for line in mountinfo.lines().filter_map(Line::parse) {
            visible.retain(|earlier| earlier.mount.point != line.mount.point);
            visible.push(line);
        }
        let mut found = Self::default();
        for Line {
            mount,
            filesystem,
            options,
        } in visible
        {
            match filesystem.as_str() {
                "cgroup2" => prefer_whole(&mut found.unified, &mount),
                "cgroup" => {
                    for controller in options
                        .split(',')
                        .filter(|option| !matches!(*option, "rw" | "ro" | "xattr"))
                    {
                        let mut known = found.v1.remove(controller);
                        prefer_whole(&mut known, &mount);
                        found
                            .v1
                            .extend(known.map(|mount| (controller.to_owned(), mount)));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The folders of all hierarchies, each once.
    #[must_use]
    pub fn points(&self) -> Vec<&Path> {
        let unified = self.unified.iter().map(|mount| mount.point.as_path());
        unified.chain(self.v1_points()).collect()
    }

    /// The folders of all hierarchies of version 1, each once.
    #[must_use]
    pub fn v1_points(&self) -> Vec<&Path> {
        points_of(&self.v1)
    }
}

/// The folders of hierarchies of version 1, each once: controllers may share one.
#[must_use]
pub fn points_of(v1: &BTreeMap<String, Mount>) -> Vec<&Path> {
    let mut points: Vec<&Path> = v1.values().map(|mount| mount.point.as_path()).collect();
    points.sort_unstable();
    points.dedup();
    points
}

impl Mount {
    /// The folder of a cgroup as `/proc/<pid>/cgroup` names it; none if it lies outside of what is mounted.
    #[must_use]
    pub fn folder(&self, cgroup: &str) -> Option<PathBuf> {
        if cgroup.starts_with("/..") {
            return None;
        }
        let root = self.root.trim_end_matches('/');
        let below = cgroup.strip_prefix(root)?;
        if !(below.is_empty() || below.starts_with('/')) {
            return None;
        }
        let below = below.trim_start_matches('/');
        Some(if below.is_empty() {
            self.point.clone()
        } else {
            self.point.join(below)
        })
    }

    /// The name of a cgroup below the mount, beginning with `/`.
    #[must_use]
    pub fn name(&self, folder: &Path) -> String {
        let below = folder.strip_prefix(&self.point).unwrap_or(folder);
        format!("/{}", below.display())
    }
}

/// The cgroup2 path of this process in the text of `/proc/self/cgroup`.
#[must_use]
pub fn unified_path(proc_self_cgroup: &str) -> Option<&str> {
    proc_self_cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .filter(|path| !path.ends_with(" (deleted)"))
}

fn prefer_whole(known: &mut Option<Mount>, candidate: &Mount) {
    if known
        .as_ref()
        .is_none_or(|known| known.root != "/" && candidate.root == "/")
    {
        *known = Some(candidate.clone());
    }
}

struct Line {
    mount: Mount,
    filesystem: String,
    options: String,
}

impl Line {
    /// `36 35 98:0 /root /point rw,noatime [optional fields] - type source super-options` (`proc_pid_mountinfo(5)`).
    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, point) = (front.next()?, front.next()?);
        let mut back = back.split(' ');
        let (filesystem, _source, options) = (back.next()?, back.next()?, back.next()?);
        Some(Self {
            mount: Mount {
                point: PathBuf::from(unescape(point)),
                root: unescape(root),
            },
            filesystem: filesystem.to_owned(),
            options: options.to_owned(),
        })
    }
}

/// Blank, tab, line break and backslash are written as `\ooo`.
fn unescape(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(field.to_owned(), |text, (escape, plain)| {
        text.replace(escape, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str, root: &str) -> Mount {
        Mount {
            point: PathBuf::from(point),
            root: root.to_owned(),
        }
    }

    #[test]
    fn hybrid_layout_has_cgroup2_beside_the_controllers() {
        let found = Hierarchies::parse(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(found.unified, Some(mount("/sys/fs/cgroup/unified", "/")));
        assert_eq!(
            found.v1.get("cpu"),
            Some(&mount("/sys/fs/cgroup/cpu,cpuacct", "/"))
        );
        assert_eq!(found.v1.get("cpuacct"), found.v1.get("cpu"));
        assert_eq!(
            found.v1.get("memory"),
            Some(&mount("/sys/fs/cgroup/memory", "/"))
        );
        assert_eq!(found.v1.get("xattr"), None);
        assert_eq!(found.v1_points().len(), 3);
        assert_eq!(found.points().len(), 4);
    }

    #[test]
    fn pure_layout_has_cgroup2_only() {
        let found = Hierarchies::parse(
            "22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n\
             30 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
        );
        assert_eq!(found.unified, Some(mount("/sys/fs/cgroup", "/")));
        assert!(found.v1.is_empty());
    }

    #[test]
    fn container_without_cgroup_namespace_sees_its_part_only() {
        let found = Hierarchies::parse(
            "1101 1098 0:26 /docker/abc /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw\n",
        );
        let unified = found.unified.expect("there is one");
        assert_eq!(unified.root, "/docker/abc");
        assert_eq!(
            unified.folder("/docker/abc/web"),
            Some(PathBuf::from("/sys/fs/cgroup/web"))
        );
        assert_eq!(
            unified.folder("/docker/abc"),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(unified.folder("/docker/abcdef"), None);
        assert_eq!(unified.folder("/../x"), None);
    }

    #[test]
    fn mount_of_the_whole_hierarchy_wins_and_covered_mounts_are_not_seen() {
        let found = Hierarchies::parse(
            "50 1 0:26 /docker/abc /inner rw - cgroup2 cgroup rw\n\
             51 1 0:26 / /with\\040blank rw - cgroup2 cgroup rw\n\
             52 1 0:29 / /covered rw - cgroup cgroup rw,cpu\n\
             53 1 0:40 / /covered rw - tmpfs tmpfs rw\n",
        );
        assert_eq!(found.unified, Some(mount("/with blank", "/")));
        assert!(found.v1.is_empty());
    }

    #[test]
    fn own_cgroup_is_the_line_of_hierarchy_0() {
        assert_eq!(
            unified_path("4:memory:/x\n0::/user.slice/a:b\n"),
            Some("/user.slice/a:b")
        );
        assert_eq!(unified_path("4:memory:/x\n"), None);
        assert_eq!(unified_path("0::/gone (deleted)\n"), None);
    }
}
