//! For how long CPU limits held tasks: of replicas and of anybody else, by whichever quota.
//!
//! Limits are kept in the hierarchy that has the `cpu` controller: cgroup2's own, or one of version 1 beside it, in which
//! the same tasks may be grouped otherwise. Groups of that hierarchy are read whole; which cgroup's tasks are in which of them
//! is found by the processes there. What is known of a group that came and went between two readings, or whose processes did,
//! is what groups above it tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, iter,
    ops::AddAssign,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use galileo_probes::{
    Throttled, cgroup as cgroups,
    mounts::{Hierarchies, Mount},
};

use super::{accounting, cgroup};

/// For how long CPU limits had held tasks when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Throttling {
    /// The groups of the hierarchy with the `cpu` controller, by their paths below its mount; none if it cannot be read.
    groups: Option<BTreeMap<String, Group>>,
    /// Whether that mount shows the hierarchy from its root: else quotas above it are not seen.
    is_whole: bool,
    /// Which cgroups have tasks in which groups.
    members: BTreeSet<Member>,
    /// The cgroups that there are.
    cgroups: BTreeSet<String>,
    /// Whether the controller is in cgroup2's hierarchy.
    is_unified: bool,
}

/// A group as the kernel tells of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Group {
    /// The inode number of its folder: another group may have its path later.
    id: u64,
    /// For how long its own quota held it; none where it can have none.
    own_ns: Option<u64>,
    /// For how long any quota did, its own or that of a group above it; none before Linux 6.6.
    any_ns: Option<u64>,
}

/// That a cgroup has tasks in a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    cgroup: String,
    group: String,
}

impl Throttling {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let Some((hierarchies, unified)) = Hierarchies::read()
            .ok()
            .and_then(|all| Some((all.clone(), all.unified?)))
        else {
            return Self::default();
        };
        let cgroups = cgroups::below(&unified.point, &unified.point)
            .into_values()
            .collect();
        match hierarchies.v1.get("cpu") {
            Some(mount) => {
                let groups = groups(mount);
                // Without limits nobody needs to know who is where, which is the longest part.
                let members = if groups.values().any(|group| group.told_ns() > 0) {
                    members_by_processes(&unified, mount)
                } else {
                    BTreeSet::new()
                };
                Self {
                    groups: Some(groups),
                    is_whole: mount.point.join("release_agent").exists(),
                    members,
                    cgroups,
                    is_unified: false,
                }
            }
            None if has_cpu_controller(&unified) => {
                let groups = groups(&unified);
                let members = members_by_folders(&unified, &groups);
                Self {
                    groups: Some(groups),
                    // The root has no type.
                    is_whole: !unified.point.join("cgroup.type").exists(),
                    members,
                    cgroups,
                    is_unified: true,
                }
            }
            // The kernel may have the controller where it cannot be seen from here.
            None => Self {
                cgroups,
                ..Self::default()
            },
        }
    }

    /// What limits held from an earlier reading to this one.
    pub(crate) fn since(&self, before: &Self) -> Held {
        // Without both readings nothing is known of what lies between.
        let both = self.groups.as_ref().zip(before.groups.as_ref());
        let groups = both.map(|(groups, earlier)| {
            // A group that was not there then has begun since.
            let held = |(path, group): (&String, &Group)| {
                let earlier = earlier.get(path).filter(|then| then.id == group.id);
                let held = earlier.map_or(*group, |earlier| group.since(*earlier));
                (path.clone(), held)
            };
            groups.iter().map(held).collect()
        });
        Held::new(groups, self.members.union(&before.members), self)
    }
}

/// For how long CPU limits held tasks between two readings.
#[derive(Debug)]
pub(crate) struct Held {
    /// What the kernel tells of each group.
    groups: Option<BTreeMap<String, Group>>,
    /// In which of them cgroups were at either reading.
    groups_of: BTreeMap<String, BTreeSet<String>>,
    /// How many pairs of a cgroup and a group there are in a group and below it.
    pairs_below: BTreeMap<String, usize>,
    /// Whether no limit held anybody, as far as it is told.
    nothing: bool,
    /// Whether there cannot be quotas above what is told of.
    is_whole: bool,
    /// Whether the controller is in cgroup2's hierarchy.
    is_unified: bool,
    /// The cgroups that there are.
    cgroups: BTreeSet<String>,
}

impl Held {
    fn new<'a>(
        groups: Option<BTreeMap<String, Group>>,
        members: impl Iterator<Item = &'a Member>,
        now: &Throttling,
    ) -> Self {
        let mut groups_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut pairs_below = BTreeMap::new();
        let is_there = |group| groups.as_ref().is_some_and(|all| all.contains_key(group));
        for Member { cgroup, group } in members.filter(|member| is_there(&member.group)) {
            let of = groups_of.entry(cgroup.clone()).or_default();
            of.insert(group.clone());
            for path in upwards(group) {
                *pairs_below.entry(path.to_owned()).or_default() += 1;
            }
        }
        let nothing = groups
            .iter()
            .flatten()
            .all(|(_, group)| group.told_ns() == 0);
        Self {
            groups,
            groups_of,
            pairs_below,
            nothing,
            is_whole: now.is_whole,
            is_unified: now.is_unified,
            cgroups: now.cgroups.clone(),
        }
    }

    /// The tasks of these cgroups, given by their paths.
    pub(crate) fn of(&self, cgroups: &BTreeSet<String>) -> Throttled {
        let unknown = Throttled {
            incomplete: true,
            ..Throttled::default()
        };
        let Some(groups) = &self.groups else {
            return unknown;
        };
        // Of what is gone nobody tells any more whether it had a limit.
        if cgroups.is_disjoint(&self.cgroups) {
            return unknown;
        }
        if self.nothing && self.is_whole {
            return Throttled::default();
        }
        let ours = self.groups_with(groups, cgroups);
        let is_seen = self.nothing || !ours.is_empty();
        let above_is_seen = self.is_whole || ours.keys().all(|path| groups[*path].any_ns.is_some());
        Throttled {
            incomplete: !is_seen || !above_is_seen,
            ..self.sum_up(groups, &ours)
        }
    }

    /// The groups that these cgroups were in, of those that there are. A cgroup whose processes have ended is taken to have been in the
    /// group of its path: Galileo and systemd give a cgroup's twin the same.
    fn groups_with<'a>(
        &'a self,
        groups: &BTreeMap<String, Group>,
        cgroups: &'a BTreeSet<String>,
    ) -> BTreeMap<&'a str, Ours> {
        let mut ours: BTreeMap<&str, Ours> = BTreeMap::new();
        for cgroup in cgroups {
            let known = self.groups_of.get(cgroup);
            for group in known.into_iter().flatten() {
                let at = ours.entry(group).or_default();
                at.all += 1;
                at.known += 1;
            }
            let twin = if self.is_unified {
                nearest(groups, cgroup)
            } else {
                cgroup
            };
            // The roots are no twins: what nobody put into a cgroup may be in any group.
            let is_twin = self.is_unified || twin != "/";
            if is_twin
                && groups.contains_key(twin)
                && known.is_none_or(|known| !known.contains(twin))
            {
                ours.entry(twin).or_default().all += 1;
            }
        }
        ours
    }

    /// From the leaves to the root: of groups within one another the longest time, of those beside one another the sum.
    fn sum_up(&self, groups: &BTreeMap<String, Group>, ours: &BTreeMap<&str, Ours>) -> Throttled {
        let mut below: BTreeMap<&str, Below> = BTreeMap::new();
        for path in ours.keys().flat_map(|path| upwards(path)) {
            below.entry(path).or_default();
        }
        let all = ours.values().map(|ours| ours.all).sum();
        let mut in_part = false;
        let mut whole = Below::default();
        // A group's path comes before those of the groups below it.
        while let Some((path, mut at)) = below.pop_last() {
            let direct = ours.get(path).copied();
            at.ours += direct.unwrap_or_default();
            let has_others = self.pairs_below.get(path).copied().unwrap_or(0) > at.ours.known;
            let Group { own_ns, any_ns, .. } = groups.get(path).copied().unwrap_or_default();
            let told_ns = if has_others {
                // What groups above hold, those below tell themselves where the kernel tells it.
                match any_ns {
                    Some(any_ns) if direct.is_some() => any_ns,
                    Some(_) => 0,
                    None => own_ns.unwrap_or(0),
                }
            } else {
                let told_ns = any_ns.or(own_ns).unwrap_or(0);
                at.alone_ns = at.alone_ns.max(told_ns);
                told_ns
            };
            at.shared_ns = at.shared_ns.max(told_ns).max(at.alone_ns);
            in_part |= told_ns > 0 && at.ours.all < all;
            if path == "/" {
                whole = at;
            } else {
                let outer = below.entry(parent(path)).or_default();
                outer.ours += at.ours;
                outer.alone_ns += at.alone_ns;
                outer.shared_ns += at.shared_ns;
            }
        }
        Throttled {
            alone_ns: whole.alone_ns,
            shared_ns: whole.shared_ns,
            in_part,
            incomplete: false,
        }
    }
}

impl Group {
    fn since(self, earlier: Self) -> Self {
        let since = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            id: self.id,
            own_ns: since(self.own_ns, earlier.own_ns),
            any_ns: since(self.any_ns, earlier.any_ns),
        }
    }

    /// Whatever is told of it.
    fn told_ns(self) -> u64 {
        self.own_ns.max(self.any_ns).unwrap_or(0)
    }
}

/// How many pairs of a cgroup that was asked for and a group there are.
#[derive(Debug, Clone, Copy, Default)]
struct Ours {
    all: usize,
    /// Those that a reading found.
    known: usize,
}

impl AddAssign for Ours {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.known += other.known;
    }
}

/// What is told of a group and those below it.
#[derive(Debug, Clone, Copy, Default)]
struct Below {
    ours: Ours,
    alone_ns: u64,
    shared_ns: u64,
}

/// A group and those above it.
fn upwards(path: &str) -> impl Iterator<Item = &str> {
    iter::successors(Some(path), |path| (*path != "/").then(|| parent(path)))
}

/// The path of the group above.
fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

fn has_cpu_controller(unified: &Mount) -> bool {
    fs::read_to_string(unified.point.join("cgroup.controllers"))
        .is_ok_and(|text| text.split_ascii_whitespace().any(|word| word == "cpu"))
}

/// Reads all groups of a hierarchy.
fn groups(mount: &Mount) -> BTreeMap<String, Group> {
    let mut found = BTreeMap::new();
    let mut open = vec![mount.point.clone()];
    while let Some(folder) = open.pop() {
        if let Some(group) = group(&folder) {
            found.insert(mount.name(&folder), group);
            open.extend(cgroup::children(&folder));
        }
    }
    found
}

/// Reads one; none if it is gone.
fn group(folder: &Path) -> Option<Group> {
    let told = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        accounting::throttled_ns(&text)
    };
    Some(Group {
        id: fs::metadata(folder).ok()?.ino(),
        own_ns: told("cpu.stat"),
        any_ns: told("cpu.stat.local"),
    })
}

/// In one hierarchy each cgroup with processes is a group itself, or part of the next one above that has the controller.
fn members_by_folders(unified: &Mount, groups: &BTreeMap<String, Group>) -> BTreeSet<Member> {
    let has_processes = |path: &str| {
        let folder: PathBuf = unified.point.join(path.trim_start_matches('/'));
        // A threaded cgroup does not list processes.
        fs::read_to_string(folder.join("cgroup.procs")).map_or(true, |text| !text.is_empty())
    };
    groups
        .keys()
        .filter(|path| has_processes(path))
        .map(|path| Member {
            cgroup: path.clone(),
            group: nearest(groups, path).to_owned(),
        })
        .collect()
}

/// The group itself or the next one above it that can have a quota; else the root.
fn nearest<'a>(groups: &BTreeMap<String, Group>, path: &'a str) -> &'a str {
    let mut at = path;
    while at != "/" && groups.get(at).is_none_or(|group| group.own_ns.is_none()) {
        at = parent(at);
    }
    at
}

/// Where each process of this machine is in both hierarchies.
fn members_by_processes(unified: &Mount, cpu: &Mount) -> BTreeSet<Member> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|entry| fs::read_to_string(entry.path().join("cgroup")).ok())
        .filter_map(|text| member(&text, unified, cpu))
        .collect()
}

/// From the text of /proc/<pid>/cgroup: `number:controllers:path` (`cgroups(7)`).
fn member(text: &str, unified: &Mount, cpu: &Mount) -> Option<Member> {
    let path = |wanted: &str| {
        text.lines().find_map(|line| {
            let (_, line) = line.split_once(':')?;
            let (controllers, path) = line.split_once(':')?;
            controllers
                .split(',')
                .any(|controller| controller == wanted)
                .then_some(path)
        })
    };
    Some(Member {
        cgroup: unified.name(&unified.folder(path("")?)?),
        group: cpu.name(&cpu.folder(path("cpu")?)?),
    })
}

#[cfg(test)]
mod tests;
