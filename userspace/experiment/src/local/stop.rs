//! Ending the replicas of a run.

use std::net::Shutdown;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::accounting::Accounted;
use super::cgroup;
use super::process::ExitInfo;
use super::replica::Inner;

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at processes that are to end.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How the replicas of a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Each replica, in the order of their start.
    pub replicas: Vec<Stopped>,
    /// What did not work, in sentences; empty as a rule.
    pub problems: Vec<String>,
}

/// How one replica ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Its name.
    pub name: String,
    /// How its process ended; none if it did not.
    pub exit: Option<ExitInfo>,
    /// It had ended already before the stop.
    pub before: bool,
    /// Processes of it had to be killed, because they did not end in time.
    pub forced: bool,
    /// What it used in all its life.
    pub usage: Option<Accounted>,
}

/// Asks every process of every replica to end, kills those that have not after `grace`, and takes stock.
pub(crate) fn end_all(replicas: Vec<(Arc<Inner>, JoinHandle<()>)>, grace: Duration) -> StopReport {
    let mut report = StopReport::default();
    let before: Vec<bool> = replicas
        .iter()
        .map(|(replica, _)| replica.exit.borrow().is_some())
        .collect();
    if !grace.is_zero() {
        for (replica, _) in &replicas {
            cgroup::signal(&replica.members(), Signal::TERM);
        }
        wait_until(grace, || {
            replicas
                .iter()
                .all(|(replica, _)| replica.members().is_empty())
        });
    }
    for ((replica, thread), before) in replicas.into_iter().zip(before) {
        let forced = kill(&replica, &mut report.problems);
        // The account is complete now, and its end is near.
        let usage = replica.usage().ok();
        if let Some((_, channel)) = &replica.supervisor {
            // A supervisor that is gone has its channel closed already.
            let _ = channel.shutdown(Shutdown::Write);
        }
        wait_until(PATIENCE, || thread.is_finished());
        let exit = *replica.exit.borrow();
        report.replicas.push(Stopped {
            name: replica.name.clone(),
            exit,
            before,
            forced,
            usage,
        });
    }
    report
}

fn wait_until(limit: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() && Instant::now() < deadline {
        thread::sleep(LOOK_AGAIN);
    }
}

/// Kills what is left of a replica; true if something was.
fn kill(replica: &Inner, problems: &mut Vec<String>) -> bool {
    let killed = match &replica.cgroup {
        Some(cgroup) => cgroup::kill(&cgroup.folder, PATIENCE),
        None => cgroup::kill_listed(|| replica.members(), PATIENCE),
    };
    match killed {
        Ok(killed) => !killed.is_empty(),
        Err(error) => {
            problems.push(format!("{}: {error}", replica.name));
            true
        }
    }
}
