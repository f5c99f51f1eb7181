//! One message in its parts.

use super::Oddities;
use crate::dice::Dice;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Empty lines before it.
    pub empty_lines: usize,
    /// The first line, without its end.
    pub line: String,
    /// Fields that say nothing of the framing, without line ends.
    pub fields: Vec<String>,
    /// Fields of the framing; `#` stands for the length of the body.
    pub framing: Vec<String>,
    /// How many of `fields` come before those.
    pub framing_at: usize,
    /// Lines of the head end with a line feed only.
    pub bare: bool,
    /// The body.
    pub body: Body,
}

/// A chunk of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// What it carries, at least one byte.
    pub data: Vec<u8>,
    /// Its size as it is written, with extensions.
    pub size: String,
}

/// What follows a head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Body {
    /// Nothing, whatever the head says.
    #[default]
    None,
    /// So many bytes as the head says, or as come until the connection ends.
    Plain(Vec<u8>),
    /// Chunks, the last one's size as it is written, and trailer lines.
    Chunked(Vec<Chunk>, String, Vec<String>),
}

impl Message {
    /// The head as it is sent.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let end = if self.bare { "\n" } else { "\r\n" };
        let length = match &self.body {
            Body::Plain(bytes) => bytes.len().to_string(),
            _ => "0".to_owned(),
        };
        let (before, behind) = self.fields.split_at(self.framing_at.min(self.fields.len()));
        let framing = self.framing.iter().map(|field| field.replace('#', &length));
        let lines = std::iter::once(self.line.clone())
            .chain(before.iter().cloned())
            .chain(framing)
            .chain(behind.iter().cloned());
        let mut head = "\r\n".repeat(self.empty_lines);
        for line in lines {
            head.push_str(&line);
            head.push_str(end);
        }
        head.push_str(end);
        head.into_bytes()
    }

    /// The body as it is sent.
    #[must_use]
    pub fn tail(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Plain(bytes) => bytes.clone(),
            Body::Chunked(chunks, last, trailers) => {
                let mut bytes = Vec::new();
                for chunk in chunks {
                    bytes.extend_from_slice(chunk.size.as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                    bytes.extend_from_slice(&chunk.data);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(last.as_bytes());
                bytes.extend_from_slice(b"\r\n");
                for trailer in trailers {
                    bytes.extend_from_slice(trailer.as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"\r\n");
                bytes
            }
        }
    }

    /// Gives it a body with a length or in chunks.
    pub(super) fn with_body(&mut self, dice: &mut Dice, odd: Oddities) {
        if dice.one_in(2) {
            self.framing.push(length_field(dice));
            if odd.equal_lengths && dice.one_in(12) {
                // RFC 9112, 6.3, allows a recipient to take equal ones for one.
                self.framing.push("Content-Length: #".to_owned());
            }
            self.body = Body::Plain(content(dice));
            return;
        }
        self.framing.extend(chunked_fields(dice, odd));
        let mut rest = content(dice);
        let mut chunks = Vec::new();
        // How many size lines need not be plain.
        let mut odd_sizes = if odd.many_extensions {
            usize::MAX
        } else {
            dice.below(3).saturating_sub(1)
        };
        let most = *dice.pick(&[&8_usize, &100, &700, &5000]);
        while !rest.is_empty() && chunks.len() < 40 {
            let data: Vec<u8> = rest
                .drain(..dice.between(1, most).min(rest.len()))
                .collect();
            let size = chunk_size(dice, data.len(), odd, &mut odd_sizes);
            chunks.push(Chunk { data, size });
        }
        let last = chunk_size(dice, 0, odd, &mut odd_sizes);
        let trailers = if dice.one_in(3) {
            vec![
                "X-T: HTTP/1.1 500".to_owned(),
                "x-galileo-request-id: wrong".to_owned(),
                format!("traceparent: 00-{}-{}-00", "1".repeat(32), "2".repeat(16)),
            ]
        } else {
            Vec::new()
        };
        self.body = Body::Chunked(chunks, last, trailers);
    }
}

/// A `Content-Length` field.
pub(super) fn length_field(dice: &mut Dice) -> String {
    let name = dice.pick(&[
        "Content-Length",
        "content-length",
        "CONTENT-LENGTH",
        "cOnTeNt-LeNgTh",
    ]);
    let value = if dice.one_in(4) {
        dice.pick(&["#", "#", "\t#", "    #", "# ", " # \t", " 000#"])
    } else {
        " #"
    };
    format!("{name}:{value}")
}

/// `Transfer-Encoding` fields that end with chunked.
pub(super) fn chunked_fields(dice: &mut Dice, odd: Oddities) -> Vec<String> {
    let name = dice.pick(&[
        "Transfer-Encoding",
        "transfer-encoding",
        "TRANSFER-ENCODING",
    ]);
    if dice.one_in(10) {
        return vec![format!("{name}: gzip"), format!("{name}: chunked")];
    }
    let value = if odd.blanks_behind && dice.one_in(8) {
        dice.pick(&[" chunked ", " chunked\t", "\tgzip, chunked  "])
    } else if dice.one_in(3) {
        dice.pick(&[
            "chunked",
            " Chunked",
            "\tchunked",
            " gzip, chunked",
            " gzip ,chunked",
        ])
    } else {
        " chunked"
    };
    vec![format!("{name}:{value}")]
}

fn chunk_size(dice: &mut Dice, size: usize, odd: Oddities, left: &mut usize) -> String {
    if *left == 0 || dice.one_in(2) {
        return format!("{size:x}");
    }
    *left -= 1;
    match dice.below(6) {
        0 => format!("{size:X};ext=1"),
        1 => format!("{size:08x}"),
        2 => format!("{size:x};name=\"a quoted value\";b"),
        3 => format!("{size:x} ;a"),
        4 if odd.long_extensions && dice.one_in(4) => format!("{size:x};pad={}", dice.letters(600)),
        _ => format!("{size:x}"),
    }
}

/// What a body holds: random bytes, and what must not be taken for a message.
pub(super) fn content(dice: &mut Dice) -> Vec<u8> {
    match dice.below(12) {
        0 => Vec::new(),
        1 => b"HTTP/1.1 4770 not a status\r\n\r\n".to_vec(),
        2 => b"GET /evil HTTP/1.1\r\nContent-Length: 7\r\n\r\n".repeat(dice.between(1, 4)),
        3 => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(dice.between(1, 4)),
        4 => b"\r\n\r\n0\r\n\r\nHTTP/1.1 500 X\r\n\r\n".to_vec(),
        5 => vec![b'\n'; dice.between(1, 1200)],
        6 => b"POST /evil HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n".to_vec(),
        7 => {
            let length = dice.between(1000, 9000);
            dice.bytes(length)
        }
        _ => {
            let length = dice.between(1, 300);
            dice.bytes(length)
        }
    }
}

/// Fields that say nothing of the framing, however they look.
pub(super) fn fields(dice: &mut Dice, odd: Oddities) -> Vec<String> {
    (0..dice.below(6))
        .map(|_| match dice.below(14) {
            0 => "X-Content-Length: 77".to_owned(),
            1 => "Content-Length-X: 77".to_owned(),
            2 => "Transfer-Note: chunked".to_owned(),
            3 => "x-galileo-other: 1".to_owned(),
            13 if odd.like_id => "traceparent-of: 3".to_owned(),
            4 if odd.like_id => "x-galileo-request-id-of: 2".to_owned(),
            12 if odd.like_id => "Transfer-Encodings: x".to_owned(),
            5 => "X-Empty:".to_owned(),
            6 => "Host:\texample.org \t".to_owned(),
            7 => "X-Quote: \"GET / HTTP/1.1\"".to_owned(),
            8 => format!("Cookie: {}", dice.letters(700)),
            9 if dice.one_in(4) => {
                let length = dice.between(700, odd.longest());
                format!("Cookie: {}", dice.letters(length))
            }
            10 => {
                let length = dice.between(1, 500);
                format!("X-Some: {}", dice.letters(length))
            }
            _ => "Host: example.org".to_owned(),
        })
        .collect()
}
