//! Telemetry: the instruments once a period.

use std::{sync::Arc, time::Duration};

use galileo_expdb::{Record, RecordSender};
use galileo_probes::{Probes, Snapshot};
use galileo_wire::{Phase, Sample};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{closures::Closures, names::Names, phases::Phases, usage::Seen};

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
