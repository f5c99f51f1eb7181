//! What is told of an HTTP exchange.

use crate::BUCKETS;

/// Bytes kept of a method: the longest that is registered has 17. A longer one is taken for no HTTP.
pub const METHOD_BYTES: usize = 24;
/// Bytes kept of a request target, query included.
pub const PATH_BYTES: usize = 128;
/// Bytes kept of a request id; a longer one is not kept.
pub const REQUEST_ID_BYTES: usize = 40;
/// Bytes kept of a `traceparent`: the 55 of its version 00, and one more that tells a longer one.
pub const TRACE_BYTES: usize = 56;

/// Values of [`ExchangeRecord::role`].
pub mod role {
    /// The socket received the request.
    pub const SERVER: u8 = 0;
    /// The socket sent the request.
    pub const CLIENT: u8 = 1;
    /// Nothing that tells has been seen yet; never in a record.
    pub const UNKNOWN: u8 = 2;
}

/// Bits of [`ExchangeRecord::flags`] and of [`Request::flags`], which together say what is not certain, or not plain, about an exchange.
pub mod flags {
    /// The request target is longer than what was kept of it.
    pub const PATH_TRUNCATED: u32 = 1 << 0;
    /// The answer's body ended with the connection, so its end may be a cut.
    pub const CLOSE_DELIMITED: u32 = 1 << 1;
    /// The answer ended before the request did.
    pub const EARLY_ANSWER: u32 = 1 << 2;
    /// The connection became a tunnel (101, or CONNECT with 2xx): the exchange ends with the answer's head.
    pub const TUNNEL: u32 = 1 << 3;
    /// A header line was longer than what is looked at, and our id may have been in it; or our id is longer than what is kept of it
    /// ([`REQUEST_ID_BYTES`](super::REQUEST_ID_BYTES)).
    pub const HEAD_CUT: u32 = 1 << 4;
    /// The request was sent before the answer to the one before it had ended.
    pub const PIPELINED: u32 = 1 << 5;
    /// Segments within the bodies came out of order. Bytes of a chunked body, or of one whose end was not seen, are at least those
    /// given.
    pub const REORDERED: u32 = 1 << 6;

    /// The connection ended before the answer's body did.
    pub const CUT_OFF: u32 = 1 << 7;
    /// The connection is older than the probes, or its place was lost to bytes out of order: a request may have been outstanding that
    /// was not seen, and then this answer is another one's.
    pub const RESUMED: u32 = 1 << 8;

    /// Told by the server's end for both, see [`ExchangeRecord::peer_cgroup_id`](super::ExchangeRecord::peer_cgroup_id): the client's
    /// times are those at the server's end. User space sets it.
    pub const PEER_TIMES: u32 = 1 << 9;

    /// Name of each bit, in order.
    pub const NAMES: [&str; 10] = [
        "path_truncated",
        "close_delimited",
        "early_answer",
        "tunnel",
        "head_cut",
        "pipelined",
        "reordered",
        "cut_off",
        "resumed",
        "peer_times",
    ];
}

/// What is kept of a request until its answer has ended. All but the texts behind the method lies in one cache line, see
/// `Socket` in the object's core.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Request {
    /// First byte of the request.
    pub start_ns: u64,
    /// Last byte of the request; 0 while it has not ended. If the last bytes came before the first: when that did.
    pub end_ns: u64,
    /// Bytes of head and body, those of a body in chunks with its framing and trailers; until the request has ended those
    /// announced.
    pub bytes: u64,
    /// Bytes of the head, from the method up to and with the empty line; the rest of `bytes` is the body's. At most 2^32 - 1.
    pub head_bytes: u32,
    /// Number of the request on its connection, modulo 2^32.
    pub sequence: u32,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Bytes of `path` that are used.
    pub path_len: u16,
    /// Bytes of `method` that are used.
    pub method_len: u8,
    /// Bytes of `id` that are used; 0 without one.
    pub id_len: u8,
    /// Bytes of `trace` that are used; 0 without one.
    pub trace_len: u8,
    /// Always 0.
    pub reserved: u8,
    /// The method; what follows its length is arbitrary.
    pub method: [u8; METHOD_BYTES],
    /// The request target with its query; what follows its length is arbitrary.
    pub path: [u8; PATH_BYTES],
    /// `x-galileo-request-id`; what follows its length is arbitrary.
    pub id: [u8; REQUEST_ID_BYTES],
    /// `traceparent` (W3C Trace Context, 3.2); what follows its length is arbitrary.
    pub trace: [u8; TRACE_BYTES],
}

/// One exchange, as the ring buffer `EXCHANGES` carries it: whole, or up to the end of the path if it has no id and no
/// `traceparent` ([`ExchangeRecord::bytes`]).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ExchangeRecord {
    /// The kernel's id of the cgroup that owns the socket.
    pub cgroup_id: u64,
    /// Own address; IPv4 as IPv4-mapped.
    pub local_addr: [u8; 16],
    /// The peer's address; IPv4 as IPv4-mapped.
    pub remote_addr: [u8; 16],
    /// Own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// Final status.
    pub status: u16,
    /// See [`role`].
    pub role: u8,
    /// Number of interim (1xx) answers before the final one, at most 255.
    pub interim: u8,
    /// First byte of the answer.
    pub first_byte_ns: u64,
    /// Last byte of the answer.
    pub end_ns: u64,
    /// Bytes of the final answer, head and body; those of a body in chunks with its framing and trailers.
    pub response_bytes: u64,
    /// Bytes of the final answer's head, up to and with the empty line; at most 2^32 - 1.
    pub response_head_bytes: u32,
    /// Bits of [`flags`], besides those of the request.
    pub flags: u32,
    /// If this is told for both ends of the connection, with `role` that of a server: the kernel's id of the cgroup that owns the
    /// client's socket. Else 0.
    pub peer_cgroup_id: u64,
    /// The request.
    pub request: Request,
}

/// What is counted of one cgroup's exchanges, at its slot of the array map `HTTP`: also those without a record.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct HttpCounters {
    /// Exchanges that ended, by [`role`].
    pub exchanges: [u64; 2],
    /// Sum of their durations (first byte of the request to last byte of the answer), by [`role`].
    pub duration_ns: [u64; 2],
    /// Durations of those as a server. 32 bits, as of [`SlotLedger`](crate::SlotLedger).
    pub server_buckets: [u32; BUCKETS],
}

/// Key of what is kept of a head that is split over segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CarryKey {
    /// Socket cookie.
    pub cookie: u64,
    /// 0 received, 1 sent.
    pub direction: u64,
}

/// Key of a pipelined request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PendingKey {
    /// Socket cookie.
    pub cookie: u64,
    /// [`Request::sequence`].
    pub sequence: u64,
}

impl ExchangeRecord {
    /// Bytes before the path.
    pub const BEFORE_PATH: usize =
        core::mem::offset_of!(Self, request) + core::mem::offset_of!(Request, path);

    /// Bytes of the record that carry something: what the ring is given of it.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(&self) -> usize {
        if self.request.id_len != 0 || self.request.trace_len != 0 {
            return size_of::<Self>();
        }
        let path = self.request.path_len as usize;
        Self::BEFORE_PATH + if path > PATH_BYTES { PATH_BYTES } else { path }
    }
}

const _: () = assert!(
    size_of::<Request>() == 40 + METHOD_BYTES + PATH_BYTES + REQUEST_ID_BYTES + TRACE_BYTES
);
const _: () = assert!(size_of::<ExchangeRecord>() == 88 + size_of::<Request>());
