//! The machine a run takes place on.

use std::{collections::BTreeSet, fs};

use galileo_wire::capture::Machine;

use crate::plan::Host;

/// This machine, as plans need it.
#[must_use]
pub fn host() -> Host {
    let cpus = fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|text| cpu_list(text.trim()));
    // Without sysfs the count has to do.
    let counted = || {
        (0..std::thread::available_parallelism().map_or(1, |count| count.get() as u32)).collect()
    };
    Host {
        name: hostname(),
        cpus: cpus.unwrap_or_else(counted),
    }
}

/// Reads a list such as `0-3,8`.
fn cpu_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

pub(crate) fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

pub(crate) fn machine(version: &str, cpus: usize) -> Machine {
    let uname = rustix::system::uname();
    Machine {
        hostname: hostname(),
        kernel: uname.release().to_string_lossy().into_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
        cpu_model: field("/proc/cpuinfo", "model name").unwrap_or_default(),
        cpus: cpus as u32,
        memory_bytes: field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024),
        galileo: version.to_owned(),
    }
}

/// Whether there is certainly no hypervisor below, as x86 tells; nothing that all others have in common does.
pub(super) fn is_bare() -> bool {
    field("/proc/cpuinfo", "flags").is_some_and(|flags| without_hypervisor(&flags))
}

fn without_hypervisor(flags: &str) -> bool {
    flags.split_whitespace().all(|flag| flag != "hypervisor")
}

/// The first `name: value` of a file of such lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_tells_of_the_hypervisor_below() {
        assert!(without_hypervisor("fpu vmx sse4_2"));
        assert!(!without_hypervisor("fpu hypervisor lahf_lm"));
    }

    #[test]
    fn lists_of_cpus_have_ranges_and_single_numbers() {
        assert_eq!(
            cpu_list("0-3,8,10-11"),
            Some([0, 1, 2, 3, 8, 10, 11].into())
        );
        assert_eq!(cpu_list("0"), Some([0].into()));
        assert_eq!(cpu_list("0-x"), None);
    }
}
