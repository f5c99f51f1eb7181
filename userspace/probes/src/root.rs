//! What the time of the root cgroup is made of: the kernel's threads, and all that nobody put into another cgroup.
//!
//! The probes tell the time of that cgroup as of any other. Whose it is /proc tells task by task, of those that are there when it is read:
//! what began and ended between two readings is in the cgroup's time and not here.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
};

/// The tasks of the root cgroup, as /proc tells them at one moment.
#[derive(Debug, Clone, Default)]
pub struct RootTasks(HashMap<TaskKey, RootTask>);

/// A task, told apart from a later one with its number by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct TaskKey {
    tid: u32,
    started_ticks: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RootTask {
    name: String,
    is_kernel: bool,
    ran_ns: u64,
}

/// Time that tasks of the root cgroup ran between two readings, in nanoseconds, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootTime {
    /// Threads of the kernel, by what stands before the first `/` of their names: all of `kworker` are one.
    pub kernel_threads: BTreeMap<String, u64>,
    /// Tasks of processes that are in no other cgroup.
    pub processes: BTreeMap<String, u64>,
}

impl RootTasks {
    /// Reads the tasks that are there now. Those that end meanwhile are left out.
    ///
    /// # Errors
    ///
    /// If /proc cannot be read.
    pub fn read() -> io::Result<Self> {
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let mut tasks = HashMap::new();
        for process in numbered(Path::new("/proc"))? {
            let of_root =
                fs::read_to_string(process.join("cgroup")).is_ok_and(|cgroups| is_root(&cgroups));
            let Ok(threads) = numbered(&process.join("task")) else {
                continue;
            };
            for thread in threads.into_iter().filter(|_| of_root) {
                let Some((key, mut task)) = fs::read_to_string(thread.join("stat"))
                    .ok()
                    .and_then(|stat| parse(&stat, tick_ns))
                else {
                    continue;
                };
                // To the nanosecond where the kernel tells it (`CONFIG_SCHED_INFO`).
                if let Ok(stat) = fs::read_to_string(thread.join("schedstat"))
                    && let Some(ran_ns) = stat.split(' ').next().and_then(|it| it.parse().ok())
                {
                    task.ran_ns = ran_ns;
                }
                tasks.insert(key, task);
            }
        }
        Ok(Self(tasks))
    }

    /// What ran since an earlier reading. A task that was not there then began since.
    #[must_use]
    pub fn since(&self, before: &Self) -> RootTime {
        let mut time = RootTime::default();
        for (key, task) in &self.0 {
            let earlier_ns = before.0.get(key).map_or(0, |task| task.ran_ns);
            let names = if task.is_kernel {
                &mut time.kernel_threads
            } else {
                &mut time.processes
            };
            *names.entry(task.name.clone()).or_default() += task.ran_ns.saturating_sub(earlier_ns);
        }
        time
    }
}

impl RootTime {
    /// Time of the kernel's threads.
    #[must_use]
    pub fn kernel_threads_ns(&self) -> u64 {
        self.kernel_threads.values().sum()
    }

    /// Time of all others.
    #[must_use]
    pub fn processes_ns(&self) -> u64 {
        self.processes.values().sum()
    }
}

/// The folders here whose names are numbers.
fn numbered(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let is_number = |name: &std::ffi::OsStr| {
        let name = name.as_encoded_bytes();
        name.iter().all(u8::is_ascii_digit)
    };
    Ok(fs::read_dir(folder)?
        .flatten()
        .filter(|entry| is_number(&entry.file_name()))
        .map(|entry| entry.path())
        .collect())
}

/// Whether these lines of /proc/<pid>/cgroup tell of the root cgroup (`cgroups(7)`: hierarchy 0 is that of cgroup2).
fn is_root(cgroups: &str) -> bool {
    cgroups.lines().any(|line| line == "0::/")
}

/// Reads /proc/<pid>/task/<tid>/stat (`proc_pid_stat(5)`).
fn parse(stat: &str, tick_ns: u64) -> Option<(TaskKey, RootTask)> {
    /// `PF_KTHREAD` (include/linux/sched.h).
    const KERNEL_THREAD: u64 = 0x0020_0000;
    // The name may have blanks and brackets in it.
    let (begin, rest) = stat.rsplit_once(')')?;
    let (tid, name) = begin.split_once(" (")?;
    // From the third one on: the state.
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let is_kernel = number(9)? & KERNEL_THREAD != 0;
    let name = if is_kernel {
        name.split('/').next().unwrap_or(name)
    } else {
        name
    };
    Some((
        TaskKey {
            tid: tid.parse().ok()?,
            started_ticks: number(22)?,
        },
        RootTask {
            name: name.to_owned(),
            is_kernel,
            ran_ns: (number(14)? + number(15)?) * tick_ns,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: &str =
        "42 (kworker/0:1-events (x)) I 2 0 0 0 -1 69238880 0 0 0 0 3 7 0 0 20 0 1 0 615 0 0";
    const SHELL: &str = "77 (a shell) S 1 77 77 0 -1 4194560 0 0 0 0 10 20 0 0 20 0 1 0 900 0 0";

    #[test]
    fn a_task_is_read_whatever_its_name() {
        let (key, worker) = parse(WORKER, 10).unwrap();
        assert_eq!((key.tid, key.started_ticks), (42, 615));
        let expected = RootTask {
            name: "kworker".to_owned(),
            is_kernel: true,
            ran_ns: 100,
        };
        assert_eq!(worker, expected);
        let (_, shell) = parse(SHELL, 10).unwrap();
        assert_eq!((shell.name.as_str(), shell.is_kernel), ("a shell", false));
        assert_eq!(parse("42 (cut off", 10), None);
        assert_eq!(parse("42 (cut) S 1", 10), None);
    }

    #[test]
    fn only_the_root_of_the_second_version_counts() {
        assert!(is_root("8:pids:/a\n0::/\n"));
        assert!(!is_root("8:pids:/\n0::/a\n"));
        assert!(!is_root("8:pids:/\n"));
    }

    #[test]
    fn time_is_that_since_the_reading_before_and_all_of_what_began_since() {
        let tasks = |stats: &[&str], tick_ns| {
            RootTasks(
                stats
                    .iter()
                    .filter_map(|stat| parse(stat, tick_ns))
                    .collect(),
            )
        };
        let again = SHELL.replace(" 900 ", " 950 ");
        let before = tasks(&[WORKER, SHELL], 10);
        let after = tasks(&[WORKER, &again], 11);
        let time = after.since(&before);
        assert_eq!((time.kernel_threads_ns(), time.processes_ns()), (10, 330));
        assert_eq!(time.kernel_threads["kworker"], 10);
    }
}
