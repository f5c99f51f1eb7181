//! What part of a server's throughput is kept with programs attached.
//!
//! Nothing, empty programs and each set of features take turns of 0.1 s beside one load, in one order and back again. Ratios
//! of separate runs prove nothing on a machine whose speed drifts; those within a round do, and a bootstrap over the rounds
//! tells how far they may be off. What empty programs keep is the most that any program on these hooks could keep.

use std::{
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use galileo_probes::{Config, ExchangeStream, Feature, Probes, ProgramCost, Statistics};
use serde_json::{Value, json};

use crate::{Outcome, bootstrap, floor::Floor, status::Status};

/// How long a state is measured.
const PHASE: Duration = Duration::from_millis(100);
/// How long it may settle before: attaching patches the kernel's code, and connections that were not watched are watched
/// from their next message on.
const SETTLE: Duration = Duration::from_millis(30);
/// How long the kernel counts runs and their time, after all rounds: counting costs time itself.
const COUNTING: Duration = Duration::from_secs(2);

/// Features that are measured together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Packets and HTTP.
    Network,
    /// The same, and TCP connections.
    Tcp,
    /// The scheduler.
    Cpu,
    /// All that is on by default.
    All,
    /// The same, and interrupts and softirqs.
    Interrupts,
}

impl Set {
    const ALL: [Self; 5] = [
        Self::Network,
        Self::Tcp,
        Self::Cpu,
        Self::All,
        Self::Interrupts,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Tcp => "tcp",
            Self::Cpu => "cpu",
            Self::All => "all",
            Self::Interrupts => "interrupts",
        }
    }

    /// Those of its features that have programs of their own to attach.
    const fn features(self) -> &'static [Feature] {
        match self {
            Self::Network => &[Feature::Network],
            Self::Tcp => &[Feature::Network, Feature::Tcp],
            Self::Cpu => &[Feature::Cpu],
            Self::All => &[Feature::Cpu, Feature::Network, Feature::Tcp],
            Self::Interrupts => &[
                Feature::Cpu,
                Feature::Network,
                Feature::Tcp,
                Feature::Interrupts,
            ],
        }
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|set| set.name() == name);
        found.ok_or_else(|| format!("there is no set of features {name}"))
    }
}

/// What is attached.
#[derive(Clone, Copy)]
enum State {
    Nothing,
    Floor,
    Probes(Set),
}

/// Places in [`Bench::round`]; the sets follow.
const NOTHING: usize = 0;
const FLOOR: usize = 1;

/// Prints `ready`, waits for the load, and measures for some seconds, and [`COUNTING`] after these.
pub async fn measure(port: u16, seconds: u64, sets: &[Set]) -> Outcome<Value> {
    let mut bench = Bench::new(port)?;
    let states: Vec<State> = [State::Nothing, State::Floor]
        .into_iter()
        .chain(sets.iter().copied().map(State::Probes))
        .collect();
    println!("ready");
    bench.wait_for_load()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    // There and back at least.
    while rounds.len() < 2 || Instant::now() < end {
        let backwards = rounds.len() % 2 == 1;
        rounds.push(bench.round(&states, backwards).await?);
    }
    let last = sets.last().copied().unwrap_or(Set::All);
    let programs = bench.programs(last).await?;

    let without = rounds.iter().map(|rates| rates[NOTHING]).sum::<f64>() / rounds.len() as f64;
    let features = sets.iter().zip(FLOOR + 1..).map(|(set, at)| {
        json!({
            "features": set.name(),
            "kept": ratio(&rounds, at, NOTHING),
            "of_floor": ratio(&rounds, at, FLOOR),
        })
    });
    Ok(json!({
        "rounds": rounds.len(),
        "without_per_second": without,
        "floor": ratio(&rounds, FLOOR, NOTHING),
        "sets": features.collect::<Vec<_>>(),
        "programs_of": last.name(),
        "programs": programs,
    }))
}

/// The ratio of all throughput in one state to all in another, and its 95 % interval.
fn ratio(rounds: &[Vec<f64>], of: usize, to: usize) -> Value {
    let (low, ratio, high) = bootstrap::interval(rounds, |rounds| {
        let sum = |state: usize| rounds.iter().map(|rates| rates[state]).sum::<f64>();
        sum(of) / sum(to)
    });
    json!({ "ratio": ratio, "low": low, "high": high })
}

/// All that takes turns.
struct Bench {
    probes: Probes,
    stream: ExchangeStream,
    floor: Floor,
    status: Status,
}

impl Bench {
    fn new(port: u16) -> Outcome<Self> {
        let mut probes = Probes::load(&Config {
            interrupts: true,
            ..Config::default()
        })?;
        probes.pause();
        if let Some(missing) = probes.capabilities().iter().find(|one| one.off.is_some()) {
            return Err(format!("not all that is to be measured is on: {missing:?}").into());
        }
        let stream = probes.exchanges()?;
        Ok(Self {
            probes,
            stream,
            floor: Floor::load()?,
            status: Status::connect(port)?,
        })
    }

    /// Waits until nginx has something to do.
    fn wait_for_load(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let before = self.status.requests()?;
        while self.status.requests()? == before {
            if Instant::now() > deadline {
                return Err("nobody asks nginx for anything: there is no load".into());
            }
            thread::sleep(SETTLE);
        }
        Ok(())
    }

    /// Requests a second in each state.
    async fn round(&mut self, states: &[State], backwards: bool) -> Outcome<Vec<f64>> {
        let mut rates = vec![0.0; states.len()];
        for turn in 0..states.len() {
            let at = if backwards {
                states.len() - 1 - turn
            } else {
                turn
            };
            self.enter(states[at])?;
            self.read_for(SETTLE).await?;
            let (count, begin) = (self.status.requests()?, Instant::now());
            self.read_for(PHASE).await?;
            rates[at] = self.requests_since(count)? as f64 / begin.elapsed().as_secs_f64();
        }
        Ok(rates)
    }

    /// Runs of each program for a request of the load, and nanoseconds of each run; the kernel's counting is within.
    async fn programs(&mut self, set: Set) -> Outcome<Vec<Value>> {
        let _on = Statistics::enable()?;
        self.enter(State::Probes(set))?;
        self.read_for(SETTLE).await?;
        let (count, before) = (self.status.requests()?, self.probes.programs());
        self.read_for(COUNTING).await?;
        let (requests, after) = (self.requests_since(count)?, self.probes.programs());
        let of = |before: &ProgramCost, after: &ProgramCost| {
            let (runs, ns) = (
                after.runs - before.runs,
                (after.time_ns - before.time_ns) as f64,
            );
            json!({
                "name": after.name,
                "runs_per_request": runs as f64 / requests as f64,
                "ns_per_run": ns / runs as f64,
            })
        };
        let ran = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| after.runs > before.runs);
        Ok(ran.map(|(before, after)| of(before, after)).collect())
    }

    /// Requests of the load since nginx had counted so many.
    fn requests_since(&mut self, count: u64) -> Outcome<u64> {
        match self.status.requests()? - count {
            0 => Err("nobody asks nginx for anything: the load has ended".into()),
            requests => Ok(requests),
        }
    }

    fn enter(&mut self, state: State) -> Outcome<()> {
        self.floor.detach();
        self.probes.pause();
        match state {
            State::Nothing => {}
            State::Floor => self.floor.attach()?,
            State::Probes(set) => {
                for feature in set.features() {
                    self.probes.resume_feature(*feature)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what comes, as a user of the probes would.
    async fn read_for(&mut self, time: Duration) -> Outcome<()> {
        let end = Instant::now() + time;
        while let Ok(batch) = tokio::time::timeout_at(end.into(), self.stream.next_batch()).await {
            batch?;
        }
        Ok(())
    }
}
