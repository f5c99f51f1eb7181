//! Single exchanges, as they come out of the ring buffer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use arrayvec::ArrayString;
use aya::maps::Map;
use galileo_ebpf_abi::{
    ExchangeRecord, METHOD_BYTES, PATH_BYTES, REQUEST_ID_BYTES, TRACE_BYTES, flags, role,
};

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
    /// First byte of the final answer.
    pub first_byte_ns: u64,
    /// Last byte of the final answer.
    pub end_ns: u64,
    /// Bytes of the request, head and body.
    pub request_bytes: u64,
    /// Bytes of the final answer, head and body.
    pub response_bytes: u64,
    /// `x-galileo-request-id` of the request.
    pub request_id: Option<Text<REQUEST_ID_BYTES>>,
    /// `traceparent` of the request (W3C Trace Context), if it is one of version 00.
    pub traceparent: Option<Text<TRACE_BYTES>>,
    /// Bits of [`flags`]: what is not plain or not certain.
    pub flags: u32,
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
    /// The names of the flags that are set.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        flags::NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.flags & (1 << bit) != 0)
            .map(|(_, name)| *name)
    }

    /// Reads a record; none if what it says is no HTTP: a method that is no token, a target with control characters.
    fn read(bytes: &[u8], keep_query: bool) -> Option<Self> {
        let record = whole(bytes)?;
        let request = &record.request;
        let method = request.method.get(..usize::from(request.method_len))?;
        let target = request.path.get(..usize::from(request.path_len))?;
        let id = request.id.get(..usize::from(request.id_len))?;
        let trace = request.trace.get(..usize::from(request.trace_len))?;
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
        let mut flags = u32::from(request.flags) | record.flags;
        if truncated_in_query {
            flags &= !flags::PATH_TRUNCATED;
        }
        let (path, is_whole) = text(path);
        if !is_whole {
            flags |= flags::PATH_TRUNCATED;
        }
        Some(Self {
            cgroup: CgroupId(record.cgroup_id),
            role: if record.role == role::SERVER {
                Role::Server
            } else {
                Role::Client
            },
            local: address(record.local_addr, record.local_port),
            remote: address(record.remote_addr, record.remote_port),
            method: text(method).0,
            path,
            status: record.status,
            interim: record.interim,
            start_ns: request.start_ns,
            first_byte_ns: record.first_byte_ns,
            end_ns: record.end_ns,
            request_bytes: request.bytes,
            response_bytes: record.response_bytes,
            traceparent: is_traceparent(trace).then(|| text(trace).0),
            request_id: (!id.is_empty()).then(|| text(id).0),
            flags,
        })
    }
}

/// The record of which the ring carries what is used: see [`ExchangeRecord::bytes`]. None if it is shorter than that.
fn whole(bytes: &[u8]) -> Option<ExchangeRecord> {
    let record: ExchangeRecord = plain::from_bytes(bytes);
    let used = bytes.len().min(size_of::<ExchangeRecord>());
    (used >= ExchangeRecord::BEFORE_PATH && used >= record.bytes()).then_some(record)
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

/// Which bytes are `tchar` (RFC 9110, 5.6.2).
static IS_TOKEN: [bool; 256] = {
    const OTHERS: &[u8] = b"!#$%&'*+-.^_`|~";
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < OTHERS.len() {
        table[OTHERS[index] as usize] = true;
        index += 1;
    }
    table
};

/// The text that these bytes are, and whether it has room for all of it: what is not UTF-8 takes more than it did.
fn text<const N: usize>(bytes: &[u8]) -> (Text<N>, bool) {
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

    /// Waits until there are exchanges and returns those that are there, see [`ExchangeStream::drain`]. Cancel safe.
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
        ring.next_batch(batch, |record| read(record, *keep_query, unreadable))
            .await?;
        Ok(batch)
    }

    /// Exchanges that are there now, without waiting: at most 4,096, so that traffic which goes on cannot hold the caller.
    pub fn drain(&mut self) -> &[Exchange] {
        let Self {
            ring,
            keep_query,
            unreadable,
            batch,
        } = self;
        batch.clear();
        ring.drain(batch, |record| read(record, *keep_query, unreadable));
        batch
    }

    /// Records so far that said nothing an HTTP exchange can be: no exchange was made of them.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

/// Reads a record, or counts it as unreadable.
fn read(record: &[u8], keep_query: bool, unreadable: &mut u64) -> Option<Exchange> {
    let exchange = Exchange::read(record, keep_query);
    *unreadable += u64::from(exchange.is_none());
    exchange
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use galileo_ebpf_abi::Request;

    use super::*;

    /// Where a field of the request lies in a record.
    macro_rules! of_request {
        ($field:ident) => {
            offset_of!(ExchangeRecord, request) + offset_of!(Request, $field)
        };
    }

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
