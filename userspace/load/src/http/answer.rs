//! Reading the answer to one request: its head, where its body ends, and when its bytes came.

use std::cell::{Cell, RefCell};

use bytes::{Buf, BytesMut};
use galileo_wire::{FailureKind, clock::boot_ns};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::chunked::Chunked;

/// Most bytes of a head.
const HEAD_BYTES: usize = 64 * 1024;
/// Most headers of a head.
const HEADERS: usize = 128;
/// Most interim (1xx) answers before the final one.
const INTERIM: u32 = 32;
/// Bytes read at a time, at least.
const READ_BYTES: usize = 16 * 1024;

/// What was seen of a request so far. Shared by who carries the request out and who must tell what became of it, also when
/// it is given up on the way. All times are boot times.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sent_ns: Cell<Option<u64>>,
    pub(crate) first_byte_ns: Cell<Option<u64>>,
    /// The last read that brought something, or the end of the connection.
    pub(crate) last_read_ns: Cell<u64>,
    pub(crate) status: Cell<Option<u16>>,
    pub(crate) server: RefCell<Option<String>>,
    pub(crate) body_bytes: Cell<u64>,
}

/// Reads one answer from `reader` by way of `buffer`, which is empty before and after.
///
/// Tells whether the connection may carry another request. Interim answers (1xx) are skipped; the first byte is that of the
/// final answer.
///
/// # Errors
/// `Closed`, `Reset` or `Protocol`.
pub(crate) async fn read_answer(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    to_head: bool,
    seen: &Seen,
) -> Result<bool, FailureKind> {
    let head = read_head(reader, buffer, to_head, seen).await?;
    seen.status.set(Some(head.status));
    seen.server.replace(head.server);
    read_body(reader, buffer, head.framing, seen).await?;
    let nothing_behind = buffer.is_empty();
    buffer.clear();
    Ok(head.keep_alive && nothing_behind)
}

async fn read_head(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    to_head: bool,
    seen: &Seen,
) -> Result<Head, FailureKind> {
    let mut interim = 0;
    let mut searched = 0;
    loop {
        if buffer.is_empty() {
            fill(reader, buffer, seen).await?;
            seen.first_byte_ns.set(Some(seen.last_read_ns.get()));
        }
        // Parsed with the first bytes, so that a peer who speaks something else is noticed at once, and when the head is
        // whole; not in between, which would be quadratic in a head that drips in.
        if searched == 0 || has_empty_line(buffer, searched) {
            match Head::parse(buffer, to_head)? {
                Some((length, head)) if (100..200).contains(&head.status) => {
                    interim += 1;
                    if head.status == 101 || interim > INTERIM {
                        return Err(FailureKind::Protocol);
                    }
                    buffer.advance(length);
                    searched = 0;
                    continue;
                }
                Some((length, head)) => {
                    buffer.advance(length);
                    return Ok(head);
                }
                None => {}
            }
        }
        if buffer.len() >= HEAD_BYTES {
            return Err(FailureKind::Protocol);
        }
        searched = buffer.len();
        fill(reader, buffer, seen).await?;
    }
}

/// Whether an empty line ends at or behind `from`.
fn has_empty_line(head: &[u8], from: usize) -> bool {
    let tail = &head[from.saturating_sub(3)..];
    tail.windows(2).any(|bytes| bytes == b"\n\n") || tail.windows(3).any(|bytes| bytes == b"\n\r\n")
}

async fn read_body(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    framing: Framing,
    seen: &Seen,
) -> Result<(), FailureKind> {
    let count = |bytes: u64| seen.body_bytes.set(seen.body_bytes.get() + bytes);
    match framing {
        Framing::Empty => Ok(()),
        Framing::Length(mut left) => loop {
            let here = left.min(buffer.len() as u64);
            // Not more than the buffer has, which is a usize.
            buffer.advance(here as usize);
            count(here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            fill(reader, buffer, seen).await?;
        },
        Framing::Chunked => {
            let mut chunked = Chunked::new();
            loop {
                let piece = chunked.read(buffer).map_err(|_| FailureKind::Protocol)?;
                buffer.advance(piece.used);
                count(piece.data);
                if piece.done {
                    return Ok(());
                }
                fill(reader, buffer, seen).await?;
            }
        }
        Framing::UntilClosed => loop {
            count(buffer.len() as u64);
            buffer.clear();
            match fill(reader, buffer, seen).await {
                Ok(()) => {}
                Err(FailureKind::Closed) => return Ok(()),
                Err(kind) => return Err(kind),
            }
        },
    }
}

async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    seen: &Seen,
) -> Result<(), FailureKind> {
    buffer.reserve(READ_BYTES);
    let read = reader.read_buf(buffer).await;
    seen.last_read_ns.set(boot_ns());
    match read {
        Ok(0) => Err(FailureKind::Closed),
        Ok(_) => Ok(()),
        Err(_) => Err(FailureKind::Reset),
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClosed,
}

/// What matters of an answer's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    framing: Framing,
    keep_alive: bool,
    /// `X-Final-Host`.
    server: Option<String>,
}

impl Head {
    /// The head at the begin of `bytes` and its length, if it is whole.
    fn parse(bytes: &[u8], to_head: bool) -> Result<Option<(usize, Self)>, FailureKind> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) =
            response.parse(bytes).map_err(|_| FailureKind::Protocol)?
        else {
            return Ok(None);
        };
        let status = response
            .code
            .filter(|status| *status >= 100)
            .ok_or(FailureKind::Protocol)?;
        let fields = Fields::collect(response.headers)?;
        let has_body = !(to_head || status < 200 || status == 204 || status == 304);
        let framing = match (has_body, fields.transfer_encoding, fields.content_length) {
            (false, ..) => Framing::Empty,
            (true, Some(Coding::Chunked), _) => Framing::Chunked,
            (true, Some(Coding::Other), _) | (true, None, None) => Framing::UntilClosed,
            (true, None, Some(bytes)) => Framing::Length(bytes),
        };
        // RFC 9112 §6.1 and §6.3: both lengths at once, or a coding in HTTP/1.0, may be an attempt to smuggle an answer.
        let suspicious = fields.transfer_encoding.is_some()
            && (fields.content_length.is_some() || response.version == Some(0));
        let persistent = if response.version == Some(0) {
            fields.says_keep_alive
        } else {
            true
        };
        let keep_alive =
            persistent && !fields.says_close && !suspicious && framing != Framing::UntilClosed;
        Ok(Some((
            length,
            Self {
                status,
                framing,
                keep_alive,
                server: fields.server,
            },
        )))
    }
}

/// The last transfer coding; it alone decides where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

#[derive(Debug, Default)]
struct Fields {
    transfer_encoding: Option<Coding>,
    content_length: Option<u64>,
    says_close: bool,
    says_keep_alive: bool,
    server: Option<String>,
}

impl Fields {
    fn collect(headers: &[httparse::Header<'_>]) -> Result<Self, FailureKind> {
        let mut fields = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let elements = || {
                header
                    .value
                    .split(|byte| *byte == b',')
                    .map(<[u8]>::trim_ascii)
            };
            if is("content-length") {
                for element in elements() {
                    let length = decimal(element).ok_or(FailureKind::Protocol)?;
                    if fields
                        .content_length
                        .replace(length)
                        .is_some_and(|earlier| earlier != length)
                    {
                        return Err(FailureKind::Protocol);
                    }
                }
            } else if is("transfer-encoding") {
                let last = elements().next_back().unwrap_or_default();
                let chunked = last.eq_ignore_ascii_case(b"chunked");
                fields.transfer_encoding = Some(if chunked {
                    Coding::Chunked
                } else {
                    Coding::Other
                });
            } else if is("connection") {
                fields.says_close |=
                    elements().any(|element| element.eq_ignore_ascii_case(b"close"));
                fields.says_keep_alive |=
                    elements().any(|element| element.eq_ignore_ascii_case(b"keep-alive"));
            } else if is("x-final-host") {
                fields.server =
                    Some(String::from_utf8_lossy(header.value.trim_ascii()).into_owned());
            }
        }
        Ok(fields)
    }
}

/// Digits only: `parse` alone would take a sign.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
