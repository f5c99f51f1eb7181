//! The single records of a run: one per request and observer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The part of a run that a record belongs to. Only [`Phase::Measured`] counts in results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before any load: replicas start and are asked for their health.
    Setup,
    /// Load runs, figures are not counted yet.
    Warmup,
    /// What the results are about.
    Measured,
    /// After the last intended request: answers still come in.
    Drain,
}

impl Phase {
    /// The word used in databases and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Warmup => "warmup",
            Self::Measured => "measured",
            Self::Drain => "drain",
        }
    }
}

/// What became of a request that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer with a status below 400 came.
    Completed,
    /// It was sent and failed.
    Failed(FailureKind),
    /// It was sent and had no answer when the run ended; its age is a lower bound of its latency.
    Unfinished,
    /// It was never sent: the limit of requests in flight was reached.
    Dropped,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection could be made.
    Connect,
    /// The answer took longer than the workload's time-out.
    Timeout,
    /// The connection broke (reset, broken pipe) before the answer was whole.
    Reset,
    /// The peer closed the connection in an orderly way before the answer was whole.
    Closed,
    /// What came is no HTTP/1.x answer.
    Protocol,
    /// A whole answer with a status from 400 to 499.
    Http4xx,
    /// A whole answer with a status from 500 on.
    Http5xx,
}

impl FailureKind {
    /// The word used in results, databases and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
        }
    }
}

/// What the client saw of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// `<10 hex digits of the client>:<counter from 1>`; unique within a run.
    pub request_id: String,
    /// `<workload index>:<service>:<client index>`.
    pub client: String,
    /// The service asked for.
    pub service: String,
    /// Position of the workload in the experiment file.
    pub workload: u32,
    /// The phase in which the request was intended.
    pub phase: Phase,
    /// Intended time.
    pub created_ns: u64,
    /// When the first byte was written to the socket; none if it never was.
    pub sent_ns: Option<u64>,
    /// When the first byte of the answer was read.
    pub first_byte_ns: Option<u64>,
    /// When the last byte of the answer was read, or the failure was noticed; for an unfinished request when it was given up.
    pub done_ns: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
    /// Status of the answer, if one came.
    pub status: Option<u16>,
    /// `X-Final-Host` of the answer: the replica's address as the balancer names it, else none.
    pub server: Option<String>,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
}

/// What the balancer saw of one attempt to have one request answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// `x-galileo-request-id` of the request, if it had one.
    pub request_id: Option<String>,
    /// The service in the path; empty if there was none.
    pub service: String,
    /// Address (`host:port`) of the replica chosen; none if none could be.
    pub replica: Option<String>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the head of the request had been read.
    pub start_ns: u64,
    /// When a connection to the replica stood (new or reused).
    pub connect_ns: Option<u64>,
    /// When the replica's response head had been read.
    pub first_byte_ns: Option<u64>,
    /// When the answer had been passed on, or the attempt given up.
    pub end_ns: u64,
    /// The status given to the client, 0 if it was given none. An attempt that was given up for another one has the
    /// status that its failure alone would have had.
    pub status: u16,
    /// Why the balancer answered by itself or the answer broke off: `no_service`, `no_replica`, `connect`,
    /// `connect_timeout`, `timeout`, `closed`, `reset`, `protocol`, `client_closed`, `client_timeout`, `bad_request`,
    /// `stopped`, `internal`; none if the replica answered.
    pub cause: Option<String>,
}

/// Whose side of a connection was watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The cgroup received the request and answered.
    Server,
    /// The cgroup sent the request.
    Client,
}

impl Role {
    /// The word used in databases and exports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// What the kernel saw of one HTTP exchange on one socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Whose side of the connection this is.
    pub role: Role,
    /// The service of the replica whose cgroup owns the socket, if it is one of ours.
    pub service: Option<String>,
    /// `<service>-<n>` of that replica.
    pub replica: Option<String>,
    /// Path of the cgroup below the cgroup2 mount; `cgroup:<id>` if it was gone before it could be named.
    pub cgroup: String,
    /// The phase in which the request started.
    pub phase: Phase,
    /// Method of the request.
    pub method: String,
    /// Path of the request, without the query unless it was asked for.
    pub path: String,
    /// Final status of the answer.
    pub status: u16,
    /// Number of interim (1xx) answers before the final one, 255 if there were more; none if who recorded it did not count them.
    pub interim: Option<u8>,
    /// Own address.
    pub local_addr: IpAddr,
    /// Own port.
    pub local_port: u16,
    /// The peer's address.
    pub remote_addr: IpAddr,
    /// The peer's port.
    pub remote_port: u16,
    /// First byte of the request.
    pub start_ns: u64,
    /// Last byte of the request; none if it was not seen before the answer had ended, or who recorded it did not tell.
    pub request_end_ns: Option<u64>,
    /// First byte of the answer.
    pub first_byte_ns: u64,
    /// Last byte of the answer.
    pub end_ns: u64,
    /// Bytes of the request, head and body; of a request whose end is not known, those of its head and the length it announced.
    pub request_bytes: u64,
    /// Bytes of the request's head, up to and with the empty line; none if who recorded it did not tell head and body apart.
    pub request_head_bytes: Option<u64>,
    /// Bytes of the answer, head and body.
    pub response_bytes: u64,
    /// Bytes of the answer's head, as `request_head_bytes`.
    pub response_head_bytes: Option<u64>,
    /// `x-galileo-request-id` of the request, if it had one.
    pub request_id: Option<String>,
    /// `traceparent` of the request (W3C Trace Context, version 00); none if it had no valid one, or who recorded it did not look.
    pub traceparent: Option<String>,
    /// What is not certain about this exchange; empty for plain traffic.
    pub flags: Vec<String>,
}

impl Exchange {
    /// The flag of an exchange on a connection older than the probes, or whose place was lost.
    pub const RESUMED: &str = "resumed";

    /// Whether a request may have been outstanding before this one that was not seen: then the answer, and all that is told of it,
    /// is that one's.
    #[must_use]
    pub fn answer_is_uncertain(&self) -> bool {
        self.flags.iter().any(|flag| flag == Self::RESUMED)
    }

    /// Bytes of the request's body on the wire, framing of chunks and trailers included; none if they are not known: the request's
    /// end is not, or head and body were not told apart.
    #[must_use]
    pub fn request_body_bytes(&self) -> Option<u64> {
        self.request_end_ns?;
        self.request_bytes.checked_sub(self.request_head_bytes?)
    }

    /// Bytes of the answer's body on the wire, framing of chunks and trailers included; none if head and body were not told apart.
    #[must_use]
    pub fn response_body_bytes(&self) -> Option<u64> {
        self.response_bytes.checked_sub(self.response_head_bytes?)
    }
}

/// One figure at one time, as telemetry is stored: `(timestamp, metric, subsystem, node, value)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was read.
    pub at_ns: u64,
    /// Name of the figure with its unit, e.g. `cpu_seconds`.
    pub metric: String,
    /// Which part of the node it is about, e.g. a replica's name; empty for the node itself.
    pub subsystem: String,
    /// Name of the node.
    pub node: String,
    /// The figure.
    pub value: f64,
}
