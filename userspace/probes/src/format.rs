//! Where the fields of a classic tracepoint lie, by the kernel's own description of it.
//!
//! The offsets differ between kernels: a common field more (as in real-time kernels) shifts all that follow. The files
//! `events/*/*/format` of tracefs tell them. tracefs is often not mounted; then it is, in a mount namespace that only the
//! reading thread has, so that the machine's mounts stay as they are.
//!
//! Raw tracepoints pass their arguments as numbers and need none of this.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

/// Where the kernel keeps a place for tracefs (4.1), and where debugfs shows it.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A field of a tracepoint's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    /// Bytes from the record's begin.
    pub(crate) offset: u32,
    /// Its bytes.
    pub(crate) size: u32,
}

/// The fields of a tracepoint's record, as a format file lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    event: String,
    fields: Vec<(String, Field)>,
}

impl Format {
    /// Reads the format of an event, e.g. `tcp` and `tcp_probe`. An error is the reason why it cannot be had.
    pub(crate) fn of(category: &str, event: &str) -> Result<Self, String> {
        let text = with_tracefs(|tracefs| {
            let path = tracefs
                .join("events")
                .join(category)
                .join(event)
                .join("format");
            fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))
        })??;
        Self::parse(&text)
    }

    /// Parses the text of a format file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let event = text
            .lines()
            .find_map(|line| line.strip_prefix("name:"))
            .ok_or("the tracepoint's format has no name")?
            .trim()
            .to_owned();
        let fields = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("field:"))
            .map(|line| {
                field(line)
                    .ok_or_else(|| format!("the format of {event} has a line that says `{line}`"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { event, fields })
    }

    /// The field of this name, which must have this many bytes.
    pub(crate) fn field(&self, name: &str, size: u32) -> Result<Field, String> {
        match self.fields.iter().find(|(field, _)| field == name) {
            Some((_, field)) if field.size == size => Ok(*field),
            Some((_, field)) => Err(format!(
                "the field {name} of {} has {} bytes where {size} are known",
                self.event, field.size
            )),
            None => Err(format!("{} has no field {name}", self.event)),
        }
    }
}

/// Parses what follows `field:`: a declaration, `offset:2`, `size:1`, each ended by a semicolon.
fn field(line: &str) -> Option<(String, Field)> {
    let mut parts = line.split(';').map(str::trim);
    let name = name(parts.next()?)?;
    let (mut offset, mut size) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            _ => {}
        }
    }
    let (offset, size) = (offset?, size?);
    Some((name.to_owned(), Field { offset, size }))
}

/// The name in a declaration: `char prev_comm[16]`, `__data_loc char[] name`, `const void *skaddr`, and, as kernels
/// before 5.18 write it, `__u8 saddr[sizeof(struct sockaddr_in6)]`.
fn name(declaration: &str) -> Option<&str> {
    let declared = match declaration.strip_suffix(']') {
        Some(array) => array.rsplit_once('[')?.0,
        None => declaration,
    };
    let name = declared
        .rsplit(|c: char| c.is_whitespace() || c == '*')
        .next()?;
    (!name.is_empty()).then_some(name)
}

/// Runs `work` in a thread that sees tracefs, and tells it where. An error is the reason why there is no tracefs.
pub(crate) fn with_tracefs<T: Send>(work: impl FnOnce(&Path) -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("tracefs".to_owned());
        let thread = thread
            .spawn_scoped(scope, || Ok(work(&tracefs()?)))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Where tracefs is, mounted for this thread if it was nowhere.
fn tracefs() -> Result<PathBuf, String> {
    let mounted = || {
        let found = TRACEFS.iter().find(|path| is_tracefs(Path::new(path)));
        found.map(PathBuf::from)
    };
    if let Some(path) = mounted() {
        return Ok(path);
    }
    mount_privately(TRACEFS[0])
        .map_err(|error| format!("tracefs is not mounted and cannot be: {error}"))?;
    mounted().ok_or_else(|| "tracefs holds no events".to_owned())
}

fn is_tracefs(path: &Path) -> bool {
    path.join("events").is_dir()
}

/// Gives this thread a mount namespace of its own and mounts tracefs in it. The namespace goes with the thread.
fn mount_privately(target: &str) -> rustix::io::Result<()> {
    // SAFETY: file descriptors stay shared: `CLONE_FILES` is not asked for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    // Else the mount would show where this machine's mounts are shared.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    mount(
        "tracefs",
        target,
        "tracefs",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(format: &Format) -> [u32; 3] {
        [("prev_pid", 4), ("prev_state", 8), ("next_pid", 4)]
            .map(|(name, size)| format.field(name, size).unwrap().offset)
    }

    #[test]
    fn a_common_field_more_shifts_all_that_follow() {
        // D-17: a kernel with lazy preemption counts, and the stock one.
        let shifted = "name: sched_switch\nID: 325\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\
            \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n\
            \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\
            \tfield:unsigned char common_preempt_lazy_count;\toffset:8;\tsize:1;\tsigned:0;\n\
            \n\
            \tfield:char prev_comm[16];\toffset:12;\tsize:16;\tsigned:0;\n\
            \tfield:pid_t prev_pid;\toffset:28;\tsize:4;\tsigned:1;\n\
            \tfield:int prev_prio;\toffset:32;\tsize:4;\tsigned:1;\n\
            \tfield:long prev_state;\toffset:40;\tsize:8;\tsigned:1;\n\
            \tfield:char next_comm[16];\toffset:48;\tsize:16;\tsigned:0;\n\
            \tfield:pid_t next_pid;\toffset:64;\tsize:4;\tsigned:1;\n\
            \tfield:int next_prio;\toffset:68;\tsize:4;\tsigned:1;\n\
            \nprint fmt: \"prev_comm=%s\", REC->prev_comm\n";
        let format = Format::parse(shifted).unwrap();
        assert_eq!(offsets(&format), [28, 40, 64]);
        assert_eq!(
            format.field("common_preempt_lazy_count", 1).unwrap().offset,
            8
        );
        assert_eq!(
            format.field("prev_comm", 16).unwrap(),
            Field {
                offset: 12,
                size: 16
            }
        );

        let stock = "name: sched_switch\nID: 315\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
            \tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n\
            \tfield:int prev_prio;\toffset:28;\tsize:4;\tsigned:1;\n\
            \tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;\n\
            \tfield:char next_comm[16];\toffset:40;\tsize:16;\tsigned:0;\n\
            \tfield:pid_t next_pid;\toffset:56;\tsize:4;\tsigned:1;\n";
        assert_eq!(offsets(&Format::parse(stock).unwrap()), [24, 32, 56]);
    }

    #[test]
    fn names_are_found_in_every_form_of_declaration() {
        let names = [
            ("char prev_comm[16]", Some("prev_comm")),
            ("__data_loc char[] name", Some("name")),
            ("const void * skbaddr", Some("skbaddr")),
            ("const void *skaddr", Some("skaddr")),
            ("__u8 saddr[sizeof(struct sockaddr_in6)]", Some("saddr")),
            ("", None),
        ];
        for (declaration, expected) in names {
            assert_eq!(name(declaration), expected, "{declaration}");
        }
    }

    #[test]
    fn what_is_missing_or_of_another_size_is_named() {
        let text = "name: e\nformat:\n\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;\n";
        let format = Format::parse(text).unwrap();
        assert_eq!(format.field("cpu", 4).unwrap_err(), "e has no field cpu");
        assert_eq!(
            format.field("pid", 8).unwrap_err(),
            "the field pid of e has 4 bytes where 8 are known"
        );
        assert!(
            Format::parse("nothing")
                .unwrap_err()
                .contains("has no name")
        );
        let broken = "name: e\n\tfield:int pid;\toffset:x;\tsize:4;\n";
        assert!(Format::parse(broken).unwrap_err().contains("offset:x"));
    }

    #[test]
    fn the_running_kernel_tells_its_own_formats_and_keeps_its_mounts() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root may read tracefs");
            return;
        }
        let mounts = || {
            let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
            all.lines().filter(|line| line.contains("tracefs")).count()
        };
        let before = mounts();
        let format = Format::of("sched", "sched_switch").unwrap();
        assert_eq!(
            format.field("common_pid", 4).unwrap(),
            Field { offset: 4, size: 4 }
        );
        assert!(format.field("next_pid", 4).unwrap().offset >= 56);
        assert!(
            Format::of("sched", "no_such")
                .unwrap_err()
                .contains("no_such")
        );
        assert_eq!(mounts(), before);
    }
}
