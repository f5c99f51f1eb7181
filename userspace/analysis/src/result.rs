//! The results of a run as `--output json` prints them. The names, their nesting and their units are stable:
//! a change that a reader could notice raises [`SCHEMA`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Quantiles;
use crate::ledger::Ledger;

/// Version of this format.
pub const SCHEMA: u32 = 1;

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Version of the format: [`SCHEMA`].
    pub schema: u32,
    /// Which run it was.
    pub experiment: Experiment,
    /// What each service used in the measured phase, by name.
    pub services: BTreeMap<String, ServiceResult>,
    /// What became of each workload's requests, in the file's order.
    pub workloads: Vec<WorkloadResult>,
    /// Completed traces of the measured phase that match exactly one exchange as a server of a replica.
    pub joined: u64,
    /// Completed traces of the measured phase that match exactly one exchange whose answer may be another request's (`resumed`): not
    /// among `joined`.
    #[serde(default)]
    pub uncertain: u64,
    /// Who waited for a CPU that whom held, longest first.
    pub interference: Vec<InterferenceResult>,
    /// What each CPU did in the measured phase, by ascending number; empty for runs of before that was kept.
    #[serde(default)]
    pub cpus: Vec<CpuResult>,
    /// What ran in the root cgroup; null if the probes did not tell, and for runs of before that was kept.
    #[serde(default)]
    pub system: Option<SystemResult>,
    /// What the kernel takes off the CPU time of tasks that the probes leave in it; null for runs of before that was kept.
    #[serde(default)]
    pub accounting: Option<AccountingResult>,
    /// What was seen and could not be kept, by kind.
    pub losses: BTreeMap<String, u64>,
    /// What the probes counted that is no loss, by kind; empty without probes and for runs of before that was kept.
    #[serde(default)]
    pub noticed: BTreeMap<String, u64>,
    /// Exchanges that were counted and, by the run's limit, not stored one by one: no loss.
    pub not_stored: u64,
    /// Sums that must hold, or the run is not valid; empty for results of before they were told.
    #[serde(default)]
    pub ledgers: Vec<Ledger>,
    /// What could not be seen on the machine, one sentence each with the reason: why figures are null.
    #[serde(default)]
    pub unseen: Vec<String>,
    /// Whether there is no reason to distrust the run.
    pub valid: bool,
    /// Why it is not valid, in sentences.
    pub invalid_reasons: Vec<String>,
    /// What Galileo itself used in the measured phase.
    pub own_cost: OwnCostResult,
}

impl RunResult {
    /// The replicas of all services, these by name.
    pub fn replicas(&self) -> impl Iterator<Item = &ReplicaResult> {
        self.services.values().flat_map(|service| &service.replicas)
    }
}

/// Which run it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// Identifies the run.
    pub id: String,
    /// The experiment's name.
    pub name: String,
    /// When it began: RFC 3339, UTC, milliseconds.
    pub started: String,
    /// When it ended: RFC 3339, UTC, milliseconds.
    pub ended: String,
    /// The run ended before its plan did.
    pub partial: bool,
    /// Seed of its arrival processes.
    pub seed: u64,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceResult {
    /// Its replicas in order.
    pub replicas: Vec<ReplicaResult>,
}

/// What a replica used in the measured phase. A field is null if it could not be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaResult {
    /// `<service>-<n>`.
    pub name: String,
    /// The node it ran on.
    pub node: String,
    /// Time on a CPU.
    pub cpu_seconds: Option<f64>,
    /// Time on a CPU for each exchange; null also if there was no exchange.
    pub cpu_ms_per_request: Option<f64>,
    /// Bytes received, IP headers included.
    pub rx_bytes: Option<u64>,
    /// Bytes sent, IP headers included.
    pub tx_bytes: Option<u64>,
    /// Both by network interface, loopback first; null also for runs of before that was kept.
    #[serde(default)]
    pub interfaces: Option<Vec<InterfaceResult>>,
    /// What became of its TCP connections; null also for runs of before that was kept.
    #[serde(default)]
    pub tcp: Option<TcpResult>,
    /// HTTP exchanges it answered.
    pub exchanges: Option<u64>,
    /// The same by status; one that none had is absent. Null also for runs of before they were counted.
    #[serde(default)]
    pub exchanges_by_status: Option<BTreeMap<u16, u64>>,
    /// Those of them that something is told of which is not plain or not certain, by flag; a flag that none had is absent.
    #[serde(default)]
    pub exchanges_by_flag: Option<BTreeMap<String, u64>>,
    /// First byte of the request to last byte of the answer, as the kernel saw them at the replica's socket.
    pub service_ms: Option<Quantiles>,
    /// Waits of its tasks for a CPU.
    pub runq_wait_ms: Option<Quantiles>,
    /// What these waits were for.
    pub waits_seconds: Option<WaitsSeconds>,
}

/// What went over a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceResult {
    /// Its number in the replica's network namespace; null for what found no place in the table of interfaces.
    pub interface: Option<u32>,
    /// Its name there; null if it could not be asked for.
    pub name: Option<String>,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Bytes received, IP headers included.
    pub rx_bytes: u64,
    /// Packets received, merged ones counted once.
    pub rx_packets: u64,
    /// Bytes sent, IP headers included.
    pub tx_bytes: u64,
    /// Packets sent, those to be cut later counted once.
    pub tx_packets: u64,
}

/// What became of TCP connections, of those opened since the probes were loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TcpResult {
    /// Connections it opened.
    pub opened: u64,
    /// Connections that were opened to its listeners.
    pub accepted: u64,
    /// Attempts to open one that failed.
    pub failed: u64,
    /// The failed by kind: `refused`, `timed_out`, `abandoned`; all are there.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// Established connections that ended.
    pub closed: u64,
    /// Of the closed, those that ended before both directions were closed.
    pub aborted: u64,
    /// Segments with data sent, retransmissions included.
    pub data_segments: u64,
    /// Segments retransmitted, SYNs included.
    pub retransmits: u64,
    /// Times that a retransmission timer ran out.
    pub timeouts: u64,
    /// Connections that its listeners turned away; null if the kernel could not be asked.
    pub listen_drops: Option<u64>,
    /// Connections open at the end, whoever opened them and when; those that have measured no round trip are left out. Null if the
    /// kernel could not be asked.
    pub open: Option<u64>,
    /// Smoothed round-trip time of each of the closed when it ended, and of each of the open at the end; null if there is none.
    pub rtt_ms: Option<Quantiles>,
}

/// Time spent waiting for a CPU by cause, in seconds, summed over all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WaitsSeconds {
    /// Another cgroup held the CPU.
    pub other_cgroups: f64,
    /// A task of the same cgroup held it.
    pub own_tasks: f64,
    /// A CPU limit kept it off: its own, or one of a cgroup above or below it.
    pub cpu_limit: f64,
    /// The rest.
    pub unexplained: f64,
    /// How far two of these may be off; null for runs of before that was kept.
    #[serde(default)]
    pub bounds: Option<WaitBoundsSeconds>,
}

/// The bounds of those parts of waits that the kernel does not tell exactly, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WaitBoundsSeconds {
    /// Of [`WaitsSeconds::other_cgroups`].
    pub other_cgroups: BoundsSeconds,
    /// Of [`WaitsSeconds::cpu_limit`].
    pub cpu_limit: BoundsSeconds,
}

/// At least and at most, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundsSeconds {
    /// At least.
    pub low: f64,
    /// At most.
    pub high: f64,
}

impl WaitBoundsSeconds {
    /// Whether at least and at most are the same.
    #[must_use]
    pub fn are_exact(&self) -> bool {
        let is_exact = |bounds: BoundsSeconds| bounds.low >= bounds.high;
        is_exact(self.other_cgroups) && is_exact(self.cpu_limit)
    }
}

/// What became of a workload's requests intended in the measured phase.
///
/// `intended = sent + dropped`, `sent = completed + failed + unfinished`, and `failed` is the sum of `failed_by_kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadResult {
    /// `<service>` or `<service>#<n>`.
    pub name: String,
    /// Requests that were due.
    pub intended: u64,
    /// Of these, those that were tried: all but the dropped.
    pub sent: u64,
    /// Of the sent, those whose first byte left more than 1 ms after its time.
    pub late: u64,
    /// Never tried, because too many were in flight.
    pub dropped: u64,
    /// Answered in full with a status below 400.
    pub completed: u64,
    /// Tried and failed.
    pub failed: u64,
    /// The failed by kind; a kind that did not occur is absent.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// Tried and not answered when the run ended.
    pub unfinished: u64,
    /// Completed requests per second of the workload's measured phase; null without one.
    pub achieved_rps: Option<f64>,
    /// Intended time to last byte, of the completed.
    pub response_ms: Option<Quantiles>,
    /// First byte written to last byte read, of the completed.
    pub service_ms: Option<Quantiles>,
}

/// `victim` waited for CPUs that `aggressor` held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterferenceResult {
    /// Who waited: `service/replica`, `galileo`, `system`, or a cgroup's path.
    pub victim: String,
    /// Who held the CPU, in the same words.
    pub aggressor: String,
    /// How long, summed over all tasks of the victim.
    pub wait_seconds: f64,
    /// Whether what CPU limits held the victim could be read and taken off; null for runs of before that was kept.
    #[serde(default)]
    pub limit_known: Option<bool>,
}

/// What a CPU that was online at both ends of the measured phase did in it. A field is null if it was not measured.
///
/// `cgroups = watched - idle - unassigned`; irq, softirq and steal are parts of these times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CpuResult {
    /// Its number.
    pub cpu: u32,
    /// How long the probes watched it.
    pub watched_seconds: Option<f64>,
    /// Time without a task to run.
    pub idle_seconds: Option<f64>,
    /// The rest: time of tasks whose cgroups are known. Null also if there is none because the others come to more.
    pub cgroups_seconds: Option<f64>,
    /// Time of tasks whose cgroup the probes could not follow.
    pub unassigned_seconds: Option<f64>,
    /// Time in handlers of hardware interrupts, on x86 without the local timer's and those between CPUs; null also if `telemetry.interrupts` is off.
    pub irq_seconds: Option<f64>,
    /// Time in softirqs; null also if `telemetry.interrupts` is off.
    pub softirq_seconds: Option<f64>,
    /// Time that a hypervisor gave to others, in steps of 10 ms; null also if /proc/stat has told none since boot, unless there is no
    /// hypervisor.
    pub steal_seconds: Option<f64>,
}

/// What ran in the root cgroup: the kernel's threads, and processes that are in no other.
///
/// `cpu = kernel_threads + processes + rest`, but for what two observers differ in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemResult {
    /// All of it, by the probes.
    pub cpu_seconds: f64,
    /// Of the kernel's threads, by /proc.
    pub kernel_threads_seconds: f64,
    /// Of tasks of processes, by /proc.
    pub processes_seconds: f64,
    /// What /proc does not tell of it: tasks that had ended when it was read.
    pub rest_seconds: f64,
    /// Those names that ran longest, longest first.
    pub busiest: Vec<SystemTaskResult>,
}

/// All tasks of the root cgroup that have one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemTaskResult {
    /// The name; of the kernel's threads what stands before the first `/`.
    pub name: String,
    /// Whether these are threads of the kernel.
    pub kernel_thread: bool,
    /// Time on a CPU.
    pub cpu_seconds: f64,
}

/// What the kernel takes off the CPU time of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountingResult {
    /// The time of interrupts and softirqs.
    pub interrupts: TakenOffResult,
    /// The time that a hypervisor gave to others.
    pub steal: TakenOffResult,
}

/// Whether something is taken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOffResult {
    /// Whether it is; null if nothing tells.
    pub taken_off: Option<bool>,
    /// How that is known, or why not.
    pub how: String,
}

/// What Galileo itself used in the measured phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnCostResult {
    /// CPU time of its processes.
    pub cpu_seconds: f64,
    /// Runs of its probes; null if the kernel did not count them.
    pub probe_runs: Option<u64>,
    /// Time in its probes; null if the kernel did not count it.
    pub probe_seconds: Option<f64>,
    /// Both by program, of those that ran, the dearest first; null if the kernel did not count.
    #[serde(default)]
    pub programs: Option<Vec<ProgramResult>>,
    /// Memory of its process when the run ended; null if /proc did not tell.
    #[serde(default)]
    pub rss_bytes: Option<u64>,
    /// The kernel's memory of its probes' maps by feature; null without probes.
    #[serde(default)]
    pub kernel_bytes: Option<BTreeMap<String, u64>>,
    /// What each TCP socket with traffic takes of the kernel's memory besides; null without probes.
    #[serde(default)]
    pub per_socket_bytes: Option<u64>,
}

/// What one of its eBPF programs cost in the measured phase; what it calls runs in its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgramResult {
    /// Its name.
    pub name: String,
    /// How often it ran.
    pub runs: u64,
    /// Time in it.
    pub seconds: f64,
}

/// A unix time in nanoseconds as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(unix_ns: u64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(unix_ns))
        .expect("64 bits of nanoseconds end in the year 2554, a timestamp's range in 9999");
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(
            rfc3339(1_764_038_400_123_456_789),
            "2025-11-25T02:40:00.123Z"
        );
        assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709Z");
    }
}
