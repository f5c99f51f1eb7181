//! The head of a request: what of it decides the framing and the answer (RFC 9112).

use httparse::{EMPTY_HEADER, Error, Status};

/// Bytes that a head may have; more is refused.
pub(crate) const LIMIT: usize = 16 * 1024;

/// Header fields that a head may have; more is refused.
const FIELDS: usize = 64;

/// What follows from a complete head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes that the head takes, with its empty line.
    pub(crate) length: usize,
    /// How the body that follows is framed.
    pub(crate) framing: Framing,
    /// Whether this is `HEAD`, whose answer has no body.
    pub(crate) is_head: bool,
    /// Whether this asks for the server's health, which costs no work.
    pub(crate) is_health: bool,
    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    /// What becomes of the connection after the answer.
    pub(crate) after: After,
}

/// How a request's body is framed (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes follow; none if the request says nothing.
    Length(u64),
    /// Chunks follow.
    Chunked,
}

/// What becomes of a connection after an answer (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It stays, as HTTP/1.1 has it.
    Stays,
    /// It stays, which an HTTP/1.0 client wants to be told.
    StaysAndSaysSo,
    /// It closes.
    Closes,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It breaks the grammar, or its framing is ambiguous.
    Malformed,
    /// Its head is too large.
    HeadTooLarge,
    /// Its transfer coding is not known here.
    UnknownCoding,
}

impl Refusal {
    /// The status line's code and reason.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::UnknownCoding => "501 Not Implemented",
        }
    }
}

/// Parses the head at the start of `bytes`; `None` until it is complete.
///
/// # Errors
///
/// If what is there cannot become a request that this server serves.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) if length <= LIMIT => length,
        Ok(Status::Partial) if bytes.len() < LIMIT => return Ok(None),
        Ok(_) | Err(Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(_) => return Err(Refusal::Malformed),
    };
    let path = request.path.unwrap_or_default();
    let fields = Fields::of(request.headers)?;
    let is_http_1_0 = request.version == Some(0);
    Ok(Some(Head {
        length,
        framing: fields.framing(is_http_1_0)?,
        is_head: request.method == Some("HEAD"),
        is_health: path.split('?').next() == Some("/health"),
        expects_continue: fields.expects_continue && !is_http_1_0,
        after: match (fields.closes, fields.keeps_alive, is_http_1_0) {
            (false, _, false) => After::Stays,
            (false, true, true) => After::StaysAndSaysSo,
            _ => After::Closes,
        },
    }))
}

/// The header fields that matter here.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    coding: Option<Coding>,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

impl Fields {
    fn of(headers: &[httparse::Header<'_>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = decimal(value).ok_or(Refusal::Malformed)?;
                if fields.length.is_some_and(|other| other != length) {
                    return Err(Refusal::Malformed);
                }
                fields.length = Some(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                let chunked = fields.coding.is_none() && value.eq_ignore_ascii_case(b"chunked");
                fields.coding = Some(if chunked {
                    Coding::Chunked
                } else {
                    Coding::Other
                });
            } else if header.name.eq_ignore_ascii_case("connection") {
                for option in value.split(|&byte| byte == b',') {
                    let option = option.trim_ascii();
                    fields.closes |= option.eq_ignore_ascii_case(b"close");
                    fields.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if header.name.eq_ignore_ascii_case("expect") {
                fields.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
        }
        Ok(fields)
    }

    fn framing(&self, is_http_1_0: bool) -> Result<Framing, Refusal> {
        match (self.coding, self.length) {
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
            // Both at once, or a coding in HTTP/1.0, is how requests are smuggled: RFC 9112 §6.1 and §6.3.
            (Some(_), Some(_)) => Err(Refusal::Malformed),
            (Some(_), None) if is_http_1_0 => Err(Refusal::Malformed),
            (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
            (Some(Coding::Other), None) => Err(Refusal::UnknownCoding),
        }
    }
}

/// A number of decimal digits alone: no sign, which `str::parse` would let through.
fn decimal(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    fn refusal(text: &str) -> Refusal {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_head_is_incomplete_at_every_byte_but_its_last() {
        let text = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";

        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Ok(None), "{end}");
        }
        assert_eq!(head(text).length, text.len());
        assert_eq!(head(text).framing, Framing::Length(3));
    }

    #[test]
    fn what_follows_a_head_is_not_part_of_it() {
        let head = head("GET / HTTP/1.1\r\n\r\nGET /second HTTP/1.1\r\n\r\n");

        assert_eq!(head.length, "GET / HTTP/1.1\r\n\r\n".len());
        assert_eq!(head.framing, Framing::Length(0));
    }

    #[test]
    fn health_is_a_path_with_or_without_a_query() {
        assert!(head("GET /health HTTP/1.1\r\n\r\n").is_health);
        assert!(head("GET /health?x=1 HTTP/1.1\r\n\r\n").is_health);
        assert!(!head("GET /healthy HTTP/1.1\r\n\r\n").is_health);
    }

    #[test]
    fn a_connection_stays_as_the_version_and_the_client_want() {
        for (text, after) in [
            ("GET / HTTP/1.1\r\n\r\n", After::Stays),
            (
                "GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n",
                After::Stays,
            ),
            (
                "GET / HTTP/1.1\r\nConnection: upgrade, Close\r\n\r\n",
                After::Closes,
            ),
            ("GET / HTTP/1.0\r\n\r\n", After::Closes),
            (
                "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                After::StaysAndSaysSo,
            ),
        ] {
            assert_eq!(head(text).after, after, "{text}");
        }
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: +1",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(refusal(&text), Refusal::Malformed, "{fields}");
        }
        assert_eq!(
            refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Refusal::Malformed
        );
    }

    #[test]
    fn the_same_length_twice_is_one_length() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n";

        assert_eq!(head(text).framing, Framing::Length(4));
    }

    #[test]
    fn a_coding_other_than_chunked_is_not_implemented() {
        for coding in [
            "gzip",
            "gzip, chunked",
            "chunked\r\nTransfer-Encoding: chunked",
        ] {
            let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: {coding}\r\n\r\n");
            assert_eq!(refusal(&text), Refusal::UnknownCoding, "{coding}");
        }
    }

    #[test]
    fn a_head_has_a_bound_in_bytes_and_in_fields() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(LIMIT));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));

        assert_eq!(refusal(&long), Refusal::HeadTooLarge);
        assert_eq!(refusal(&many), Refusal::HeadTooLarge);
    }

    #[test]
    fn what_is_not_http_is_malformed() {
        assert_eq!(refusal("\x16\x03\x01\x02\0"), Refusal::Malformed);
        assert_eq!(refusal("GET / HTTP/2.0\r\n\r\n"), Refusal::Malformed);
    }
}
