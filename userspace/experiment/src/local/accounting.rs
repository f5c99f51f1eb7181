//! The kernel's own accounting of CPU time.

use std::fs;
use std::io;
use std::path::Path;

use galileo_wire::clock::boot_ns;

use super::procfs;

/// CPU time used since the start, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounted {
    /// Time on a CPU, user and system.
    pub cpu_ns: u64,
    /// Time for which the CPU limit kept runnable tasks off, summed over CPUs; none without a CPU limit.
    pub throttled_ns: Option<u64>,
    /// `CLOCK_BOOTTIME` before the reading.
    pub begin_ns: u64,
    /// `CLOCK_BOOTTIME` after it.
    pub end_ns: u64,
}

/// Reads what a cgroup and those below it used. `cpu.stat` of cgroup2 has `usage_usec` without any controller too
/// (cgroup-v2.rst, "exists whether the controller is enabled or not"), so cpuacct of version 1 is not needed.
/// `limited` is the folder whose `cpu.stat` knows of throttling.
pub(crate) fn of_cgroup(folder: &Path, limited: Option<&Path>) -> io::Result<Accounted> {
    let begin_ns = boot_ns();
    let usage = fs::read_to_string(folder.join("cpu.stat"))?;
    let throttled_ns = match limited {
        None => None,
        Some(limited) if limited == folder => throttled_ns(&usage),
        Some(limited) => throttled_ns(&fs::read_to_string(limited.join("cpu.stat"))?),
    };
    let end_ns = boot_ns();
    let usec = number(&usage, "usage_usec")
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "cpu.stat has no usage_usec"))?;
    Ok(Accounted {
        cpu_ns: usec * 1_000,
        throttled_ns,
        begin_ns,
        end_ns,
    })
}

/// Reads what the descendants of a supervisor used, those it has waited for included. The resolution is the clock tick
/// (10 ms as a rule) per process.
pub(crate) fn of_descendants(supervisor: u32) -> Accounted {
    let begin_ns = boot_ns();
    let ticks = stable_ticks(supervisor);
    let end_ns = boot_ns();
    let per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    Accounted {
        cpu_ns: ticks * per_tick,
        throttled_ns: None,
        begin_ns,
        end_ns,
    }
}

/// A process that ends between two lines of the reading is counted twice or not at all, so the reading is repeated
/// until it finds the same processes twice; a tree that never rests is taken as it is.
fn stable_ticks(supervisor: u32) -> u64 {
    let mut known: Vec<i32> = Vec::new();
    let mut ticks = 0;
    for _ in 0..5 {
        let tree = procfs::descendants(supervisor);
        let waited = procfs::Stat::of(supervisor).map_or(0, |stat| stat.waited_ticks());
        ticks = waited
            + tree
                .iter()
                .map(|stat| stat.own_ticks() + stat.waited_ticks())
                .sum::<u64>();
        let mut pids: Vec<i32> = tree.iter().map(|stat| stat.pid).collect();
        pids.sort_unstable();
        if pids == known {
            break;
        }
        known = pids;
    }
    ticks
}

/// cgroup2 says `throttled_usec`, version 1 `throttled_time` in nanoseconds.
pub(crate) fn throttled_ns(cpu_stat: &str) -> Option<u64> {
    number(cpu_stat, "throttled_usec")
        .map(|usec| usec * 1_000)
        .or_else(|| number(cpu_stat, "throttled_time"))
}

/// The number behind a key in a file of `key number` lines.
pub(crate) fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cpu_stat_are_understood() {
        assert_eq!(
            throttled_ns("usage_usec 5\nnr_throttled 3\nthrottled_usec 70\n"),
            Some(70_000)
        );
        assert_eq!(
            throttled_ns("nr_periods 9\nnr_throttled 3\nthrottled_time 70123\n"),
            Some(70_123)
        );
        assert_eq!(throttled_ns("usage_usec 5\n"), None);
    }

    #[test]
    fn key_must_be_the_whole_word() {
        assert_eq!(
            number("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "oom_kill"),
            Some(2)
        );
    }
}
