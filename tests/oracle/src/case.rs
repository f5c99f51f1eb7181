//! Segments as text, so that an input that once failed can be kept and read.
//!
//! One segment a line: `up` or `down`, the sequence number, `syn`, `fin`, `rst` or nothing, and the bytes in quotes with the
//! escapes of Rust's byte strings. Empty lines and lines that begin with `#` say nothing, but for one: behind `# from N` the
//! connection is older than who looks at it, who sees its segments from number `N` on, counted from 0. Times are the numbers of
//! the segments, from 1.

use std::fmt::Write;

use crate::segment::{Mark, Segment, Way};

/// Reads segments.
///
/// # Errors
///
/// If a line is not as told above; with its number.
pub fn read(text: &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let time_ns = segments.len() as u64 + 1;
        let segment = read_line(line, time_ns)
            .ok_or_else(|| format!("line {number} is no segment: {line}"))?;
        segments.push(segment);
    }
    Ok(segments)
}

/// Number of the first segment that is seen; 0 of a connection that is seen from its begin on.
///
/// # Errors
///
/// If what stands there is no number.
pub fn seen_from(text: &str) -> Result<usize, String> {
    let Some(from) = text.lines().find_map(|line| line.strip_prefix(FROM)) else {
        return Ok(0);
    };
    let number = from.trim().parse();
    number.map_err(|_| format!("no segment has the number {from}"))
}

/// What stands before the number of the first segment that is seen.
const FROM: &str = "# from ";

fn read_line(line: &str, time_ns: u64) -> Option<Segment> {
    let (before, payload) = line.strip_suffix('"')?.split_once('"')?;
    let mut words = before.split_whitespace();
    let way = match words.next()? {
        "up" => Way::Up,
        "down" => Way::Down,
        _ => return None,
    };
    let sequence = words.next()?.parse().ok()?;
    let mark = match words.next() {
        None => Mark::Plain,
        Some("syn") => Mark::Syn,
        Some("fin") => Mark::Fin,
        Some("rst") => Mark::Rst,
        Some(_) => return None,
    };
    Some(Segment {
        way,
        time_ns,
        sequence,
        mark,
        payload: unescape(payload)?,
    })
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            },
            other => other,
        });
    }
    Some(bytes)
}

/// Writes segments, which are seen from number `from` on, so that [`read`] and [`seen_from`] read them.
#[must_use]
pub fn write(segments: &[Segment], from: usize) -> String {
    let mut text = String::new();
    if from > 0 {
        text = format!("{FROM}{from}\n");
    }
    for segment in segments {
        let way = match segment.way {
            Way::Up => "up  ",
            Way::Down => "down",
        };
        let mark = match segment.mark {
            Mark::Plain => "",
            Mark::Syn => "syn ",
            Mark::Fin => "fin ",
            Mark::Rst => "rst ",
        };
        let (sequence, payload) = (segment.sequence, segment.payload.escape_ascii());
        writeln!(text, "{way} {sequence} {mark}\"{payload}\"")
            .expect("a string takes what is written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let segments = vec![
            Segment {
                way: Way::Up,
                time_ns: 1,
                sequence: u32::MAX,
                mark: Mark::Syn,
                payload: Vec::new(),
            },
            Segment {
                way: Way::Down,
                time_ns: 2,
                sequence: 7,
                mark: Mark::Fin,
                payload: (0..=255).collect(),
            },
        ];
        for from in [0, 1, 12] {
            let text = format!("# seed 7: why\n{}", write(&segments, from));
            assert_eq!(read(&text).unwrap(), segments);
            assert_eq!(seen_from(&text), Ok(from));
        }
        assert!(seen_from("# from the begin\n").is_err());
        assert!(read("up x \"\"").unwrap_err().contains("line 1"));
    }
}
