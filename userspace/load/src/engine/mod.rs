//! Runs a workload: on a thread of its own, so that nothing else in the process can make it late.
//!
//! The thread competes for CPUs like any other: on a machine whose CPUs are all busy it is late, and says so in
//! [`Ledger::late`].
//!
//! Reading order: `plan` (what is due when), `timer`, `flight` (a request on its way), `pacer` (the loop), `open_files`.

mod flight;
mod open_files;
mod pacer;
mod plan;
mod timer;
mod urgency;

use std::{io, sync::Arc, thread};

use galileo_wire::Trace;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{open_files::Reservation, pacer::Pacer, timer::BootTimer};
use crate::{error::Error, ledger::Ledger, progress::Progress, workload::Workload};

/// A workload that runs. Dropping it cancels the run.
#[derive(Debug)]
pub struct Running {
    report: oneshot::Receiver<io::Result<Report>>,
    thread: thread::JoinHandle<()>,
    _cancel: DropGuard,
}

/// What a run of a workload came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The requests of the warm-up.
    pub warmup: Ledger,
    /// The requests of the measured phase.
    pub measured: Ledger,
    /// Boot time at which the measured phase began; if the run was cancelled before, the time of that.
    pub measured_start_ns: u64,
    /// Boot time at which the measured phase ended: as planned, or when the run was cancelled.
    pub measured_end_ns: u64,
    /// Boot time at which the last answer had come or was no longer waited for.
    pub ended_ns: u64,
    /// The run was cancelled; what was due until then is counted.
    pub cancelled: bool,
    /// Connections made.
    pub connections: u64,
}

/// Starts a workload whose warm-up (without one: whose measured phase) begins at the boot time `begin_ns`. Give it a few
/// milliseconds of lead; what was due before the engine stands is sent at once and counts as late.
///
/// Each request's record goes into `traces` when the request has ended. The load never waits for that channel: what does not
/// fit is counted in [`Ledger::traces_lost`]. Cancelling stops the sending at once and the run within a second.
///
/// The engine's thread runs under `SCHED_FIFO` if the process may set that (root, or `CAP_SYS_NICE`): under the usual
/// scheduler it would wait behind what it measures, and its requests would be late.
///
/// If the soft limit of open files is too low for the workload's connections, it is raised for the whole process (and what
/// it starts later) as far as needed.
///
/// # Errors
/// If the workload cannot be sent as it stands, or the process may not open enough files, or the system refuses a thread or
/// a timer.
pub fn start(
    workload: Workload,
    begin_ns: u64,
    traces: mpsc::Sender<Trace>,
    progress: Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<Running, Error> {
    workload.check()?;
    let files = Reservation::new(workload.in_flight as u64)?;
    let system = |doing| move |source| Error::System { doing, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(system("make a runtime for the load engine"))?;
    let timer = {
        let _inside = runtime.enter();
        BootTimer::new().map_err(system("make a timer for the load engine"))?
    };
    let cancel = cancel.child_token();
    let (sender, report) = oneshot::channel();
    let token = cancel.clone();
    let thread = thread::Builder::new()
        .name("galileo-load".to_owned())
        .spawn(move || {
            urgency::take();
            let pacer = Pacer::new(workload, begin_ns, timer, traces, progress, token);
            let report = runtime.block_on(pacer.run());
            drop(runtime);
            drop(files);
            // Nobody waits any more if `Running` was dropped.
            let _ = sender.send(report);
        })
        .map_err(system("start the thread of the load engine"))?;
    Ok(Running {
        report,
        thread,
        _cancel: cancel.drop_guard(),
    })
}

impl Running {
    /// Waits for the run's end.
    ///
    /// # Errors
    /// If the timer failed or the engine's thread panicked.
    pub async fn join(self) -> Result<Report, Error> {
        let report = self.report.await;
        // The report is the last thing that the thread does, so this does not block; a panic has been printed.
        let joined = self.thread.join();
        match (report, joined) {
            (Ok(report), Ok(())) => report.map_err(|source| Error::System {
                doing: "wait for a request's time",
                source,
            }),
            _ => Err(Error::Died),
        }
    }
}
