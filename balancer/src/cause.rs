//! Why the balancer answers by itself.

use std::fmt;

use pingora_core::{Error, ErrorSource, ErrorType};

/// Why an attempt came to no answer of a replica. [`Cause::as_str`] is the word in hop records, in `X-Galileo-Cause`
/// and in the text of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The path names no service, or one that is not in the table.
    NoService,
    /// No replica of the service can be picked.
    NoReplica,
    /// The replica refused the connection, or no way leads to it.
    Connect,
    /// No connection stood in time.
    ConnectTimeout,
    /// The connection stood and no answer came in time.
    Timeout,
    /// The replica closed the connection before its answer was whole.
    Closed,
    /// The connection to the replica broke.
    Reset,
    /// What the replica sent is no HTTP/1.x answer.
    Protocol,
    /// The client went away.
    ClientClosed,
    /// The client's request came too slowly.
    ClientTimeout,
    /// The client's request is not valid.
    BadRequest,
    /// The balancer stopped before the answer was whole.
    Stopped,
    /// The balancer failed.
    Internal,
}

impl Cause {
    /// What an error of pingora means here.
    pub fn of(error: &Error) -> Self {
        match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
                Self::ClientTimeout
            }
            (
                ErrorSource::Downstream,
                ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed,
            ) => Self::ClientClosed,
            (ErrorSource::Downstream, _) => Self::BadRequest,
            (ErrorSource::Upstream, ErrorType::ConnectTimedout) => Self::ConnectTimeout,
            (
                ErrorSource::Upstream,
                ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::SocketError
                | ErrorType::BindError,
            ) => Self::Connect,
            (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
                Self::Timeout
            }
            (ErrorSource::Upstream, ErrorType::ConnectionClosed) => Self::Closed,
            (ErrorSource::Upstream, ErrorType::ReadError | ErrorType::WriteError) => Self::Reset,
            (ErrorSource::Upstream, _) => Self::Protocol,
            (ErrorSource::Internal | ErrorSource::Unset, _) => Self::Internal,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoService => "no_service",
            Self::NoReplica => "no_replica",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::ClientClosed => "client_closed",
            Self::ClientTimeout => "client_timeout",
            Self::BadRequest => "bad_request",
            Self::Stopped => "stopped",
            Self::Internal => "internal",
        }
    }

    /// The status of the balancer's own answer; none where nobody is there to read one.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::NoService => Some(404),
            Self::NoReplica => Some(503),
            Self::Connect | Self::Closed | Self::Reset | Self::Protocol => Some(502),
            Self::ConnectTimeout | Self::Timeout => Some(504),
            Self::ClientTimeout => Some(408),
            Self::BadRequest => Some(400),
            Self::Internal => Some(500),
            Self::ClientClosed | Self::Stopped => None,
        }
    }

    /// What happened, as the end of a sentence that begins with the replica.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NoService => "is no service here",
            Self::NoReplica => "has no replica to ask",
            Self::Connect => "does not accept connections",
            Self::ConnectTimeout => "did not accept a connection in time",
            Self::Timeout => "did not answer in time",
            Self::Closed => "closed the connection before its answer was whole",
            Self::Reset => "broke the connection before its answer was whole",
            Self::Protocol => "sent something that is no HTTP/1.x answer",
            Self::ClientClosed => "was not waited for: the client went away",
            Self::ClientTimeout => "was not asked: the request came too slowly",
            Self::BadRequest => "was not asked: the request is not valid",
            Self::Stopped => "was not waited for: the balancer stopped",
            Self::Internal => "could not be asked: the balancer failed",
        }
    }

    /// The fault lies with the client's side of the connection.
    pub fn is_clients(self) -> bool {
        matches!(
            self,
            Self::ClientClosed | Self::ClientTimeout | Self::BadRequest
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
