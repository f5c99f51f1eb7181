//! The parts of a run, from the first cgroup to the last record.

use std::{path::PathBuf, sync::Arc, time::Duration};

use galileo_expdb::{Database, Limits, Recorder};
use galileo_probes::{Ledger, Snapshot, cgroup};
use galileo_wire::{Capture, WallClock, clock::boot_ns};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Live, Options, Stage,
    births::Births,
    captured::Saw,
    closures::Closures,
    counted::Counted,
    course::Course,
    deploy::{Deployed, deploy},
    drive::{Balancing, DRAIN},
    loading::load_probes,
    names::{Named, Names},
    observe::{Watched, Watching},
    phases::Phases,
    reading::{Reading, settled},
    sampling::Sampling,
    usage::Seen,
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
