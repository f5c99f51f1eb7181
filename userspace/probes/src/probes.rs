//! Loading, attaching, reading.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, Map, MapData, RingBuf},
};
use galileo_ebpf_abi::{PAIR_SETS, SLOTS_MAX};
use rustix::{
    param::page_size,
    process::{Resource, Rlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{
    Capability, Error, Feature,
    attach::{self, Links},
    cgroup,
    connection::ConnectionStream,
    cost::{Cost, ProgramCost, Statistics},
    error::{chain, is_permission},
    exchange::ExchangeStream,
    mapped::Mapped,
    memory::{self, MapShape, Memory},
    messages::Messages,
    object,
    presence::Presence,
    reader::Reader,
    running::Cpus,
    snapshot::Snapshot,
    traffic::TrafficMaps,
};

/// How the probes are loaded.
#[derive(Debug, Clone)]
pub struct Config {
    /// Cgroups followed at once.
    pub cgroups: u32,
    /// Bytes of the ring of single exchanges; rounded up to what the kernel takes.
    pub ring_bytes: u32,
    /// Bytes of the ring of single TCP connections; as `ring_bytes`.
    pub connection_ring_bytes: u32,
    /// Keep the query of request targets.
    pub keep_query: bool,
    /// Count runs and time of each program while the probes are loaded. Costs about 30 ns a run.
    pub statistics: bool,
    /// Count what interrupts take of each CPU. Costs two runs for each of them.
    pub interrupts: bool,
    /// How far the scheduler's programs go, for measuring what each step costs: 0 for programs that do nothing. What comes
    /// after the step is then not counted. All of them by default.
    pub scheduler_step: u32,
    /// The cgroup2 mount to attach to; found by itself if none is given.
    pub cgroup_mount: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cgroups: 1024,
            ring_bytes: 8 << 20,
            connection_ring_bytes: 1 << 20,
            keep_query: false,
            statistics: false,
            interrupts: false,
            scheduler_step: u32::MAX,
            cgroup_mount: None,
        }
    }
}

/// How full tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Cgroups that are listed, of [`Config::cgroups`]: those that are there and those that are gone and still read.
    pub cgroups: usize,
    /// Places that are neither a cgroup's nor free: given back with one of the next readings.
    pub waiting: usize,
    /// Pairs of the interference matrix that found no place on their CPU.
    pub shared_pairs: usize,
}

/// The probes, loaded and attached. They go when this is dropped.
pub struct Probes {
    // Holds the programs.
    ebpf: Ebpf,
    mount: PathBuf,
    links: Vec<Links>,
    capabilities: Vec<Capability>,
    reader: Mutex<Reader>,
    possible_cpus: u32,
    /// Id, name and shape of every map.
    maps: Vec<MapShape>,
    // Mapped when they are taken: the kernel maps all of a ring, and its data twice.
    ring: Option<Map>,
    connections: Option<(Map, Array<MapData, u32>)>,
    keep_query: bool,
    scheduler_step: u32,
    statistics: Option<Statistics>,
    _messages: Option<Messages>,
}

impl Probes {
    /// Loads the programs and attaches them. What this kernel does not offer is left out: see [`Probes::capabilities`].
    ///
    /// # Errors
    ///
    /// If eBPF may not be used at all, if there is no cgroup2, or if the object does not load.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let mount = config
            .cgroup_mount
            .clone()
            .or_else(cgroup::mount_point)
            .ok_or(Error::NoCgroup2)?;
        if config.cgroups == 0 || config.cgroups > SLOTS_MAX {
            return Err(Error::Load(format!(
                "{} cgroups cannot be followed at once: 1 to {SLOTS_MAX} can",
                config.cgroups
            )));
        }
        lift_memory_limit();
        let cpus = possible_cpus()?;
        let lines = cpus
            .checked_mul(config.cgroups)
            .ok_or_else(|| Error::Load(format!("{} cgroups are too many", config.cgroups)))?;
        let ring_bytes = ring_size(config.ring_bytes, page_size() as u32);
        let object = object::bytes()?;
        let mut ebpf = EbpfLoader::new()
            // No kernel BTF: the programs need none, and the boards Galileo is for have none.
            .btf(None)
            .verifier_log_level(VerifierLogLevel::STATS)
            .map_max_entries("CGROUPS", config.cgroups)
            .map_max_entries("HTTP", config.cgroups)
            .map_max_entries("OWNERS", config.cgroups)
            .map_max_entries("LEDGER_OF", config.cgroups)
            .map_max_entries("SLOT_OF", config.cgroups)
            .map_max_entries("FREE_SLOTS", config.cgroups)
            .map_max_entries("TRAFFIC", config.cgroups)
            .map_max_entries("INTERFACES", TrafficMaps::entries(config.cgroups))
            .map_max_entries("INTERFACE_OF", TrafficMaps::entries(config.cgroups))
            .map_max_entries("FREE_INTERFACES", TrafficMaps::entries(config.cgroups))
            .map_max_entries("TCP", config.cgroups)
            .map_max_entries("CPUS", cpus)
            .map_max_entries("INTERRUPTS", cpus)
            .map_max_entries("CPU_LINES", lines)
            .map_max_entries("PAIRS", cpus * PAIR_SETS as u32)
            .override_global("SLOT_COUNT", &config.cgroups, true)
            .map_max_entries(
                "CONNECTIONS",
                ring_size(config.connection_ring_bytes, page_size() as u32),
            )
            .map_max_entries("EXCHANGES", ring_bytes)
            .load(&object)
            .map_err(|error| {
                if is_permission(&error) {
                    Error::Permission {
                        detail: chain(&error),
                    }
                } else {
                    Error::Load(chain(&error))
                }
            })?;
        let messages = Messages::start(&mut ebpf);
        let maps = memory::shapes(&ebpf)?;

        // Loaded early: what is not watched must not read as nothing.
        let interrupts_off = if config.interrupts {
            attach::load_interrupts(&mut ebpf).err()
        } else {
            Some("not asked for".to_owned())
        };
        let interrupts = array(&mut ebpf, "INTERRUPTS")?;
        let interrupts = match &interrupts_off {
            None => Some(Mapped::whole(interrupts, cpus, "INTERRUPTS")?),
            Some(_) => None,
        };
        let running = Cpus::new(
            Mapped::whole(array(&mut ebpf, "CPUS")?, cpus, "CPUS")?,
            Mapped::new(array(&mut ebpf, "CPU_LINES")?, lines, "CPU_LINES")?,
            config.cgroups as usize,
            interrupts,
        );
        let presence = Presence::new(&mount);
        let reader = Reader::new(&mut ebpf, config.cgroups, cpus, running, presence)?;
        let ring = take(&mut ebpf, "EXCHANGES")?;

        let connections = take(&mut ebpf, "CONNECTIONS")?;
        let connections_read = Array::try_from(take(&mut ebpf, "CONNECTIONS_READ")?)
            .map_err(|error| mismatch(&error))?;

        let statistics = if config.statistics {
            Some(Statistics::enable())
        } else {
            None
        };
        let mut links = Vec::new();
        let mut hang =
            |attached: Result<Links, String>| attached.map(|link| links.push(link)).err();
        let cpu_off = attach::load_scheduler(&mut ebpf, config.scheduler_step)
            .err()
            .or_else(|| hang(attach::attach_scheduler(&mut ebpf, config.scheduler_step)));
        let interrupts_off = match interrupts_off {
            None => hang(attach::attach_interrupts(&mut ebpf)),
            off => off,
        };
        // The steps must be in place before the first packet comes.
        let http_off = attach::install_steps(&mut ebpf).err();
        let network_off = attach::load_network(&mut ebpf)
            .err()
            .or_else(|| hang(attach::attach_network(&mut ebpf, &mount)));
        let tcp_off = network_off
            .clone()
            .or_else(|| attach::load_tcp(&mut ebpf).err())
            .or_else(|| hang(attach::attach_tcp(&mut ebpf, &mount)));
        let statistics_off = match &statistics {
            None => Some("not asked for".to_owned()),
            Some(Err(reason)) => Some(reason.clone()),
            Some(Ok(_)) => None,
        };
        let capabilities = [
            (Feature::Cpu, cpu_off),
            (Feature::Http, network_off.clone().or(http_off)),
            (Feature::Network, network_off),
            (Feature::Interrupts, interrupts_off),
            (Feature::Tcp, tcp_off),
            (Feature::Statistics, statistics_off),
        ]
        .into_iter()
        // What was not asked for is neither here nor missing.
        .filter(|(feature, _)| match feature {
            Feature::Interrupts => config.interrupts,
            Feature::Statistics => config.statistics,
            Feature::Cpu | Feature::Http | Feature::Network | Feature::Tcp => true,
        })
        .map(|(feature, off)| Capability { feature, off })
        .collect::<Vec<_>>();
        for Capability { feature, off } in &capabilities {
            if let Some(reason) = off
                && *feature != Feature::Statistics
            {
                tracing::warn!(
                    feature = feature.as_str(),
                    reason,
                    "a part of the probes is off"
                );
            }
        }
        memory::trim();
        Ok(Self {
            ebpf,
            mount,
            links,
            capabilities,
            reader: Mutex::new(reader),
            possible_cpus: cpus,
            maps,
            ring: Some(ring),
            connections: Some((connections, connections_read)),
            keep_query: config.keep_query,
            scheduler_step: config.scheduler_step,
            statistics: statistics.and_then(Result::ok),
            _messages: messages,
        })
    }

    /// What is on of all that was asked for, and why the rest is off.
    #[must_use]
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Detaches all programs, so that nothing runs in the kernel until [`Probes::resume`]. What was counted stays, and what
    /// happens meanwhile is not seen: exchanges that were under way are given up.
    pub fn pause(&mut self) {
        self.links.clear();
    }

    /// As [`Probes::pause`], for the programs of this feature alone. HTTP hangs on those of the network; what needs no program
    /// of its own stays as it is.
    pub fn pause_feature(&mut self, feature: Feature) {
        self.links.retain(|links| links.feature() != feature);
    }

    /// Attaches the programs of this feature, after [`Probes::pause_feature`].
    ///
    /// # Errors
    ///
    /// If the kernel refuses what it allowed before.
    pub fn resume_feature(&mut self, feature: Feature) -> Result<(), Error> {
        self.pause_feature(feature);
        let is_on =
            |capability: &Capability| capability.feature == feature && capability.off.is_none();
        if !self.capabilities.iter().any(is_on) {
            return Ok(());
        }
        let links = match feature {
            Feature::Cpu => {
                self.reader_mut().cpus.begin_anew();
                attach::attach_scheduler(&mut self.ebpf, self.scheduler_step)
            }
            Feature::Interrupts => attach::attach_interrupts(&mut self.ebpf),
            Feature::Network => attach::attach_network(&mut self.ebpf, &self.mount),
            Feature::Tcp => attach::attach_tcp(&mut self.ebpf, &self.mount),
            Feature::Http | Feature::Statistics => return Ok(()),
        };
        self.links.push(links.map_err(Error::Load)?);
        Ok(())
    }

    /// Attaches the programs of all features that are on, after [`Probes::pause`].
    ///
    /// # Errors
    ///
    /// If the kernel refuses what it allowed before. What could be attached is.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.pause();
        [
            Feature::Cpu,
            Feature::Interrupts,
            Feature::Network,
            Feature::Tcp,
        ]
        .into_iter()
        .try_for_each(|feature| self.resume_feature(feature))
    }

    /// The stream of single exchanges. There is one; later calls fail. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// If it was taken before, or cannot be waited for.
    pub fn exchanges(&mut self) -> Result<ExchangeStream, Error> {
        let ring = self
            .ring
            .take()
            .ok_or_else(|| Error::Mismatch("the exchanges were taken before".to_owned()))?;
        let ring = RingBuf::try_from(ring).map_err(|error| mismatch(&error))?;
        ExchangeStream::new(ring, self.keep_query)
    }

    /// The stream of single TCP connections. There is one; later calls fail. Must be called within a tokio runtime. Records
    /// are made from now on until it is dropped.
    ///
    /// # Errors
    ///
    /// If it was taken before, or cannot be waited for.
    pub fn connections(&mut self) -> Result<ConnectionStream, Error> {
        let (ring, read) = self
            .connections
            .take()
            .ok_or_else(|| Error::Mismatch("the connections were taken before".to_owned()))?;
        let ring = RingBuf::try_from(ring).map_err(|error| mismatch(&error))?;
        ConnectionStream::new(ring, read)
    }

    /// Reads all counters.
    ///
    /// # Errors
    ///
    /// As [`Probes::read_into`].
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot::default();
        self.read_into(&mut snapshot)?;
        Ok(snapshot)
    }

    /// Brings a snapshot of these probes up to now: cgroups of which nothing has moved since it was read cost next to
    /// nothing, and memory that is there is used again. An empty snapshot, or one of other probes, is filled as a new one.
    ///
    /// Places of cgroups that are gone are given back here, so somebody must read now and then, at the latest within an
    /// hour: histograms and ledgers of single cgroups wrap after 2^32 events between two readings.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to map or to change a map; nearly all that is read lies in mapped memory.
    pub fn read_into(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        self.reader().read_into(snapshot)?;
        if self.statistics.is_some() {
            snapshot.programs = self.programs();
        }
        Ok(())
    }

    /// What the probes cost up to now: CPU time and memory of this process, and runs and time of the programs if statistics
    /// were asked for.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost::now(if self.statistics.is_some() {
            self.programs()
        } else {
            Vec::new()
        })
    }

    /// What the probes take of the kernel's memory and the process' at this moment.
    #[must_use]
    pub fn memory(&self) -> Memory {
        memory::of(
            &self.maps,
            self.possible_cpus as usize,
            self.reader().mapped_bytes(),
        )
    }

    /// How full the tables are of what comes and goes.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let reader = self.reader();
        let (cgroups, waiting) = reader.places();
        Tables {
            cgroups,
            waiting,
            shared_pairs: reader.shared_pairs(),
        }
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        // A reading that panicked left counters that the next one brings up to date.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader_mut(&mut self) -> &mut Reader {
        self.reader
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn programs(&self) -> Vec<ProgramCost> {
        let costs = self.ebpf.programs().filter_map(|(name, program)| {
            let info = program.info().ok()?;
            Some(ProgramCost {
                name: name.to_owned(),
                runs: info.run_count(),
                time_ns: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
                verified: info.verified_instruction_count().unwrap_or(0),
            })
        });
        costs.collect()
    }
}

pub(crate) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    ebpf.take_map(name)
        .ok_or_else(|| Error::Mismatch(format!("there is no map {name}")))
}

pub(crate) fn array(ebpf: &mut Ebpf, name: &str) -> Result<MapData, Error> {
    match take(ebpf, name)? {
        Map::Array(data) => Ok(data),
        _ => Err(Error::Mismatch(format!("{name} is no array"))),
    }
}

pub(crate) fn mismatch(error: &aya::maps::MapError) -> Error {
    Error::Mismatch(chain(error))
}

/// Kernels before 5.11 count maps as locked memory.
fn lift_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "the limit of locked memory stays");
    }
}

fn possible_cpus() -> Result<u32, Error> {
    aya::util::nr_cpus()
        .map(|cpus| cpus as u32)
        .map_err(|(path, error)| Error::io(format!("read {path}"), error))
}

/// The size of a ring buffer that the kernel takes: a power of two, and a multiple of the page size.
fn ring_size(wanted: u32, page: u32) -> u32 {
    wanted
        .max(page)
        .checked_next_power_of_two()
        .unwrap_or(1 << 31)
}

pub(crate) fn boot_ns() -> u64 {
    clock_ns(ClockId::Boottime)
}

pub(crate) fn unix_ns() -> u64 {
    clock_ns(ClockId::Realtime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_fit_the_page_size_of_the_machine() {
        // D-15: a Raspberry Pi 5 has pages of 16 KiB.
        let sizes = [4096, 5000, 12_288, 16_384, 65_536];
        assert_eq!(
            sizes.map(|size| ring_size(size, 16_384)),
            [16_384, 16_384, 16_384, 16_384, 65_536]
        );
        assert_eq!(sizes.map(|size| ring_size(size, 65_536)), [65_536; 5]);
        assert_eq!(ring_size(5000, 4096), 8192);
    }
}
