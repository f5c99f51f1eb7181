//! One HTTP/1.x message in a byte stream (RFC 9112), read with all its bytes at hand.

use std::ops::Range;

/// The line a message begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Method and target.
    Request(String, String),
    /// Status.
    Answer(u16),
}

/// What comes before the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// From the first byte of the first line to behind the empty line.
    pub bytes: Range<usize>,
    /// The first line.
    pub line: Line,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// The transfer codings, in order and in lower case.
    pub codings: Vec<String>,
    /// `x-galileo-request-id`.
    pub id: Option<String>,
    /// `traceparent`.
    pub trace: Option<String>,
}

/// How a message goes on behind its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimited {
    /// Not at all.
    Nothing,
    /// By so many bytes.
    Length(u64),
    /// By chunks.
    Chunks,
    /// By whatever comes until the connection ends.
    Close,
    /// It is an interim answer.
    Interim,
    /// By something that is no HTTP.
    Tunnel,
}

/// What was found in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// All of it.
    Whole(T),
    /// The stream ends before it does.
    Part,
    /// This is no HTTP/1.x.
    Wrong,
}

/// Offset behind the line that begins at `from`, and the line without its end.
fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let length = bytes.get(from..)?.iter().position(|byte| *byte == b'\n')?;
    let text = &bytes[from..from + length];
    // RFC 9112, 2.2: a recipient may take a single line feed for the end of a line.
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Some((text, from + length + 1))
}

/// Offset behind an empty line that stands at `from`, as it may before a request (RFC 9112, 2.2).
#[must_use]
pub fn empty_line(bytes: &[u8], from: usize) -> Option<usize> {
    let (text, behind) = line(bytes, from)?;
    text.is_empty().then_some(behind)
}

/// Reads the head that begins at `from`.
#[must_use]
pub fn head(bytes: &[u8], from: usize, is_answer: bool) -> Found<Head> {
    let Some((first, mut at)) = line(bytes, from) else {
        return Found::Part;
    };
    let parsed = if is_answer {
        status_line(first)
    } else {
        request_line(first)
    };
    let Some(parsed) = parsed else {
        return Found::Wrong;
    };
    let mut head = Head {
        bytes: from..from,
        line: parsed,
        length: None,
        codings: Vec::new(),
        id: None,
        trace: None,
    };
    loop {
        let Some((field, behind)) = line(bytes, at) else {
            return Found::Part;
        };
        at = behind;
        if field.is_empty() {
            head.bytes.end = at;
            return Found::Whole(head);
        }
        if !head.field(field) {
            return Found::Wrong;
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether this is a `traceparent` of version 00 (W3C Trace Context, 3.2.2): lower-case hexadecimal digits, no id all zeros.
fn is_trace(value: &str) -> bool {
    let digits = |part: &str, count: usize| {
        part.len() == count && part.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
    };
    let parts: Vec<_> = value.split('-').collect();
    let [version, trace, span, marks] = parts[..] else {
        return false;
    };
    let some = |id: &str| id.bytes().any(|byte| byte != b'0');
    version == "00"
        && (digits(trace, 32) && some(trace))
        && (digits(span, 16) && some(span))
        && digits(marks, 2)
}

fn request_line(line: &[u8]) -> Option<Line> {
    let line = std::str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let fine = parts.next().is_none()
        && is_token(method)
        && !target.is_empty()
        && !target.bytes().any(|byte| byte.is_ascii_control())
        && matches!(version, "HTTP/1.0" | "HTTP/1.1");
    fine.then(|| Line::Request(method.to_owned(), target.to_owned()))
}

fn status_line(line: &[u8]) -> Option<Line> {
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let fine = digits.iter().all(u8::is_ascii_digit)
        && (100..600).contains(&status)
        && (reason.is_empty() || reason[0] == b' ');
    fine.then_some(Line::Answer(status))
}

impl Head {
    /// Takes a field line in; false if it makes the message no message.
    fn field(&mut self, field: &[u8]) -> bool {
        let Some(colon) = field.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let (name, value) = field.split_at(colon);
        let Ok(name) = std::str::from_utf8(name) else {
            return false;
        };
        if !is_token(name) {
            return false;
        }
        let value = String::from_utf8_lossy(&value[1..]);
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            // RFC 9112, 6.3: the same number several times, in one line or in several, is that number.
            "content-length" => value.split(',').all(|part| {
                let part = part.trim_matches([' ', '\t']);
                let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                let Some(length) = digits.then(|| part.parse().ok()).flatten() else {
                    return false;
                };
                *self.length.get_or_insert(length) == length
            }),
            "transfer-encoding" => {
                let codings = value
                    .split(',')
                    .map(|coding| coding.trim_matches([' ', '\t']));
                self.codings.extend(codings.map(str::to_ascii_lowercase));
                true
            }
            "x-galileo-request-id" => {
                if self.id.is_none() && !value.is_empty() {
                    self.id = Some(value.to_owned());
                }
                true
            }
            "traceparent" => {
                if self.trace.is_none() && is_trace(value) {
                    self.trace = Some(value.to_owned());
                }
                true
            }
            _ => true,
        }
    }

    /// How the request goes on (RFC 9112, 6.3).
    #[must_use]
    pub fn request_body(&self) -> Delimited {
        match (self.codings.last().map(String::as_str), self.length) {
            (Some("chunked"), _) => Delimited::Chunks,
            (_, Some(length)) if length > 0 => Delimited::Length(length),
            _ => Delimited::Nothing,
        }
    }

    /// How the answer to a request with this method goes on (RFC 9112, 6.3); none if it is an answer to nothing.
    #[must_use]
    pub fn answer_body(&self, status: u16, method: Option<&str>) -> Delimited {
        match (status, method) {
            (101, _) | (200..=299, Some("CONNECT")) => return Delimited::Tunnel,
            (100..=199, _) => return Delimited::Interim,
            (204 | 304, _) | (_, Some("HEAD")) => return Delimited::Nothing,
            _ => {}
        }
        match (self.codings.last().map(String::as_str), self.length) {
            (Some("chunked"), _) => Delimited::Chunks,
            (Some(_), _) | (None, None) => Delimited::Close,
            (None, Some(0)) => Delimited::Nothing,
            (None, Some(length)) => Delimited::Length(length),
        }
    }
}

/// Offset behind a chunked body that begins at `from`, and those of its bytes that are no content.
#[must_use]
pub fn chunks(bytes: &[u8], from: usize) -> Found<(usize, Vec<Range<usize>>)> {
    let mut at = from;
    let mut framing = Vec::new();
    loop {
        let Some((text, behind)) = line(bytes, at) else {
            return Found::Part;
        };
        let digits = text
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let size = std::str::from_utf8(&text[..digits])
            .ok()
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let extension = text[digits..].trim_ascii_start();
        let Some(size) = size.filter(|_| extension.is_empty() || extension[0] == b';') else {
            return Found::Wrong;
        };
        framing.push(at..behind);
        at = behind;
        if size == 0 {
            break;
        }
        let Some(end) = usize::try_from(size)
            .ok()
            .and_then(|size| at.checked_add(size))
        else {
            return Found::Part;
        };
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Found::Wrong,
            None => return Found::Part,
        }
        framing.push(end..end + 2);
        at = end + 2;
    }
    loop {
        let Some((text, behind)) = line(bytes, at) else {
            return Found::Part;
        };
        framing.push(at..behind);
        at = behind;
        if text.is_empty() {
            return Found::Whole((at, framing));
        }
    }
}

/// Offset behind the last whole line, or whatever there is of a chunk, of a chunked body that begins at `from` and is cut.
#[must_use]
pub fn chunk_bytes(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    let mut is_trailer = false;
    while let Some((text, behind)) = line(bytes, at) {
        at = behind;
        let digits = text.split(|byte| !byte.is_ascii_hexdigit()).next();
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        is_trailer |= size == Some(0);
        if let Some(size) = size.filter(|_| !is_trailer) {
            at = behind.saturating_add(size + 2).min(bytes.len());
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole<T>(found: Found<T>) -> T {
        match found {
            Found::Whole(value) => value,
            Found::Part => panic!("a part"),
            Found::Wrong => panic!("wrong"),
        }
    }

    #[test]
    fn a_head_is_read_whatever_its_case_and_blanks() {
        let text = b"\r\nPOST /a?b HTTP/1.1\r\ncOnTeNt-LeNgTh:\t 5 , 5 \r\nContent-Length:5\r\n\
            X-Galileo-Request-ID:  i \r\n\r\nhello";
        let start = empty_line(text, 0).unwrap();
        assert_eq!(empty_line(text, start), None);
        let head = whole(head(text, start, false));
        assert_eq!(head.line, Line::Request("POST".into(), "/a?b".into()));
        assert_eq!(head.bytes, 2..text.len() - 5);
        assert_eq!(head.request_body(), Delimited::Length(5));
        assert_eq!(head.id.unwrap(), "i");
    }

    #[test]
    fn a_traceparent_counts_if_it_is_one_of_version_00() {
        let of = |value: &str| {
            let text = format!("GET / HTTP/1.1\r\ntraceParent:  {value}\t\r\n\r\n");
            whole(head(text.as_bytes(), 0, false)).trace
        };
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = format!("00-{trace}-{span}-01");
        assert_eq!(of(&good).unwrap(), good);
        for wrong in [
            format!("01-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-x"),
            format!("00-{trace}-{span}-0"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            good.to_uppercase(),
            String::new(),
        ] {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn chunks_end_behind_their_trailers() {
        let text = b"4;a=\"b\"\r\nWiki\r\n0\r\nX-T: HTTP/1.1 500\r\n\r\nHTTP/1.1";
        let (end, framing) = whole(chunks(text, 0));
        assert_eq!(end, text.len() - 8);
        assert_eq!(&text[framing[0].end..framing[1].start], b"Wiki");
        assert_eq!(chunks(b"5\r\nabc", 0), Found::Part);
        assert_eq!(chunks(b"x\r\n", 0), Found::Wrong);
        assert_eq!(chunks(b"1\r\nabc", 0), Found::Wrong);
    }

    #[test]
    fn of_a_chunked_body_that_is_cut_whole_lines_count_and_what_there_is_of_a_chunk() {
        let of = |text: &[u8]| chunk_bytes(text, 0);
        assert_eq!(of(b"4;a=1\r\nWi"), 9);
        assert_eq!(of(b"4\r\nWiki\r\n"), 9);
        assert_eq!(of(b"4\r\nWiki\r\n5;a"), 9);
        assert_eq!(of(b"0\r\nX: 5\r\nY: "), 9);
    }

    #[test]
    fn what_is_no_head_is_wrong() {
        for wrong in [
            "GET /a HTTP/2.0\r\n\r\n",
            "GET  HTTP/1.1\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        ] {
            assert_eq!(head(wrong.as_bytes(), 0, false), Found::Wrong, "{wrong}");
        }
        for wrong in [
            "HTTP/1.1 099 X\r\n\r\n",
            "HTTP/1.1 4770 X\r\n\r\n",
            "HTTP/1.1 2x0\r\n\r\n",
        ] {
            assert_eq!(head(wrong.as_bytes(), 0, true), Found::Wrong, "{wrong}");
        }
    }

    #[test]
    fn the_body_of_an_answer_follows_status_method_and_head_in_that_order() {
        let of = |text: &str, method| {
            let head = whole(head(text.as_bytes(), 0, true));
            let Line::Answer(status) = head.line else {
                panic!("an answer")
            };
            head.answer_body(status, method)
        };
        let both =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(of(both, Some("GET")), Delimited::Chunks);
        assert_eq!(of(both, Some("HEAD")), Delimited::Nothing);
        assert_eq!(of(both, Some("CONNECT")), Delimited::Tunnel);
        let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n";
        assert_eq!(of(coded, Some("GET")), Delimited::Close);
        assert_eq!(of("HTTP/1.0 200\r\n\r\n", Some("GET")), Delimited::Close);
        let length = "HTTP/1.1 304 X\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(of(length, Some("GET")), Delimited::Nothing);
        assert_eq!(of("HTTP/1.1 102 X\r\n\r\n", None), Delimited::Interim);
    }
}
