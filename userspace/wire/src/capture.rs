//! What a run was and what was counted in it: everything beside the single records that its results are made from.
//! It is stored as JSON with the run, so that results and reports can be made again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Histogram, Phase, WallClock};

/// A run, described and counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// Identifies the run: `YYYYmmddHHMM-` and 4 hexadecimal digits.
    pub id: String,
    /// The experiment's name.
    pub name: String,
    /// Converts the times of this run.
    pub clock: WallClock,
    /// When the run began and ended.
    pub started_ns: u64,
    /// See `started_ns`.
    pub ended_ns: u64,
    /// The run ended before its plan did; what was measured until then is kept.
    pub partial: bool,
    /// Why it is partial or not to be trusted, in sentences; empty for a good run. Analysis adds its own reasons.
    pub problems: Vec<String>,
    /// Seed of the run's arrival processes (that of the first workload).
    pub seed: u64,
    /// The experiment file as given, with the values of environment variables as `***`.
    pub file: String,
    /// The command line that repeats the run.
    pub command: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// When each phase began and ended, in order; a phase that did not take place is absent.
    pub phases: Vec<PhaseWindow>,
    /// The nodes named in the experiment file and the CPUs they stand for; on one machine without nodes: one, its host name.
    pub nodes: BTreeMap<String, Vec<u32>>,
    /// The services, by name.
    pub services: BTreeMap<String, Service>,
    /// The workloads in the file's order.
    pub workloads: Vec<Workload>,
    /// Who waited for a CPU while whom it was given to, measured phase.
    pub interference: Vec<Interference>,
    /// What each CPU that was online at both ends did in the measured phase, by ascending number; empty in captures of before this was kept.
    #[serde(default)]
    pub cpus: Vec<Cpu>,
    /// Whether the CPUs' time was accounted for; none without probes that see it, and in captures of before this was kept.
    #[serde(default)]
    pub closure: Option<Closure>,
    /// What ran in the root cgroup in the measured phase; none if the probes did not tell, and in captures of before this was kept.
    #[serde(default)]
    pub system: Option<System>,
    /// What this kernel takes off the CPU time of tasks that the probes leave in it; none in captures of before this was kept.
    #[serde(default)]
    pub accounting: Option<Accounting>,
    /// Whether the time of interrupts and softirqs was asked for: if so and it is not there, `unseen` tells why.
    #[serde(default)]
    pub asked_interrupts: bool,
    /// What was seen and could not be kept, by kind; all kinds are listed, also those with 0.
    pub losses: BTreeMap<String, u64>,
    /// What the probes counted that is no loss, by kind, over the same time and of the same cgroups; all kinds are listed, also those
    /// with 0. Empty without probes, and in captures of before this was kept.
    #[serde(default)]
    pub noticed: BTreeMap<String, u64>,
    /// Exchanges counted but not stored one by one, because the run's limit was reached: no loss.
    pub not_stored: u64,
    /// What Galileo itself used in the measured phase.
    pub own: OwnCost,
    /// What could not be seen on this machine, one sentence each with the reason.
    pub unseen: Vec<String>,
}

impl Capture {
    /// The window of a phase, if it took place.
    #[must_use]
    pub fn window(&self, phase: Phase) -> Option<PhaseWindow> {
        self.phases
            .iter()
            .copied()
            .find(|window| window.phase == phase)
    }
}

/// The machine a run took place on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Host name.
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// Model of the processor as /proc/cpuinfo names it; empty if it does not.
    pub cpu_model: String,
    /// CPUs online.
    pub cpus: u32,
    /// Main memory in bytes.
    pub memory_bytes: u64,
    /// Version of Galileo with its commit.
    pub galileo: String,
}

/// When a phase began and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseWindow {
    /// Which.
    pub phase: Phase,
    /// Begin.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
}

/// A service that was deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its replicas in order.
    pub replicas: Vec<Replica>,
}

/// One replica and what it used in the measured phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// `<service>-<n>`, n from 0.
    pub name: String,
    /// The node it was pinned to, or the host's name.
    pub node: String,
    /// Path of its cgroup below the cgroup2 mount; none without one.
    pub cgroup: Option<String>,
    /// Port it listened on, if it had one.
    pub port: Option<u16>,
    /// CPUs its limit allows (0.5 is half of one), if limited.
    pub cpu_limit: Option<f64>,
    /// What it used in the measured phase; none if nothing could be seen of it.
    pub usage: Option<Usage>,
    /// Exchanges as a server whose request began in the measured phase, by status; one that none had is absent. As `exchanges_by_flag`.
    #[serde(default)]
    pub exchanges_by_status: Option<BTreeMap<u16, u64>>,
    /// Exchanges as a server whose request began in the measured phase and that something is told of which is not plain or not certain, by
    /// flag; a flag that none had is absent. They are counted as their records come, so those whose record was lost are not among
    /// them. None if no records came, and in captures of before they were counted.
    #[serde(default)]
    pub exchanges_by_flag: Option<BTreeMap<String, u64>>,
}

/// What a cgroup and those below it used within a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Time on a CPU by the probes (by /proc without them).
    pub cpu_ns: u64,
    /// The same by the kernel's own accounting (cpu.stat or cpuacct.usage), read in the same window, if it could be read.
    pub accounted_cpu_ns: Option<u64>,
    /// By how much the two may be apart although neither is wrong; none if there is no account, and in captures of before
    /// this was known.
    #[serde(default)]
    pub apart: Option<Apart>,
    /// Time that a hypervisor took from the CPUs it may run on, in steps of 10 ms. The probes see a task run on while that
    /// happens; the kernel's accounting leaves it out where it can (`CONFIG_PARAVIRT_TIME_ACCOUNTING`).
    #[serde(default)]
    pub stolen_ns: Option<u64>,
    /// Bytes received and sent, IP headers included.
    pub rx_bytes: Option<u64>,
    /// See `rx_bytes`.
    pub tx_bytes: Option<u64>,
    /// The same by network interface, ascending by number, loopback first; none also in captures of before this was kept.
    #[serde(default)]
    pub interfaces: Option<Vec<Interface>>,
    /// TCP connections; none also in captures of before this was kept.
    #[serde(default)]
    pub tcp: Option<Tcp>,
    /// Exchanges as a server whose request began in the window, all of them, as their records came; or, if some of these were lost and in
    /// captures of before, those that ended between the readings at its ends, by the counters.
    pub exchanges: Option<u64>,
    /// First byte of the request to last byte of the answer, of those exchanges.
    pub service: Option<Histogram>,
    /// Waits for a CPU.
    pub runq_wait: Option<Histogram>,
    /// What those waits were for.
    pub waits: Option<Waits>,
    /// Switches away from a CPU because the task slept.
    pub switches_voluntary: Option<u64>,
    /// Switches away from a CPU while the task was still runnable.
    pub switches_involuntary: Option<u64>,
}

/// What went over a network interface, IP headers included. Packets are those of the kernel: merged when they come, not yet cut
/// when they go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its number in the network namespace of the replica; none for what found no place in the table of interfaces.
    pub number: Option<u32>,
    /// Its name there, if that could be asked.
    pub name: Option<String>,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

/// What became of TCP connections, of those that were opened since the probes were loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Connections it opened.
    pub opened: u64,
    /// Connections that were opened to its listeners.
    pub accepted: u64,
    /// Attempts that the peer answered with a reset.
    pub refused: u64,
    /// Attempts given up because no answer came.
    pub timed_out: u64,
    /// Attempts that ended without an answer before: closed, or the peer could not be reached.
    pub abandoned: u64,
    /// Established connections that ended.
    pub closed: u64,
    /// Of which before both directions were closed: by a reset, or because nothing was acknowledged any more.
    pub aborted: u64,
    /// Segments with data sent, retransmissions included.
    pub data_segments: u64,
    /// Segments retransmitted, SYNs included.
    pub retransmits: u64,
    /// Times that a retransmission timer ran out.
    pub timeouts: u64,
    /// Connections that its listeners turned away, mostly because more were waiting than they have place for; none if the kernel could not be
    /// asked.
    pub listen_drops: Option<u64>,
    /// Smoothed round-trip time of each of `closed` when it ended.
    pub rtt: Histogram,
    /// The same of each connection that was open at the end, however old; those are left out that have measured none. None if the
    /// kernel could not be asked.
    pub open_rtt: Option<Histogram>,
}

/// By how much the CPU time of a replica by the probes and that by the kernel's account may be apart, at most, although
/// neither is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// What the account lacked of what the probes told when the window began: what ran between the two readings and what
    /// the scheduler had not yet put to account. By as much the account may say more.
    pub begin_ns: u64,
    /// The same when the window ended. By as much the account may say less.
    pub end_ns: u64,
    /// Time from wake-ups to the switches to the replica that they asked for. At such a switch the kernel does not read its clock
    /// again (`rq_clock_skip_update` in kernel/sched/core.c), so the account of the task that comes gets that time, although the
    /// one that leaves had the CPU: by as much the account may say more.
    pub preempting_ns: u64,
    /// The same of switches away from the replica: by as much the account may say less.
    pub preempted_ns: u64,
    /// What a hypervisor took from the CPUs the replica may run on, if this kernel may take that off the account: by as much it
    /// may say less.
    pub steal_ns: u64,
    /// What interrupts and softirqs took from these CPUs, if this kernel may take that off the account: by as much it may
    /// say less.
    pub interrupts_ns: u64,
}

/// Time spent waiting for a CPU, by what it was for; the parts add up to the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// While another cgroup held the CPU.
    pub other_cgroups_ns: u64,
    /// While tasks of the same cgroup held it.
    pub own_tasks_ns: u64,
    /// While the cgroup's own CPU limit kept it off (from cpu.stat).
    pub cpu_limit_ns: u64,
    /// What is left.
    pub unexplained_ns: u64,
    /// How far the parts may be off of which the kernel tells no more than bounds; none in captures of before this was kept.
    #[serde(default)]
    pub bounds: Option<WaitBounds>,
}

/// The bounds of those parts of waits that are not told exactly if a CPU limit held tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitBounds {
    /// Of what other cgroups are to blame for.
    pub other_cgroups: Bounds,
    /// Of what the CPU limit is.
    pub cpu_limit: Bounds,
}

/// At least and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// At least.
    pub low_ns: u64,
    /// At most.
    pub high_ns: u64,
}

/// `victim` waited `wait_ns` for a CPU that `aggressor` held.
///
/// Names: `<service>/<replica>`, `galileo`, `system` (root cgroup), else the cgroup's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interference {
    /// Who waited.
    pub victim: String,
    /// Who held the CPU.
    pub aggressor: String,
    /// How long.
    pub wait_ns: u64,
    /// Whether it could be read for how long CPU limits held the victim meanwhile, which is taken off: if not, some of it may be
    /// theirs. None in captures of before this was kept, in which it was taken off replicas only.
    #[serde(default)]
    pub limit_known: Option<bool>,
}

/// What one CPU did within a window. A figure is none if it was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// How long the probes watched it. What is neither idle nor unassigned of it ran for cgroups: that is the rest, not measured
    /// by itself.
    pub watched_ns: Option<u64>,
    /// Time without a task to run.
    pub idle_ns: Option<u64>,
    /// Time of tasks whose cgroup the probes could not follow.
    pub unassigned_ns: Option<u64>,
    /// Of all these times, what handlers of hardware interrupts took, on x86 without the local timer's and those between CPUs; none
    /// also if that was not asked for.
    pub irq_ns: Option<u64>,
    /// Of all these times, what softirqs took; none also if that was not asked for.
    pub softirq_ns: Option<u64>,
    /// What a hypervisor took, by /proc/stat, in steps of 10 ms; none also if that has told none since boot and nothing tells that
    /// there is no hypervisor.
    pub steal_ns: Option<u64>,
}

/// Whether what the CPUs ran for cgroups and what they idled is the time that they were watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// From the first reading of the measured phase to its last.
    pub whole: Closed,
    /// From one reading to the next: of all these the one of which most is missing, held against what may be ([`Closed::gap`]).
    pub worst: Closed,
    /// How many readings followed another one.
    pub readings: u32,
}

/// The time of all CPUs between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// How long they were watched, together.
    pub watched_ns: i64,
    /// What ran for cgroups.
    pub cgroups_ns: i64,
    /// Time without a task to run.
    pub idle_ns: i64,
    /// What of the rest ran for tasks whose cgroup shows when they leave their CPU; negative if more such ran at the first reading.
    pub unassigned_ns: i64,
}

impl Closed {
    /// The time that is neither a cgroup's nor idle; negative if some is counted twice.
    #[must_use]
    pub fn missing_ns(&self) -> i64 {
        self.watched_ns - self.cgroups_ns - self.idle_ns
    }

    /// How much may be missing: 0.5 %, or 5 ms where readings follow one another so soon that this is more.
    #[must_use]
    pub fn allowed_ns(&self) -> i64 {
        (self.watched_ns / 200).max(5_000_000)
    }

    /// What of the missing is not told by what ran for tasks whose cgroup is not known yet, or has become known with all they ran before;
    /// negative if some is counted twice.
    #[must_use]
    pub fn lost_ns(&self) -> i64 {
        self.missing_ns() - self.unassigned_ns
    }

    /// What is lost as a part of what may be.
    #[must_use]
    pub fn gap(&self) -> f64 {
        self.lost_ns().abs() as f64 / self.allowed_ns() as f64
    }
}

/// What ran in the root cgroup, which has the kernel's threads and all that is in no other: its time by the probes, and whose it was
/// by /proc.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// All of it, by the probes.
    pub cpu_ns: u64,
    /// Of the kernel's threads, by /proc.
    pub kernel_threads_ns: u64,
    /// Of tasks of processes, by /proc.
    pub processes_ns: u64,
    /// Those names that ran longest, longest first.
    pub busiest: Vec<SystemTask>,
}

/// All tasks of the root cgroup that have one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemTask {
    /// Of a kernel's thread what stands before the first `/`.
    pub name: String,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// How long they ran.
    pub cpu_ns: u64,
}

/// What a kernel takes off the CPU time of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// The time of interrupts (`CONFIG_IRQ_TIME_ACCOUNTING`).
    pub interrupts: TakenOff,
    /// The time that a hypervisor gave to others (`CONFIG_PARAVIRT_TIME_ACCOUNTING`).
    pub steal: TakenOff,
}

/// Whether something is taken off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOff {
    /// Whether it is; none if nothing tells.
    pub taken_off: Option<bool>,
    /// How that is known, or why not.
    pub how: String,
}

/// A workload as planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// `<service>` or `<service>#<n>` if there are several for it.
    pub name: String,
    /// The service asked.
    pub service: String,
    /// `balancer` or `direct`.
    pub through: String,
    /// Number of clients.
    pub clients: u32,
    /// Arrival process in the file's words, e.g. `poisson 200/s`.
    pub arrival: String,
    /// Seed of its arrival process.
    pub seed: u64,
    /// Planned length of its measured phase in nanoseconds, if it has one (else it is `requests`).
    pub duration_ns: Option<u64>,
    /// Planned number of requests, if it has one.
    pub requests: Option<u64>,
    /// What the load engine itself counted in the measured phase; none before it has.
    #[serde(default)]
    pub sent: Option<Sent>,
}

/// The load engine's count of a workload's measured phase, beside which the stored traces can be held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Requests that were due.
    pub intended: u64,
    /// Those set out to be sent.
    pub sent: u64,
    /// Those not sent, as too many were in flight.
    pub dropped: u64,
    /// Those answered with a status below 400.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those without an answer at the end.
    pub unfinished: u64,
}

/// What Galileo itself used in the measured phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCost {
    /// CPU time of its processes.
    pub cpu_ns: u64,
    /// Runs of its eBPF programs, if the kernel counted them (`kernel.bpf_stats_enabled`).
    pub probe_runs: Option<u64>,
    /// Time in them, if the kernel counted it.
    pub probe_ns: Option<u64>,
    /// Both by program, those that ran; what a program calls runs in its time. None if the kernel did not count them, and in captures
    /// of before this was kept.
    #[serde(default)]
    pub programs: Option<Vec<ProgramCost>>,
    /// Memory of its process when the run ended; none if /proc did not tell, and in captures of before this was kept.
    #[serde(default)]
    pub rss_bytes: Option<u64>,
    /// The kernel's memory of its probes; none without them, and in captures of before this was kept.
    #[serde(default)]
    pub kernel_memory: Option<KernelMemory>,
}

/// What an eBPF program cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCost {
    /// Its name.
    pub name: String,
    /// How often it ran.
    pub runs: u64,
    /// Time in it.
    pub ns: u64,
}

/// The kernel's memory that the probes take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelMemory {
    /// Bytes of their maps by feature, `shared` of those that all have in common; computed from their shapes.
    pub bytes: BTreeMap<String, u64>,
    /// What each TCP socket with traffic takes besides.
    pub per_socket_bytes: u64,
}
