//! Single TCP connections that ended, as they come out of the ring buffer.

use std::{net::SocketAddr, time::Duration};

use aya::maps::{Array, Map, MapData};
pub use galileo_ebpf_abi::Segments;
use galileo_ebpf_abi::{ConnectionRecord, connection_end};

use crate::{Error, cgroup::CgroupId, error::chain, exchange::address, plain, ring::Ring};

/// One TCP connection, or attempt at one, that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The cgroup that owns the socket: for a connection from outside the one that made the listening socket.
    pub cgroup: CgroupId,
    /// Who opened it.
    pub origin: Origin,
    /// Own address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// When it began, `CLOCK_BOOTTIME`: SYN sent, or established if it was opened from outside.
    pub begin_ns: u64,
    /// When it was established; none if it never was.
    pub established_ns: Option<u64>,
    /// When it ended: the socket's last change of state, before a TIME-WAIT.
    pub end_ns: u64,
    /// How it ended.
    pub end: End,
    /// Bytes received in order (`tcpi_bytes_received`); the peer's FIN counts as one.
    pub bytes_received: u64,
    /// Bytes sent and acknowledged (`tcpi_bytes_acked`); an own SYN and FIN count as one each.
    pub bytes_acked: u64,
    /// Smoothed round-trip time at the end (`tcpi_rtt`, RFC 6298).
    pub rtt: Option<Duration>,
    /// Smallest round-trip time of the last minutes (`tcpi_min_rtt`; `net.ipv4.tcp_min_rtt_wlen`, 300 s by default).
    pub min_rtt: Option<Duration>,
    /// Its segments, as the kernel counts them.
    pub segments: Segments,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// This end: it sent the SYN.
    Local,
    /// The other end.
    Remote,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Both directions were closed.
    Closed,
    /// By a reset, of either side.
    Reset,
    /// The kernel gave it up because nothing was acknowledged: an attempt, or a connection that was established.
    TimedOut,
    /// Never established: the peer answered with a reset.
    Refused,
    /// Never established: the application closed the socket, or ICMP told that the peer cannot be reached, before the
    /// kernel's limit.
    Abandoned,
}

impl End {
    fn new(end: u8) -> Option<Self> {
        Some(match end {
            connection_end::CLOSED => Self::Closed,
            connection_end::RESET => Self::Reset,
            connection_end::TIMED_OUT => Self::TimedOut,
            connection_end::REFUSED => Self::Refused,
            connection_end::ABANDONED => Self::Abandoned,
            _ => return None,
        })
    }

    /// The word used in results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Connection {
    /// How long it was established.
    #[must_use]
    pub fn established(&self) -> Option<Duration> {
        let begin_ns = self.established_ns?;
        Some(Duration::from_nanos(self.end_ns.saturating_sub(begin_ns)))
    }

    /// Puts what a record tells into the batch; nothing if it is none.
    fn read_into(record: &[u8], batch: &mut Vec<Self>) {
        batch.extend(Self::read(record));
    }

    /// Reads a record; none if it is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<ConnectionRecord>() {
            return None;
        }
        let record: ConnectionRecord = plain::from_bytes(bytes);
        Some(Self {
            cgroup: CgroupId(record.cgroup_id),
            origin: if record.active == 0 {
                Origin::Remote
            } else {
                Origin::Local
            },
            local: address(record.local_addr, record.local_port),
            remote: address(record.remote_addr, record.remote_port),
            begin_ns: record.begin_ns,
            established_ns: (record.established_ns != 0).then_some(record.established_ns),
            end_ns: record.end_ns,
            end: End::new(record.end)?,
            bytes_received: record.bytes_received,
            bytes_acked: record.bytes_acked,
            rtt: (record.srtt_8us != 0)
                .then(|| Duration::from_nanos(u64::from(record.srtt_8us) * 125)),
            min_rtt: (record.min_rtt_us != u32::MAX)
                .then(|| Duration::from_micros(record.min_rtt_us.into())),
            segments: record.segments,
        })
    }
}

/// The connections, in the order in which they ended. Records are made only while this exists.
pub struct ConnectionStream {
    ring: Ring,
    read: Array<MapData, u32>,
}

impl ConnectionStream {
    /// Must be called within a tokio runtime with I/O enabled.
    pub(crate) fn new(ring: Map, read: Array<MapData, u32>) -> Result<Self, Error> {
        let mut stream = Self {
            ring: Ring::new(ring)?,
            read,
        };
        stream
            .read
            .set(0, 1, 0)
            .map_err(|error| Error::Mismatch(chain(&error)))?;
        Ok(stream)
    }

    /// Waits until there are connections and returns the next of them, at most 64, see [`ConnectionStream::drain`]. Cancel safe.
    ///
    /// # Errors
    ///
    /// If the ring cannot be waited for.
    pub async fn next_batch(&mut self) -> Result<Vec<Connection>, Error> {
        let mut batch = Vec::new();
        self.ring
            .next_batch(&mut batch, Connection::read_into)
            .await?;
        Ok(batch)
    }

    /// Connections that are there now, without waiting: at most 4,096.
    pub fn drain(&mut self) -> Vec<Connection> {
        let mut batch = Vec::new();
        self.ring.drain(&mut batch, Connection::read_into);
        batch
    }
}

impl Drop for ConnectionStream {
    fn drop(&mut self) {
        if let Err(error) = self.read.set(0, 0, 0) {
            tracing::warn!(%error, "records of connections go on without a reader");
        }
    }
}
