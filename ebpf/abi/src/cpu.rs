//! Who ran, who waited, and what a cgroup used.

/// Slot of the idle task in [`CpuState`] and [`Run`]: no cgroup.
pub const SLOT_IDLE: u32 = u32::MAX;
/// Slot of a task whose cgroup is not known yet, or whose cgroup found no free slot.
pub const SLOT_UNKNOWN: u32 = u32::MAX - 1;

/// Histograms are log-linear: each power of two is divided into 2^`BUCKET_SUB_BITS` buckets of equal width, so that a
/// bucket's middle is at most 6.25 % away from any value in it.
pub const BUCKET_SUB_BITS: u32 = 3;
/// Values below 2^this nanoseconds (1.02 µs) share the first bucket.
pub const BUCKET_FIRST_EXPONENT: u32 = 10;
/// Values from 2^(this + 1) nanoseconds (34 s) on share the last bucket.
pub const BUCKET_LAST_EXPONENT: u32 = 34;
/// Number of buckets of a histogram: the first, the log-linear ones, the last.
pub const BUCKETS: usize =
    (((BUCKET_LAST_EXPONENT - BUCKET_FIRST_EXPONENT + 1) << BUCKET_SUB_BITS) + 2) as usize;

/// What is counted of one cgroup, at its slot of the array map `CGROUPS`. All are totals since the probes were loaded.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CgroupCounters {
    /// The kernel's id of the cgroup: the inode number of its folder on 64-bit machines.
    pub cgroup_id: u64,
    /// Time on a CPU, without what runs at the moment of reading ([`CpuState`] tells that).
    pub on_cpu_ns: u64,
    /// Switches away from a CPU because the task slept.
    pub switches_voluntary: u64,
    /// Switches away from a CPU of a task that could have gone on.
    pub switches_involuntary: u64,
    /// Wake-ups of its tasks.
    pub wakeups: u64,
    /// Moves of its tasks to another CPU.
    pub migrations: u64,
    /// Number of waits for a CPU that ended.
    pub waits: u64,
    /// Their sum.
    pub wait_ns: u64,
    /// The part of it during which tasks of the same cgroup ran on that CPU.
    pub wait_own_ns: u64,
    /// The part of it during which other cgroups ran on that CPU.
    pub wait_other_ns: u64,
    /// Waits by length.
    pub wait_buckets: [u64; BUCKETS],
}

/// One stretch of time on a CPU: from the end of the one before to `end_ns`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Run {
    /// When it ended.
    pub end_ns: u64,
    /// Whose it was.
    pub slot: u32,
    /// Always 0.
    pub reserved: u32,
}

/// How many runs of a CPU are remembered.
pub const HISTORY: usize = 64;

/// What a CPU does and did last; one entry a CPU in the array map `CPUS`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CpuState {
    /// Since when the present task runs; 0 before the first switch seen.
    pub since_ns: u64,
    /// Slot of the present task.
    pub slot: u32,
    /// Number of runs written to `history` so far, modulo 2^32.
    pub written: u32,
    /// Time the idle task ran.
    pub idle_ns: u64,
    /// Value of `written` up to which the runs are counted in [`CgroupCounters::on_cpu_ns`]. If it equals `written`
    /// before and after a reading of the counters, that reading and `since_ns` belong together.
    pub accounted: u64,
    /// The last runs, as a ring.
    pub history: [Run; HISTORY],
}

/// What is known of a task that has left a CPU or was woken.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Task {
    /// Address of its `task_struct`, used as an opaque key; 0 for a free place.
    pub key: u64,
    /// Since when it waits for a CPU (woken, or left while runnable); 0 while it runs.
    pub since_ns: u64,
    /// Its cgroup when it last left a CPU.
    pub cgroup_id: u64,
    /// The part of the present wait that was settled on another CPU before a move.
    pub settled_ns: u64,
    /// Slot of that cgroup.
    pub slot: u32,
    /// CPU it left last or was moved to.
    pub cpu: u16,
    /// 1 if it is known to wait for a CPU (woken, or preempted), 0 if it may as well sleep.
    pub runnable: u16,
}

/// Places that share a hash value.
pub const TASK_WAYS: usize = 4;
/// Number of sets; a power of two.
pub const TASK_SETS: u32 = 4096;

/// The places of one hash value in the array map `TASKS`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TaskSet {
    /// The places.
    pub ways: [Task; TASK_WAYS],
}

/// Key of the interference matrix, the hash map `MATRIX`; its value is the time in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MatrixKey {
    /// Slot of the cgroup that waited.
    pub victim: u32,
    /// Slot of the cgroup that held the CPU meanwhile.
    pub aggressor: u32,
}

const _: () = assert!(size_of::<CgroupCounters>() == (10 + BUCKETS) * 8);
const _: () = assert!(size_of::<CpuState>() == 32 + HISTORY * 16);
const _: () = assert!(size_of::<Task>() == 40);
const _: () = assert!(size_of::<MatrixKey>() == 8);
