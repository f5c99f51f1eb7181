//! What the tests stand on: a state folder, the helper program, waiting for conditions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use galileo_experiment::local::{LocalPlatform, Options, ReplicaSpec};
use galileo_probes::mounts::{Hierarchies, unified_path};
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A place for one test; only one exists at a time.
pub struct Ground {
    pub state: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Ground {
    pub fn new() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            state: tempfile::tempdir().unwrap(),
            _turn: turn,
        }
    }

    /// For a test that needs root; says so if there is none.
    pub fn of_root() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            galileo_skips::skip("only root can make cgroups at the root of the hierarchy");
            return None;
        }
        Some(Self::new())
    }

    pub fn options(&self, run: &str) -> Options {
        Options {
            helper: helper(),
            ..Options::new(run_id(run), self.state.path())
        }
    }

    pub fn open(&self, run: &str) -> LocalPlatform {
        LocalPlatform::open(self.options(run)).unwrap()
    }
}

/// Names of runs are unique on the machine.
pub fn run_id(run: &str) -> String {
    format!("test-{}-{run}", std::process::id())
}

/// The example program, which `cargo test` builds beside the tests.
pub fn helper() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples/replica");
    assert!(
        path.is_file(),
        "{} is missing: cargo build -p galileo-experiment --example replica",
        path.display()
    );
    path
}

/// A replica that is a shell script.
pub fn script(name: &str, text: &str) -> ReplicaSpec {
    command(name, &["sh", "-c", text])
}

pub fn command(name: &str, words: &[&str]) -> ReplicaSpec {
    let argv = words.iter().map(|word| (*word).to_owned()).collect();
    ReplicaSpec {
        name: name.to_owned(),
        argv,
        ..ReplicaSpec::default()
    }
}

/// Spins for a CPU time and prints what it has used by its own clock, in seconds.
pub fn spinner(name: &str, seconds: f64) -> ReplicaSpec {
    let text = format!(
        "use Time::HiRes qw(clock_gettime CLOCK_PROCESS_CPUTIME_ID); \
         1 while clock_gettime(CLOCK_PROCESS_CPUTIME_ID) < {seconds}; \
         print clock_gettime(CLOCK_PROCESS_CPUTIME_ID)"
    );
    command(name, &["perl", "-e", &text])
}

/// Waits for a condition; a test that waits in vain fails with `what`.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The number in a file, once it is there.
pub fn number_in(path: &Path) -> u32 {
    wait_for(&format!("a number in {}", path.display()), || {
        fs::read_to_string(path)
            .ok()
            .filter(|text| text.ends_with('\n'))?
            .trim()
            .parse()
            .ok()
    })
}

/// Whether the process exists and is no zombie.
pub fn lives(pid: u32) -> bool {
    let exists = test_kill_process(Pid::from_raw(pid.cast_signed()).unwrap()).is_ok();
    exists && galileo_experiment::local::procfs::Stat::of(pid).is_some_and(|stat| stat.state != 'Z')
}

/// All folders of a run in all cgroup hierarchies.
pub fn cgroups_of(run_id: &str) -> Vec<PathBuf> {
    let found = Hierarchies::read().unwrap();
    let points = found
        .v1
        .values()
        .chain(&found.unified)
        .map(|mount| mount.point.clone());
    let mut open: Vec<PathBuf> = points.collect();
    let mut hits = Vec::new();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        open.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
        if folder.file_name().is_some_and(|name| name == run_id) {
            hits.push(folder);
        }
    }
    hits
}

/// The cgroup2 path of a process.
pub fn cgroup_of(pid: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    unified_path(&text).unwrap().to_owned()
}
