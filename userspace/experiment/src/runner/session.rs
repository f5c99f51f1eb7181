//! The parts of a run, and its course from the first cgroup to the last record.

use std::{
    collections::BTreeMap,
    future,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use galileo_expdb::{Database, Limits, RecordSender, Recorder};
use galileo_load::{Report, Stage as LoadStage};
use galileo_probes::{Probes, Snapshot, cgroup};
use galileo_wire::{
    Capture, Phase, WallClock,
    capture::{OwnCost, PhaseWindow, Replica as ReplicaCapture, Service},
    clock::boot_ns,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Ended, Error, Live, Options, Stage,
    deploy::{Deployed, deploy},
    drive::{Balancing, DRAIN, Driving},
    machine,
    names::{Named, Names},
    observe::{self, Phases, Watching},
    usage::{Accounts, usages},
};
use crate::{
    file::spec::Through,
    local::{self, Accounted, ExitInfo, LocalPlatform},
    plan::Plan,
};

/// Between starting the load engine and its first request.
const RUN_UP: Duration = Duration::from_millis(100);
/// How long replicas may take to end by themselves.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at how far the load is.
const LOOK: Duration = Duration::from_millis(5);

/// Between two looks at the processes of a replica whose first one ended.
const LOOK_AT_DAEMONS: Duration = Duration::from_millis(100);

/// A run that is carried out.
pub(super) struct Session {
    pub id: String,
    pub plan: Plan,
    pub options: Options,
    pub live: Live,
    pub clock: WallClock,
    pub started_ns: u64,
}

/// All that the end of a run needs to tell what happened.
struct Measured {
    phases: Vec<PhaseWindow>,
    before: Reading,
    after: Reading,
    reports: Vec<Report>,
    partial: bool,
    problems: Vec<String>,
}

impl Measured {
    /// What a hypervisor took from these CPUs (all, if none are named); none where the kernel does not tell.
    fn stolen_ns(&self, cpus: Option<&[u32]>) -> Option<u64> {
        let (before, after) = (&self.before.stolen_ns, &self.after.stolen_ns);
        let of_cpu = |cpu: &u32| Some(after.get(cpu)?.saturating_sub(*before.get(cpu)?));
        match cpus {
            Some(cpus) => cpus.iter().map(of_cpu).sum(),
            None => after.keys().map(of_cpu).sum(),
        }
    }
}

/// One reading of everything.
#[derive(Clone, Default)]
struct Reading {
    probes: Option<Snapshot>,
    accounts: Vec<Option<Accounted>>,
    own: Option<Accounted>,
    stolen_ns: BTreeMap<u32, u64>,
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
            load_probes(&mut unseen)
        } else {
            (None, None)
        };
        let at_first = snapshot(probes.as_deref());

        let deployed = deploy(platform, &self.plan, &self.live, cancel).await?;
        let names = Arc::new(names(platform, &deployed));
        let phases = Arc::new(Phases::default());
        let watching = stream.map(|stream| {
            Watching::start(
                stream,
                Arc::clone(&names),
                Arc::clone(&phases),
                recorder.sender(),
            )
        });
        let sampling = CancellationToken::new();
        let sampler = probes.clone().map(|probes| {
            let replicas = deployed
                .iter()
                .map(|replica| (replica.plan.name.clone(), replica.plan.node.clone()))
                .collect();
            let period = self.plan.telemetry_period;
            tokio::spawn(observe::sample(
                probes,
                Arc::clone(&names),
                replicas,
                period,
                recorder.sender(),
                sampling.clone(),
            ))
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
            probes: probes.as_deref(),
            phases: &phases,
            balancer: balancing.as_ref().map(Balancing::addr),
            cancel,
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
        sampling.cancel();
        if let Some(sampler) = sampler {
            // A panic of the task was printed when it happened.
            let _ = sampler.await;
        }
        let unreadable = match watching {
            Some(watching) => watching.stop().await,
            None => 0,
        };
        let mut measured = measured?;
        if cut_off > 0 && !measured.partial {
            measured.problems.push(format!(
                "{cut_off} requests were cut off in the balancer at the end."
            ));
        }
        let at_last = snapshot(probes.as_deref());
        let mut capture = self.capture(platform, &deployed, &names, measured, unseen);
        if let (Some(first), Some(last)) = (&at_first, &at_last) {
            capture.losses.extend(observe::losses(&last.since(first)));
            capture.losses.insert("unreadable".to_owned(), unreadable);
        }
        capture
            .losses
            .insert("hops_dropped".to_owned(), hops_dropped);
        Ok(capture)
    }

    fn capture(
        &self,
        _platform: &LocalPlatform,
        deployed: &[Deployed],
        names: &Names,
        measured: Measured,
        unseen: Vec<String>,
    ) -> Capture {
        let used = match (&measured.before.probes, &measured.after.probes) {
            (Some(before), Some(after)) => Some(after.since(before)),
            _ => None,
        };
        let accounts: Vec<Accounts> = deployed
            .iter()
            .enumerate()
            .map(|(index, replica)| Accounts {
                before: measured.before.accounts.get(index).copied().flatten(),
                after: measured.after.accounts.get(index).copied().flatten(),
                stolen_ns: measured.stolen_ns(replica.plan.cpus.as_deref()),
            })
            .collect();
        let (usages, interference) = usages(used.as_ref(), &accounts, names);
        let mut services: BTreeMap<String, Service> = BTreeMap::new();
        for (replica, usage) in deployed.iter().zip(usages) {
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
                });
        }
        let own = OwnCost {
            cpu_ns: match (measured.before.own, measured.after.own) {
                (Some(before), Some(after)) => after.cpu_ns.saturating_sub(before.cpu_ns),
                _ => 0,
            },
            probe_runs: used
                .as_ref()
                .filter(|used| !used.programs.is_empty())
                .map(|used| sum(used, |cost| cost.runs)),
            probe_ns: used
                .as_ref()
                .filter(|used| !used.programs.is_empty())
                .map(|used| sum(used, |cost| cost.time_ns)),
        };
        let traces_lost: u64 = measured
            .reports
            .iter()
            .map(|report| report.warmup.traces_lost + report.measured.traces_lost)
            .sum();
        let cpus = machine::host().cpus.len();
        Capture {
            id: self.id.clone(),
            name: self.plan.name.clone(),
            clock: self.clock,
            started_ns: self.started_ns,
            ended_ns: boot_ns(),
            partial: measured.partial,
            problems: measured.problems,
            seed: self.plan.seed(),
            file: self.plan.file.clone(),
            command: self.options.command.clone(),
            machine: machine::machine(&self.options.version, cpus),
            phases: measured.phases,
            nodes: self.plan.nodes.clone(),
            services,
            workloads: self
                .plan
                .workloads
                .iter()
                .map(crate::plan::WorkloadPlan::captured)
                .collect(),
            interference,
            losses: BTreeMap::from([("traces_lost".to_owned(), traces_lost)]),
            not_stored: 0,
            own,
            unseen,
        }
    }
}

fn sum(used: &Snapshot, figure: impl Fn(&galileo_probes::ProgramCost) -> u64) -> u64 {
    used.programs.iter().map(figure).sum()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Loads the probes; what they cannot see here is added to `unseen`.
fn load_probes(
    unseen: &mut Vec<String>,
) -> (Option<Arc<Probes>>, Option<galileo_probes::ExchangeStream>) {
    let config = galileo_probes::Config {
        statistics: true,
        ..galileo_probes::Config::default()
    };
    let mut probes = match Probes::load(&config) {
        Ok(probes) => probes,
        Err(error) => {
            unseen.push(format!(
                "The kernel's probes are off, so only CPU time is known of the replicas: {error}."
            ));
            return (None, None);
        }
    };
    for capability in probes.capabilities() {
        if let Some(reason) = &capability.off {
            unseen.push(format!(
                "Not seen: {} ({reason}).",
                capability.feature.meaning()
            ));
        }
    }
    let stream = match probes.exchanges() {
        Ok(stream) => Some(stream),
        Err(error) => {
            unseen.push(format!("Single exchanges are not seen: {error}."));
            None
        }
    };
    (Some(Arc::new(probes)), stream)
}

fn snapshot(probes: Option<&Probes>) -> Option<Snapshot> {
    probes?
        .snapshot()
        .inspect_err(|error| tracing::warn!(%error, "the probes cannot be read"))
        .ok()
}

fn names(platform: &LocalPlatform, deployed: &[Deployed]) -> Names {
    let replicas = deployed.iter().map(|replica| Named {
        service: replica.service.clone(),
        replica: replica.plan.name.clone(),
        path: replica
            .replica
            .cgroup()
            .map_or_else(String::new, |cgroup| cgroup.name.clone()),
    });
    let mount = cgroup::mount_point().unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
    Names::new(
        &mount,
        platform.own_cgroup().map(|own| own.name.clone()),
        replicas.collect(),
    )
}

/// The measured part of a run.
struct Course<'a> {
    session: &'a Session,
    platform: &'a LocalPlatform,
    deployed: &'a [Deployed],
    probes: Option<&'a Probes>,
    phases: &'a Phases,
    balancer: Option<std::net::SocketAddr>,
    cancel: &'a CancellationToken,
}

/// Why measuring ended.
enum End {
    /// As planned.
    Planned,
    /// All services of an observing run have ended.
    AllEnded,
    /// It was interrupted.
    Cancelled,
    /// A replica that was needed ended.
    Died { replica: usize, exit: ExitInfo },
}

impl Course<'_> {
    async fn run(self, records: RecordSender) -> Result<Measured, Error> {
        let plan = &self.session.plan;
        let live = &self.session.live;
        let begin_ns = boot_ns() + nanoseconds(RUN_UP);
        let measured_ns = begin_ns + nanoseconds(plan.warmup);
        let planned_end_ns = plan
            .measured()
            .map(|measured| measured_ns + nanoseconds(measured));
        // The end of a workload of so many requests is known when it has come.
        let end_known = plan
            .workloads
            .iter()
            .all(|workload| matches!(workload.extent, galileo_load::Extent::Duration(_)));
        self.phases.warmup_ns.store(begin_ns, Relaxed);
        self.phases.measured_ns.store(measured_ns, Relaxed);

        let stop_load = self.cancel.child_token();
        let driving = Driving::start(
            plan,
            self.deployed,
            self.balancer,
            begin_ns,
            live,
            records,
            &stop_load,
        )?;
        let mut problems = Vec::new();
        let mut windows = Vec::new();

        if !plan.warmup.is_zero() {
            live.enter(Stage::WarmingUp {
                begin_ns,
                end_ns: measured_ns,
            });
        }
        let early = self.until(Some(measured_ns)).await;
        if !plan.warmup.is_zero() {
            windows.push(PhaseWindow {
                phase: Phase::Warmup,
                start_ns: begin_ns,
                end_ns: boot_ns().min(measured_ns),
            });
        }
        if !matches!(early, End::Planned) {
            stop_load.cancel();
            driving.join().await?;
            return match early {
                End::Died { replica, exit } => Err(Error::Ended(self.died(replica, exit))),
                _ => Err(Error::Cancelled),
            };
        }

        let before = self.reading();
        live.enter(Stage::Measuring {
            begin_ns: measured_ns,
            end_ns: planned_end_ns,
        });
        let end = if plan.workloads.is_empty() || end_known {
            if let Some(end_ns) = planned_end_ns {
                self.phases.drain_ns.store(end_ns, Relaxed);
            }
            self.until(planned_end_ns).await
        } else {
            self.until_sent().await
        };
        let after = self.reading();
        let ended_ns = boot_ns();
        let end_ns = match (&end, planned_end_ns) {
            (End::Planned, Some(planned)) if end_known => planned,
            _ => ended_ns,
        };
        self.phases.drain_ns.store(end_ns, Relaxed);
        windows.push(PhaseWindow {
            phase: Phase::Measured,
            start_ns: measured_ns,
            end_ns,
        });

        let mut partial = false;
        match end {
            End::Planned => {}
            End::AllEnded => {
                partial = plan.observe.is_some() && !plan.file.is_empty();
                problems.extend(self.failures());
                if partial {
                    problems
                        .push("All services ended before the time to observe was over.".to_owned());
                }
            }
            End::Cancelled => {
                partial = true;
                problems.push("The run was interrupted.".to_owned());
            }
            End::Died { replica, exit } => {
                partial = true;
                problems.push(self.died(replica, exit).sentence(" while measuring"));
            }
        }
        if partial {
            stop_load.cancel();
        }
        if !plan.workloads.is_empty() {
            live.enter(Stage::Draining);
        }
        let reports = driving.join().await?;
        let unanswered: u64 = reports
            .iter()
            .map(|report| report.measured.unfinished)
            .sum();
        if !partial && self.cancel.is_cancelled() && unanswered > 0 {
            partial = true;
            problems.push(format!(
                "The run was interrupted while {unanswered} answers were awaited."
            ));
        }
        if !plan.workloads.is_empty() {
            windows.push(PhaseWindow {
                phase: Phase::Drain,
                start_ns: end_ns,
                end_ns: boot_ns(),
            });
        }
        Ok(Measured {
            phases: windows,
            before,
            after,
            reports,
            partial,
            problems,
        })
    }

    fn reading(&self) -> Reading {
        // Side by side, so that what differs between the two accounts is no time.
        Reading {
            accounts: self
                .deployed
                .iter()
                .map(|replica| replica.replica.usage().ok())
                .collect(),
            own: self.platform.own_usage().ok(),
            probes: snapshot(self.probes),
            stolen_ns: machine::stolen_ns(),
        }
    }

    /// Waits until a time, or for what ends the run before it.
    async fn until(&self, end_ns: Option<u64>) -> End {
        let time = async {
            match end_ns {
                Some(end_ns) => {
                    let left = Duration::from_nanos(end_ns.saturating_sub(boot_ns()));
                    sleep_until(Instant::now() + left).await;
                }
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => End::Cancelled,
            end = self.ended() => end,
            () = time => End::Planned,
        }
    }

    /// Waits until all requests of all workloads were due.
    async fn until_sent(&self) -> End {
        let sent = async {
            let workloads = self.session.live.workloads();
            while workloads.iter().any(|(_, progress)| {
                !matches!(progress.stage(), LoadStage::Drain | LoadStage::Ended)
            }) {
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => End::Cancelled,
            end = self.ended() => end,
            () = sent => End::Planned,
        }
    }

    /// Waits until a replica ends that was needed, or until all have ended.
    async fn ended(&self) -> End {
        let mut running: Vec<usize> = (0..self.deployed.len()).collect();
        loop {
            if running.is_empty() {
                // With load there is always a replica that must not end.
                return End::AllEnded;
            }
            let observing = self.session.plan.workloads.is_empty();
            let (replica, exit) = first_exit(self.deployed, &running, !observing).await;
            running.retain(|index| *index != replica);
            let needed = self.deployed[replica].replica.port().is_some();
            if !observing && (needed || !exit.is_success()) {
                return End::Died { replica, exit };
            }
        }
    }

    /// The replicas that ended badly, in sentences.
    fn failures(&self) -> Vec<String> {
        let exits = self
            .deployed
            .iter()
            .enumerate()
            .filter_map(|(index, replica)| Some((index, replica.replica.exited()?)));
        exits
            .filter(|(_, exit)| !exit.is_success())
            .map(|(index, exit)| self.died(index, exit).sentence(""))
            .collect()
    }

    fn died(&self, replica: usize, exit: ExitInfo) -> Ended {
        let replica = &self.deployed[replica].replica;
        Ended {
            replica: replica.name().to_owned(),
            exit,
            output: replica.output().last_lines(LINES),
        }
    }
}

/// Lines of output shown of a replica that died.
const LINES: usize = 10;

/// Waits for the first of these replicas to end. With `daemons` one whose first process ended well lives on in those that
/// it left behind, as it does while it gets ready.
async fn first_exit(deployed: &[Deployed], running: &[usize], daemons: bool) -> (usize, ExitInfo) {
    let mut waits: Vec<_> = running
        .iter()
        .map(|index| {
            let replica = &deployed[*index].replica;
            Box::pin(async move {
                let exit = replica.wait().await;
                while daemons && exit.is_success() && !replica.members().is_empty() {
                    sleep(LOOK_AT_DAEMONS).await;
                }
                (*index, exit)
            })
        })
        .collect();
    future::poll_fn(|context| {
        for wait in &mut waits {
            if let std::task::Poll::Ready(ended) = wait.as_mut().poll(context) {
                return std::task::Poll::Ready(ended);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
