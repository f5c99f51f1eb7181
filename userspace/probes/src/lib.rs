//! Loads Galileo's eBPF probes and hands out typed snapshots and streams. Knows no Redis and no Kubernetes.
//!
//! ```no_run
//! # async fn example() -> Result<(), galileo_probes::Error> {
//! let mut probes = galileo_probes::Probes::load(&galileo_probes::Config::default())?;
//! let mut exchanges = probes.exchanges()?;
//! let before = probes.snapshot()?;
//! for exchange in exchanges.next_batch().await? {
//!     println!("{} {} → {}", exchange.method, exchange.path, exchange.status);
//! }
//! let used = probes.snapshot()?.since(&before);
//! # Ok(()) }
//! ```
//!
//! Reading order: [`probes`] (load, read), [`attach`], [`snapshot`] (what was counted), [`running`] and [`matrix`] (how
//! it is read from the CPUs), [`closure`] (whether any time is missing), [`causes`] (what waits were for), [`accounting`]
//! (how the kernel counts), [`exchange`] (single exchanges), [`connection`] (single TCP connections), [`tcp`] and
//! [`traffic`] (network counters), [`sockets`] (what is open now), [`namespace`] (where), [`mounts`] (of cgroups),
//! [`capability`] (what is off, and why), [`cost`] (what the probes themselves use), [`verify`] (what the verifier says to
//! each program).

mod accounting;
mod acquisition;
mod addresses;
mod attach;
mod capability;
mod causes;
pub mod cgroup;
mod closure;
mod config;
mod connection;
mod consumer;
mod cost;
mod cpu_times;
mod durations;
mod error;
mod exchange;
mod links;
mod load;
mod mapped;
mod matrix;
mod memory;
mod messages;
pub mod mounts;
mod namespace;
mod object;
mod plain;
mod presence;
mod probes;
mod reader;
mod ring;
mod root;
mod running;
mod slots;
mod snapshot;
pub mod sockets;
mod stats;
mod tcp;
mod traffic;
mod verify;

pub use accounting::{Accounting, Taken, TakenOff, Ticks};
pub use acquisition::{Acquisition, Rate};
pub use capability::{Capability, Feature};
pub use causes::{Bounds, Causes, Throttled};
pub use closure::Closure;
pub use config::Config;
pub use connection::{Connection, ConnectionStream, End, Origin, Segments};
pub use cost::{Cost, ProgramCost, Statistics, rss_bytes};
pub use cpu_times::{CpuTimes, Interrupts};
pub use durations::Durations;
pub use error::Error;
pub use exchange::{Exchange, ExchangeStream, Role, Text};
pub use galileo_ebpf_abi::{Ledger, flags};
pub use memory::{MapMemory, Memory};
pub use namespace::NetworkNamespace;
pub use probes::{Probes, Tables};
pub use root::{RootTasks, RootTime};
pub use snapshot::{Blame, Snapshot};
pub use stats::{CgroupStats, ExchangeStats, UnderWay};
pub use tcp::TcpStats;
pub use traffic::{Interface, Traffic};
pub use verify::{Verdict, verify};
