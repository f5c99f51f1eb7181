//! What works on this machine, and why the rest does not.

/// A part of what the probes can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// On-CPU time, switches, waits and interference by cgroup.
    Cpu,
    /// Bytes and packets by cgroup and interface.
    Network,
    /// TCP connections: opened, failed, retransmissions, round-trip times.
    Tcp,
    /// HTTP/1.x exchanges.
    Http,
    /// What interrupts took of each CPU.
    Interrupts,
    /// What each eBPF program costs.
    Statistics,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cpu,
        Self::Network,
        Self::Tcp,
        Self::Http,
        Self::Interrupts,
        Self::Statistics,
    ];

    /// A short name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Network => "network",
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Interrupts => "interrupts",
            Self::Statistics => "statistics",
        }
    }

    /// What it tells.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Cpu => "CPU time, waits and interference by cgroup",
            Self::Network => "bytes and packets by cgroup and interface",
            Self::Tcp => "TCP connections, retransmissions and round-trip times by cgroup",
            Self::Http => "HTTP/1.x exchanges, server and client side",
            Self::Interrupts => "time of interrupts and softirqs by CPU",
            Self::Statistics => "what each eBPF program costs",
        }
    }

    /// The next best that tells something of it where it is off.
    #[must_use]
    pub const fn instead(self) -> &'static str {
        match self {
            Self::Cpu => {
                "CPU time and throttling from each cgroup's cpu.stat, without waits and who caused them"
            }
            Self::Network => {
                "bytes by interface from /proc/net/dev of each network namespace, without cgroups"
            }
            Self::Tcp => {
                "retransmissions and failed connects from /proc/net/snmp of each network namespace, without cgroups"
            }
            Self::Http => {
                "what client and balancer record of their own requests; where only a step is refused also single exchanges whose \
                 messages come in one piece, while the others are counted as lost, and a run tells no counts of either"
            }
            Self::Interrupts => "ticks of interrupts and softirqs by CPU from /proc/stat",
            Self::Statistics => "CPU time of the process that reads",
        }
    }
}

/// Whether a feature is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// Which.
    pub feature: Feature,
    /// Why it is off; none if it is on.
    pub off: Option<String>,
}
