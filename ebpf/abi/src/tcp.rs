//! TCP connections: what is counted by cgroup, and one record for each that ended.

use crate::BUCKETS;

/// What is counted of one cgroup's TCP connections, at its slot of the array map `TCP`. Totals since the probes were
/// loaded; connections that were open before are not in it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TcpCounters {
    /// Connections it opened.
    pub connected: u64,
    /// Connections that were opened to it.
    pub accepted: u64,
    /// Attempts that the peer refused: it answered the SYN with a reset.
    pub refused: u64,
    /// Attempts that the kernel gave up because no answer came.
    pub timed_out: u64,
    /// Attempts that ended without an answer before the kernel gave them up: the application closed the socket, or an ICMP
    /// message told that the peer cannot be reached.
    pub abandoned: u64,
    /// Established connections that ended, in whichever way.
    pub closed: u64,
    /// Of which without the end of both directions: a reset, or no answer to retransmissions.
    pub aborted: u64,
    /// Segments retransmitted, SYNs included.
    pub retransmits: u64,
    /// Retransmissions whose cause was a timer and not an acknowledgement.
    pub timeouts: u64,
    /// Segments with data sent, retransmissions included. Entered when something else is counted of the connection, at the
    /// latest when it ends.
    pub data_segments: u64,
    /// How long the connections of `closed` were established, together.
    pub established_ns: u64,
    /// Sum of the smoothed round-trip times that `rtt_buckets` counts.
    pub rtt_ns: u64,
    /// Generation of the slot that is counted. Written by user space only.
    pub generation: u32,
    /// Always 0.
    pub reserved: u32,
    /// Smoothed round-trip time of each established connection when it ended. 32 bits: they wrap after four billion
    /// connections of one cgroup and one bucket.
    pub rtt_buckets: [u32; BUCKETS],
}

/// What is kept of a connection while it is there.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TcpSocket {
    /// When it began: SYN sent, or established if it was opened from outside. 0 for no connection.
    pub begin_ns: u64,
    /// When it was established; 0 before.
    pub established_ns: u64,
    /// Retransmissions that are counted.
    pub retransmits: u32,
    /// Data segments that are counted.
    pub data_segments: u32,
    /// Timeouts so far.
    pub timeouts: u32,
    /// Bits of [`connection_state`].
    pub state: u32,
}

/// Bits of [`TcpSocket::state`].
pub mod connection_state {
    /// It was opened from this end.
    pub const ACTIVE: u32 = 1;
    /// It is counted as connected or accepted.
    pub const COUNTED: u32 = 2;
    /// The kernel gives it up because nothing is acknowledged.
    pub const EXPIRED: u32 = 4;
    /// The call at each round-trip time was asked for by us.
    pub const RTT_ASKED: u32 = 8;
}

/// How a connection ended.
pub mod connection_end {
    /// Both directions were closed.
    pub const CLOSED: u8 = 0;
    /// By a reset, of either side.
    pub const RESET: u8 = 1;
    /// The kernel gave it up because nothing was acknowledged.
    pub const TIMED_OUT: u8 = 2;
    /// Never established: the peer answered with a reset.
    pub const REFUSED: u8 = 3;
    /// Never established: given up before the kernel's limit, without an answer.
    pub const ABANDONED: u8 = 4;
}

/// One connection that ended, as the ring buffer `CONNECTIONS` carries it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ConnectionRecord {
    /// The kernel's id of the cgroup that owns the socket.
    pub cgroup_id: u64,
    /// When it began: SYN sent, or established if it was opened from outside.
    pub begin_ns: u64,
    /// When it was established; 0 if it never was.
    pub established_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Bytes received in order (`tcpi_bytes_received`); the peer's FIN counts as one.
    pub bytes_received: u64,
    /// Bytes sent and acknowledged (`tcpi_bytes_acked`); an own SYN and FIN count as one each.
    pub bytes_acked: u64,
    /// Own address; IPv4 as IPv4-mapped.
    pub local_addr: [u8; 16],
    /// The peer's address; IPv4 as IPv4-mapped.
    pub remote_addr: [u8; 16],
    /// Own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// 1 if it was opened from this end.
    pub active: u8,
    /// See [`connection_end`].
    pub end: u8,
    /// Always 0.
    pub reserved: u16,
    /// Smoothed round-trip time in microseconds, times eight as the kernel keeps it; 0 if there was none.
    pub srtt_8us: u32,
    /// Smallest round-trip time in microseconds of the last minutes (`tcp_min_rtt_wlen`); all ones if there was none.
    pub min_rtt_us: u32,
    /// Its segments.
    pub segments: Segments,
}

/// Segments of one connection, as the kernel counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segments {
    /// Sent again (`tcpi_total_retrans`), SYN and SYN-ACK included.
    pub retransmits: u32,
    /// Times that a retransmission timer ran out.
    pub timeouts: u32,
    /// Received (`tcpi_segs_in`).
    pub received: u32,
    /// Sent (`tcpi_segs_out`).
    pub sent: u32,
    /// Received with data (`tcpi_data_segs_in`).
    pub data_received: u32,
    /// Sent with data, retransmissions included (`tcpi_data_segs_out`).
    pub data_sent: u32,
}

const _: () = assert!(size_of::<TcpCounters>() == 13 * 8 + BUCKETS * 4);
const _: () = assert!(size_of::<TcpCounters>().is_multiple_of(8));
const _: () = assert!(size_of::<TcpSocket>() == 32);
const _: () = assert!(size_of::<ConnectionRecord>() == 120);
// The object writes them as words of 32 bits.
const _: () = assert!(
    core::mem::offset_of!(ConnectionRecord, local_addr).is_multiple_of(4)
        && core::mem::offset_of!(ConnectionRecord, remote_addr).is_multiple_of(4)
        && align_of::<ConnectionRecord>() >= 4
);
