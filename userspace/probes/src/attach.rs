//! Where the programs hang: loading them into the kernel, attaching and detaching them.

use std::{fs::File, path::Path};

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, RawTracePoint, SockOps,
        cgroup_skb::CgroupSkbLink, raw_trace_point::RawTracePointLink, sock_ops::SockOpsLink,
    },
};

use crate::{Feature, error::chain};

/// The scheduler's programs in the order in which they are attached: waits first, as a switch without its wake-up would
/// look like a task that never slept.
const SCHEDULER: [&str; 5] = [
    "sched_process_free",
    "sched_migrate_task",
    "sched_wakeup_new",
    "sched_wakeup",
    "sched_switch",
];

/// The packet hooks.
const NETWORK: [(&str, CgroupSkbAttachType); 2] = [
    ("ingress", CgroupSkbAttachType::Ingress),
    ("egress", CgroupSkbAttachType::Egress),
];

/// The maps of step programs, and what stands in them.
const STEPS: [(&str, [&str; 3]); 3] = [
    (
        "STEPS_RECEIVED",
        ["read_received", "scan_received", "act_received"],
    ),
    ("STEPS_SENT", ["read_sent", "scan_sent", "act_sent"]),
    ("STEPS_FIRST", ["read_first", "scan_first", "act_first"]),
];

/// Attached programs; they are detached when this is dropped.
pub(crate) enum Links {
    Scheduler { _links: Vec<RawTracePointLink> },
    Network { _links: Vec<CgroupSkbLink> },
    Tcp { _link: SockOpsLink },
}

impl Links {
    /// What they are for.
    pub(crate) const fn feature(&self) -> Feature {
        match self {
            Self::Scheduler { .. } => Feature::Cpu,
            Self::Network { .. } => Feature::Network,
            Self::Tcp { .. } => Feature::Tcp,
        }
    }
}

/// Loads the scheduler's programs. An error is the reason why this kernel refuses one.
pub(crate) fn load_scheduler(ebpf: &mut Ebpf) -> Result<(), String> {
    SCHEDULER.iter().try_for_each(|name| {
        tracepoint(ebpf, name)?
            .load()
            .map_err(|error| refused(name, &error))
    })
}

/// Attaches the scheduler's programs, which are loaded.
pub(crate) fn attach_scheduler(ebpf: &mut Ebpf) -> Result<Links, String> {
    let mut links = Vec::new();
    for name in SCHEDULER {
        let program = tracepoint(ebpf, name)?;
        let link = program
            .attach(name)
            .map_err(|error| refused(name, &error))?;
        links.push(
            program
                .take_link(link)
                .map_err(|error| refused(name, &error))?,
        );
    }
    Ok(Links::Scheduler { _links: links })
}

/// Loads the packet hooks.
pub(crate) fn load_network(ebpf: &mut Ebpf) -> Result<(), String> {
    NETWORK.iter().try_for_each(|(name, _)| {
        packet_hook(ebpf, name)?
            .load()
            .map_err(|error| refused(name, &error))
    })
}

/// Attaches the packet hooks, which are loaded, to the root of the cgroup2 mount.
pub(crate) fn attach_network(ebpf: &mut Ebpf, mount: &Path) -> Result<Links, String> {
    let root =
        File::open(mount).map_err(|error| format!("cannot open {}: {error}", mount.display()))?;
    let mut links = Vec::new();
    for (name, direction) in NETWORK {
        let program = packet_hook(ebpf, name)?;
        let link = program
            .attach(&root, direction, CgroupAttachMode::Single)
            .map_err(|error| refused(name, &error))?;
        links.push(
            program
                .take_link(link)
                .map_err(|error| refused(name, &error))?,
        );
    }
    Ok(Links::Network { _links: links })
}

/// The program that follows TCP connections.
const CONNECTIONS: &str = "connections";

/// Loads it.
pub(crate) fn load_tcp(ebpf: &mut Ebpf) -> Result<(), String> {
    connections(ebpf)?
        .load()
        .map_err(|error| refused(CONNECTIONS, &error))
}

/// Attaches it to the root of the cgroup2 mount. It needs the packet hooks, which tell it whose a socket is.
pub(crate) fn attach_tcp(ebpf: &mut Ebpf, mount: &Path) -> Result<Links, String> {
    let root =
        File::open(mount).map_err(|error| format!("cannot open {}: {error}", mount.display()))?;
    let program = connections(ebpf)?;
    let link = program
        .attach(&root, CgroupAttachMode::Single)
        .map_err(|error| refused(CONNECTIONS, &error))?;
    let link = program
        .take_link(link)
        .map_err(|error| refused(CONNECTIONS, &error))?;
    Ok(Links::Tcp { _link: link })
}

fn connections(ebpf: &mut Ebpf) -> Result<&mut SockOps, String> {
    let program = ebpf
        .program_mut(CONNECTIONS)
        .ok_or_else(|| format!("the object has no program {CONNECTIONS}"))?;
    program.try_into().map_err(|error| chain(&error))
}

/// Puts the step programs where the packet hooks tail-call them. The kernel forgets them when their map is closed.
pub(crate) fn install_steps(ebpf: &mut Ebpf) -> Result<(), String> {
    for (map, names) in STEPS {
        for (index, name) in (0..).zip(names) {
            let program = packet_hook(ebpf, name)?;
            program.load().map_err(|error| refused(name, &error))?;
            let step = program
                .fd()
                .and_then(|fd| Ok(fd.try_clone()?))
                .map_err(|error| chain(&error))?;
            let map = ebpf
                .map_mut(map)
                .ok_or_else(|| format!("the object has no map {map}"))?;
            let mut steps = ProgramArray::try_from(map).map_err(|error| chain(&error))?;
            steps.set(index, &step, 0).map_err(|error| chain(&error))?;
        }
    }
    Ok(())
}

fn tracepoint<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut RawTracePoint, String> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| format!("the object has no program {name}"))?;
    program.try_into().map_err(|error| chain(&error))
}

fn packet_hook<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut CgroupSkb, String> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| format!("the object has no program {name}"))?;
    program.try_into().map_err(|error| chain(&error))
}

fn refused(name: &str, error: &(dyn std::error::Error + 'static)) -> String {
    format!("the kernel refuses {name}: {}", chain(error))
}
