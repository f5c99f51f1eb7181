//! The measuring half of `cargo xtask bench switch`: what the scheduler's programs add to a context switch.
//!
//! `bench_switch SECONDS CGROUPS STEP...`: two processes on CPU 1, in one cgroup or two, hand a byte to and fro through
//! pipes, each hand-over one wake-up and one switch. Beside them the programs are attached and detached in turn, each
//! step for 20 ms, and none. What counts is the processes' own CPU time by their number of switches, both as the kernel
//! counts them, so that whatever else runs on that CPU adds little. STEP is how far the programs go
//! ([`Config::scheduler_step`]). Prints one line of JSON a step.
//!
//! `bench_switch player` is one of the two.

use std::{
    error::Error,
    fs,
    io::{ErrorKind, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use galileo_probes::{Config, Probes, cgroup};

#[path = "bootstrap/mod.rs"]
mod bootstrap;

/// How long a state is measured.
const PHASE: Duration = Duration::from_millis(20);
/// How long it may settle before: attaching patches the kernel's code.
const SETTLE: Duration = Duration::from_millis(5);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["player"] => play(),
        [seconds, cgroups @ ("1" | "2"), ref steps @ ..] if !steps.is_empty() => {
            let steps: Vec<u32> = steps
                .iter()
                .map(|step| step.parse())
                .collect::<Result<_, _>>()?;
            measure(seconds.parse()?, cgroups.parse()?, &steps)
        }
        _ => Err("usage: bench_switch SECONDS 1|2 STEP... | bench_switch player".into()),
    }
}

/// Gives each byte on.
fn play() -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let given = output.write_all(&byte).and_then(|()| output.flush());
        match given {
            // The other one has ended.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            given => given?,
        }
    }
}

/// CPU time and switches of the players.
#[derive(Clone, Copy)]
struct Used {
    ns: f64,
    switches: f64,
}

impl Used {
    /// Nanoseconds a switch.
    fn each(self) -> f64 {
        self.ns / self.switches
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(seconds: u64, cgroups: usize, steps: &[u32]) -> Result<(), Box<dyn Error>> {
    let pods: Vec<Pod> = (0..cgroups).map(Pod::new).collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for step in steps {
        let mut probes = Probes::load(&Config {
            scheduler_step: *step,
            // Nothing of the network is measured here.
            cgroups: Some(256),
            ..Config::default()
        })?;
        probes.pause();
        all.push(probes);
    }
    let players = Players::start([pods[0].path(), pods[cgroups - 1].path()])?;
    // By round: without programs, and with each.
    let mut rounds: Vec<Vec<Used>> = Vec::new();
    let count = Duration::from_secs(seconds).as_millis()
        / ((all.len() as u128 + 1) * (PHASE + SETTLE).as_millis());
    for _ in 0..count {
        let mut round = vec![players.phase()?];
        for probes in &mut all {
            probes.resume()?;
            round.push(players.phase()?);
            probes.pause();
        }
        rounds.push(round);
    }
    // Medians: a round that something else disturbed counts no more than another.
    let without = median(rounds.iter().map(|round| round[0].each()));
    for (index, step) in (1..).zip(steps) {
        let (low, added, high) = bootstrap::interval(&rounds, |rounds| {
            median(
                rounds
                    .iter()
                    .map(|round| round[index].each() - round[0].each()),
            )
        });
        println!(
            "{{\"step\":{step},\"cgroups\":{cgroups},\"added_ns\":{added:.0},\"low\":{low:.0},\"high\":{high:.0},\
             \"without_ns\":{without:.0},\"rounds\":{}}}",
            rounds.len()
        );
    }
    Ok(())
}

/// A cgroup; it goes when this is dropped.
struct Pod(PathBuf);

impl Pod {
    fn new(index: usize) -> Result<Self, Box<dyn Error>> {
        let mount = cgroup::mount_point().ok_or("no cgroup2 is mounted")?;
        let path = mount.join(format!("galileo-bench-{}-{index}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // A process that has ended leaves its cgroup some moments later.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The two; they end when this is dropped.
struct Players([Child; 2]);

impl Players {
    fn start(cgroups: [&Path; 2]) -> Result<Self, Box<dyn Error>> {
        let (to_first, to_second) = (std::io::pipe()?, std::io::pipe()?);
        let mut kick = to_first.1.try_clone()?;
        let first = player(cgroups[0], to_first.0.into(), to_second.1.into())?;
        let second = player(cgroups[1], to_second.0.into(), to_first.1.into())?;
        kick.write_all(b"!")?;
        Ok(Self([first, second]))
    }

    /// What they use for a while.
    fn phase(&self) -> Result<Used, Box<dyn Error>> {
        thread::sleep(SETTLE);
        let before = self.used()?;
        thread::sleep(PHASE);
        let after = self.used()?;
        Ok(Used {
            ns: after.ns - before.ns,
            switches: after.switches - before.switches,
        })
    }

    fn used(&self) -> Result<Used, Box<dyn Error>> {
        let mut used = Used {
            ns: 0.0,
            switches: 0.0,
        };
        for child in &self.0 {
            let read = |name| fs::read_to_string(format!("/proc/{}/{name}", child.id()));
            let schedstat = read("schedstat")?;
            let ran = schedstat.split(' ').next().ok_or("no time in schedstat")?;
            used.ns += ran.parse::<f64>()?;
            for line in read("status")?.lines() {
                if let Some((name, count)) = line.split_once(':')
                    && name.ends_with("ctxt_switches")
                {
                    used.switches += count.trim().parse::<f64>()?;
                }
            }
        }
        Ok(used)
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a player on CPU 1 in a cgroup.
fn player(cgroup: &Path, input: OwnedFd, output: OwnedFd) -> Result<Child, Box<dyn Error>> {
    let child = Command::new("sh")
        .args([
            "-c",
            r#"echo $$ > "$0/cgroup.procs" && exec taskset -c 1 "$1" player"#,
        ])
        .arg(cgroup)
        .arg(std::env::current_exe()?)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .spawn()?;
    Ok(child)
}
