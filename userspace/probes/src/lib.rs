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
//! Reading order: [`probes`] (load, read), [`attach`], [`snapshot`] (what was counted), [`exchange`] (single exchanges),
//! [`capability`] (what is off, and why), [`cost`] (what the probes themselves use), [`verify`] (what
//! the verifier says to each program).

mod attach;
mod capability;
pub mod cgroup;
mod cost;
mod error;
mod exchange;
mod mapped;
mod messages;
mod object;
mod probes;
mod running;
mod snapshot;
mod verify;

pub use capability::{Capability, Feature};
pub use cost::{ProgramCost, Statistics};
pub use error::Error;
pub use exchange::{Exchange, ExchangeStream, Role};
pub use galileo_ebpf_abi::{Ledger, flags};
pub use probes::{Config, Probes};
pub use snapshot::{Blame, CgroupStats, Durations, ExchangeStats, Snapshot};
pub use verify::{Verdict, verify};
