//! What a balancer is told.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Error;

/// How a balancer behaves. [`Config::new`] gives the defaults.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where it listens; port 0 lets the system choose, see [`crate::Running::addr`].
    pub listen: SocketAddr,
    /// Name of this node, in `X-Galileo-Via` and `X-Forwarded-Host-<node>`.
    pub node: String,
    /// Threads that forward requests. Default: one per CPU.
    pub threads: usize,
    /// Replicas asked for one request, if connections to those before fail. Default: 2.
    pub attempts: u32,
    /// How long a connection to a replica may take. Default: 1 s.
    pub connect_timeout: Duration,
    /// How long a replica may be silent: before the head of its answer, and between parts of it. A body that takes
    /// longer to be sent to the replica counts as silence too. Default: 60 s.
    pub response_timeout: Duration,
    /// How long a connection to a replica is kept for the next request. Default: 60 s.
    pub idle_timeout: Duration,
}

impl Config {
    /// The defaults for a node that listens on an address.
    #[must_use]
    pub fn new(listen: SocketAddr, node: impl Into<String>) -> Self {
        Self {
            listen,
            node: node.into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            attempts: 2,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.node.is_empty() || !self.node.chars().all(part_of_name) {
            return Err(Error::Node {
                node: self.node.clone(),
            });
        }
        Ok(())
    }
}
