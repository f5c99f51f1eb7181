//! What is kept of a run: the readings of both ends, brought together.

use std::collections::BTreeMap;

use galileo_probes::{Accounting, Probes, Taken};
use galileo_wire::{
    Capture,
    capture::{Replica as ReplicaCapture, Service, Usage},
    clock::boot_ns,
};

use super::{
    answered::Answered,
    closures::Closures,
    course::Measured,
    cpus,
    deploy::Deployed,
    machine,
    names::Names,
    network::Networks,
    own::own_cost,
    session::Session,
    system,
    usage::{Accounts, Seen, usages},
};

/// What the probes could see, and saw besides what two readings tell.
pub(super) struct Saw {
    /// None if they could not be loaded.
    pub seen: Option<Seen>,
    /// What they could not, in sentences.
    pub unseen: Vec<String>,
    pub closures: Closures,
    pub answered: Option<Answered>,
    /// Whether the records of all exchanges did.
    pub all_came: bool,
}

impl Session {
    /// Puts together what was measured.
    pub(super) fn capture(
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
