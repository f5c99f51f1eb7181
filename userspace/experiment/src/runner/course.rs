//! The course of the measured part of a run: warm-up, measured phase, drain.

use std::{
    collections::BTreeMap, future, net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration,
};

use galileo_expdb::RecordSender;
use galileo_load::{Report, Stage as LoadStage};
use galileo_probes::{Accounting, Probes, Taken};
use galileo_wire::{
    Phase,
    capture::{Apart, PhaseWindow},
    clock::boot_ns,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Stage, deploy::Deployed, drive::Driving, error::Ended, names::Names, phases::Phases,
    reading::Reading, session::Session,
};
use crate::local::{ExitInfo, LocalPlatform};

/// Between starting the load engine and its first request.
const RUN_UP: Duration = Duration::from_millis(100);
/// How long before the first request is read where nothing is asked before it: longer than a reading takes.
const READ_AHEAD: Duration = Duration::from_millis(20);
/// Between two looks at how far the load is.
const LOOK: Duration = Duration::from_millis(5);
/// Between two looks at the processes of a replica whose first one ended.
const LOOK_AT_DAEMONS: Duration = Duration::from_millis(100);

/// All that the end of a run needs to tell what happened.
pub(super) struct Measured {
    pub phases: Vec<PhaseWindow>,
    pub before: Reading,
    pub after: Reading,
    pub reports: Vec<Report>,
    pub partial: bool,
    pub problems: Vec<String>,
}

impl Measured {
    /// What was taken from each CPU that was online at both ends.
    pub(super) fn taken_each(&self) -> BTreeMap<u32, Taken> {
        let before = &self.before.ticks;
        let each = self.after.ticks.iter();
        each.filter_map(|(cpu, after)| Some((*cpu, after.since(before.get(cpu)?))))
            .collect()
    }

    /// By how much the two observers of a replica may be apart.
    pub(super) fn apart(&self, replica: usize, taken: Taken, accounting: &Accounting) -> Apart {
        let lacking_ns = |reading: &Reading| reading.lacking_ns.get(replica).copied().unwrap_or(0);
        let (steal_ns, interrupts_ns) = accounting.taken_off_ns(taken);
        Apart {
            begin_ns: lacking_ns(&self.before),
            end_ns: lacking_ns(&self.after),
            steal_ns,
            interrupts_ns,
            // Known when it is known what the replica used.
            ..Apart::default()
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The measured part of a run.
pub(super) struct Course<'a> {
    pub session: &'a Session,
    pub platform: &'a LocalPlatform,
    pub deployed: &'a [Deployed],
    pub names: &'a Names,
    pub probes: Option<&'a Probes>,
    pub phases: &'a Phases,
    pub balancer: Option<SocketAddr>,
    pub cancel: &'a CancellationToken,
    /// When measuring began and what was read then, if that was before the replicas started.
    pub began: Option<(u64, Reading)>,
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
    /// From the first load to the last answer.
    pub(super) async fn run(mut self, records: RecordSender) -> Result<Measured, Error> {
        let plan = &self.session.plan;
        let live = &self.session.live;
        let began = self.began.take();
        let begin_ns = began.as_ref().map_or_else(
            || boot_ns() + nanoseconds(RUN_UP),
            |(begin_ns, _)| *begin_ns,
        );
        let measured_ns = begin_ns + nanoseconds(plan.warmup);
        let planned_end_ns = plan
            .measured()
            .map(|measured| measured_ns + nanoseconds(measured));
        // The end of a workload of so many requests is known when it has come.
        let end_known = plan
            .workloads
            .iter()
            .all(|workload| matches!(workload.extent, galileo_load::Extent::Duration(_)));
        self.phases.begin(begin_ns, measured_ns);

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
        // Without a warm-up nothing is asked of the replicas before the first measured request, which is not to come amid the reading.
        let read_ns = if plan.warmup.is_zero() {
            measured_ns - nanoseconds(READ_AHEAD)
        } else {
            measured_ns
        };
        let early = if began.is_some() {
            End::Planned
        } else {
            self.until(Some(read_ns)).await
        };
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
                End::AllEnded => Err(Error::AllEnded(self.failures())),
                End::Planned | End::Cancelled => Err(Error::Cancelled),
            };
        }

        let before = match began {
            Some((_, reading)) => reading,
            None => self.reading(false).await,
        };
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
        let end_ns = match (&end, planned_end_ns) {
            (End::Planned, Some(planned)) if end_known => planned,
            _ => boot_ns(),
        };
        self.phases.drain_ns.store(end_ns, Relaxed);
        let after = self.reading(true).await;
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

    async fn reading(&self, is_last: bool) -> Reading {
        Reading::take(
            self.platform,
            self.probes,
            self.deployed,
            self.names,
            is_last,
        )
        .await
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
