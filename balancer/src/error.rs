//! What can go wrong before the balancer runs.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the balancer cannot start, or a table of weights cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listening socket could not be opened.
    #[error(
        "cannot listen on {addr}: {error}; choose another address or port, or stop the program that has it"
    )]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The name of the node cannot be part of a header's name.
    #[error(
        "the node name {node:?} cannot be part of a header's name; use letters, digits, '-', '_' and '.' (it is sent \
         as X-Forwarded-Host-<node>)"
    )]
    Node {
        /// The name given.
        node: String,
    },
    /// A replica's address is not `host:port`.
    #[error(
        "{text:?} is no address of a replica: {reason}; write host:port, e.g. 10.0.0.7:8080 or [fd00::7]:8080"
    )]
    Host {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A service's replicas contradict one another.
    #[error("service {service:?}: {reason}")]
    Service {
        /// The service.
        service: String,
        /// What is wrong.
        reason: String,
    },
    /// The file of weights could not be read.
    #[error("cannot read the weights in {}: {error}", path.display())]
    ReadWeights {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file of weights is not what it should be.
    #[error(
        "the weights in {} are not usable: {reason}; the form is {{\"<service>\": {{\"ips\": [\"host:port\", …], \
         \"weights\": [1, …]}}}}",
        path.display()
    )]
    ParseWeights {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the position if it is no JSON.
        reason: String,
    },
    /// The thread of the server could not be started.
    #[error("cannot start the balancer's thread: {0}")]
    Thread(std::io::Error),
}
