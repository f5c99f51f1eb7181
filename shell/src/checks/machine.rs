//! Kernel, CPUs, `/proc`.

use galileo_experiment::local::procfs::Stat;
use galileo_experiment::runner::host;

use super::{Check, State};

/// The first kernel that has all that the probes use.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let found = format!("Linux {release}, {}", uname.machine().to_string_lossy());
    match version(&release) {
        Some(version) if version < OLDEST => Check::lacks(
            "kernel",
            State::Off,
            found,
            format!("the probes need Linux {}.{} or later", OLDEST.0, OLDEST.1),
            "update the kernel; without probes runs show CPU time only",
        ),
        _ => Check::works("kernel", found),
    }
}

/// Major and minor number of `5.10.0-8-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn cpus() -> Check {
    let count = host().cpus.len();
    if count > 1 {
        return Check::works("CPUs", format!("{count} online"));
    }
    Check::lacks(
        "CPUs",
        State::Note,
        "1 online",
        "load, balancer and services share it, so that the load may come late",
        "keep rates low; a run whose load was late says so",
    )
}

pub(super) fn proc() -> Check {
    match Stat::of(std::process::id()) {
        Some(_) => Check::works("/proc", "readable"),
        None => Check::lacks(
            "/proc",
            State::Blocks,
            "not readable",
            "/proc/<pid>/stat is missing or of an unknown form",
            "mount -t proc proc /proc",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_two_numbers_of_the_release() {
        assert_eq!(version("5.10.0-8-amd64"), Some((5, 10)));
        assert_eq!(version("6.18.1"), Some((6, 18)));
        assert_eq!(version("6.1-rc3+"), Some((6, 1)));
        assert_eq!(version("unknown"), None);
    }
}
