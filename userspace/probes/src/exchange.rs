//! Single exchanges, as they come out of the ring buffer.

use std::{
    mem::offset_of,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use arrayvec::ArrayString;
use aya::maps::Map;
use galileo_ebpf_abi::{
    ExchangeRecord, METHOD_BYTES, PATH_BYTES, REQUEST_ID_BYTES, TRACE_BYTES, flags, role,
};

use galileo_ebpf_core::opening::is_token;

use crate::{Error, cgroup::CgroupId, plain, ring::Ring};

/// A text of at most `N` bytes, which lies within what it belongs to: a busy server has 100,000 exchanges a second, and memory
/// asked for and given back for each of their texts costs more than all else that is done with them here.
pub type Text<const N: usize> = ArrayString<N>;

/// What one HTTP exchange was, on one socket. Where its texts are not UTF-8 they have U+FFFD instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The cgroup that owns the socket.
    pub cgroup: CgroupId,
    /// Whose side of the connection it is.
    pub role: Role,
    /// Own address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Method of the request.
    pub method: Text<METHOD_BYTES>,
    /// Path of the request; with its query if the probes were loaded with `keep_query`.
    pub path: Text<PATH_BYTES>,
    /// Final status.
    pub status: u16,
    /// Number of interim (1xx) answers before it, at most 255.
    pub interim: u8,
    /// First byte of the request, `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// Last byte of the request; none if that was not seen before the answer had ended: the answer was early, or the place in the
    /// request's body was lost to bytes out of order (`flags` says which).
    pub request_end_ns: Option<u64>,
    /// First byte of the final answer.
    pub first_byte_ns: u64,
    /// Last byte of the final answer.
    pub end_ns: u64,
    /// Bytes of the request, head and body; of a request whose end is not known, those of its head and the length it announced.
    pub request_bytes: u64,
    /// Bytes of the request's head, from the method up to and with the empty line.
    pub request_head_bytes: u64,
    /// Bytes of the final answer, head and body; interim answers count nowhere.
    pub response_bytes: u64,
    /// Bytes of the final answer's head, from its version up to and with the empty line.
    pub response_head_bytes: u64,
    /// `x-galileo-request-id` of the request.
    pub request_id: Option<Text<REQUEST_ID_BYTES>>,
    /// `traceparent` of the request (W3C Trace Context), if it is one of version 00.
    pub traceparent: Option<Text<TRACE_BYTES>>,
    /// Bits of [`flags`]: what is not plain or not certain.
    pub flags: u32,
}

/// What a record says before its path, which is there in each.
type Fixed = [u8; ExchangeRecord::BEFORE_PATH];

/// A field of a record that stands before its path.
macro_rules! field {
    ($record:expr, $($field:ident).+: $kind:ty) => {
        plain::from_bytes::<$kind>(&$record[offset_of!(ExchangeRecord, $($field).+)..])
    };
}

/// Where a field of the request lies in a record.
macro_rules! of_request {
    ($field:ident) => {
        offset_of!(ExchangeRecord, request.$field)
    };
}

/// Whose side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It answered.
    Server,
    /// It asked.
    Client,
}

impl Exchange {
    /// Bytes of the request's body as they went over the wire: those of a body in chunks with its framing and trailers. None if the
    /// request's end is not known.
    #[must_use]
    pub fn request_body_bytes(&self) -> Option<u64> {
        self.request_end_ns
            .map(|_| self.request_bytes.saturating_sub(self.request_head_bytes))
    }

    /// Bytes of the final answer's body as they went over the wire: see [`Exchange::request_body_bytes`]. Of an answer that was cut
    /// off those that came.
    #[must_use]
    pub fn response_body_bytes(&self) -> u64 {
        self.response_bytes.saturating_sub(self.response_head_bytes)
    }

    /// The names of the flags that are set.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        flags::NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.flags & (1 << bit) != 0)
            .map(|(_, name)| *name)
    }

    /// The same exchange at the client's end, in this cgroup.
    fn at_the_client(self, cgroup: CgroupId) -> Self {
        Self {
            cgroup,
            role: Role::Client,
            local: self.remote,
            remote: self.local,
            flags: self.flags | flags::PEER_TIMES,
            ..self
        }
    }

    /// Reads a record; none if what it says is no HTTP: a method that is no token, a target with control characters.
    ///
    /// In place, as a copy of the record would cost as much as all else.
    #[inline]
    fn read(bytes: &[u8], keep_query: bool) -> Option<Self> {
        let record: &Fixed = bytes.first_chunk()?;
        let text_at = |at: usize, length: u16| match usize::from(length) {
            // A record without them ends before they would begin.
            0 => Some(&[][..]),
            length => bytes.get(at..at + length),
        };
        let method = of_request!(method);
        let method =
            record.get(method..method + usize::from(field!(record, request.method_len: u8)))?;
        let path_len = field!(record, request.path_len: u16);
        let target =
            text_at(of_request!(path), path_len).filter(|path| path.len() <= PATH_BYTES)?;
        let id_len = field!(record, request.id_len: u8);
        let id =
            text_at(of_request!(id), id_len.into()).filter(|id| id.len() <= REQUEST_ID_BYTES)?;
        let trace_len = field!(record, request.trace_len: u8);
        let trace = text_at(of_request!(trace), trace_len.into())
            .filter(|trace| trace.len() <= TRACE_BYTES)?;
        if method.is_empty()
            || !method.iter().all(|byte| IS_TOKEN[usize::from(*byte)])
            || target.iter().any(u8::is_ascii_control)
        {
            return None;
        }
        let path = if keep_query {
            target
        } else {
            target.split(|byte| *byte == b'?').next().unwrap_or(target)
        };
        let truncated_in_query = !keep_query && path.len() < target.len();
        let mut flags = u32::from(field!(record, request.flags: u16)) | field!(record, flags: u32);
        if truncated_in_query {
            flags &= !flags::PATH_TRUNCATED;
        }
        let (path, is_whole) = text(path);
        if !is_whole {
            flags |= flags::PATH_TRUNCATED;
        }
        let request_end_ns = field!(record, request.end_ns: u64);
        let end_ns = field!(record, end_ns: u64);
        Some(Self {
            cgroup: CgroupId(field!(record, cgroup_id: u64)),
            role: if field!(record, role: u8) == role::SERVER {
                Role::Server
            } else {
                Role::Client
            },
            local: address(
                field!(record, local_addr: [u8; 16]),
                field!(record, local_port: u16),
            ),
            remote: address(
                field!(record, remote_addr: [u8; 16]),
                field!(record, remote_port: u16),
            ),
            method: text(method).0,
            path,
            status: field!(record, status: u16),
            interim: field!(record, interim: u8),
            start_ns: field!(record, request.start_ns: u64),
            // The request may end on one CPU while on another its answer already has.
            request_end_ns: (request_end_ns != 0
                && request_end_ns <= end_ns
                && flags & flags::EARLY_ANSWER == 0)
                .then_some(request_end_ns),
            first_byte_ns: field!(record, first_byte_ns: u64),
            end_ns,
            request_bytes: field!(record, request.bytes: u64),
            request_head_bytes: field!(record, request.head_bytes: u32).into(),
            response_bytes: field!(record, response_bytes: u64),
            response_head_bytes: field!(record, response_head_bytes: u32).into(),
            traceparent: is_traceparent(trace).then(|| text(trace).0),
            request_id: (!id.is_empty()).then(|| text(id).0),
            flags,
        })
    }
}

/// W3C Trace Context, 3.2.2: `version-format` of version 00, whose ids are not all zeros.
fn is_traceparent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &[u8]| hex(part) && part.iter().any(|byte| *byte != b'0');
    text.len() == 55
        && text.starts_with(b"00-")
        && id(&text[3..35])
        && text[35] == b'-'
        && id(&text[36..52])
        && text[52] == b'-'
        && hex(&text[53..])
}

/// [`is_token`] of each byte.
static IS_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        table[byte as usize] = is_token(byte);
        byte += 1;
    }
    table
};

/// The text that these bytes are, and whether it has room for all of it: what is not UTF-8 takes more than it did.
#[inline]
fn text<const N: usize>(bytes: &[u8]) -> (Text<N>, bool) {
    if let Ok(whole) = str::from_utf8(bytes)
        && let Ok(text) = Text::from(whole)
    {
        return (text, true);
    }
    let mut text = Text::new();
    for chunk in bytes.utf8_chunks() {
        let replaced = if chunk.invalid().is_empty() {
            ""
        } else {
            "\u{fffd}"
        };
        for piece in [chunk.valid(), replaced] {
            if text.try_push_str(piece).is_err() {
                return (text, false);
            }
        }
    }
    (text, true)
}

pub(crate) fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(), port)
}

/// The exchanges, in the order in which their answers ended.
pub struct ExchangeStream {
    ring: Ring,
    keep_query: bool,
    unreadable: u64,
    /// What was handed out last; its memory is used again.
    batch: Vec<Exchange>,
}

impl ExchangeStream {
    /// Must be called within a tokio runtime with I/O enabled.
    pub(crate) fn new(ring: Map, keep_query: bool) -> Result<Self, Error> {
        Ok(Self {
            ring: Ring::new(ring)?,
            keep_query,
            unreadable: 0,
            batch: Vec::new(),
        })
    }

    /// Waits until there are exchanges and returns the next of them, of at most 64 records, so that they stay in the cache. Cancel
    /// safe.
    ///
    /// # Errors
    ///
    /// If the ring cannot be waited for.
    pub async fn next_batch(&mut self) -> Result<&[Exchange], Error> {
        let Self {
            ring,
            keep_query,
            unreadable,
            batch,
        } = self;
        batch.clear();
        ring.next_batch(batch, |record, batch| {
            read(record, *keep_query, unreadable, batch);
        })
        .await?;
        Ok(batch)
    }

    /// Exchanges that are there now, without waiting: of at most 4,096 records, so that traffic which goes on cannot hold the caller.
    pub fn drain(&mut self) -> &[Exchange] {
        let Self {
            ring,
            keep_query,
            unreadable,
            batch,
        } = self;
        batch.clear();
        ring.drain(batch, |record, batch| {
            read(record, *keep_query, unreadable, batch);
        });
        batch
    }

    /// Exchanges so far whose record said nothing that one can be: none was made of them.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

/// Reads a record: one exchange, or one for each end; or counts it as unreadable.
#[inline]
fn read(record: &[u8], keep_query: bool, unreadable: &mut u64, batch: &mut Vec<Exchange>) {
    let client = client_of(record);
    let Some(exchange) = Exchange::read(record, keep_query) else {
        *unreadable += 1 + u64::from(client.is_some());
        return;
    };
    batch.push(exchange);
    batch.extend(client.map(|cgroup| exchange.at_the_client(cgroup)));
}

/// The cgroup of the client, if the record of its server is told for both.
#[inline]
fn client_of(record: &[u8]) -> Option<CgroupId> {
    let record: &Fixed = record.first_chunk()?;
    let id = field!(record, peer_cgroup_id: u64);
    (id != 0).then_some(CgroupId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(method: &[u8], path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<ExchangeRecord>()];
        bytes[of_request!(method_len)] = method.len() as u8;
        bytes[of_request!(path_len)] = path.len() as u8;
        for (at, text) in [(of_request!(method), method), (of_request!(path), path)] {
            bytes[at..at + text.len()].copy_from_slice(text);
        }
        bytes
    }

    #[test]
    fn a_record_without_id_may_end_with_its_path() {
        let bytes = record(b"GET", b"/a?b");
        let used = of_request!(path) + 4;

        let exchange = Exchange::read(&bytes[..used], false).unwrap();

        assert_eq!((&*exchange.method, &*exchange.path), ("GET", "/a"));
        assert_eq!(Exchange::read(&bytes[..used - 1], false), None);
    }

    #[test]
    fn a_record_for_both_ends_is_an_exchange_of_each() {
        let mut bytes = record(b"GET", b"/");
        bytes[offset_of!(ExchangeRecord, cgroup_id)] = 1;
        bytes[offset_of!(ExchangeRecord, local_port)] = 80;
        bytes[offset_of!(ExchangeRecord, remote_port)] = 99;
        let (mut unreadable, mut batch) = (0, Vec::new());

        read(&bytes, false, &mut unreadable, &mut batch);
        assert_eq!(batch.len(), 1);
        bytes[offset_of!(ExchangeRecord, peer_cgroup_id)] = 2;
        batch.clear();
        read(&bytes, false, &mut unreadable, &mut batch);
        read(b"", false, &mut unreadable, &mut batch);

        let [server, client] = batch[..] else {
            panic!("{batch:?}");
        };
        assert_eq!((server.role, client.role), (Role::Server, Role::Client));
        assert_eq!((server.cgroup.0, client.cgroup.0), (1, 2));
        assert_eq!((client.local, client.remote), (server.remote, server.local));
        assert_eq!((server.local.port(), server.remote.port()), (80, 99));
        assert_eq!(&*client.path, "/");
        assert_eq!((server.flags, client.flags), (0, flags::PEER_TIMES));
        assert_eq!(unreadable, 1);
    }

    #[test]
    fn the_end_and_the_body_of_a_request_are_known_only_if_it_ended_before_its_answer() {
        let mut bytes = record(b"POST", b"/");
        let mut set = |at: usize, value: u8| bytes[at] = value;
        set(of_request!(bytes), 90);
        set(of_request!(head_bytes), 60);
        set(of_request!(end_ns), 7);
        set(offset_of!(ExchangeRecord, end_ns), 8);
        set(offset_of!(ExchangeRecord, response_bytes), 50);
        set(offset_of!(ExchangeRecord, response_head_bytes), 50);

        let ended = Exchange::read(&bytes, false).unwrap();
        bytes[offset_of!(ExchangeRecord, flags)] = flags::EARLY_ANSWER as u8;
        let early = Exchange::read(&bytes, false).unwrap();
        bytes[offset_of!(ExchangeRecord, flags)] = 0;
        bytes[of_request!(end_ns)] = 9;
        let later = Exchange::read(&bytes, false).unwrap();
        bytes[of_request!(end_ns)] = 0;
        let unknown = Exchange::read(&bytes, false).unwrap();

        assert_eq!(
            (ended.request_end_ns, ended.request_body_bytes()),
            (Some(7), Some(30))
        );
        assert_eq!(ended.response_body_bytes(), 0);
        for one in [early, later, unknown] {
            assert_eq!((one.request_end_ns, one.request_body_bytes()), (None, None));
            assert_eq!((one.request_bytes, one.request_head_bytes), (90, 60));
        }
    }

    #[test]
    fn a_path_that_is_no_utf_8_is_cut_where_its_replacements_end_the_room() {
        let exchange = Exchange::read(&record(b"GET", b"/\xff\xfe."), false).unwrap();
        assert_eq!(&*exchange.path, "/\u{fffd}\u{fffd}.");
        assert_eq!(exchange.flags, 0);

        let exchange = Exchange::read(&record(b"GET", &[0xff; PATH_BYTES]), false).unwrap();
        assert_eq!(&*exchange.path, "\u{fffd}".repeat(PATH_BYTES / 3));
        assert_eq!(exchange.flags, flags::PATH_TRUNCATED);
    }

    #[test]
    fn what_is_no_token_or_no_target_is_no_exchange() {
        for (method, path) in [(&b""[..], &b"/"[..]), (b"G T", b"/"), (b"GET", b"/\0")] {
            assert_eq!(Exchange::read(&record(method, path), false), None);
        }
    }

    #[test]
    fn no_bytes_of_any_length_make_an_exchange_that_http_cannot_be() {
        // xorshift (Marsaglia 2003): the same bytes each time.
        let mut state = 0x9e37_79b9_u32;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let mut made = 0;
        for round in 0..300 {
            let length = random() as usize % (size_of::<ExchangeRecord>() + 40);
            let mut bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
            // Lengths near what fits, and a method that may pass; random ones hardly ever do.
            for (at, limit) in [
                (of_request!(method_len), 26),
                (of_request!(path_len), 130),
                (of_request!(id_len), 42),
                (of_request!(trace_len), 58),
            ] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = (random() % limit) as u8;
                }
            }
            if round % 2 == 0 && length > of_request!(id) {
                bytes[of_request!(path_len) + 1] = 0;
                bytes[of_request!(method)..of_request!(id)].fill(b'A');
            }
            if let Some(exchange) = Exchange::read(&bytes, true) {
                assert!(
                    !exchange.method.is_empty()
                        && exchange
                            .method
                            .bytes()
                            .all(|byte| IS_TOKEN[usize::from(byte)])
                );
                assert!(!exchange.path.bytes().any(|byte| byte.is_ascii_control()));
                made += 1;
            }
        }
        assert!(made > 0);
    }
}
