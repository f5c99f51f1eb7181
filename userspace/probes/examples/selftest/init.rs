//! The first process of a machine that exists for this test only.

use std::{fs, path::Path, process::Command};

use rustix::{
    io::Errno,
    mount::{MountFlags, mount},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        send, socket,
    },
    system::{RebootCommand, reboot},
};
use serde_json::json;

use crate::{Outcome, report::Report};

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

/// Where kernels show their BTF.
const KERNEL_BTF: &str = "/sys/kernel/btf";

/// The variable, given on the kernel's command line, that says what is to be run: arguments of this program with commas
/// between, and semicolons between runs.
const TASKS: &str = "SELFTEST";

/// The word among the runs that hides the kernel's BTF from what follows.
const HIDE_BTF: &str = "hide-btf";

/// Mounts what a machine has, runs this program again as `SELFTEST` says, and turns the machine off.
pub(crate) fn run() -> ! {
    for (kind, target) in MOUNTS {
        attempt(kind, mount_at(kind, target));
    }
    attempt("the loopback interface", loopback_up());
    for task in std::env::var(TASKS).unwrap_or_default().split(';') {
        Report::line(&json!({"finding": "begin", "task": task}));
        if task == HIDE_BTF {
            if Path::new(KERNEL_BTF).exists() {
                attempt("hiding BTF", mount_at("tmpfs", KERNEL_BTF));
            }
            continue;
        }
        let end = match Command::new("/init").args(task.split(',')).status() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Report::line(&json!({"finding": "end", "task": task, "status": end}));
    }
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        eprintln!("cannot turn the machine off: {error}");
    }
    std::process::exit(1)
}

fn attempt(what: &str, outcome: Outcome) {
    if let Err(error) = outcome {
        Report::error(&*Box::<dyn std::error::Error>::from(format!(
            "{what}: {error}"
        )));
    }
}

fn mount_at(kind: &str, target: &str) -> Outcome {
    fs::create_dir_all(target)?;
    match mount(kind, target, kind, MountFlags::empty(), None) {
        // The kernel may have mounted /dev by itself.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets `IFF_UP` on interface 1, which is `lo` in every network namespace: rtnetlink(7).
fn loopback_up() -> Outcome {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const NLMSG_ERROR: u16 = 2;

    let socket = socket(
        AddressFamily::NETLINK,
        SocketType::RAW,
        // NETLINK_ROUTE is protocol 0.
        None,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family and type, index, flags, which flags.
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 128];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // struct nlmsgerr after the header: 0, or an error number below 0.
    let answer = &answer[..length];
    let kind = answer.get(4..6).ok_or("a short answer")?;
    let error = answer.get(16..20).ok_or("a short answer")?;
    if kind == NLMSG_ERROR.to_ne_bytes() && error == [0; 4] {
        return Ok(());
    }
    Err(format!("rtnetlink answers {error:?}").into())
}
