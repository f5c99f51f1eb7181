//! The probes at work: what is on, reading, pausing.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData},
};
use galileo_ebpf_core::socket::{Ends, Socket};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Capability, Error, Feature, attach,
    cgroup::CgroupId,
    connection::ConnectionStream,
    cost::{Cost, ProgramCost, Statistics},
    error::chain,
    exchange::ExchangeStream,
    links::Links,
    memory::{self, MapShape, Memory},
    messages::Messages,
    reader::Reader,
    snapshot::Snapshot,
};

/// How full tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Cgroups that are listed, of [`Config::cgroups`](crate::Config::cgroups): those that are there and those that are gone and still read.
    pub cgroups: usize,
    /// Places that are neither a cgroup's nor free: given back with one of the next readings.
    pub waiting: usize,
    /// Pairs of the interference matrix that found no place on their CPU.
    pub shared_pairs: usize,
    /// Entries of a cgroup and a network interface, of two for each cgroup that there is place for.
    pub interfaces: usize,
    /// Connections kept of which data reached a listener's socket, of 1,024; the oldest make room for others.
    pub first_data: usize,
}

/// The probes, loaded and attached. They go when this is dropped.
pub struct Probes {
    // Holds the programs.
    pub(crate) ebpf: Ebpf,
    pub(crate) mount: PathBuf,
    pub(crate) links: Vec<Links>,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) reader: Mutex<Reader>,
    pub(crate) possible_cpus: u32,
    /// Id, name and shape of every map.
    pub(crate) maps: Vec<MapShape>,
    // Mapped when they are taken.
    pub(crate) ring: Option<Map>,
    pub(crate) connections: Option<(Map, Array<MapData, u32>)>,
    pub(crate) keep_query: bool,
    pub(crate) scheduler_step: u32,
    pub(crate) statistics: Option<Statistics>,
    pub(crate) _messages: Option<Messages>,
}

impl Probes {
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
            Feature::Interrupts => {
                self.reader_mut().cpus.forget_interrupts();
                attach::attach_interrupts(&mut self.ebpf)
            }
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

    /// Lets what cgroups counted stay with others when they are gone and their places go to new ones. `heirs_of` tells with whom,
    /// e.g. a pod's cgroup for those below it, and for the pod's itself: [`Snapshot::inherited`]. It is asked once of each cgroup,
    /// when that is first read (of those that are known already, with the next reading), while no other reading can be made; a
    /// difference of two snapshots is right if both are of thereafter.
    pub fn set_heirs(
        &self,
        heirs_of: impl Fn(&[CgroupId]) -> Vec<Option<CgroupId>> + Send + 'static,
    ) {
        self.reader().set_heirs(Box::new(heirs_of));
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

    /// How full the tables are of what comes and goes; a system call for each entry of some of them.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let reader = self.reader();
        let (cgroups, waiting) = reader.places();
        Tables {
            cgroups,
            waiting,
            shared_pairs: reader.shared_pairs(),
            interfaces: reader.interfaces(),
            first_data: self.first_data(),
        }
    }

    fn first_data(&self) -> usize {
        let map = self
            .ebpf
            .map("FIRSTS")
            .map(HashMap::<&MapData, [u8; size_of::<Ends>()], [u8; size_of::<Socket>()]>::try_from);
        match map {
            Some(Ok(map)) => map.keys().count(),
            _ => 0,
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

    /// Runs and time of each program up to now. They move only while the kernel's statistics are on: by
    /// [`Config::statistics`](crate::Config::statistics), a [`Statistics`] of one's own, or somebody else on this machine.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramCost> {
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
