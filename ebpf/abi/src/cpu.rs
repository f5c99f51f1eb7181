//! Who ran, who waited, and what a cgroup used.

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
///
/// What is counted at every context switch lies in [`CpuLine`] instead, where a CPU adds without the others.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CgroupCounters {
    /// Moves of its tasks to another CPU.
    pub migrations: u64,
    /// The part of all waits that is neither laid on anybody nor on an idle CPU: a task of unknown cgroup ran, or more ran
    /// than is remembered.
    pub wait_unexplained_ns: u64,
    /// Waits by length. 32 bits, as of [`SlotLedger`](crate::SlotLedger).
    pub wait_buckets: [u32; BUCKETS],
}

/// What one CPU counted of one cgroup: a cache line in the array map `CPU_LINES`, at CPU × slots + slot. Only that CPU
/// writes it, with interrupts off, so nothing is added atomically; readers add up the lines of all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CpuLine {
    /// Generation of the slot that is counted. A CPU that comes with another one, which is the present one, begins anew: the
    /// place has changed hands.
    pub generation: u32,
    /// Always 0.
    pub reserved: u32,
    /// Time on this CPU, without what runs at the moment of reading ([`CpuState`] tells that).
    pub on_cpu_ns: u64,
    /// Switches away from this CPU because the task slept.
    pub switches_voluntary: u64,
    /// Switches away from this CPU of a task that could have gone on.
    pub switches_involuntary: u64,
    /// Wake-ups of tasks, counted when they leave this CPU again.
    pub wakeups: u64,
    /// Sum of the waits for a CPU that ended here.
    pub wait_ns: u64,
    /// The part of it during which tasks of the same cgroup ran on the CPU that was waited for.
    pub wait_own_ns: u64,
    /// The part of it during which that CPU idled: the wake-up was under way, or the cgroup's own limit held the task.
    pub wait_idle_ns: u64,
}

impl CpuLine {
    /// A line in which nothing is counted.
    #[must_use]
    pub const fn new(generation: u32) -> Self {
        Self {
            generation,
            reserved: 0,
            on_cpu_ns: 0,
            switches_voluntary: 0,
            switches_involuntary: 0,
            wakeups: 0,
            wait_ns: 0,
            wait_own_ns: 0,
            wait_idle_ns: 0,
        }
    }
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

/// How many runs of a CPU are remembered; a power of two. Runs of one cgroup that follow one another are one. (Under Miri, which
/// takes a second for some thousand, few enough that tests come around.)
pub const HISTORY: usize = if cfg!(miri) { 16 } else { 512 };

/// A task that left this CPU while it could have gone on.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Waiter {
    /// Its key.
    pub key: u64,
    /// When it left.
    pub since_ns: u64,
    /// Number of runs written to the history then.
    pub written: u64,
}

/// How many of them are remembered; a power of two.
pub const WAITERS: usize = if cfg!(miri) { 16 } else { 256 };

/// What a CPU does and did last; one entry a CPU in the array map `CPUS`. All zero before its first switch is seen.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CpuState {
    /// Since when the present task runs; 0 before the first switch seen.
    pub since_ns: u64,
    /// Slot of the present task.
    pub slot: u32,
    /// Number of switches seen, modulo 2^32.
    pub switches: u32,
    /// Time the idle task ran.
    pub idle_ns: u64,
    /// The idle task's key; 0 before it first left.
    pub idle_key: u64,
    /// Key of the present task.
    pub key: u64,
    /// Value of `switches` up to which runs are counted in [`CpuLine`]. If it equals `switches` before and after a reading
    /// of this CPU's lines, that reading and this state belong together.
    pub accounted: u32,
    /// Number of runs written to `history` so far, modulo 2^32.
    pub written: u32,
    /// Where this CPU's part of `CPU_LINES` begins. Written by user space, before the programs are attached.
    pub first_line: u64,
    /// Number of waiters written to `waiters` so far, modulo 2^32.
    pub waiters_written: u32,
    /// Number of them that need no further look. (What every switch touches ends here, after one cache line.)
    pub waiters_done: u32,
    /// Twice the number of pairs that gave up their place in `PAIRS`; odd while one does.
    pub evictions: u64,
    /// Which sets of `PAIRS` are used, a bit each.
    pub pairs_used: [u64; PAIR_SETS / 64],
    /// Time of tasks whose cgroup has no slot.
    pub unknown_ns: u64,
    /// When the first switch was seen.
    pub began_ns: u64,
    /// Always 0.
    pub reserved: [u64; 5],
    /// The last runs, as a ring.
    pub history: [Run; HISTORY],
    /// The last tasks that left while they could have gone on, as a ring.
    pub waiters: [Waiter; WAITERS],
    /// The last pairs that gave up their place, as a ring: number `evictions` / 2 is the next.
    pub evicted: [u64; EVICTED],
}

/// What interrupts took of a CPU; one entry a CPU in the array map `INTERRUPTS`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CpuInterrupts {
    /// Since when a handler runs; 0 if none does.
    pub irq_since_ns: u64,
    /// Since when a softirq runs, moved by what interrupted it; 0 if none does.
    pub softirq_since_ns: u64,
    /// Time in handlers of hardware interrupts.
    pub irq_ns: u64,
    /// Their runs.
    pub irqs: u64,
    /// Time in softirqs.
    pub softirq_ns: u64,
    /// Their runs.
    pub softirqs: u64,
    /// Always 0.
    pub reserved: [u64; 2],
}

/// What is known of a task that has left a CPU or was woken: one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Task {
    /// Address of its `task_struct`, used as an opaque key; 0 for a free place.
    pub key: u64,
    /// Since when it waits for a CPU (woken, or left while runnable); 0 while it runs.
    pub since_ns: u64,
    /// When a wait ended that began at `since_ns` and could not be accounted, as the task's cgroup was not known; else 0.
    pub until_ns: u64,
    /// The part of the present wait that was settled on another CPU before a move.
    pub settled_ns: u64,
    /// Its cgroup when it last left a CPU.
    pub cgroup_id: u64,
    /// Slot of that cgroup.
    pub slot: u32,
    /// Wake-ups that are not counted yet.
    pub wakeups: u32,
    /// Moves that are not counted yet.
    pub migrations: u32,
    /// CPU it left last or was moved to.
    pub cpu: u16,
    /// One of [`task_state`].
    pub state: u16,
    /// When it was moved in a wait that may be a sleep; else 0.
    pub moved_ns: u64,
}

/// What a task is doing.
pub mod task_state {
    /// Nothing is known.
    pub const NEW: u16 = 0;
    /// It runs.
    pub const RUNNING: u16 = 1;
    /// It left a CPU, most likely to sleep. If it comes back without a wake-up it waited.
    pub const LEFT: u16 = 2;
    /// It waits for a CPU: it was woken, or the CPU was taken from it.
    pub const WAITING: u16 = 3;
}

/// Places of tasks, unless user space sets another number; a power of two.
pub const TASK_PLACES: u32 = 16_384;
/// The most that user space may set.
pub const TASK_PLACES_MAX: u32 = 1 << 20;
/// Places that share a hash value: those whose numbers differ in the lowest bits only.
pub const TASK_WAYS: u32 = 8;

/// Places of pairs that share a hash value.
pub const PAIR_WAYS: usize = 4;
/// Number of sets of each CPU; a power of two.
pub const PAIR_SETS: usize = 1024;
/// How many pairs that gave up their place are remembered; a power of two.
pub const EVICTED: usize = 512;

/// An entry of the interference matrix: how long one cgroup waited while another held the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Pair {
    /// See [`pair_key`]; 0 for a free place.
    pub key: u64,
    /// The time.
    pub ns: u64,
}

/// One cache line of pairs, in the array map `PAIRS` at CPU × [`PAIR_SETS`] + hash. Only that CPU writes it. A pair that
/// finds no place makes another give up its own: what that had is added to the hash map `MATRIX`, which all CPUs share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PairSet {
    /// The places.
    pub ways: [Pair; PAIR_WAYS],
}

/// Key of a pair of slots in `PAIRS` and `MATRIX`: who waited, and who held the CPU. Never 0, as nobody is blamed by
/// itself.
#[must_use]
pub const fn pair_key(victim: u32, aggressor: u32) -> u64 {
    (aggressor as u64) << 32 | victim as u64
}

/// Victim and aggressor of a key.
#[must_use]
pub const fn pair_of(key: u64) -> (u32, u32) {
    (key as u32, (key >> 32) as u32)
}

/// How far a program of the scheduler's hooks goes. All but the last are for measuring what each step costs.
pub mod step {
    /// Nothing: what any program costs there.
    pub const EMPTY: u32 = 0;
    /// Read the clock.
    pub const CLOCK: u32 = 1;
    /// Find the places of the tasks, and the cgroup.
    pub const TASKS: u32 = 2;
    /// Count time on the CPU, switches and wake-ups; remember the run.
    pub const RUNS: u32 = 3;
    /// Account waits: own, idle, unexplained, and the histogram.
    pub const WAITS: u32 = 4;
    /// Enter who disturbed whom.
    pub const MATRIX: u32 = 5;
    /// The last.
    pub const ALL: u32 = MATRIX;
}

const _: () = assert!(size_of::<CgroupCounters>() == 2 * 8 + BUCKETS * 4);
const _: () = assert!(size_of::<CpuLine>() == 64);
const _: () = assert!(core::mem::offset_of!(CpuState, evictions) == 64);
const _: () = assert!(size_of::<CpuState>() == 256 + HISTORY * 16 + WAITERS * 24 + EVICTED * 8);
const _: () = assert!(size_of::<CpuInterrupts>() == 64);
const _: () = assert!(size_of::<Task>() == 64);
const _: () = assert!(size_of::<PairSet>() == 64);
const _: () = assert!(pair_of(pair_key(3, 5)).0 == 3 && pair_of(pair_key(3, 5)).1 == 5);
