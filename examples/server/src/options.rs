//! The command line.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Parser;

/// Serves every path with the same work and the same answer, and /health without work.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Options {
    /// CPU time that each request burns, such as 500us, 2ms or 1s
    #[arg(long, default_value = "1ms", value_parser = parse_duration)]
    pub(crate) work: Duration,
    /// Bytes in the body of each answer
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub(crate) body: usize,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Threads that serve; each handles its connections alone
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
}

/// Parses a number with one of the units `us`, `ms` and `s`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err("give a number and a unit: us, ms or s".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is no number"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("2ms"), Ok(Duration::from_millis(2)));
        assert_eq!(parse_duration("0.5ms"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("1s"), Ok(Duration::from_secs(1)));
        for wrong in ["2", "ms", "", "-1ms", "2 ms", "2min", "1.2.3ms"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_line_overrides_the_defaults() {
        let options =
            Options::parse_from(["server", "--work", "5ms", "--port", "81", "--threads", "3"]);

        assert_eq!(options.work, Duration::from_millis(5));
        assert_eq!((options.port, options.threads.get()), (81, 3));
        assert_eq!(options.address, IpAddr::from([127, 0, 0, 1]));
    }
}
