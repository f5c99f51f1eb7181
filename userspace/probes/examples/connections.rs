//! What a feature of the probes adds to a TCP connection, and to an exchange on a kept one. Prints a line of JSON for each.
//!
//! `cargo run --release -p galileo-probes --example connections -- tcp 20`
//!
//! One thread is both ends, on loopback, so that all that the kernel does for both is done on its CPU time, softirqs
//! included; that time, and not the clock, is compared, so that what else runs disturbs little. The feature is attached and
//! detached in turns, the others stay attached.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use galileo_probes::{Config, Feature, Probes};
use rustix::time::{ClockId, clock_gettime};

/// How many make a turn.
const TURN: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seconds] = &arguments[..] else {
        return Err("usage: connections FEATURE SECONDS".into());
    };
    let feature = Feature::ALL
        .into_iter()
        .find(|feature| feature.as_str() == name)
        .ok_or_else(|| format!("there is no feature {name}"))?;
    let seconds = Duration::from_secs(seconds.parse()?);
    let mut probes = Probes::load(&Config::default())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    compare(&mut probes, feature, "new connection", seconds / 2, || {
        let mut ends = connect(&listener, address)?;
        exchange(&mut ends)
    })?;
    // Begun while the feature is on, as it follows only such connections.
    probes.resume_feature(feature)?;
    let mut kept = connect(&listener, address)?;
    compare(&mut probes, feature, "kept connection", seconds / 2, || {
        exchange(&mut kept)
    })
}

fn connect(listener: &TcpListener, address: SocketAddr) -> std::io::Result<[TcpStream; 2]> {
    let client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    let (server, _) = listener.accept()?;
    server.set_nodelay(true)?;
    Ok([client, server])
}

/// A question of 100 bytes and an answer of 200.
fn exchange([client, server]: &mut [TcpStream; 2]) -> std::io::Result<()> {
    client.write_all(&[b'?'; 100])?;
    server.read_exact(&mut [0; 100])?;
    server.write_all(&[b'!'; 200])?;
    client.read_exact(&mut [0; 200])
}

fn compare(
    probes: &mut Probes,
    feature: Feature,
    what: &str,
    time: Duration,
    mut work: impl FnMut() -> std::io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + time;
    let mut added = Vec::new();
    let mut without = Vec::new();
    while Instant::now() < end {
        let mut turn = || -> std::io::Result<f64> {
            let begin = cpu_ns();
            for _ in 0..TURN {
                work()?;
            }
            Ok((cpu_ns() - begin) as f64 / f64::from(TURN))
        };
        probes.resume_feature(feature)?;
        let with = turn()?;
        probes.pause_feature(feature);
        let bare = turn()?;
        added.push(with - bare);
        without.push(bare);
    }
    // Medians: a turn may be disturbed by what the machine does besides.
    println!(
        "{{\"what\":\"{what}\",\"feature\":\"{}\",\"added_ns\":{:.0},\"quartiles\":[{:.0},{:.0}],\"without_ns\":{:.0},\"turns\":{}}}",
        feature.as_str(),
        quantile(&mut added, 0.5),
        quantile(&mut added, 0.25),
        quantile(&mut added, 0.75),
        quantile(&mut without, 0.5),
        added.len(),
    );
    Ok(())
}

fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * quantile) as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

fn cpu_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
