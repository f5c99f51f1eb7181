//! How many requests in how much time, kept as an exact fraction.

use std::{fmt, str::FromStr, time::Duration};

/// A rate of requests, e.g. `200/s`, `0.5/s`, `30/min`, `1/3s`, `1000/h`.
///
/// It is a reduced fraction, requests per nanoseconds, so that a schedule made from it never drifts: the k-th request of
/// 3/s is due at exactly k/3 s, rounded down to a nanosecond once and not k times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    requests: u64,
    per_ns: u64,
}

/// Why a text or a pair of numbers is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is no rate: {why}; write a number and a time, e.g. 200/s, 0.5/s, 30/min or 1/3s"
)]
pub struct RateError {
    given: String,
    why: &'static str,
}

/// Units of time in the order in which [`Display`](fmt::Display) prefers them for a rate's denominator.
const UNITS: [(&str, u64); 8] = [
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("m", 60_000_000_000),
    ("µs", 1_000),
];

impl Rate {
    /// So many requests in so much time.
    ///
    /// # Errors
    /// If either is zero, or the time is longer than 584 years.
    pub fn new(requests: u64, per: Duration) -> Result<Self, RateError> {
        let error = |why| RateError {
            given: format!("{requests}/{per:?}"),
            why,
        };
        let per_ns = u64::try_from(per.as_nanos()).map_err(|_| error("its time is too long"))?;
        Self::reduced(requests.into(), per_ns.into()).map_err(error)
    }

    fn reduced(requests: u128, per_ns: u128) -> Result<Self, &'static str> {
        if requests == 0 {
            return Err("no request would ever be due");
        }
        if per_ns == 0 {
            return Err("its time is zero");
        }
        let divisor = gcd(requests, per_ns);
        match (
            u64::try_from(requests / divisor),
            u64::try_from(per_ns / divisor),
        ) {
            (Ok(requests), Ok(per_ns)) => Ok(Self { requests, per_ns }),
            _ => Err("it has too many digits"),
        }
    }

    /// The mean number of requests in a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.requests as f64 * 1e9 / self.per_ns as f64
    }

    /// The mean time from one request of a client to its next if so many clients share the rate evenly, in nanoseconds.
    pub(crate) fn client_gap_ns(self, clients: u32) -> f64 {
        self.per_ns as f64 * f64::from(clients) / self.requests as f64
    }

    /// When request `k` (from 0) of an even stream is due, in nanoseconds from its start; `u64::MAX` beyond 584 years.
    #[must_use]
    pub fn offset_ns(self, k: u64) -> u64 {
        let offset = u128::from(k) * u128::from(self.per_ns) / u128::from(self.requests);
        u64::try_from(offset).unwrap_or(u64::MAX)
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl fmt::Display for Rate {
    /// A form that [`FromStr`] reads as the same rate: `N/s` with up to three decimals, else a whole `N/min` or `N/h`, else
    /// `N/<time>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, per_ns) = (u128::from(self.requests), u128::from(self.per_ns));
        let thousandths = requests * 1_000_000_000 * 1_000;
        if thousandths.is_multiple_of(per_ns) {
            let thousandths = thousandths / per_ns;
            let (whole, rest) = (thousandths / 1_000, thousandths % 1_000);
            return match rest {
                0 => write!(f, "{whole}/s"),
                _ => write!(
                    f,
                    "{whole}.{}/s",
                    format!("{rest:03}").trim_end_matches('0')
                ),
            };
        }
        for (unit, unit_ns) in &UNITS[1..3] {
            let scaled = requests * u128::from(*unit_ns);
            if scaled.is_multiple_of(per_ns) {
                return write!(f, "{}/{unit}", scaled / per_ns);
            }
        }
        let (unit, unit_ns) = UNITS
            .iter()
            .find(|(_, unit_ns)| self.per_ns.is_multiple_of(*unit_ns))
            .unwrap_or(&("ns", 1));
        match self.per_ns / unit_ns {
            1 => write!(f, "{}/{unit}", self.requests),
            many => write!(f, "{}/{many}{unit}", self.requests),
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        parse(text.trim()).map_err(|why| RateError {
            given: text.to_owned(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<Rate, &'static str> {
    let (count, time) = text.split_once('/').ok_or("it has no time")?;
    let (requests, requests_scale) = decimal(count.trim())?;
    let time = time.trim();
    let unit_at = time
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or("its time has no unit")?;
    let (amount, unit) = time.split_at(unit_at);
    let (_, unit_ns) = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .ok_or("its unit is not one of s, min, h, ms, us, ns")?;
    let (amount, amount_scale) = if amount.is_empty() {
        (1, 1)
    } else {
        decimal(amount)?
    };
    // (requests / requests_scale) per (amount / amount_scale × unit); the factors have at most 18 digits each.
    let numerator = requests
        .checked_mul(amount_scale)
        .ok_or("it has too many digits")?;
    let denominator = amount
        .checked_mul(u128::from(*unit_ns))
        .and_then(|ns| ns.checked_mul(requests_scale))
        .ok_or("it has too many digits")?;
    Rate::reduced(numerator, denominator)
}

/// A decimal number as digits and the power of ten to divide them by.
fn decimal(text: &str) -> Result<(u128, u128), &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its number is none");
    }
    if digits.len() > 18 {
        return Err("it has too many digits");
    }
    let value = digits.parse().map_err(|_| "its number is none")?;
    // At most 18 digits, so the exponent fits and 10^18 does too.
    Ok((value, 10u128.pow(fraction.len() as u32)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().expect(text)
    }

    #[test]
    fn every_form_is_read_as_the_same_fraction() {
        assert_eq!(
            rate("200/s"),
            Rate::new(200, Duration::from_secs(1)).unwrap()
        );
        assert_eq!(rate("0.5/s"), rate("30/min"));
        assert_eq!(rate("1/3s"), rate("20/min"));
        assert_eq!(rate("1/1.5s"), rate("2/3s"));
        assert_eq!(
            rate("1000/h"),
            Rate::new(1_000, Duration::from_secs(3_600)).unwrap()
        );
        assert_eq!(rate(" 7 / 250ms "), rate("28/s"));
    }

    #[test]
    fn a_rate_is_shown_in_the_form_people_write() {
        for text in [
            "200/s", "0.5/s", "33.333/s", "20/min", "1000/h", "1/7s", "3/11ms",
        ] {
            assert_eq!(rate(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_reason_and_an_example() {
        let why = |text: &str| text.parse::<Rate>().unwrap_err().to_string();
        assert_eq!(
            why("200"),
            "`200` is no rate: it has no time; write a number and a time, e.g. 200/s, 0.5/s, 30/min or 1/3s"
        );
        assert!(why("0/s").contains("no request would ever be due"));
        assert!(why("5/0s").contains("its time is zero"));
        assert!(why("5/day").contains("its unit is not one of"));
        assert!(why("-5/s").contains("its number is none"));
        assert!(why("/s").contains("its number is none"));
        assert!(why("5/3").contains("its time has no unit"));
        assert!(why("1e3/s").contains("its number is none"));
        assert!(why("99999999999999999999/s").contains("too many digits"));
    }

    proptest! {
        #[test]
        fn a_shown_rate_is_read_as_itself(requests in 1..1_000_000u64, per_ns in 1..10_000_000_000_000u64) {
            let given = Rate::new(requests, Duration::from_nanos(per_ns)).unwrap();
            prop_assert_eq!(given.to_string().parse::<Rate>().unwrap(), given);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,30}") {
            let _parsed = text.parse::<Rate>();
        }
    }
}
