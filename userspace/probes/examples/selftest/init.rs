//! The first process of a machine that exists for this test only.

use std::{fs, process::Command};

use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, reboot},
};
use serde_json::json;

use crate::report::Report;

/// File systems, and where they belong.
const MOUNTS: [(&str, &str); 7] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
];

/// The variable, given on the kernel's command line, that says what is to be run.
const TASK: &str = "SELFTEST";

/// Mounts what a machine has, runs this program again with the arguments in `SELFTEST`, and turns the machine off.
pub(crate) fn run() -> ! {
    for (kind, target) in MOUNTS {
        let mounted = fs::create_dir_all(target)
            .and_then(|()| Ok(mount(kind, target, kind, MountFlags::empty(), None)?));
        if let Err(error) = mounted {
            Report::line(&json!({"finding": "unmounted", "what": kind, "why": error.to_string()}));
        }
    }
    let task = std::env::var(TASK).unwrap_or_default();
    let status = Command::new("/init").args(task.split(',')).status();
    let end = match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Report::line(&json!({"finding": "end", "status": end}));
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        eprintln!("cannot turn the machine off: {error}");
    }
    std::process::exit(1)
}
