//! Where the programs hang: loading them into the kernel, attaching and detaching them.

use std::{fs::File, path::Path, sync::mpsc, thread, time::Duration};

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, RawTracePoint, SockOps,
        links::FdLink,
    },
};
use galileo_ebpf_abi::step;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    Feature,
    error::{chain, is_again},
    links::Links,
};

/// The scheduler's hooks in the order in which they are attached: waits first, as a switch without its wake-up would look
/// like a task that never slept. The programs have the hooks' names.
const SCHEDULER: [&str; 5] = [
    "sched_process_free",
    "sched_migrate_task",
    "sched_wakeup_new",
    "sched_wakeup",
    "sched_switch",
];

/// The programs of the last two hooks that are cut off after a step.
const CUT_OFF: [[&str; 2]; step::ALL as usize] = [
    ["wakeup_empty", "switch_empty"],
    ["wakeup_clock", "switch_clock"],
    ["wakeup_tasks", "switch_tasks"],
    ["wakeup_runs", "switch_runs"],
    ["wakeup_waits", "switch_waits"],
];

/// The program in place of `sched_switch` where the hook does not tell the state of the task that leaves (before 5.18).
const STATELESS: &str = "sched_switch_stateless";

/// Hooks and programs.
fn scheduler(step: u32) -> impl Iterator<Item = (&'static str, &'static str)> {
    let cut_off = CUT_OFF.get(step as usize);
    SCHEDULER
        .into_iter()
        .map(move |hook| match (hook, cut_off) {
            ("sched_wakeup", Some([wakeup, _])) => (hook, *wakeup),
            ("sched_switch", Some([_, switch])) => (hook, *switch),
            _ => (hook, hook),
        })
}

/// The hooks of interrupts: ends first, as a beginning whose end is not seen would last until the next.
const INTERRUPTS: [&str; 4] = [
    "irq_handler_exit",
    "softirq_exit",
    "irq_handler_entry",
    "softirq_entry",
];

/// The packet hooks.
const NETWORK: [(&str, CgroupSkbAttachType); 2] = [
    ("ingress", CgroupSkbAttachType::Ingress),
    ("egress", CgroupSkbAttachType::Egress),
];

/// The maps of step programs, and what stands in them.
const STEPS: [(&str, &[&str]); 3] = [
    (
        "STEPS_RECEIVED",
        &[
            "read_received",
            "scan_received",
            "act_received",
            "keep_received",
            "follow_received",
        ],
    ),
    ("STEPS_SENT", &["read_sent", "scan_sent", "act_sent"]),
    ("STEPS_FIRST", &["read_first", "scan_first", "act_first"]),
];

/// Loads the scheduler's programs, those of the hottest hooks cut off after `step`. An error is the reason why this kernel
/// refuses one.
pub(crate) fn load_scheduler(ebpf: &mut Ebpf, step: u32) -> Result<(), String> {
    load_tracepoints(ebpf, scheduler(step).map(|(_, name)| name))
}

/// Attaches the scheduler's programs, which are loaded.
pub(crate) fn attach_scheduler(ebpf: &mut Ebpf, step: u32) -> Result<Links, String> {
    let links = attach_tracepoints(ebpf, Feature::Cpu, scheduler(step)).or_else(|error| {
        // A program that reads an argument which the hook does not have is refused where it is attached.
        let program = tracepoint(ebpf, STATELESS)?;
        if program.fd().is_err() {
            undisturbed(|| program.load()).map_err(|error| refused(STATELESS, &error))?;
        }
        let programs = scheduler(step).map(|(hook, name)| match name {
            "sched_switch" => (hook, STATELESS),
            name => (hook, name),
        });
        // If this fails as well, the first error says more.
        attach_tracepoints(ebpf, Feature::Cpu, programs).map_err(|_| error)
    })?;
    visit_cpus();
    Ok(links)
}

/// Loads the programs of interrupts.
pub(crate) fn load_interrupts(ebpf: &mut Ebpf) -> Result<(), String> {
    load_tracepoints(ebpf, INTERRUPTS)
}

/// Attaches the programs of interrupts, which are loaded.
pub(crate) fn attach_interrupts(ebpf: &mut Ebpf) -> Result<Links, String> {
    attach_tracepoints(
        ebpf,
        Feature::Interrupts,
        INTERRUPTS.map(|name| (name, name)),
    )
}

fn load_tracepoints(
    ebpf: &mut Ebpf,
    names: impl IntoIterator<Item = &'static str>,
) -> Result<(), String> {
    names.into_iter().try_for_each(|name| {
        let program = tracepoint(ebpf, name)?;
        undisturbed(|| program.load()).map_err(|error| refused(name, &error))
    })
}

/// Attaches programs, each given after its hook.
fn attach_tracepoints(
    ebpf: &mut Ebpf,
    feature: Feature,
    programs: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<Links, String> {
    let mut links = Links::new(feature);
    for (hook, name) in programs {
        let program = tracepoint(ebpf, name)?;
        let link = program
            .attach(hook)
            .and_then(|link| program.take_link(link))
            .map_err(|error| refused(name, &error))?;
        links.push(hook, link.into());
    }
    Ok(links)
}

/// How long attaching waits for [`visit_cpus`].
const VISIT: Duration = Duration::from_millis(200);

/// Makes each CPU switch once, so that it is watched from now on and not from its next switch, which an idle or a
/// hogged one may not make for long.
fn visit_cpus() {
    let (visited, all) = mpsc::channel();
    let visit = move || {
        for cpu in aya::util::online_cpus().unwrap_or_default() {
            let mut only = CpuSet::new();
            if (cpu as usize) < CpuSet::MAX_CPU {
                only.set(cpu as usize);
                // What is not ours to use begins at its next switch.
                let _ = sched_setaffinity(None, &only);
            }
        }
        // Nobody waits any more if it took long.
        let _ = visited.send(());
    };
    let visitor = thread::Builder::new().name("visit-cpus".to_owned());
    if visitor.spawn(visit).is_ok() {
        // A CPU that a real-time task keeps may let the visitor wait; it then ends by itself later.
        let _ = all.recv_timeout(VISIT);
    }
}

/// Loads the packet hooks.
pub(crate) fn load_network(ebpf: &mut Ebpf) -> Result<(), String> {
    NETWORK.iter().try_for_each(|(name, _)| {
        let program = packet_hook(ebpf, name)?;
        undisturbed(|| program.load()).map_err(|error| refused(name, &error))
    })
}

/// Attaches the packet hooks, which are loaded, to the root of the cgroup2 mount.
pub(crate) fn attach_network(ebpf: &mut Ebpf, mount: &Path) -> Result<Links, String> {
    let root =
        File::open(mount).map_err(|error| format!("cannot open {}: {error}", mount.display()))?;
    let mut links = Links::new(Feature::Network);
    for (name, direction) in NETWORK {
        let program = packet_hook(ebpf, name)?;
        let link = program
            .attach(&root, direction, CgroupAttachMode::Single)
            .and_then(|link| program.take_link(link))
            .map_err(|error| refused(name, &error))?;
        let link = FdLink::try_from(link).map_err(|error| refused(name, &error))?;
        links.push(name, link);
    }
    Ok(links)
}

/// The program that follows TCP connections.
const CONNECTIONS: &str = "connections";

/// Loads it.
pub(crate) fn load_tcp(ebpf: &mut Ebpf) -> Result<(), String> {
    let program = connections(ebpf)?;
    undisturbed(|| program.load()).map_err(|error| refused(CONNECTIONS, &error))
}

/// Attaches it to the root of the cgroup2 mount. It needs the packet hooks, which tell it whose a socket is.
pub(crate) fn attach_tcp(ebpf: &mut Ebpf, mount: &Path) -> Result<Links, String> {
    let root =
        File::open(mount).map_err(|error| format!("cannot open {}: {error}", mount.display()))?;
    let program = connections(ebpf)?;
    let link = program
        .attach(&root, CgroupAttachMode::Single)
        .and_then(|link| program.take_link(link))
        .map_err(|error| refused(CONNECTIONS, &error))?;
    let link = FdLink::try_from(link).map_err(|error| refused(CONNECTIONS, &error))?;
    let mut links = Links::new(Feature::Tcp);
    links.push(CONNECTIONS, link);
    Ok(links)
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
            undisturbed(|| program.load()).map_err(|error| refused(name, &error))?;
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

/// How often loading a program is tried: as often as libbpf does.
const ATTEMPTS: u32 = 5;

/// Loads a program, once more if a signal came meanwhile: the verifier gives up then with `EAGAIN` (`do_check` in
/// kernel/bpf/verifier.c).
pub(crate) fn undisturbed(
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    for _ in 1..ATTEMPTS {
        match load() {
            Err(error) if is_again(&error) => {}
            answer => return answer,
        }
    }
    load()
}

fn refused(name: &str, error: &(dyn std::error::Error + 'static)) -> String {
    format!("the kernel refuses {name}: {}", in_one_line(&chain(error)))
}

/// What a verifier's log closes with, whatever came of it.
const STATISTICS: [&str; 3] = ["verification time", "stack depth", "processed"];

/// The lines of a verifier's answer that say why, as part of a sentence.
fn in_one_line(answer: &str) -> String {
    let lines = answer.lines().map(str::trim);
    let reasons: Vec<_> = lines
        .filter(|line| {
            let is_statistics = STATISTICS.iter().any(|begin| line.starts_with(begin));
            !line.is_empty() && !is_statistics
        })
        .collect();
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::sys::SyscallError;

    use super::*;

    fn fails_with(code: i32) -> Result<(), ProgramError> {
        Err(ProgramError::SyscallError(SyscallError {
            call: "bpf_prog_load",
            io_error: io::Error::from_raw_os_error(code),
        }))
    }

    #[test]
    fn a_reason_is_a_line_without_the_verifiers_statistics() {
        let answer = "the syscall returned Permission denied. Verifier output: R9 !read_ok\n  at 0\nverification time 186 usec\n\
                      stack depth 0\nprocessed 1 insns (limit 1000000)\n";
        assert_eq!(
            in_one_line(answer),
            "the syscall returned Permission denied. Verifier output: R9 !read_ok; at 0"
        );
        assert_eq!(in_one_line("no such file"), "no such file");
    }

    #[test]
    fn a_program_is_loaded_once_more_after_a_signal_and_not_after_a_refusal() {
        const EAGAIN: i32 = 11;
        const EACCES: i32 = 13;
        // What the kernel answers first, and how often it is then asked.
        for (answers, asked) in [
            (&[EAGAIN][..], 2),
            (&[EAGAIN, EAGAIN, EACCES], 3),
            (&[EACCES], 1),
            (&[EAGAIN; ATTEMPTS as usize], ATTEMPTS),
        ] {
            let mut calls = 0;
            let answer = undisturbed(|| {
                calls += 1;
                answers
                    .get(calls as usize - 1)
                    .map_or(Ok(()), |code| fails_with(*code))
            });
            assert_eq!(calls, asked, "{answers:?}");
            assert_eq!(
                answer.is_ok(),
                answers.len() < asked as usize,
                "{answers:?}"
            );
        }
    }
}
