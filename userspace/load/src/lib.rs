//! Open-loop HTTP load on an absolute schedule.
//!
//! A [`Workload`] says who sends what, where to and when. [`start`] runs it on a thread of its own; every request has an
//! intended time that nothing shifts, is sent whether or not earlier ones were answered, and ends as a
//! [`galileo_wire::Trace`]; the [`Report`]'s ledgers add up.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use galileo_load::{Arrival, Extent, Progress, Target, Workload, start};
//! use galileo_wire::clock::boot_ns;
//! use tokio::sync::mpsc;
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let target = Target::new("127.0.0.1:8080".parse()?);
//! let arrival = Arrival::Poisson("200/s".parse()?);
//! let workload = Workload { clients: 8, ..Workload::new("web", target, arrival, Extent::Duration(Duration::from_secs(20))) };
//!
//! let (traces, mut records) = mpsc::channel(65_536);
//! let begin_ns = boot_ns() + 5_000_000;
//! let running = start(workload, begin_ns, traces, Arc::new(Progress::default()), &CancellationToken::new())?;
//! while let Some(trace) = records.recv().await {
//!     println!("{} {:?}", trace.request_id, trace.outcome);
//! }
//! let report = running.join().await?;
//! println!("{:?}", report.measured.response.quantile_ns(0.99));
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`rate`], [`schedule`] (pure), [`workload`], [`engine`], `http` (private), [`ledger`], [`latency`],
//! [`progress`], [`error`].
#![forbid(unsafe_code)]

pub mod engine;
pub mod error;
mod http;
mod ids;
pub mod latency;
pub mod ledger;
pub mod progress;
pub mod rate;
pub mod schedule;
pub mod workload;

pub use engine::{Report, Running, start};
pub use error::Error;
pub use latency::Latency;
pub use ledger::Ledger;
pub use progress::{Progress, Stage};
pub use rate::{Rate, RateError};
pub use schedule::{Arrival, Extent, Schedule};
pub use workload::{Request, Target, Workload};
