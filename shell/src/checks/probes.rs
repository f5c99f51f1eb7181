//! The probes: loaded, asked, dropped.

use galileo_probes::{Config, Error, Feature, Probes};

use super::{Check, State};

pub(super) fn all() -> Vec<Check> {
    let config = Config {
        statistics: true,
        interrupts: true,
        ..Config::default()
    };
    match Probes::load(&config) {
        Ok(probes) => probes
            .capabilities()
            .iter()
            .map(|capability| of(capability.feature, capability.off.as_deref()))
            .collect(),
        Err(error) => vec![refused(&error)],
    }
}

fn of(feature: Feature, off: Option<&str>) -> Check {
    let name = match feature {
        Feature::Cpu => "CPU probes",
        Feature::Network => "network probes",
        Feature::Tcp => "TCP probes",
        Feature::Http => "HTTP probes",
        Feature::Interrupts => "IRQ probes",
        Feature::Statistics => "probe costs",
    };
    let Some(why) = off else {
        return Check::works(name, feature.meaning());
    };
    let missing = format!(
        "not seen: {}; what is left: {}",
        feature.meaning(),
        feature.instead()
    );
    match feature {
        // Known about the watching, not about the watched.
        Feature::Statistics => Check::lacks(
            name,
            State::Note,
            missing,
            why,
            "run as root, or add cap_sys_admin to the program's capabilities",
        ),
        Feature::Cpu | Feature::Interrupts => Check::lacks(
            name,
            State::Off,
            missing,
            why,
            "a kernel with CONFIG_TRACEPOINTS and CONFIG_BPF_EVENTS has them",
        ),
        Feature::Network | Feature::Tcp | Feature::Http => Check::lacks(
            name,
            State::Off,
            missing,
            why,
            "a kernel with CONFIG_CGROUP_BPF has them; in a container the cgroup2 root of the host must be visible",
        ),
    }
}

fn refused(error: &Error) -> Check {
    let (why, remedy) = match error {
        Error::Permission { detail } => (
            detail.clone(),
            "run as root, or once:\n  sudo setcap cap_bpf,cap_perfmon,cap_net_admin+ep $(command -v galileo)",
        ),
        Error::NoCgroup2 => (
            "no cgroup2 file system is mounted".to_owned(),
            "mount -t cgroup2 none /sys/fs/cgroup/unified",
        ),
        Error::Object { .. } | Error::Load(_) | Error::Mismatch(_) | Error::Io { .. } => (
            error.to_string(),
            "the kernel needs CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and Linux 5.10; if it has them, please report this",
        ),
    };
    Check::lacks(
        "probes",
        State::Off,
        "nothing is seen but CPU time from /proc",
        why,
        remedy,
    )
}
