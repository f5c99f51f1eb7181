//! The probes, and what they saw of one test.

use std::{collections::BTreeMap, fmt, thread, time::Duration};

use galileo_probes::{
    Config, Exchange, ExchangeStream, Feature, Ledger, Probes, Role, Snapshot, cgroup::CgroupId,
};
use tokio::runtime::Runtime;

use crate::wait;

/// How often exchanges are read while something else is done: the ring has room for 20 times what comes in between at 200,000 a second.
const READ_EVERY: Duration = Duration::from_millis(5);

/// Loaded probes whose exchanges are kept.
pub struct Watch {
    /// The probes.
    pub probes: Probes,
    /// The stream of exchanges; [`Watch::seen`] empties it.
    pub stream: ExchangeStream,
    /// The runtime that the stream belongs to.
    pub runtime: Runtime,
    seen: Vec<Exchange>,
}

impl Watch {
    /// Loads the probes; none, with a line that says why, where this machine does not let us.
    ///
    /// # Panics
    ///
    /// If they could be loaded and were not, or are incomplete.
    pub fn start(config: &Config) -> Option<Self> {
        let mut probes = match Probes::load(config) {
            Ok(probes) => probes,
            Err(
                error @ (galileo_probes::Error::Permission { .. }
                | galileo_probes::Error::NoCgroup2),
            ) => {
                galileo_skips::skip(error);
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        for capability in probes.capabilities() {
            let asked = match capability.feature {
                Feature::Statistics => false,
                Feature::Interrupts => config.interrupts,
                _ => true,
            };
            if asked {
                assert_eq!(capability.off, None, "{:?}", capability.feature);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let stream = {
            let _inside = runtime.enter();
            probes.exchanges().expect("the exchanges")
        };
        Some(Self {
            probes,
            stream,
            runtime,
            seen: Vec::new(),
        })
    }

    /// The exchanges so far in which the server has this port.
    pub fn seen(&mut self, port: u16) -> Vec<Exchange> {
        let new = self.stream.drain();
        self.seen.extend(new);
        self.seen
            .iter()
            .filter(|exchange| server_port(exchange) == port)
            .copied()
            .collect()
    }

    /// Does what takes long, and meanwhile reads exchanges, of which those are kept in which the server has this port: others' fill the
    /// ring as well.
    ///
    /// # Panics
    ///
    /// If what is done does.
    pub fn meanwhile<T: Send>(&mut self, port: u16, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let doing = scope.spawn(what);
            while !doing.is_finished() {
                let new = self.stream.drain();
                let new = new.iter().filter(|one| server_port(one) == port);
                self.seen.extend(new.copied());
                thread::sleep(READ_EVERY);
            }
            doing.join().expect("what is done goes well")
        })
    }

    /// Forgets the exchanges so far.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Waits until there are so many of them, in both roles together.
    ///
    /// # Panics
    ///
    /// If there are fewer, or more; the message then says what was lost.
    pub fn wait_for(&mut self, port: u16, count: usize) -> Vec<Exchange> {
        let account = |watch: &Self| {
            let lost = Kinds(&watch.snapshot().ledger).to_string();
            format!("in the ledger: {lost}")
        };
        self.wait_for_those(port, count, |_| true, account)
    }

    /// Waits until there are so many of them that a cgroup took part in in this role.
    ///
    /// # Panics
    ///
    /// As [`Watch::wait_for`]; the message then says what was counted of this cgroup as well.
    pub fn wait_for_in(
        &mut self,
        cgroup: CgroupId,
        role: Role,
        port: u16,
        count: usize,
    ) -> Vec<Exchange> {
        let wanted = |one: &Exchange| one.cgroup == cgroup && one.role == role;
        self.wait_for_those(port, count, wanted, |watch| watch.account_of(cgroup))
    }

    fn wait_for_those(
        &mut self,
        port: u16,
        count: usize,
        wanted: impl Fn(&Exchange) -> bool,
        account: impl Fn(&Self) -> String,
    ) -> Vec<Exchange> {
        let seen = wait::try_until(|| {
            let mut seen = self.seen(port);
            seen.retain(&wanted);
            (seen.len() >= count).then_some(seen)
        });
        let Some(seen) = seen else {
            let seen = self.seen(port);
            let [servers, clients] =
                [Role::Server, Role::Client].map(|role| of_role(&seen, role).len());
            panic!(
                "waited in vain: {count} exchanges with port {port}; seen as server {servers}, as client {clients}; {}",
                account(self)
            );
        };
        assert_eq!(seen.len(), count, "{seen:#?}");
        seen
    }

    /// All counters.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    pub fn snapshot(&self) -> Snapshot {
        self.probes.snapshot().expect("a snapshot")
    }

    /// Asks snapshots until one has the answer.
    ///
    /// # Panics
    ///
    /// As [`wait::until`]; the message then says what was counted of this cgroup, and what was lost.
    pub fn until_counted<T>(
        &self,
        what: &str,
        cgroup: CgroupId,
        mut ask: impl FnMut(&Snapshot) -> Option<T>,
    ) -> T {
        wait::try_until(|| ask(&self.snapshot()))
            .unwrap_or_else(|| panic!("waited in vain: {what}; {}", self.account_of(cgroup)))
    }

    /// What was counted of a cgroup, in words for who has to find out what is missing.
    #[must_use]
    pub fn account_of(&self, cgroup: CgroupId) -> String {
        let snapshot = self.snapshot();
        let of_cgroup = snapshot.cgroups.get(&cgroup).map_or_else(
            || "is not listed".to_owned(),
            |stats| {
                format!(
                    "has {} exchanges as server, {} as client, {} packets received, {} sent, in its ledger: {}",
                    stats.server.count,
                    stats.client.count,
                    stats.rx_packets,
                    stats.tx_packets,
                    Kinds(&stats.ledger)
                )
            },
        );
        format!(
            "cgroup {} {of_cgroup}; the machine for itself has {}; all together have {}; {:?}",
            cgroup.0,
            Kinds(&snapshot.machine),
            Kinds(&snapshot.ledger),
            self.probes.tables()
        )
    }

    /// The ledger at a moment at which nothing happens.
    pub fn calm_ledger(&self) -> BTreeMap<Ledger, u64> {
        wait::until("a moment without exchanges", || {
            let (one, two) = (self.snapshot().ledger, self.snapshot().ledger);
            (one == two).then_some(one)
        })
    }
}

/// The kinds of a ledger of which there are any.
struct Kinds<'a>(&'a BTreeMap<Ledger, u64>);

impl fmt::Display for Kinds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.0.iter().filter(|(_, count)| **count != 0);
        f.debug_map()
            .entries(kinds.map(|(kind, count)| (kind.as_str(), count)))
            .finish()
    }
}

/// The port on the server's side.
pub fn server_port(exchange: &Exchange) -> u16 {
    match exchange.role {
        Role::Server => exchange.local.port(),
        Role::Client => exchange.remote.port(),
    }
}

/// Those in this role.
pub fn of_role(exchanges: &[Exchange], role: Role) -> Vec<&Exchange> {
    exchanges
        .iter()
        .filter(|exchange| exchange.role == role)
        .collect()
}

/// How long the readings took that a difference is of: what is read last may have moved on by as much.
#[must_use]
pub fn reading_ns(used: &Snapshot) -> u64 {
    [used.first, used.last]
        .map(|reading| reading.end_ns - reading.begin_ns)
        .iter()
        .sum()
}
