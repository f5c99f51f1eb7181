//! The local platform: each replica of a service is a process in a cgroup of its own on this machine.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use galileo_experiment::local::{Health, LocalPlatform, Options, Port, ReplicaSpec};
//! use tokio_util::sync::CancellationToken;
//!
//! let mut platform = LocalPlatform::open(Options::new("202611250242-1f3a", "/var/lib/galileo/runs"))?;
//! let web = platform.start(ReplicaSpec {
//!     name: "web-0".to_owned(),
//!     argv: vec!["./server".to_owned()],
//!     cpus: vec![0],
//!     port: Port::Free,
//!     ..ReplicaSpec::default()
//! })?;
//! web.wait_ready(&Health::Http("/".to_owned()), Duration::from_secs(10), &CancellationToken::new()).await?;
//! println!("{:?} used {} ns", web.cgroup(), web.usage()?.cpu_ns);
//! platform.stop(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! The program that does this is its own helper: its `main` begins with
//! `if let Some(code) = galileo_experiment::local::helper_main() { return code; }`.
//!
//! After every end no process and no cgroup of a run is left: [`LocalPlatform::stop`] and dropping see to it, after a
//! SIGKILL of the program the guard does, and [`clean`] if the guard was killed, too.
//!
//! Reading order: `platform` (the whole), `replica`; `tree`, `cgroup`, `limits`, `accounting`, `throttling` (cgroups);
//! `exec`, `process`, `supervise`, `control` (processes); `readiness`, `ports`, `output`; `stop`, `owner`, `guard`,
//! `clean`, `remains` (the end); [`procfs`], `error`.

mod accounting;
pub(crate) mod cgroup;
mod clean;
mod control;
mod error;
mod exec;
mod guard;
mod limits;
mod output;
mod owner;
mod platform;
mod ports;
mod process;
pub mod procfs;
mod readiness;
mod remains;
mod replica;
mod stop;
mod supervise;
pub(crate) mod throttling;
mod tree;

use std::process::ExitCode;

pub use accounting::Accounted;
pub use cgroup::Cgroup;
pub use clean::{CleanReport, Removed, clean};
pub use error::{Error, Result};
pub use output::Output;
pub use platform::{LocalPlatform, Options};
pub use ports::Holder;
pub use process::ExitInfo;
pub use readiness::Health;
pub use remains::{Remains, remains};
pub use replica::{Port, Replica, ReplicaSpec};
pub use stop::{StopReport, Stopped};

/// Does the work of a helper process if this process was started as one, and returns its exit code; none otherwise.
///
/// To be called first in `main`, before there are threads: the helpers are `__exec`, which becomes a replica's command,
/// and `__guard`, which cleans up after a killed Galileo.
#[must_use]
pub fn helper_main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next()?.to_str()? {
        exec::EXEC => Some(exec::main(arguments)),
        guard::COMMAND => Some(guard::main()),
        _ => None,
    }
}
