//! Processes as `/proc` shows them.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::process::Pid;

/// The fields of `/proc/<pid>/stat` that tell who a process is and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// Name of the program, at most 15 bytes; may contain anything, brackets and line breaks too.
    pub comm: String,
    /// `R`unning, `S`leeping, `Z`ombie, …
    pub state: char,
    /// Parent.
    pub ppid: i32,
    /// Whether it is on its way out: no longer in its cgroup's list, but in memory for some time yet.
    pub exiting: bool,
    /// User time in clock ticks.
    pub utime: u64,
    /// System time in clock ticks.
    pub stime: u64,
    /// User time of children that it has waited for, in clock ticks.
    pub cutime: u64,
    /// System time of those.
    pub cstime: u64,
    /// When it started, in clock ticks since boot.
    pub starttime: u64,
    /// Limit of its resident set in bytes; `u64::MAX` for none.
    pub rsslim: u64,
}

/// `PF_EXITING` (include/linux/sched.h).
const PF_EXITING: u32 = 4;

impl Stat {
    /// Reads the text of `/proc/<pid>/stat`. The name lies between the first opening and the LAST closing bracket
    /// (`proc_pid_stat(5)`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (comm, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts from 1, and the third field is the first here.
        let field = |number: usize| fields.get(number - 3);
        Some(Self {
            pid: pid.parse().ok()?,
            comm: comm.to_owned(),
            state: field(3)?.chars().next()?,
            ppid: field(4)?.parse().ok()?,
            exiting: field(9)?.parse::<u32>().ok()? & PF_EXITING != 0,
            utime: field(14)?.parse().ok()?,
            stime: field(15)?.parse().ok()?,
            cutime: field(16)?.parse().ok()?,
            cstime: field(17)?.parse().ok()?,
            starttime: field(22)?.parse().ok()?,
            rsslim: field(25)?.parse().ok()?,
        })
    }

    /// Reads that of a living process or zombie.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::read(&pid.to_string())
    }

    fn read(pid: &str) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// What it used itself, in clock ticks.
    pub(crate) fn own_ticks(&self) -> u64 {
        self.utime + self.stime
    }

    /// What the children that it has waited for used, in clock ticks.
    pub(crate) fn waited_ticks(&self) -> u64 {
        self.cutime + self.cstime
    }
}

/// All processes but threads and those that end meanwhile.
pub(crate) fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|name| Stat::read(&name))
        .collect()
}

/// The children of a process, theirs, and so on.
pub(crate) fn descendants(ancestor: u32) -> Vec<Stat> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for stat in all() {
        children.entry(stat.ppid).or_default().push(stat);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![ancestor.cast_signed()];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if seen.insert(child.pid) {
                open.push(child.pid);
                found.push(child);
            }
        }
    }
    found
}

/// Processes whose environment has `entry` (`NAME=value`), as far as this user may look; not those on their way out.
pub(crate) fn with_environment(entry: impl Fn(&[u8]) -> bool) -> Vec<Pid> {
    all()
        .into_iter()
        .filter(|stat| !stat.exiting)
        .filter(|stat| {
            fs::read(format!("/proc/{}/environ", stat.pid))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(&entry))
        })
        .filter_map(|stat| Pid::from_raw(stat.pid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_ends_at_the_last_bracket() {
        let stat = Stat::parse(
            "4242 (a) R (b c)) S 1 4242 4242 0 -1 4194304 173 0 0 0 77 33 0 0 20 0 1 0 18366278 23187456 821 18446744073709551615",
        )
        .expect("it is whole");
        assert_eq!(stat.comm, "a) R (b c)");
        assert_eq!((stat.pid, stat.state, stat.ppid), (4242, 'S', 1));
        assert_eq!(
            (stat.utime, stat.stime, stat.starttime),
            (77, 33, 18_366_278)
        );
        assert_eq!(stat.rsslim, u64::MAX);
        assert!(!stat.exiting);
    }

    #[test]
    fn who_is_on_its_way_out_is_told_by_its_flags() {
        let text =
            |flags: u32| format!("7 (sh) S 1 7 7 0 -1 {flags} 173 0 0 0 0 0 0 0 20 0 1 0 1 1 1 1");
        assert!(Stat::parse(&text(4_194_308)).unwrap().exiting);
        assert!(!Stat::parse(&text(4_194_304)).unwrap().exiting);
    }

    #[test]
    fn text_that_is_cut_off_is_none() {
        assert_eq!(Stat::parse("4242 (sh) S 1 4242"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn own_process_is_found_below_its_parent() {
        let own = Stat::of(std::process::id()).expect("it lives");
        let siblings = descendants(own.ppid.cast_unsigned());
        assert!(
            siblings
                .iter()
                .any(|stat| stat.pid == own.pid && stat.starttime == own.starttime)
        );
    }
}
