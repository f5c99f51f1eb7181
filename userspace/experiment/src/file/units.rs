//! The quantities of an experiment file as text: lengths of time and of memory.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that is no quantity; its message says what is wrong and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// A length of time as the file writes it: `500ms`, `20s`, `1m30s`, `1.5h`.
///
/// Units are `h`, `m`, `s`, `ms`, `us`, each at most once and the larger first. `Display` writes the same form.
///
/// ```
/// # use galileo_experiment::file::TimeSpan;
/// let span: TimeSpan = "1m30s".parse()?;
/// assert_eq!(span.0.as_secs(), 90);
/// assert_eq!(span.to_string(), "1m30s");
/// # Ok::<(), galileo_experiment::file::UnitError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan(pub Duration);

/// Nothing in an experiment lasts longer; it also keeps sums of times far from overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

const TIME_UNITS: [(&str, u64); 5] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || {
            UnitError(format!(
                "'{text}' is no time; write for example 500ms, 20s or 1m30s"
            ))
        };
        let mut rest = text;
        let mut total = Duration::ZERO;
        let mut units = TIME_UNITS.iter();
        while !rest.is_empty() {
            let (number, after) = split_number(rest).ok_or_else(wrong)?;
            let letters = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            if unit.is_empty() {
                return Err(if rest == text && after.is_empty() {
                    UnitError(format!(
                        "'{text}' has no unit; write {text}s for seconds or {text}ms for milliseconds"
                    ))
                } else {
                    wrong()
                });
            }
            // The iterator goes on behind the unit it found: one that comes again, or late, is not found any more.
            let &(_, nanoseconds) = units.find(|(name, _)| *name == unit).ok_or_else(|| {
                match TIME_UNITS.iter().any(|(name, _)| *name == unit) {
                    true => UnitError(format!(
                        "'{text}': each unit at most once, the larger first, as in 1m30s"
                    )),
                    false => UnitError(format!(
                        "'{text}': the unit '{unit}' is not one of h, m, s, ms, us"
                    )),
                }
            })?;
            total = scaled(number, nanoseconds)
                .map(Duration::from_nanos)
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or_else(|| UnitError(format!("'{text}' is more than 30 days (720h)")))?;
            rest = after;
        }
        if text.is_empty() {
            Err(wrong())
        } else {
            Ok(Self(total))
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, nanoseconds) in TIME_UNITS {
            let count = left / u128::from(nanoseconds);
            if count > 0 {
                write!(f, "{count}{unit}")?;
                left %= u128::from(nanoseconds);
            }
        }
        Ok(())
    }
}

/// An amount of memory in bytes, as the file writes it: `64MiB`, `1GB`.
///
/// Units are `B`, the decimal `kB`, `MB`, `GB`, `TB` and the binary `KiB`, `MiB`, `GiB`, `TiB`. `Display` writes the
/// largest unit that is exact.
///
/// ```
/// # use galileo_experiment::file::Memory;
/// assert_eq!("64MiB".parse(), Ok(Memory(64 << 20)));
/// assert_eq!(Memory(1_000_000_000).to_string(), "1GB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(pub u64);

const MEMORY_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Memory {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let Some((number, unit)) = split_number(text) else {
            return Err(UnitError(format!(
                "'{text}' is no amount of memory; write for example 64MiB or 1GB"
            )));
        };
        if unit.is_empty() {
            return Err(UnitError(format!(
                "'{text}' has no unit; write for example {number}MiB or {number}B"
            )));
        }
        let Some(&(_, bytes)) = MEMORY_UNITS.iter().find(|(name, _)| *name == unit) else {
            let hint = memory_hint(unit)
                .map(|unit| format!("; did you mean {number}{unit}?"))
                .unwrap_or_default();
            let known = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB";
            return Err(UnitError(format!(
                "'{text}': the unit '{unit}' is not one of {known}{hint}"
            )));
        };
        scaled(number, bytes)
            .map(Self)
            .ok_or_else(|| UnitError(format!("'{text}' is more than can be counted")))
    }
}

/// `M` and `Mi` (as Kubernetes has them) and other cases of a unit's letters.
fn memory_hint(unit: &str) -> Option<&'static str> {
    let as_known = |name: &str| {
        name.eq_ignore_ascii_case(unit)
            || name
                .strip_suffix('B')
                .is_some_and(|short| short.eq_ignore_ascii_case(unit))
    };
    MEMORY_UNITS
        .iter()
        .map(|(name, _)| *name)
        .find(|name| *name != "B" && as_known(name))
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = MEMORY_UNITS
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

/// A decimal number (`12`, `1.5`) at the beginning and what stands behind it.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let mut parts = number.split('.');
    let sound = match (parts.next(), parts.next(), parts.next()) {
        (Some(whole), None, None) => !whole.is_empty(),
        (Some(whole), Some(part), None) => !whole.is_empty() && !part.is_empty(),
        _ => false,
    };
    sound.then_some((number, rest))
}

/// `number * unit`, exact for whole numbers, cut to whole ones for decimals; none if it does not fit.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    // Digits behind the 18th are below any unit here, and 10^18 times the largest unit (2^42) fits in 128 bits.
    let part = &part[..part.len().min(18)];
    let digits = u32::try_from(part.len()).ok()?;
    let part = if part.is_empty() {
        0
    } else {
        part.parse::<u128>().ok()?
    };
    whole.checked_add(u64::try_from(part * u128::from(unit) / 10_u128.pow(digits)).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Result<Duration, String> {
        text.parse::<TimeSpan>()
            .map(|span| span.0)
            .map_err(|error| error.to_string())
    }

    fn memory(text: &str) -> Result<u64, String> {
        text.parse::<Memory>()
            .map(|memory| memory.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn times_are_numbers_with_units_largest_first() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(time("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        assert_eq!(time("720h"), Ok(LONGEST));
    }

    #[test]
    fn a_time_that_is_none_says_what_to_write() {
        assert_eq!(
            time("20"),
            Err("'20' has no unit; write 20s for seconds or 20ms for milliseconds".into())
        );
        assert_eq!(
            time("20sec"),
            Err("'20sec': the unit 'sec' is not one of h, m, s, ms, us".into())
        );
        assert_eq!(
            time("30s1m"),
            Err("'30s1m': each unit at most once, the larger first, as in 1m30s".into())
        );
        assert_eq!(
            time("1s1s"),
            Err("'1s1s': each unit at most once, the larger first, as in 1m30s".into())
        );
        assert_eq!(
            time("721h"),
            Err("'721h' is more than 30 days (720h)".into())
        );
        assert_eq!(
            time("99999999999999999999h"),
            Err("'99999999999999999999h' is more than 30 days (720h)".into())
        );
        for text in ["", "s", "-1s", "1m30", "1..5s", ".5s", "5.s", "1 s", "soon"] {
            assert_eq!(
                time(text),
                Err(format!(
                    "'{text}' is no time; write for example 500ms, 20s or 1m30s"
                ))
            );
        }
    }

    #[test]
    fn memory_has_decimal_and_binary_units() {
        assert_eq!(memory("64MiB"), Ok(67_108_864));
        assert_eq!(memory("1GB"), Ok(1_000_000_000));
        assert_eq!(memory("1.5KiB"), Ok(1536));
        assert_eq!(memory("4096B"), Ok(4096));
    }

    #[test]
    fn memory_in_another_spelling_gets_the_right_one() {
        let known = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB";
        for (text, unit, meant) in [
            ("64M", "M", "64MB"),
            ("64Mi", "Mi", "64MiB"),
            ("64mib", "mib", "64MiB"),
        ] {
            let expected =
                format!("'{text}': the unit '{unit}' is not one of {known}; did you mean {meant}?");
            assert_eq!(memory(text), Err(expected));
        }
        assert_eq!(
            memory("64apples"),
            Err(format!(
                "'64apples': the unit 'apples' is not one of {known}"
            ))
        );
        assert_eq!(
            memory("64"),
            Err("'64' has no unit; write for example 64MiB or 64B".into())
        );
        assert_eq!(
            memory("lots"),
            Err("'lots' is no amount of memory; write for example 64MiB or 1GB".into())
        );
        assert_eq!(
            memory("99999999TiB"),
            Err("'99999999TiB' is more than can be counted".into())
        );
    }

    proptest! {
        #[test]
        fn times_read_back_what_they_print(micros in 0..=LONGEST.as_micros() as u64) {
            let span = TimeSpan(Duration::from_micros(micros));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn memory_reads_back_what_it_prints(bytes: u64) {
            prop_assert_eq!(Memory(bytes).to_string().parse(), Ok(Memory(bytes)));
        }

        #[test]
        fn no_text_makes_units_panic(text: String) {
            let _ = (time(&text), memory(&text));
        }

        #[test]
        fn no_text_of_digits_and_units_makes_them_panic(text in "[0-9.hmsuKMGTiB]{0,40}") {
            let _ = (time(&text), memory(&text));
        }
    }
}
