//! The parts of a run, from the first cgroup to the last record.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use galileo_expdb::{Database, Limits, Recorder};
use galileo_probes::{Accounting, Ledger, Probes, Snapshot, Taken, cgroup};
use galileo_wire::{
    Capture, WallClock,
    capture::{Replica as ReplicaCapture, Service, Usage},
    clock::boot_ns,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Live, Options, Stage,
    answered::Answered,
    births::Births,
    closures::Closures,
    counted::Counted,
    course::{Course, Measured},
    cpus,
    deploy::{Deployed, deploy},
    drive::{Balancing, DRAIN},
    loading::load_probes,
    machine,
    names::{Named, Names},
    network::Networks,
    observe::{Watched, Watching},
    own::own_cost,
    phases::Phases,
    reading::{Reading, settled},
    sampling::Sampling,
    system,
    usage::{Accounts, Seen, usages},
};
use crate::{
    file::spec::Through,
    local::{self, LocalPlatform},
    plan::Plan,
};

/// How long replicas may take to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// A run that is carried out.
pub(super) struct Session {
    pub id: String,
    pub plan: Plan,
    pub options: Options,
    pub live: Live,
    pub clock: WallClock,
    pub started_ns: u64,
}

/// What the probes could see, and saw besides what two readings tell.
struct Saw {
    /// None if they could not be loaded.
    seen: Option<Seen>,
    /// What they could not, in sentences.
    unseen: Vec<String>,
    closures: Closures,
    answered: Option<Answered>,
    /// Whether the records of all exchanges did.
    all_came: bool,
}

impl Session {
    /// From the first cgroup to the last record.
    pub(super) async fn carry_out(
        self,
        database: &Database,
        cancel: &CancellationToken,
    ) -> Result<Capture, Error> {
        let mut platform = LocalPlatform::open(local::Options {
            run_id: self.id.clone(),
            state_dir: self.options.data_dir.clone(),
            cgroup_parent: self.options.cgroup_parent.clone(),
            helper: self.options.helper.clone(),
        })?;
        let limits = Limits {
            exchanges: self.plan.stored_exchanges,
            ..Limits::default()
        };
        let recorder = database.recorder(&self.id, self.clock, limits).await?;
        let result = self.with_probes(&mut platform, &recorder, cancel).await;
        self.live.enter(Stage::Storing);
        let stopped = platform.stop(GRACE).await;
        let written = recorder.finish().await;
        let mut capture = result?;
        capture.problems.extend(stopped.problems);
        for replica in stopped
            .replicas
            .iter()
            .filter(|replica| replica.forced && !replica.before)
        {
            tracing::info!(
                replica = replica.name,
                "did not end by itself and was killed"
            );
        }
        capture.not_stored = written.not_stored;
        for (kind, dropped) in &written.dropped_by_kind {
            capture
                .losses
                .insert(format!("unrecorded_{}", kind.as_str()), *dropped);
        }
        if let Some(error) = written.error {
            capture.problems.push(format!(
                "Not everything could be written to the database: {error}."
            ));
        }
        capture.ended_ns = boot_ns();
        Ok(capture)
    }

    /// Deploys, observes and measures; ends what it began, but for the replicas.
    async fn with_probes(
        &self,
        platform: &mut LocalPlatform,
        recorder: &Recorder,
        cancel: &CancellationToken,
    ) -> Result<Capture, Error> {
        let mut unseen = platform.visibility();
        let (probes, stream) = if unseen.is_empty() {
            load_probes(self.plan.telemetry.interrupts, &mut unseen)
        } else {
            (None, None)
        };
        let seen = probes.as_deref().map(Seen::by);
        let at_first = settled(probes.as_deref()).await;
        // What only watches commands watches them from their first instruction on.
        let began = self.plan.begins_with_its_commands().then(|| {
            let replicas = self
                .plan
                .services
                .iter()
                .map(|service| service.replicas.len())
                .sum();
            (
                boot_ns(),
                Reading::before_start(platform, probes.as_deref(), replicas),
            )
        });

        let deployed = deploy(platform, &self.plan, &self.live, cancel).await?;
        let names = Arc::new(names(platform, &deployed));
        if let Some(probes) = &probes {
            let names = Arc::clone(&names);
            probes.set_heirs(move |ids| names.heirs(ids));
        }
        // Without probes there is nobody whose cgroups it takes names for.
        let _births = probes.as_ref().and_then(|_| {
            Births::watch(Arc::clone(&names))
                .inspect_err(|error| {
                    unseen.push(format!(
                        "Cgroups that replicas make are not seen as they come ({error}): what those used that were gone before the next \
                         reading is nobody's."
                    ));
                })
                .ok()
        });
        let phases = Arc::new(Phases::default());
        if let Some((began_ns, _)) = &began {
            phases.begin(*began_ns, *began_ns);
        }
        let watching = stream.map(|stream| {
            Watching::start(
                stream,
                Arc::clone(&names),
                Arc::clone(&phases),
                recorder.sender(),
            )
        });
        let sampling = probes.clone().map(|probes| {
            let replicas = deployed
                .iter()
                .map(|replica| (replica.plan.name.clone(), replica.plan.node.clone()))
                .collect();
            let period = self.plan.telemetry.period;
            Sampling::start(
                probes,
                Arc::clone(&names),
                Arc::clone(&phases),
                replicas,
                period,
                recorder.sender(),
            )
        });

        let through_balancer = self
            .plan
            .workloads
            .iter()
            .any(|workload| workload.through == Through::Balancer);
        let balancing = if through_balancer {
            Some(Balancing::start(&deployed, recorder.sender())?)
        } else {
            None
        };
        let course = Course {
            session: self,
            platform,
            deployed: &deployed,
            names: &names,
            probes: probes.as_deref(),
            phases: &phases,
            balancer: balancing.as_ref().map(Balancing::addr),
            cancel,
            began,
        };
        let measured = course.run(recorder.sender()).await;

        let (hops_dropped, cut_off) = match balancing {
            Some(balancing) => {
                balancing
                    .stop(if cancel.is_cancelled() {
                        Duration::ZERO
                    } else {
                        DRAIN
                    })
                    .await
            }
            None => (0, 0),
        };
        let closures = match sampling {
            Some(sampling) => sampling.stop().await,
            None => Closures::default(),
        };
        let watched = match watching {
            Some(watching) => watching.stop().await,
            None => Watched::default(),
        };
        let mut measured = measured?;
        let all_read = watched.problem.is_none() && watched.unreadable == 0;
        measured.problems.extend(watched.problem);
        if cut_off > 0 && !measured.partial {
            measured.problems.push(format!(
                "{cut_off} requests were cut off in the balancer at the end."
            ));
        }
        let at_last = settled(probes.as_deref()).await;
        let ring_full = |snapshot: &Snapshot| snapshot.ledger.get(&Ledger::RingFull).copied();
        let all_came =
            all_read && at_first.as_ref().map(ring_full) == at_last.as_ref().map(ring_full);
        let saw = Saw {
            seen,
            unseen,
            closures,
            answered: watched
                .answered
                .filter(|_| seen.is_some_and(|seen| seen.http)),
            all_came,
        };
        let mut capture = self.capture(&deployed, &names, measured, saw, probes.as_deref());
        if let (Some(first), Some(last)) = (&at_first, &at_last) {
            let counted = Counted::of(&last.since(first), &names);
            capture.losses.extend(counted.losses);
            capture.noticed = counted.noticed;
            capture
                .losses
                .insert("unreadable".to_owned(), watched.unreadable);
        }
        capture
            .losses
            .insert("hops_dropped".to_owned(), hops_dropped);
        Ok(capture)
    }

    fn capture(
        &self,
        deployed: &[Deployed],
        names: &Names,
        measured: Measured,
        saw: Saw,
        probes: Option<&Probes>,
    ) -> Capture {
        let Saw {
            seen,
            unseen,
            closures,
            answered,
            all_came,
        } = saw;
        let used = match (&measured.before.probes, &measured.after.probes) {
            (Some(before), Some(after)) => Some(after.since(before)),
            _ => None,
        };
        let closure = match (&measured.before.probes, &measured.after.probes) {
            (Some(before), Some(after)) if seen.is_some_and(|seen| seen.cpu) => {
                closures.within(before, after)
            }
            _ => None,
        };
        let taken = measured.taken_each();
        let tells_steal = cpus::tells_steal(&measured.after.ticks, machine::is_bare());
        let accounts = accounts(deployed, &measured, &taken, tells_steal);
        let cpus = cpus::between(used.as_ref().zip(seen), &taken, tells_steal);
        let mut problems = measured.problems;
        if seen.is_some() && used.is_none() {
            problems.push(
                "The probes could not be read at both ends of the measured phase: only CPU time is known of the replicas."
                    .to_owned(),
            );
        }
        if measured.before.own.is_none() || measured.after.own.is_none() {
            problems.push(
                "What Galileo itself used could not be read: its cost stands as 0.".to_owned(),
            );
        }
        names.learn(used.iter().flat_map(|used| used.cgroups.keys().copied()));
        let (before, after) = (&measured.before.beside, &measured.after.beside);
        let held = after.throttling.since(&before.throttling);
        let networks = Networks {
            before: &before.network,
            after: &after.network,
        };
        let root_time = before.root.as_ref().zip(after.root.as_ref());
        let system = used
            .as_ref()
            .filter(|_| seen.is_some_and(|seen| seen.cpu))
            .zip(root_time)
            .and_then(|(used, (before, after))| {
                let root = used.cgroups.get(&names.root()?)?;
                Some(system::system(root, &after.since(before)))
            });
        let (usages, interference) =
            usages(used.as_ref().zip(seen), &accounts, &networks, names, &held);
        let own = own_cost(&measured.before, &measured.after, used.as_ref(), probes);
        let traces_lost: u64 = measured
            .reports
            .iter()
            .map(|report| report.warmup.traces_lost + report.measured.traces_lost)
            .sum();
        Capture {
            id: self.id.clone(),
            name: self.plan.name.clone(),
            clock: self.clock,
            started_ns: self.started_ns,
            ended_ns: boot_ns(),
            partial: measured.partial,
            problems,
            seed: self.plan.seed(),
            file: self.plan.file.clone(),
            command: self.options.command.clone(),
            machine: machine::machine(&self.options.version, machine::host().cpus.len()),
            phases: measured.phases,
            nodes: self.plan.nodes.clone(),
            services: services(deployed, usages, answered.as_ref(), all_came),
            workloads: self
                .plan
                .workloads
                .iter()
                .zip(&measured.reports)
                .map(|(workload, report)| galileo_wire::capture::Workload {
                    sent: Some(ledger(&report.measured)),
                    ..workload.captured()
                })
                .collect(),
            interference,
            cpus,
            closure,
            system,
            accounting: Some(system::accounting(Accounting::find())),
            asked_interrupts: self.plan.telemetry.interrupts,
            losses: BTreeMap::from([("traces_lost".to_owned(), traces_lost)]),
            noticed: BTreeMap::new(),
            not_stored: 0,
            own,
            unseen,
        }
    }
}

/// The kernel's accounts of the replicas, and what was taken from the CPUs that they may run on.
fn accounts(
    deployed: &[Deployed],
    measured: &Measured,
    taken: &BTreeMap<u32, Taken>,
    tells_steal: bool,
) -> Vec<Accounts> {
    let accounting = Accounting::find();
    let of_replica = |(index, replica): (usize, &Deployed)| {
        let taken = cpus::taken_from(replica.plan.cpus.as_deref(), taken);
        Accounts {
            before: measured.before.accounts.get(index).copied().flatten(),
            after: measured.after.accounts.get(index).copied().flatten(),
            stolen_ns: taken.filter(|_| tells_steal).map(|taken| taken.steal_ns),
            apart: measured.apart(index, taken.unwrap_or_default(), &accounting),
        }
    };
    deployed.iter().enumerate().map(of_replica).collect()
}

fn services(
    deployed: &[Deployed],
    usages: Vec<Option<Usage>>,
    answered: Option<&Answered>,
    all_came: bool,
) -> BTreeMap<String, Service> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for (index, (replica, mut usage)) in deployed.iter().zip(usages).enumerate() {
        let answers = answered.map(|answered| answered.of_replica(index));
        if let (Some(usage), Some(answers), true) = (&mut usage, &answers, all_came)
            && usage.exchanges.is_some()
        {
            usage.exchanges = Some(answers.exchanges);
        }
        services
            .entry(replica.service.clone())
            .or_insert_with(|| Service {
                replicas: Vec::new(),
            })
            .replicas
            .push(ReplicaCapture {
                name: replica.plan.name.clone(),
                node: replica.plan.node.clone(),
                cgroup: replica.replica.cgroup().map(|cgroup| cgroup.name.clone()),
                port: replica.replica.port(),
                cpu_limit: replica.cpu_limit,
                usage,
                exchanges_by_flag: answers.as_ref().map(|answers| answers.by_flag.clone()),
                exchanges_by_status: answers.map(|answers| answers.by_status),
            });
    }
    services
}

/// The load engine's own count.
fn ledger(counted: &galileo_load::Ledger) -> galileo_wire::capture::Sent {
    galileo_wire::capture::Sent {
        intended: counted.intended,
        sent: counted.sent,
        dropped: counted.dropped,
        completed: counted.completed,
        failed: counted.failed(),
        unfinished: counted.unfinished,
    }
}

fn names(platform: &LocalPlatform, deployed: &[Deployed]) -> Names {
    let replicas = deployed.iter().map(|replica| Named {
        service: replica.service.clone(),
        replica: replica.plan.name.clone(),
        path: replica.replica.cgroup().map(|cgroup| cgroup.name.clone()),
    });
    let mount = cgroup::mount_point().unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
    Names::new(
        &mount,
        platform.own_cgroup().map(|own| own.name.clone()),
        replicas.collect(),
    )
}
