//! The command line of `galileo-balancer`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Forwards HTTP requests to the replicas of services, by weight, and records every hop.
///
/// A request for /function/<service>/<rest> goes as /<rest> to one of the service's replicas. Which one is chosen by
/// smooth weighted round robin over the weights in a JSON file, which is read again whenever it changes:
///
///   {"web": {"ips": ["10.0.0.7:8080", "10.0.0.8:8080"], "weights": [3, 1]}}
///
/// A weight of 0 takes a replica out. A file that is missing or not usable changes nothing; the log says why.
#[derive(Debug, Parser)]
#[command(
    name = "galileo-balancer",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GALILEO_COMMIT"), ")"),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_long_help = "Examples:\n  \
        galileo-balancer --weights weights.json\n  \
        galileo-balancer --listen 127.0.0.1:8080 --weights weights.json --hops hops.ndjson\n  \
        curl http://127.0.0.1:8080/function/web/\n\n\
        SIGINT and SIGTERM drain: no new connections, requests in flight may end. A second one stops at once.\n\
        What is logged is set by RUST_LOG, e.g. RUST_LOG=debug (default: info)."
)]
pub struct Args {
    /// Address and port to listen on [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Port to listen on at all addresses, if --listen is not given; the original balancer's variable.
    #[arg(
        long,
        env = "eb_go_lb_listen_port",
        value_name = "PORT",
        hide = true,
        default_value_t = 8080
    )]
    listen_port: u16,

    /// JSON file of services, replicas and weights
    #[arg(long, value_name = "FILE", required = true)]
    pub weights: Option<PathBuf>,

    /// Name of this node, sent as X-Galileo-Via and in X-Forwarded-Host-<NAME> [default: $HOSTNAME or the host's name]
    #[arg(long, env = "eb_go_lb_node_name", value_name = "NAME")]
    node: Option<String>,

    /// Append a line of JSON per hop to this file
    #[arg(long, value_name = "FILE")]
    pub hops: Option<PathBuf>,

    /// How long requests in flight may take to end after SIGINT or SIGTERM, e.g. 10s, 500ms, 1m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub drain: Duration,

    /// How long a replica may be silent before the answer is 504, e.g. 60s
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub response_timeout: Duration,

    /// How long a connection to a replica may take, e.g. 1s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// How many replicas are asked for one request, if connections to those before fail
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: u32,

    /// Threads that forward requests [default: one per CPU]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the completions for a shell: galileo-balancer completions bash > /etc/bash_completion.d/galileo-balancer
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page: galileo-balancer man | man -l -
    Man,
}

impl Args {
    /// `--listen`, else the original's port at all addresses.
    pub fn listen(&self) -> SocketAddr {
        self.listen
            .unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, self.listen_port).into())
    }

    /// `--node`, else what the machine is called.
    pub fn node(&self) -> String {
        self.node
            .clone()
            .or_else(|| std::env::var("HOSTNAME").ok())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| {
                rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned()
            })
    }
}

/// `<number><unit>` with ms, s or m.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "" => return Err("it needs a unit: write e.g. 500ms, 10s or 1m".to_owned()),
        other => return Err(format!("unknown unit {other:?}: write ms, s or m")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{number:?} is no number: write e.g. 500ms, 10s or 1m"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_carry_their_unit() {
        for (text, millis) in [("10s", 10_000), ("500ms", 500), ("1.5m", 90_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["10", "s", "-1s", "1h", "1e3s", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_wins_over_the_originals_port() {
        let listen = |args: &[&str]| {
            Args::parse_from([&["galileo-balancer", "--weights", "w"], args].concat()).listen()
        };
        assert_eq!(listen(&[]).to_string(), "0.0.0.0:8080");
        assert_eq!(listen(&["--listen-port", "9"]).to_string(), "0.0.0.0:9");
        assert_eq!(
            listen(&["--listen-port", "9", "--listen", "127.0.0.1:0"]).to_string(),
            "127.0.0.1:0"
        );
    }
}
