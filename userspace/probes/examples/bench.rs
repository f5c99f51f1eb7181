//! The measuring half of `cargo xtask bench probes`, which starts server and load around it. Prints one line of JSON.
//!
//! * `bench kept PORT SECONDS [FEATURE]`: attaches and detaches the probes every 0.1 s beside a load that runs all the time, and tells
//!   what part of the server's throughput was kept; of a feature by its short name, only its own programs. Ratios of separate runs prove nothing on a machine whose speed
//!   drifts.
//! * `bench recall PORT`: counts the exchanges of the server on that port until its standard input ends.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use galileo_probes::{Config, ExchangeStream, Feature, Ledger, Probes, Role};

#[path = "bootstrap/mod.rs"]
mod bootstrap;

/// How long a state is measured.
const PHASE: Duration = Duration::from_millis(100);
/// How long it may settle before: attaching patches the kernel's code, and connections that were not watched are watched
/// from their next message on.
const SETTLE: Duration = Duration::from_millis(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["kept", port, seconds] => kept(port.parse()?, seconds.parse()?, None).await,
        ["kept", port, seconds, name] => {
            let feature = Feature::ALL
                .into_iter()
                .find(|feature| feature.as_str() == name)
                .ok_or_else(|| format!("there is no feature {name}"))?;
            kept(port.parse()?, seconds.parse()?, Some(feature)).await
        }
        ["recall", port] => recall(port.parse()?).await,
        _ => Err("usage: bench kept PORT SECONDS [FEATURE] | bench recall PORT".into()),
    }
}

async fn kept(port: u16, seconds: u64, feature: Option<Feature>) -> Result<(), Box<dyn Error>> {
    let mut probes = Probes::load(&Config::default())?;
    let mut stream = probes.exchanges()?;
    let mut status = Status::connect(port)?;
    let mut pairs = Vec::new();
    let rounds = Duration::from_secs(seconds).as_millis() / (2 * (PHASE + SETTLE).as_millis());
    for _ in 0..rounds {
        let mut rates = [0.0; 2];
        for (attached, rate) in [true, false].into_iter().zip(&mut rates) {
            match (attached, feature) {
                (true, None) => probes.resume()?,
                (false, None) => probes.pause(),
                (true, Some(feature)) => probes.resume_feature(feature)?,
                (false, Some(feature)) => probes.pause_feature(feature),
            }
            read_until(&mut stream, Instant::now() + SETTLE).await?;
            let (count, begin) = (status.requests()?, Instant::now());
            read_until(&mut stream, begin + PHASE).await?;
            *rate = (status.requests()? - count) as f64 / begin.elapsed().as_secs_f64();
        }
        pairs.push((rates[0], rates[1]));
    }
    let (low, ratio, high) = interval(&pairs);
    let without = pairs.iter().map(|(_, off)| off).sum::<f64>() / pairs.len() as f64;
    println!(
        "{{\"kept\":{ratio:.4},\"low\":{low:.4},\"high\":{high:.4},\"pairs\":{},\"without_per_second\":{without:.0},\
         \"added_ns\":{:.0}}}",
        pairs.len(),
        1e9 / (without * ratio) - 1e9 / without,
    );
    Ok(())
}

/// Takes what comes until a time, as a user of the probes would.
async fn read_until(stream: &mut ExchangeStream, end: Instant) -> Result<(), Box<dyn Error>> {
    while let Ok(batch) = tokio::time::timeout_at(end.into(), stream.next_batch()).await {
        batch?;
    }
    Ok(())
}

/// The ratio of all throughput with to all without, and its 95 % interval.
fn interval(pairs: &[(f64, f64)]) -> (f64, f64, f64) {
    bootstrap::interval(pairs, |pairs| {
        let (with, without) = pairs
            .iter()
            .fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        with / without
    })
}

async fn recall(port: u16) -> Result<(), Box<dyn Error>> {
    let mut probes = Probes::load(&Config::default())?;
    let mut stream = probes.exchanges()?;
    println!("ready");
    let (end, mut ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever ends the input ends the count, and nobody waits if the count ended by itself.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = end.send(());
    });
    let mut seen: BTreeMap<&str, u64> = BTreeMap::from([("server", 0), ("client", 0)]);
    let mut last = false;
    while !last {
        let batch = tokio::select! {
            batch = stream.next_batch() => batch?,
            _ = &mut ended => { last = true; stream.drain() }
        };
        for exchange in batch {
            match exchange.role {
                Role::Server if exchange.local.port() == port => {
                    *seen.entry("server").or_default() += 1;
                }
                Role::Client if exchange.remote.port() == port => {
                    *seen.entry("client").or_default() += 1;
                }
                _ => {}
            }
        }
    }
    let ledger = probes.snapshot()?.ledger;
    let lost: u64 = ledger
        .iter()
        .filter(|(kind, _)| kind.is_loss())
        .map(|(_, count)| count)
        .sum();
    println!(
        "{{\"server\":{},\"client\":{},\"lost\":{lost},\"ring_full\":{}}}",
        seen["server"],
        seen["client"],
        ledger.get(&Ledger::RingFull).copied().unwrap_or(0)
    );
    Ok(())
}

/// nginx's own count of requests, asked over one connection (`stub_status`).
struct Status {
    connection: BufReader<TcpStream>,
    asked: u64,
}

impl Status {
    fn connect(port: u16) -> Result<Self, Box<dyn Error>> {
        let connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            connection: BufReader::new(connection),
            asked: 0,
        })
    }

    /// Requests answered so far, without those of this connection.
    fn requests(&mut self) -> Result<u64, Box<dyn Error>> {
        self.connection
            .get_mut()
            .write_all(b"GET /status HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        self.asked += 1;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.connection.read_line(&mut line)?;
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" || line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body)?;
        let body = String::from_utf8(body)?;
        let numbers = body
            .lines()
            .nth(2)
            .ok_or("no third line in nginx's status")?;
        let requests: u64 = numbers
            .split_whitespace()
            .nth(2)
            .ok_or("no third number")?
            .parse()?;
        Ok(requests - self.asked)
    }
}
