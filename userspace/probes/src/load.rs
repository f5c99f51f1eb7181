//! Loading the programs and attaching them.

use std::{fs, path::Path, sync::Mutex};

use aya::{Ebpf, EbpfLoader, VerifierLogLevel, maps::Array};
use galileo_ebpf_abi::{PAIR_SETS, SLOTS_MAX, TASK_PLACES, TASK_PLACES_MAX, TASK_WAYS};
use rustix::{
    param::page_size,
    process::{Resource, Rlimit, setrlimit},
};

use crate::{
    Capability, Config, Error, Feature, Probes, attach, cgroup,
    cost::Statistics,
    error::{chain, is_permission},
    links::Links,
    mapped::Mapped,
    memory,
    messages::Messages,
    object,
    presence::Presence,
    probes::{array, mismatch, take},
    reader::Reader,
    running::Cpus,
    traffic::TrafficMaps,
};

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
        let cgroups = config.cgroups.unwrap_or_else(|| slots_for(&mount));
        if cgroups == 0 || cgroups > SLOTS_MAX {
            return Err(Error::Load(format!(
                "{cgroups} cgroups cannot be followed at once: 1 to {SLOTS_MAX} can"
            )));
        }
        if let Some(tasks) = config.tasks
            && (tasks == 0 || tasks > TASKS_MAX)
        {
            return Err(Error::Load(format!(
                "{tasks} tasks cannot be followed at once: 1 to {TASKS_MAX} can"
            )));
        }
        lift_memory_limit();
        let cpus = possible_cpus()?;
        let lines = cpus
            .checked_mul(cgroups)
            .ok_or_else(|| Error::Load(format!("{cgroups} cgroups are too many")))?;
        let mut ebpf = open(config, cgroups, cpus, lines)?;
        let messages = Messages::start(&mut ebpf);
        let mut maps = memory::shapes(&ebpf)?;

        // Loaded early: what is not watched must not read as nothing.
        let interrupts_off = if config.interrupts {
            attach::load_interrupts(&mut ebpf).err()
        } else {
            Some("not asked for".to_owned())
        };
        let interrupts = array(&mut ebpf, "INTERRUPTS")?;
        let interrupts = match &interrupts_off {
            None => Some(Mapped::whole(interrupts, cpus, "INTERRUPTS")?),
            Some(_) => {
                // Nobody has it any more: the kernel frees it.
                maps.retain(|map| map.name != "INTERRUPTS");
                None
            }
        };
        let running = Cpus::new(
            Mapped::whole(array(&mut ebpf, "CPUS")?, cpus, "CPUS")?,
            Mapped::new(array(&mut ebpf, "CPU_LINES")?, lines, "CPU_LINES")?,
            cgroups as usize,
            interrupts,
        );
        let presence = Presence::new(&mount);
        let reader = Reader::new(&mut ebpf, cgroups, cpus, running, presence)?;
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
        let capabilities = capabilities(
            config,
            [
                (Feature::Cpu, cpu_off),
                (Feature::Http, network_off.clone().or(http_off)),
                (Feature::Network, network_off),
                (Feature::Interrupts, interrupts_off),
                (Feature::Tcp, tcp_off),
                (Feature::Statistics, statistics_off),
            ],
        );
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
}

/// Cgroups that are followed on a node if nobody says how many: as many as there are, and as many again that come before one of them
/// is gone.
fn slots_for(mount: &Path) -> u32 {
    const LEAST: u32 = 1024;
    let present = u32::try_from(cgroup::below(mount, mount).len()).unwrap_or(SLOTS_MAX);
    present.saturating_mul(2).clamp(LEAST, SLOTS_MAX)
}

/// Places for each task that is to be followed.
const PLACES_EACH: u32 = 4;

/// Tasks that can be followed at once.
const TASKS_MAX: u32 = TASK_PLACES_MAX / PLACES_EACH;

/// Places in which tasks are followed. A task has eight of them to choose from, see `TASK_WAYS`.
fn task_places(tasks: Option<u32>) -> u32 {
    const LEAST: u32 = TASK_PLACES / PLACES_EACH;
    let tasks = tasks.unwrap_or_else(|| tasks_present().saturating_mul(2).clamp(LEAST, TASKS_MAX));
    (tasks * PLACES_EACH).max(TASK_WAYS).next_power_of_two()
}

/// Tasks that there are on this machine, in all pid namespaces (`proc_loadavg(5)`): those of its container where lxcfs lies over
/// that file; 0 where it cannot be read.
fn tasks_present() -> u32 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let present = tasks_of(&load);
    tracing::debug!(?present, "tasks by /proc/loadavg");
    present.unwrap_or(0)
}

/// The number behind the slash in `0.10 0.20 0.30 1/234 5678`.
fn tasks_of(load: &str) -> Option<u32> {
    let (_, total) = load.split(' ').nth(3)?.split_once('/')?;
    total.parse().ok()
}

/// Makes the maps; the programs are loaded later, feature by feature.
fn open(config: &Config, cgroups: u32, cpus: u32, lines: u32) -> Result<Ebpf, Error> {
    let page_size = page_size() as u32;
    let ring_bytes = ring_size(config.ring_bytes, page_size);
    let connection_ring_bytes = ring_size(config.connection_ring_bytes, page_size);
    let task_places = task_places(config.tasks);
    let object = object::bytes()?;
    EbpfLoader::new()
        // No kernel BTF: the programs need none, and the boards Galileo is for have none.
        .btf(None)
        .verifier_log_level(VerifierLogLevel::STATS)
        .map_max_entries("CGROUPS", cgroups)
        .map_max_entries("HTTP", cgroups)
        .map_max_entries("OWNERS", cgroups)
        .map_max_entries("LEDGER_OF", cgroups)
        .map_max_entries("SLOT_OF", cgroups)
        .map_max_entries("FREE_SLOTS", cgroups)
        .map_max_entries("TRAFFIC", cgroups)
        .map_max_entries("INTERFACES", TrafficMaps::entries(cgroups))
        .map_max_entries("INTERFACE_OF", TrafficMaps::entries(cgroups))
        .map_max_entries("FREE_INTERFACES", TrafficMaps::entries(cgroups))
        .map_max_entries("TCP", cgroups)
        .map_max_entries("CPUS", cpus)
        .map_max_entries("INTERRUPTS", cpus)
        .map_max_entries("CPU_LINES", lines)
        .map_max_entries("PAIRS", cpus * PAIR_SETS as u32)
        .map_max_entries("TASKS", task_places)
        .override_global("TASKS_MASK", &(task_places - 1), true)
        .override_global("EACH_END", &u8::from(config.each_end), true)
        .map_max_entries("CONNECTIONS", connection_ring_bytes)
        .map_max_entries("EXCHANGES", ring_bytes)
        // A reader that sleeps has time for the rest while it wakes up. Single connections come seldom.
        .override_global("EXCHANGES_WAKE_AT", &u64::from(ring_bytes / 16), true)
        .override_global(
            "CONNECTIONS_WAKE_AT",
            &u64::from(connection_ring_bytes / 4),
            true,
        )
        .load(&object)
        .map_err(|error| {
            if is_permission(&error) {
                Error::Permission {
                    detail: chain(&error),
                }
            } else {
                Error::Load(chain(&error))
            }
        })
}

/// What is on of what was asked for; the rest is told.
fn capabilities(config: &Config, off: [(Feature, Option<String>); 6]) -> Vec<Capability> {
    let capabilities: Vec<_> = off
        .into_iter()
        // What was not asked for is neither here nor missing.
        .filter(|(feature, _)| match feature {
            Feature::Interrupts => config.interrupts,
            Feature::Statistics => config.statistics,
            Feature::Cpu | Feature::Http | Feature::Network | Feature::Tcp => true,
        })
        .map(|(feature, off)| Capability { feature, off })
        .collect();
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
    capabilities
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_tasks_follows_the_machine() {
        assert_eq!(tasks_of("0.10 0.20 0.30 1/234 5678\n"), Some(234));
        assert_eq!(tasks_of(""), None);
        assert!(tasks_present() > 1);
        // Four places each, and a power of two.
        assert_eq!(task_places(Some(5_000)), 32_768);
        assert_eq!(task_places(Some(1)), TASK_WAYS);
        assert_eq!(task_places(Some(TASKS_MAX)), TASK_PLACES_MAX);
        assert!(task_places(None) >= TASK_PLACES);
    }

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
