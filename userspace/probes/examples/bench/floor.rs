//! What no program on the packet hooks can do without: two programs that do nothing, on the same hooks as the probes.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::Outcome;

/// `BPF_PROG_LOAD` and `BPF_LINK_CREATE` of `enum bpf_cmd`.
const LOAD: libc::c_long = 5;
const LINK: libc::c_long = 28;
/// `BPF_PROG_TYPE_CGROUP_SKB`.
const CGROUP_SKB: u32 = 8;
/// `BPF_CGROUP_INET_INGRESS` and `BPF_CGROUP_INET_EGRESS`.
const HOOKS: [u32; 2] = [0, 1];
/// `r0 = 1; exit`: let the packet pass.
const PASS: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// What `union bpf_attr` has for `BPF_PROG_LOAD`, up to the last field that is used.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The same for `BPF_LINK_CREATE` (5.7).
#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The two programs, loaded.
pub struct Floor {
    cgroup: File,
    programs: Vec<(u32, OwnedFd)>,
    links: Vec<OwnedFd>,
}

impl Floor {
    /// Loads them for the root of the cgroup2 mount.
    pub fn load() -> Outcome<Self> {
        let mount = galileo_probes::cgroup::mount_point().ok_or("no cgroup2 is mounted")?;
        let licence = CString::new("GPL")?;
        let mut programs = Vec::new();
        for hook in HOOKS {
            let attributes = Load {
                program_type: CGROUP_SKB,
                instruction_count: PASS.len() as u32,
                instructions: PASS.as_ptr() as u64,
                licence: licence.as_ptr() as u64,
                expected_attach_type: hook,
                ..Load::default()
            };
            // SAFETY: the attributes of this command, each in its place and without padding; the instructions are as many as is said and
            // never go, the licence ends with a zero and outlives the call, and there is no log.
            let program = unsafe { call(LOAD, &attributes) };
            let program = program.map_err(|error| format!("cannot load an empty one: {error}"))?;
            programs.push((hook, program));
        }
        Ok(Self {
            cgroup: File::open(mount)?,
            programs,
            links: Vec::new(),
        })
    }

    /// Attaches them until [`Floor::detach`], or until this is dropped.
    pub fn attach(&mut self) -> Outcome<()> {
        for (hook, program) in &self.programs {
            let attributes = Link {
                program: program.as_raw_fd() as u32,
                target: self.cgroup.as_raw_fd() as u32,
                attach_type: *hook,
                flags: 0,
            };
            // SAFETY: the attributes of this command, each in its place and without padding; there is no address among them.
            let link = unsafe { call(LINK, &attributes) };
            let link = link.map_err(|error| format!("cannot attach an empty one: {error}"))?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Detaches them.
    pub fn detach(&mut self) {
        self.links.clear();
    }
}

/// `bpf(2)` with a command that makes something that has a descriptor.
///
/// # Safety
///
/// The command must be one of these, and only read what the attributes' addresses lead to; the attributes must be its own, laid out as
/// the kernel has them and without padding, and what their addresses lead to must live until this returns.
unsafe fn call<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as is said; the rest is the caller's promise.
    let made = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel made for this call, as the caller promises, and that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(made as i32) })
}
