//! A balancer inside another program leaves nothing of itself behind. One test alone in its process: it looks at the
//! threads and the signals of all of it.

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Front, Upstream, wait_until};

/// Names of the process' threads and how many there are of each.
fn threads() -> BTreeMap<String, usize> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")
        .expect("procfs")
        .flatten()
    {
        // A thread can end between the two readings.
        if let Ok(name) = std::fs::read_to_string(task.path().join("comm")) {
            *threads.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    threads
}

/// The signals that the process catches and ignores, and that this thread blocks. Another thread's mask would not do: the C
/// library blocks all signals for the moment in which it makes a thread.
fn signals() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("procfs");
    status
        .lines()
        .filter(|line| {
            ["SigBlk", "SigIgn", "SigCgt"]
                .iter()
                .any(|set| line.starts_with(set))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn several_balancers_one_after_the_other_leave_one_timer_thread() {
    let web = Upstream::named("web");
    let folder = std::env::current_dir().expect("a folder");
    let signals_before = signals();
    let mut expected = threads();
    // Pingora starts it once per process and never ends it.
    expected.insert("Timer thread".to_owned(), 1);

    for _ in 0..3 {
        let front = Front::start(&[("web", &[(&web, 1)])]);
        assert_eq!(front.get("/function/web/").text(), "web");
        assert_eq!(signals(), signals_before, "no signal is handled");
        assert_eq!(front.stop(Duration::from_secs(5)).0, 0);
        // The replica's threads of closed connections end on their own.
        wait_until("only the timer thread is left", || threads() == expected);
    }
    assert_eq!(std::env::current_dir().expect("a folder"), folder);
}
