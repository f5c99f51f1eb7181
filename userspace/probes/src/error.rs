//! What can go wrong, by what the caller can do about it.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not use eBPF.
    #[error(
        "no permission to load eBPF programs ({detail}): run as root, or give the program the capabilities \
         CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN with setcap"
    )]
    Permission {
        /// What the kernel refused.
        detail: String,
    },
    /// There is no cgroup2 file system to attach to.
    #[error(
        "no cgroup2 file system is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NoCgroup2,
    /// The object of eBPF programs cannot be read.
    #[error("cannot read the eBPF object {path}: {source}")]
    Object {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel, or the loader, does not take the object.
    #[error("cannot load the eBPF programs: {0}")]
    Load(String),
    /// A map of the object is missing or of another kind: object and program do not belong together.
    #[error("the eBPF object does not fit this program: {0}")]
    Mismatch(String),
    /// A map cannot be mapped into memory, read, or waited for.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// The innermost cause of an error, which is where aya keeps the kernel's answer.
pub(crate) fn root_cause<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// Whether the kernel refused for want of permission.
pub(crate) fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    root_cause(error)
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Whether the kernel gave up, and might do so no more.
pub(crate) fn is_again(error: &(dyn std::error::Error + 'static)) -> bool {
    root_cause(error)
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// All messages of a chain of errors, without those that repeat the one before.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let message = source.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = source.source();
    }
    text
}
