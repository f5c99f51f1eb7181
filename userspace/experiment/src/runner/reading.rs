//! Reading the probes and the kernel's accounts side by side.
//!
//! The two cannot be read at one moment: between them the reader may wait for a CPU, and an account lacks what its cgroup
//! ran since the scheduler last brought it up to date. So each look reads the probes before and after the accounts. What a
//! replica ran between these two, and what was under way at the first, is the most that its account may lack of what
//! the second tells; it is nothing at all if the replica did not run. Of several looks the one that leaves least open is taken.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use galileo_probes::{CgroupStats, Ledger, Probes, RootTasks, Snapshot, Ticks};
use galileo_wire::clock::boot_ns;
use tokio::{task::spawn_blocking, time::sleep};

use super::{deploy::Deployed, names::Names, network::Network};
use crate::local::{Accounted, LocalPlatform, Replica, throttling::Throttling};

/// What an account may lack without another look being worth its time: little beside the 5 ms that a ledger allows.
const CLOSE_NS: u64 = 200_000;
/// How long a better look is tried for; what it costs is that much of the window.
const PATIENCE: Duration = Duration::from_millis(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// At least this often a tick brings the account of what runs up to date (`CONFIG_HZ` is 100 or more). A tick that came late
/// because a hypervisor held the CPU is steal.
const TICK_NS: u64 = 10_000_000;

/// One reading of everything.
#[derive(Clone, Default)]
pub(super) struct Reading {
    pub probes: Option<Snapshot>,
    pub accounts: Vec<Option<Accounted>>,
    /// What each replica's account may lack of what the probes tell, at most.
    pub lacking_ns: Vec<u64>,
    pub own: Option<Accounted>,
    /// What was taken from each CPU.
    pub ticks: BTreeMap<u32, Ticks>,
    /// What is told by neither.
    pub beside: Arc<Beside>,
}

/// What is read beside counters and accounts; it takes milliseconds.
#[derive(Default)]
pub(super) struct Beside {
    /// For how long CPU limits had held tasks.
    pub throttling: Throttling,
    /// What the network namespaces of replicas tell.
    pub network: Network,
    /// The tasks of the root cgroup; none if nobody asks.
    pub root: Option<RootTasks>,
}

impl Beside {
    fn read(replicas: &[Replica], with_root: bool, is_last: bool) -> Self {
        let root = with_root.then(RootTasks::read).and_then(Result::ok);
        Self {
            throttling: Throttling::read(),
            network: Network::read(replicas, is_last),
            root,
        }
    }
}

impl Reading {
    /// A reading before the replicas exist: they have used nothing.
    pub(super) fn before_start(
        platform: &LocalPlatform,
        probes: Option<&Probes>,
        replicas: usize,
    ) -> Self {
        let now_ns = boot_ns();
        let nothing = Accounted {
            cpu_ns: 0,
            throttled_ns: Some(0),
            begin_ns: now_ns,
            end_ns: now_ns,
        };
        Self {
            accounts: vec![Some(nothing); replicas],
            lacking_ns: vec![0; replicas],
            own: platform.own_usage().ok(),
            probes: snapshot(probes),
            ticks: Ticks::read_each().unwrap_or_default(),
            beside: Arc::new(Beside::read(&[], probes.is_some(), false)),
        }
    }

    /// Reads all, some times if need be.
    pub(super) async fn take(
        platform: &LocalPlatform,
        probes: Option<&Probes>,
        deployed: &[Deployed],
        names: &Names,
        is_last: bool,
    ) -> Self {
        let began = Instant::now();
        let mut best = Self::look(platform, probes, deployed, names);
        while best.most_lacking_ns() > CLOSE_NS && began.elapsed() < PATIENCE {
            sleep(PAUSE).await;
            let next = Self::look(platform, probes, deployed, names);
            if next.most_lacking_ns() < best.most_lacking_ns() {
                best = next;
            }
        }
        let replicas: Vec<Replica> = deployed
            .iter()
            .map(|replica| replica.replica.clone())
            .collect();
        let with_root = probes.is_some();
        // Elsewhere: requests are sent meanwhile.
        let reading = spawn_blocking(move || Beside::read(&replicas, with_root, is_last));
        best.beside = Arc::new(reading.await.unwrap_or_default());
        tracing::debug!(elapsed = ?began.elapsed(), lacking_ns = ?best.lacking_ns, "read");
        best
    }

    fn look(
        platform: &LocalPlatform,
        probes: Option<&Probes>,
        deployed: &[Deployed],
        names: &Names,
    ) -> Self {
        let first = snapshot(probes);
        let accounts = deployed
            .iter()
            .map(|replica| replica.replica.usage().ok())
            .collect();
        let second = snapshot(probes);
        if let Some(second) = &second {
            names.learn(second.cgroups.keys().copied());
        }
        let lacking_ns = (0..deployed.len())
            .map(|index| {
                let ids = names.of_replica(index);
                let of = |snapshot: &Option<Snapshot>| snapshot.as_ref()?.sum(&ids);
                of(&second).map_or(0, |second| lacking_ns(of(&first).as_ref(), &second))
            })
            .collect();
        Self {
            probes: second,
            accounts,
            lacking_ns,
            own: platform.own_usage().ok(),
            ticks: Ticks::read_each().unwrap_or_default(),
            beside: Arc::default(),
        }
    }

    fn most_lacking_ns(&self) -> u64 {
        self.lacking_ns.iter().copied().max().unwrap_or(0)
    }
}

/// What an account that was read between two looks at a cgroup may lack of what the second one tells.
fn lacking_ns(first: Option<&CgroupStats>, second: &CgroupStats) -> u64 {
    let Some(first) = first else {
        return second.on_cpu_ns;
    };
    let behind_ns = (u64::from(first.under_way.runs) * TICK_NS).min(first.under_way.ns);
    second.on_cpu_ns.saturating_sub(first.on_cpu_ns) + behind_ns
}

/// What the probes counted so far, if there are any.
pub(super) fn snapshot(probes: Option<&Probes>) -> Option<Snapshot> {
    probes?
        .snapshot()
        .inspect_err(|error| tracing::warn!(%error, "the probes cannot be read"))
        .ok()
}

/// The same, read between two exchanges: one that ends while the counters are read may be found in some of them only, and then
/// attempted is not seen and lost. Of traffic that never pauses the last look is taken as it is.
pub(super) async fn settled(probes: Option<&Probes>) -> Option<Snapshot> {
    let began = Instant::now();
    loop {
        let look = snapshot(probes)?;
        if adds_up(&look) || began.elapsed() >= PATIENCE {
            return Some(look);
        }
        sleep(PAUSE).await;
    }
}

fn adds_up(look: &Snapshot) -> bool {
    let count = |kind| look.ledger.get(&kind).copied().unwrap_or(0);
    count(Ledger::ExchangesAttempted) == count(Ledger::ExchangesSeen) + count(Ledger::RingFull)
        && count(Ledger::ConnectionsAttempted)
            == count(Ledger::ConnectionsSeen) + count(Ledger::ConnectionRingFull)
}

#[cfg(test)]
mod tests {
    use galileo_probes::UnderWay;

    use super::*;

    fn stats(on_cpu_ns: u64, runs: u32, ns: u64) -> CgroupStats {
        CgroupStats {
            on_cpu_ns,
            under_way: UnderWay { runs, ns },
            ..CgroupStats::default()
        }
    }

    #[test]
    fn account_of_what_did_not_run_meanwhile_lacks_nothing() {
        assert_eq!(lacking_ns(Some(&stats(700, 0, 0)), &stats(700, 0, 0)), 0);
    }

    #[test]
    fn account_may_lack_what_ran_meanwhile_and_what_was_under_way_since_the_last_tick() {
        let first = stats(700, 1, 60);
        assert_eq!(lacking_ns(Some(&first), &stats(730, 1, 90)), 30 + 60);
        // Ran for a second, on one of two CPUs.
        let long = stats(2_000_000_000, 2, 1_000_000_060);
        let after = stats(2_000_000_030, 2, 1_000_000_090);
        assert_eq!(lacking_ns(Some(&long), &after), 30 + 2 * TICK_NS);
    }

    #[test]
    fn a_look_adds_up_if_all_that_was_attempted_was_seen_or_lost() {
        let look = |attempted, seen, full| Snapshot {
            ledger: [
                (Ledger::ExchangesAttempted, attempted),
                (Ledger::ExchangesSeen, seen),
                (Ledger::RingFull, full),
            ]
            .into(),
            ..Snapshot::default()
        };
        assert!(adds_up(&Snapshot::default()));
        assert!(adds_up(&look(7, 5, 2)));
        assert!(!adds_up(&look(7, 6, 2)) && !adds_up(&look(7, 4, 2)));
    }

    #[test]
    fn account_of_a_cgroup_that_came_meanwhile_may_lack_all() {
        assert_eq!(lacking_ns(None, &stats(40, 1, 40)), 40);
    }
}
