//! The measuring half of `cargo xtask bench reading`: what a reading of all counters takes, what the library takes of a CPU, and
//! what it takes of memory. Prints tables.
//!
//! `bench_reading [SECONDS]`; must be run as root. It starts itself again to make cgroups move and exchanges happen.
//! `bench_reading reading CGROUPS MOVED ROUNDS` takes the time of one case alone, for a profiler.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use galileo_probes::{Config, Feature, Ledger, Probes, Snapshot, cgroup};
use tokio::time::{MissedTickBehavior, interval, timeout_at};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Readings whose time is taken, for each row.
const ROUNDS: usize = 200;
/// Exchanges in a second, in the row of that.
const RATE: u64 = 10_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["visit", ref folders @ ..] => visit(folders),
        ["talk"] => talk(),
        ["library", ring_bytes, traffic, seconds] => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(library(
                ring_bytes.parse()?,
                traffic == "traffic",
                seconds.parse()?,
            )),
        ["reading", count, moved, rounds] => {
            reading(count.parse()?, &[moved.parse()?], rounds.parse()?)
        }
        [] => all(20),
        [seconds] => all(seconds.parse()?),
        _ => Err("usage: bench_reading [SECONDS]".into()),
    }
}

fn all(seconds: u64) -> Outcome<()> {
    println!("| cgroups | of which moved | a reading, median [10 %–90 %] | into a new snapshot |");
    println!("|---|---|---|---|");
    for (count, moved) in [(110, &[0, 11, 110][..]), (1_000, &[0, 100, 1_000][..])] {
        reading(count, moved, ROUNDS)?;
    }
    println!(
        "\n| the library beside 110 cgroups, a reading each second | ring | records | lost | CPU | memory of the process |"
    );
    println!("|---|---|---|---|---|---|");
    // Each in a process of its own, so that it has nothing of another's memory.
    for (ring_bytes, traffic) in [
        (1 << 20, "idle"),
        (1 << 20, "traffic"),
        (8 << 20, "traffic"),
    ] {
        let status = Command::new(std::env::current_exe()?)
            .args([
                "library",
                &ring_bytes.to_string(),
                traffic,
                &seconds.to_string(),
            ])
            .status()?;
        if !status.success() {
            return Err(status.to_string().into());
        }
    }
    memory()
}

/// Cgroups that go when this is dropped, and a process that visits them.
struct Cgroups {
    folders: Vec<PathBuf>,
    visitor: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Cgroups {
    fn new(count: usize) -> Outcome<Self> {
        let mount = cgroup::mount_point().ok_or("no cgroup2 is mounted")?;
        // The name is one that tests remove if this is killed.
        let folders: Vec<_> = (0..count)
            .map(|index| mount.join(format!("galileo-test-{}-{index}", std::process::id())))
            .collect();
        for folder in &folders {
            fs::create_dir(folder)?;
        }
        let mut visitor = Command::new(std::env::current_exe()?)
            .arg("visit")
            .args(&folders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = visitor.stdin.take().ok_or("piped")?;
        let output = BufReader::new(visitor.stdout.take().ok_or("piped")?);
        Ok(Self {
            folders,
            visitor,
            input,
            output,
        })
    }

    /// Makes something be counted of the next `count` of them.
    fn visit(&mut self, count: usize) -> Outcome<()> {
        writeln!(self.input, "{count}")?;
        self.output.read_line(&mut String::new())?;
        Ok(())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.visitor.kill();
        let _ = self.visitor.wait();
        for folder in &self.folders {
            for _ in 0..500 {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Goes into as many of these cgroups as each line of the input tells, one after the other, and sleeps in each for a moment.
fn visit(folders: &[&str]) -> Outcome<()> {
    let mut at = 0;
    for line in std::io::stdin().lines() {
        for _ in 0..line?.parse::<usize>()? {
            fs::write(format!("{}/cgroup.procs", folders[at]), "0")?;
            thread::sleep(Duration::from_micros(1));
            at = (at + 1) % folders.len();
        }
        println!();
    }
    Ok(())
}

fn reading(count: usize, moved: &[usize], rounds: usize) -> Outcome<()> {
    let probes = Probes::load(&Config {
        cgroups: Some(count as u32 + 512),
        ..Config::default()
    })?;
    let mut cgroups = Cgroups::new(count)?;
    cgroups.visit(count)?;
    for &moved in moved {
        let mut snapshot = Snapshot::default();
        let mut times = Vec::with_capacity(rounds);
        let mut whole = Vec::with_capacity(rounds);
        probes.read_into(&mut snapshot)?;
        let listed = snapshot.cgroups.len();
        for round in 0..rounds {
            cgroups.visit(moved)?;
            let begin = Instant::now();
            probes.read_into(&mut snapshot)?;
            times.push(begin.elapsed());
            if round % 10 == 0 {
                let begin = Instant::now();
                let new = probes.snapshot()?;
                whole.push(begin.elapsed());
                drop(new);
                probes.read_into(&mut snapshot)?;
            }
        }
        times.sort_unstable();
        whole.sort_unstable();
        let at = |part: usize| times[rounds * part / 100].as_secs_f64() * 1e6;
        println!(
            "| {count} and {} of the machine | {moved} | {:.1} µs [{:.1}–{:.1}] | {:.0} µs |",
            listed.saturating_sub(count),
            at(50),
            at(10),
            at(90),
            whole[whole.len() / 2].as_secs_f64() * 1e6,
        );
    }
    Ok(())
}

/// What this process takes of a CPU while the probes are read as usual.
async fn library(ring_bytes: u32, traffic: bool, seconds: u64) -> Outcome<()> {
    let mut probes = Probes::load(&Config {
        ring_bytes,
        ..Config::default()
    })?;
    let mut stream = probes.exchanges()?;
    let mut cgroups = Cgroups::new(110)?;
    cgroups.visit(110)?;
    let mut talker = if traffic {
        Some(
            Command::new(std::env::current_exe()?)
                .arg("talk")
                .stdin(Stdio::piped())
                .spawn()?,
        )
    } else {
        None
    };
    let mut snapshot = Snapshot::default();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    let mut begin = None;
    for second in 0..=seconds + 1 {
        ticks.tick().await;
        probes.read_into(&mut snapshot)?;
        // The first second is for coming to rest.
        if second == 1 {
            begin = Some((Instant::now(), probes.cost().cpu));
            seen = 0;
        }
        let end = Instant::now() + Duration::from_millis(990);
        while let Ok(batch) = timeout_at(end.into(), stream.next_batch()).await {
            seen += batch?.len();
        }
    }
    let (since, cpu) = begin.ok_or("too short")?;
    let cost = probes.cost();
    if let Some(talker) = &mut talker {
        talker.kill()?;
        talker.wait()?;
    }
    let elapsed = since.elapsed().as_secs_f64();
    println!(
        "| {} | {} MiB | {:.0}/s | {} | {:.2} mCPU | {:.1} MB |",
        if traffic {
            "10,000 exchanges/s, both roles read"
        } else {
            "idle, waiting for records"
        },
        ring_bytes >> 20,
        seen as f64 / elapsed,
        snapshot.ledger[&Ledger::RingFull],
        (cost.cpu - cpu).as_secs_f64() / elapsed * 1e3,
        cost.rss_bytes as f64 / 1e6,
    );
    Ok(())
}

/// Exchanges with itself at a rate, over eight connections.
fn talk() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut pairs = Vec::new();
    for _ in 0..8 {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        pairs.push((client, server));
    }
    let ask = b"GET /some/path HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let tell = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world\n";
    let mut buffer = [0; 256];
    let begin = Instant::now();
    let mut done = 0_u64;
    loop {
        while done < begin.elapsed().as_micros() as u64 * RATE / 1_000_000 {
            let (client, server) = &mut pairs[done as usize % 8];
            client.write_all(ask)?;
            server.read_exact(&mut buffer[..ask.len()])?;
            server.write_all(tell)?;
            client.read_exact(&mut buffer[..tell.len()])?;
            done += 1;
        }
        thread::sleep(Duration::from_micros(500));
    }
}

fn memory() -> Outcome<()> {
    let features = [
        ("what all share", None),
        ("CPU, waits, interference", Some(Feature::Cpu)),
        ("bytes and packets by interface", Some(Feature::Network)),
        ("TCP connections", Some(Feature::Tcp)),
        ("HTTP exchanges", Some(Feature::Http)),
        ("interrupts", Some(Feature::Interrupts)),
    ];
    let mut columns = Vec::new();
    for cgroups in [256, 1_024, 4_096] {
        let probes = Probes::load(&Config {
            cgroups: Some(cgroups),
            ..Config::default()
        })?;
        columns.push((cgroups, probes.memory()));
    }
    println!(
        "\n| kernel memory of maps | {} |",
        columns
            .iter()
            .map(|(cgroups, _)| format!("{cgroups} cgroups"))
            .collect::<Vec<_>>()
            .join(" | ")
    );
    println!("|---|{}", "---|".repeat(columns.len()));
    let row = |name: &str, bytes: &dyn Fn(&galileo_probes::Memory) -> usize| {
        let cells: Vec<_> = columns
            .iter()
            .map(|(_, memory)| format!("{:.0} kB", bytes(memory) as f64 / 1e3))
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    for (name, feature) in features {
        row(name, &|memory| memory.of_feature(feature));
    }
    row("**together**", &galileo_probes::Memory::kernel_bytes);
    let (_, memory) = &columns[1];
    println!(
        "\nEach TCP socket with traffic: {} B.",
        memory.per_socket_bytes
    );
    println!("The largest maps, for 1,024 cgroups:");
    for map in memory.maps.iter().take(12) {
        println!("* {} {:.0} kB", map.name, map.bytes as f64 / 1e3);
    }
    Ok(())
}
