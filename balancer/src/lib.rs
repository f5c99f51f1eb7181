//! A weighted reverse proxy that records every hop.
//!
//! A request for `/function/<service>/<rest>` is sent as `/<rest>` to one of the service's replicas, chosen by smooth
//! weighted round robin; what the balancer saw of it becomes a [`galileo_wire::Hop`]. It runs as a program
//! (`galileo-balancer`) or inside another one:
//!
//! ```
//! use std::time::Duration;
//! use galileo_balancer::{Config, Host, InProcessWeights, hop_channel, start};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let weights = InProcessWeights::new();
//! weights.set("web", [("127.0.0.1:8080".parse::<Host>()?, 3), ("127.0.0.1:8081".parse()?, 1)])?;
//! let (sender, _hops) = hop_channel(65_536);
//! let balancer = start(Config::new("127.0.0.1:0".parse()?, "edge-1"), weights.source(), sender)?;
//! println!("http://{}/function/web/", balancer.addr());
//! balancer.stop(Duration::from_secs(10)).await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Reading order: [`selector`] (whose turn it is), [`weights`] (from where), `routing` (the table of both), `target`
//! and `headers` (what a replica gets to see), `passage` and `hops` (what is recorded), `cause` (why an answer is the
//! balancer's own), `proxy` (the way of a request), `connection` and `server` (start and end).

#![forbid(unsafe_code)]

mod cause;
mod config;
mod connection;
mod error;
mod headers;
mod hop_log;
mod hops;
mod passage;
mod proxy;
mod routing;
pub mod selector;
mod server;
mod target;
pub mod weights;

pub use config::Config;
pub use error::Error;
pub use hop_log::{HopLogEnd, write_hops};
pub use hops::{HopReceiver, HopSender, hop_channel};
pub use selector::Selector;
pub use server::{Drained, Running, start};
pub use weights::{FileWeights, Host, InProcessSource, InProcessWeights, WeightSource, Weights};
