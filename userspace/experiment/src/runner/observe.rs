//! What is seen of a run: the probes' exchanges and readings, and telemetry.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use galileo_expdb::{Record, RecordSender};
use galileo_probes::{Exchange, ExchangeStream, Ledger, Probes, Role, Snapshot};
use galileo_wire::{Phase, Sample, records};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    closures::Closures,
    names::{Names, Owner},
    usage::Seen,
};

/// When the phases of a run begin, as far as that is known: `u64::MAX` where it is not yet.
#[derive(Debug)]
pub(crate) struct Phases {
    pub warmup_ns: AtomicU64,
    pub measured_ns: AtomicU64,
    pub drain_ns: AtomicU64,
}

impl Default for Phases {
    fn default() -> Self {
        let unknown = || AtomicU64::new(u64::MAX);
        Self {
            warmup_ns: unknown(),
            measured_ns: unknown(),
            drain_ns: unknown(),
        }
    }
}

impl Phases {
    /// Tells when warm-up and measured phase begin.
    pub(crate) fn begin(&self, warmup_ns: u64, measured_ns: u64) {
        self.warmup_ns.store(warmup_ns, Relaxed);
        self.measured_ns.store(measured_ns, Relaxed);
    }

    /// The phase of what began at this time.
    fn at(&self, ns: u64) -> Phase {
        if ns >= self.drain_ns.load(Relaxed) {
            Phase::Drain
        } else if ns >= self.measured_ns.load(Relaxed) {
            Phase::Measured
        } else if ns >= self.warmup_ns.load(Relaxed) {
            Phase::Warmup
        } else {
            Phase::Setup
        }
    }
}

/// Takes exchanges out of the probes and gives them, named, to the recorder; it ends when this is dropped.
pub(crate) struct Watching {
    task: JoinHandle<Watched>,
    stop: DropGuard,
}

/// How watching went.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Records that said nothing that an exchange can be.
    pub unreadable: u64,
    /// Why it ended early, in a sentence.
    pub problem: Option<String>,
    /// What replicas answered in the measured phase; none if nobody watched.
    pub answered: Option<Answered>,
}

/// Exchanges as a server whose request began in the measured phase, by replica.
///
/// They are counted here and not from what is stored, which has a limit; and by when they began and not by when
/// counters were read, which on a busy machine may be late.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    by_replica: BTreeMap<usize, Answers>,
}

/// Those of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// All of them.
    pub exchanges: u64,
    /// What is not plain or not certain of them; a flag that none had is absent.
    pub by_flag: BTreeMap<String, u64>,
    /// By status; one that none had is absent.
    pub by_status: BTreeMap<u16, u64>,
}

impl Answered {
    fn count(&mut self, exchange: &Exchange, names: &Names, phases: &Phases) {
        if exchange.role != Role::Server || phases.at(exchange.start_ns) != Phase::Measured {
            return;
        }
        if let Owner::Replica(index) = names.owner(exchange.cgroup) {
            let answers = self.by_replica.entry(index).or_default();
            answers.exchanges += 1;
            *answers.by_status.entry(exchange.status).or_default() += 1;
            for flag in exchange.flag_names() {
                *answers.by_flag.entry(flag.to_owned()).or_default() += 1;
            }
        }
    }

    /// Those of a replica.
    pub(crate) fn of_replica(&self, index: usize) -> Answers {
        self.by_replica.get(&index).cloned().unwrap_or_default()
    }
}

impl Watching {
    pub(crate) fn start(
        stream: ExchangeStream,
        names: Arc<Names>,
        phases: Arc<Phases>,
        records: RecordSender,
    ) -> Self {
        let stop = CancellationToken::new();
        Self {
            task: tokio::spawn(watch(stream, names, phases, records, stop.clone())),
            stop: stop.drop_guard(),
        }
    }

    /// Takes what is still there and ends.
    pub(crate) async fn stop(self) -> Watched {
        drop(self.stop);
        self.task.await.unwrap_or_else(|error| Watched {
            problem: Some(format!(
                "The exchanges were no longer taken from the probes: {error}."
            )),
            ..Watched::default()
        })
    }
}

/// Batches taken at the end: more than fit into the ring, so that traffic which goes on cannot keep a run from ending.
const LAST_BATCHES: u32 = 64;

async fn watch(
    mut stream: ExchangeStream,
    names: Arc<Names>,
    phases: Arc<Phases>,
    records: RecordSender,
    stop: CancellationToken,
) -> Watched {
    let mut problem = None;
    let mut answered = Answered::default();
    let mut give = |batch: &[Exchange]| {
        names.learn(batch.iter().map(|exchange| exchange.cgroup));
        for exchange in batch {
            answered.count(exchange, &names, &phases);
            // What the recorder cannot take it counts.
            records.record(Record::Exchange(named(exchange, &names, &phases)));
        }
    };
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            batch = stream.next_batch() => batch,
        };
        match batch {
            Ok(batch) => give(batch),
            Err(error) => {
                problem = Some(format!("Single exchanges were no longer seen: {error}."));
                break;
            }
        }
    }
    for _ in 0..LAST_BATCHES {
        let rest = stream.drain();
        if rest.is_empty() {
            break;
        }
        give(rest);
    }
    Watched {
        unreadable: stream.unreadable(),
        problem,
        answered: Some(answered),
    }
}

fn named(exchange: &Exchange, names: &Names, phases: &Phases) -> records::Exchange {
    let replica = match names.owner(exchange.cgroup) {
        Owner::Replica(index) => Some(names.replica(index)),
        _ => None,
    };
    records::Exchange {
        role: match exchange.role {
            Role::Server => records::Role::Server,
            Role::Client => records::Role::Client,
        },
        service: replica.map(|replica| replica.service.clone()),
        replica: replica.map(|replica| replica.replica.clone()),
        cgroup: names.path(exchange.cgroup),
        phase: phases.at(exchange.start_ns),
        flags: exchange.flag_names().map(str::to_owned).collect(),
        method: exchange.method.to_string(),
        path: exchange.path.to_string(),
        status: exchange.status,
        interim: Some(exchange.interim),
        local_addr: exchange.local.ip(),
        local_port: exchange.local.port(),
        remote_addr: exchange.remote.ip(),
        remote_port: exchange.remote.port(),
        start_ns: exchange.start_ns,
        request_end_ns: exchange.request_end_ns,
        first_byte_ns: exchange.first_byte_ns,
        end_ns: exchange.end_ns,
        request_bytes: exchange.request_bytes,
        request_head_bytes: Some(exchange.request_head_bytes),
        response_bytes: exchange.response_bytes,
        response_head_bytes: Some(exchange.response_head_bytes),
        request_id: exchange.request_id.map(|id| id.to_string()),
        traceparent: exchange.traceparent.map(|trace| trace.to_string()),
    }
}

/// Reads the instruments once a period and gives the figures of each replica to the recorder; it ends when this is
/// dropped.
pub(crate) struct Sampling {
    task: JoinHandle<Closures>,
    stop: DropGuard,
}

impl Sampling {
    /// `replicas` are names and nodes, in the order in which `names` knows them.
    pub(crate) fn start(
        probes: Arc<Probes>,
        names: Arc<Names>,
        phases: Arc<Phases>,
        replicas: Vec<(String, String)>,
        period: Duration,
        records: RecordSender,
    ) -> Self {
        let stop = CancellationToken::new();
        let sampler = Sampler {
            seen: Seen::by(&probes),
            probes,
            names,
            phases,
            replicas,
            records,
        };
        Self {
            task: tokio::spawn(sampler.run(period, stop.clone())),
            stop: stop.drop_guard(),
        }
    }

    /// Ends it, and tells how the CPUs' time closed from one reading of the measured phase to the next.
    pub(crate) async fn stop(self) -> Closures {
        drop(self.stop);
        // Samples draw a curve and nothing is counted from them; a panic was printed when it happened.
        self.task.await.unwrap_or_default()
    }
}

struct Sampler {
    probes: Arc<Probes>,
    seen: Seen,
    names: Arc<Names>,
    phases: Arc<Phases>,
    replicas: Vec<(String, String)>,
    records: RecordSender,
}

impl Sampler {
    async fn run(self, period: Duration, stop: CancellationToken) -> Closures {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Option<Snapshot> = None;
        let mut closures = Closures::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return closures,
                _ = ticks.tick() => {}
            }
            match self.probes.snapshot() {
                Ok(now) => {
                    if let Some(before) = &before {
                        self.give(&now, before);
                    }
                    let ends = [now.begin_ns, now.end_ns];
                    if ends.iter().all(|ns| self.phases.at(*ns) == Phase::Measured) {
                        closures.next(&now);
                    }
                    before = Some(now);
                }
                Err(error) => tracing::warn!(%error, "a reading of the probes is left out"),
            }
        }
    }

    fn give(&self, now: &Snapshot, before: &Snapshot) {
        self.names.learn(now.cgroups.keys().copied());
        let used = now.since(before);
        let seconds = (now.begin_ns - before.begin_ns) as f64 / 1e9;
        for (index, (replica, node)) in self.replicas.iter().enumerate() {
            let Some(stats) = used.sum(&self.names.of_replica(index)) else {
                continue;
            };
            let figures = [
                (
                    self.seen.cpu,
                    "cpu_cores",
                    stats.on_cpu_ns as f64 / 1e9 / seconds,
                ),
                (
                    self.seen.http,
                    "exchanges_per_second",
                    stats.server.count as f64 / seconds,
                ),
            ];
            for (_, metric, value) in figures.into_iter().filter(|(seen, ..)| *seen) {
                // What the recorder cannot take it counts.
                self.records.record(Record::Sample(Sample {
                    at_ns: now.begin_ns,
                    metric: metric.to_owned(),
                    subsystem: replica.clone(),
                    node: node.clone(),
                    value,
                }));
            }
        }
    }
}

/// What the probes counted of the run by the kinds of their ledger: of the replicas, of Galileo itself, and what is nobody's. What
/// they lost of others on this machine does not touch the run.
pub(crate) struct Counted {
    /// By the kinds that mean a loss.
    pub losses: BTreeMap<String, u64>,
    /// By the others.
    pub noticed: BTreeMap<String, u64>,
}

impl Counted {
    /// `used` is the difference of the run's first and last snapshot.
    pub(crate) fn of(used: &Snapshot, names: &Names) -> Self {
        names.learn(used.cgroups.keys().copied());
        let own = used
            .cgroups
            .keys()
            .filter(|id| matches!(names.owner(**id), Owner::Replica(_) | Owner::Galileo));
        let counted = used.losses_of(own);
        let of = |kind: Ledger| {
            (
                kind.as_str().to_owned(),
                counted.get(&kind).copied().unwrap_or(0),
            )
        };
        let (losses, others): (Vec<_>, Vec<_>) =
            Ledger::ALL.into_iter().partition(|kind| kind.is_loss());
        Self {
            losses: losses.into_iter().map(of).collect(),
            noticed: others.into_iter().map(of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use galileo_probes::{
        CgroupStats, Text,
        cgroup::{self, CgroupId},
        flags,
    };

    use super::*;
    use crate::runner::names::Named;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// The one replica there is, below this folder, and its cgroup.
    fn one_replica(tree: &Path) -> (Names, CgroupId) {
        let folder = tree.join("web-0");
        std::fs::create_dir(&folder).unwrap();
        let replica = Named {
            service: "web".to_owned(),
            replica: "web-0".to_owned(),
            path: Some("/web-0".to_owned()),
        };
        let names = Names::new(tree, None, vec![replica]);
        (names, cgroup::id(&folder).unwrap())
    }

    fn answered_by(cgroup: CgroupId) -> Exchange {
        Exchange {
            cgroup,
            role: Role::Server,
            local: "127.0.0.1:1".parse().unwrap(),
            remote: "[::1]:2".parse().unwrap(),
            method: Text::from("POST").unwrap(),
            path: Text::from("/items").unwrap(),
            status: 201,
            interim: 3,
            start_ns: 10,
            request_end_ns: Some(20),
            first_byte_ns: 30,
            end_ns: 40,
            request_bytes: 60,
            request_head_bytes: 50,
            response_bytes: 80,
            response_head_bytes: 70,
            request_id: Some(Text::from("0123456789:1").unwrap()),
            traceparent: Some(Text::from(TRACE).unwrap()),
            flags: 1 << 4,
        }
    }

    #[test]
    fn what_the_probes_tell_of_an_exchange_is_recorded_whole() {
        let tree = tempfile::tempdir().unwrap();
        let (names, cgroup) = one_replica(tree.path());
        let phases = Phases::default();
        phases.measured_ns.store(5, Relaxed);
        let seen = answered_by(cgroup);
        let other = Exchange {
            cgroup: CgroupId(0),
            role: Role::Client,
            interim: 0,
            start_ns: 4,
            request_end_ns: None,
            request_id: None,
            traceparent: None,
            flags: 0,
            ..seen
        };

        let recorded = [&seen, &other].map(|exchange| named(exchange, &names, &phases));

        let expected = records::Exchange {
            role: records::Role::Server,
            service: Some("web".to_owned()),
            replica: Some("web-0".to_owned()),
            cgroup: "/web-0".to_owned(),
            phase: Phase::Measured,
            method: "POST".to_owned(),
            path: "/items".to_owned(),
            status: 201,
            interim: Some(3),
            local_addr: "127.0.0.1".parse().unwrap(),
            local_port: 1,
            remote_addr: "::1".parse().unwrap(),
            remote_port: 2,
            start_ns: 10,
            request_end_ns: Some(20),
            first_byte_ns: 30,
            end_ns: 40,
            request_bytes: 60,
            request_head_bytes: Some(50),
            response_bytes: 80,
            response_head_bytes: Some(70),
            request_id: Some("0123456789:1".to_owned()),
            traceparent: Some(TRACE.to_owned()),
            flags: vec!["head_cut".to_owned()],
        };
        let of_other = records::Exchange {
            role: records::Role::Client,
            service: None,
            replica: None,
            cgroup: "cgroup:0".to_owned(),
            phase: Phase::Setup,
            interim: Some(0),
            start_ns: 4,
            request_end_ns: None,
            request_id: None,
            traceparent: None,
            flags: vec![],
            ..expected.clone()
        };
        assert_eq!(recorded, [expected, of_other]);
    }

    #[test]
    fn what_a_replica_answered_while_measuring_is_counted_by_flag_and_status() {
        let tree = tempfile::tempdir().unwrap();
        let (names, cgroup) = one_replica(tree.path());
        let phases = Phases::default();
        phases.begin(0, 30);
        phases.drain_ns.store(50, Relaxed);
        let seen = Exchange {
            flags: flags::CUT_OFF | flags::RESUMED,
            start_ns: 30,
            ..answered_by(cgroup)
        };
        let exchanges = [
            seen,
            Exchange {
                flags: flags::RESUMED,
                ..seen
            },
            Exchange { flags: 0, ..seen },
            Exchange {
                flags: 0,
                status: 503,
                ..seen
            },
            Exchange {
                role: Role::Client,
                ..seen
            },
            Exchange {
                cgroup: CgroupId(0),
                ..seen
            },
            // The one began in the warm-up, the other in the drain.
            Exchange {
                start_ns: 29,
                ..seen
            },
            Exchange {
                start_ns: 50,
                ..seen
            },
        ];

        let mut answered = Answered::default();
        for exchange in &exchanges {
            answered.count(exchange, &names, &phases);
        }

        let resumed = records::Exchange::RESUMED.to_owned();
        let expected = Answers {
            exchanges: 4,
            by_flag: BTreeMap::from([("cut_off".to_owned(), 1), (resumed, 2)]),
            by_status: BTreeMap::from([(seen.status, 3), (503, 1)]),
        };
        assert_eq!(answered.of_replica(0), expected);
        assert_eq!(answered.of_replica(1), Answers::default());
    }

    #[test]
    fn what_the_probes_counted_is_a_loss_or_noticed_and_all_kinds_are_told() {
        let tree = tempfile::tempdir().unwrap();
        let (names, cgroup) = one_replica(tree.path());
        let stats = |count| CgroupStats {
            ledger: BTreeMap::from([(Ledger::JoinedLate, count), (Ledger::GivenUp, count)]),
            ..CgroupStats::default()
        };
        let used = Snapshot {
            cgroups: BTreeMap::from([(cgroup, stats(3)), (CgroupId(0), stats(70))]),
            machine: BTreeMap::from([(Ledger::SwitchUnseen, 2), (Ledger::GivenUp, 1)]),
            ..Snapshot::default()
        };

        let Counted { losses, noticed } = Counted::of(&used, &names);

        assert_eq!((losses["given_up"], losses["ring_full"]), (4, 0));
        assert_eq!((noticed["joined_late"], noticed["not_http"]), (3, 0));
        assert_eq!(noticed["switch_unseen"], 2);
        assert_eq!(losses.len() + noticed.len(), Ledger::ALL.len());
    }

    #[test]
    fn a_time_belongs_to_the_last_phase_that_has_begun() {
        let phases = Phases::default();
        assert_eq!(phases.at(5), Phase::Setup);
        phases.measured_ns.store(20, Relaxed);
        phases.warmup_ns.store(10, Relaxed);
        assert_eq!(
            [9, 10, 19, 20].map(|ns| phases.at(ns)),
            [Phase::Setup, Phase::Warmup, Phase::Warmup, Phase::Measured]
        );
        phases.drain_ns.store(30, Relaxed);
        assert_eq!(phases.at(30), Phase::Drain);
    }
}
