//! How figures are written: three significant digits, thousands set apart, units behind a space that no line breaks at.

/// The space between a figure and its unit: lines do not break there.
pub const NO_BREAK: char = '\u{a0}';

/// A figure with three significant digits; thousandths are the finest.
#[must_use]
pub fn figure(value: f64) -> String {
    let size = value.abs();
    // The bounds lie where rounding would add a digit.
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        _ if size == 0.0 => "0".to_owned(),
        _ if size < 0.000_5 => "<0.001".to_owned(),
        _ if size < 0.999_5 => format!("{value:.3}"),
        _ if size < 9.995 => format!("{value:.2}"),
        _ if size < 99.95 => format!("{value:.1}"),
        _ => {
            let whole = value.round();
            let sign = if whole < 0.0 { "-" } else { "" };
            format!("{sign}{}", count(whole.abs() as u64))
        }
    }
}

/// A figure and its unit.
#[must_use]
pub fn with_unit(value: f64, unit: &str) -> String {
    format!("{}{NO_BREAK}{unit}", figure(value))
}

/// A figure, or a dash where there is none.
#[must_use]
pub fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), figure)
}

/// A figure, or that there is none because nothing measured it: for figures whose 0 and whose absence are easily taken for one
/// another.
#[must_use]
pub fn measured(value: Option<f64>) -> String {
    value.map_or_else(|| "not measured".to_owned(), figure)
}

/// A whole number with its thousands set apart: `1,234,567`.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count, or a dash where there is none.
#[must_use]
pub fn optional_count(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), count)
}

/// A share (1 is the whole) in percent.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent == 0.0 => "0\u{a0}%".to_owned(),
        _ if percent < 0.05 => "<0.1\u{a0}%".to_owned(),
        _ if percent < 9.95 => format!("{percent:.1}\u{a0}%"),
        _ => format!("{percent:.0}\u{a0}%"),
    }
}

/// Bytes in the decimal unit that suits them.
#[must_use]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if value < 1_000 {
        return format!("{value}{NO_BREAK}B");
    }
    let mut scaled = value as f64 / 1e3;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1e3;
        unit += 1;
    }
    with_unit(scaled, UNITS[unit])
}

/// Bytes, or a dash where there are none.
#[must_use]
pub fn optional_bytes(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_significant_digits() {
        let written: Vec<_> = [
            0.0, 0.000_1, 0.012_34, 0.099_96, 1.006, 9.996, 12.34, 99.96, 123.4, 12_345.6,
        ]
        .map(figure)
        .into();
        assert_eq!(
            written,
            [
                "0", "<0.001", "0.012", "0.100", "1.01", "10.0", "12.3", "100", "123", "12,346"
            ]
        );
        assert_eq!(figure(-1_234.0), "-1,234");
        assert_eq!(optional(None), "–");
        assert_eq!([Some(0.0), None].map(measured), ["0", "not measured"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn shares_are_percent() {
        assert_eq!(
            [0.0, 0.000_1, 0.012, 0.71, 1.0].map(percent),
            [
                "0\u{a0}%",
                "<0.1\u{a0}%",
                "1.2\u{a0}%",
                "71\u{a0}%",
                "100\u{a0}%"
            ]
        );
    }

    #[test]
    fn bytes_have_the_unit_that_suits_them() {
        assert_eq!(
            [0, 999, 1_234, 999_900, 5_000_000_000].map(bytes),
            [
                "0\u{a0}B",
                "999\u{a0}B",
                "1.23\u{a0}kB",
                "1.00\u{a0}MB",
                "5.00\u{a0}GB"
            ]
        );
    }
}
