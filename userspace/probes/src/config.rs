//! How the probes are loaded.

use std::path::PathBuf;

/// How the probes are loaded.
#[derive(Debug, Clone)]
pub struct Config {
    /// Cgroups followed at once; by default twice as many as there are when the probes are loaded, and at least 1,024.
    pub cgroups: Option<u32>,
    /// Tasks (threads) followed at once, up to 262,144; by default twice as many as there are when the probes are loaded, and at least
    /// 4,096. Of so many, one in some 7,000 may find its place taken; of more, more. They are counted
    /// ([`Ledger::TasksFull`](crate::Ledger::TasksFull)).
    pub tasks: Option<u32>,
    /// Bytes of the ring of single exchanges; rounded up to what the kernel takes.
    pub ring_bytes: u32,
    /// Bytes of the ring of single TCP connections; as `ring_bytes`.
    pub connection_ring_bytes: u32,
    /// Keep the query of request targets.
    pub keep_query: bool,
    /// Look at both ends of connections over loopback. By default these are looked at at their server's end only, once they have had an
    /// exchange: that costs less (docs/measurements.md), and the client's times are then those at the server's end
    /// ([`flags::PEER_TIMES`](crate::flags::PEER_TIMES)).
    pub each_end: bool,
    /// Count runs and time of each program while the probes are loaded. Costs about 30 ns a run.
    pub statistics: bool,
    /// Count what interrupts take of each CPU. Costs two runs for each of them.
    pub interrupts: bool,
    /// How far the scheduler's programs go, for measuring what each step costs: 0 for programs that do nothing. What comes
    /// after the step is then not counted. All of them by default.
    pub scheduler_step: u32,
    /// The cgroup2 mount to attach to; found by itself if none is given.
    pub cgroup_mount: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cgroups: None,
            tasks: None,
            ring_bytes: 8 << 20,
            connection_ring_bytes: 1 << 20,
            keep_query: false,
            each_end: false,
            statistics: false,
            interrupts: false,
            scheduler_step: u32::MAX,
            cgroup_mount: None,
        }
    }
}
