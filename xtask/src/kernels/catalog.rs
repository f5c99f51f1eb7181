//! Which kernels there are.

use std::fmt;

use anyhow::{Result, bail};
use clap::ValueEnum;

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// PCs and servers.
    #[value(name = "x86_64")]
    X86,
    /// 64-bit ARM.
    #[value(name = "aarch64")]
    Arm,
}

/// A kernel of Debian's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) architecture: Architecture,
    /// The release of Debian that has it.
    pub(crate) suite: &'static str,
    /// The package that depends on the newest of its kind.
    pub(crate) package: &'static str,
    /// What it is booted with besides what all are.
    pub(crate) arguments: &'static str,
}

/// Each of Debian's releases has one; the oldest is the oldest that the probes are for. "Cloud" kernels lack drivers of real
/// hardware only.
const KERNELS: [Kernel; 10] = [
    x86("5.10", "bullseye"),
    x86("6.1", "bookworm"),
    x86("6.12", "trixie"),
    // Debian's preempt in few places of the kernel only; this one anywhere, also within our programs.
    Kernel {
        arguments: "preempt=full",
        ..x86("6.12-preempt", "trixie")
    },
    x86("newest", "sid"),
    arm("5.10", "bullseye"),
    arm("6.1", "bookworm"),
    arm("6.12", "trixie"),
    // Pages as large as a Raspberry Pi 5's.
    Kernel {
        name: "6.12-16k",
        architecture: Architecture::Arm,
        suite: "trixie",
        package: "linux-image-arm64-16k",
        arguments: "",
    },
    arm("newest", "sid"),
];

/// Those that a gate has time for: the oldest, and the newest of Debian's that is not in sid. Between them verifiers and hooks
/// differ most.
const GATE: [&str; 2] = ["5.10", "6.12"];

/// Those for a gate on this machine's architecture; none if there are none for it.
pub(crate) fn gate() -> Vec<Kernel> {
    let own = Architecture::own();
    let kernels = KERNELS.into_iter();
    kernels
        .filter(|kernel| Some(kernel.architecture) == own && GATE.contains(&kernel.name))
        .collect()
}

const fn x86(name: &'static str, suite: &'static str) -> Kernel {
    Kernel {
        name,
        architecture: Architecture::X86,
        suite,
        package: "linux-image-cloud-amd64",
        arguments: "",
    }
}

const fn arm(name: &'static str, suite: &'static str) -> Kernel {
    Kernel {
        name,
        architecture: Architecture::Arm,
        suite,
        package: "linux-image-cloud-arm64",
        arguments: "",
    }
}

/// Those of these names and architectures; all if none is given.
///
/// # Errors
///
/// If a name is none of a kernel, or nothing is left.
pub(crate) fn select(names: &[String], architectures: &[Architecture]) -> Result<Vec<Kernel>> {
    let known = || KERNELS.iter().map(|kernel| kernel.name);
    if let Some(unknown) = names
        .iter()
        .find(|name| !known().any(|known| known == *name))
    {
        let mut known: Vec<_> = known().collect();
        known.sort_unstable();
        known.dedup();
        bail!(
            "no kernel is called {unknown}; there are: {}",
            known.join(", ")
        );
    }
    let selected: Vec<_> = KERNELS
        .into_iter()
        .filter(|kernel| names.is_empty() || names.iter().any(|name| name == kernel.name))
        .filter(|kernel| architectures.is_empty() || architectures.contains(&kernel.architecture))
        .collect();
    if selected.is_empty() {
        bail!("there is no such kernel on this architecture");
    }
    Ok(selected)
}

impl Architecture {
    /// This machine's; none if it is neither.
    pub(crate) const fn own() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Arm)
        } else {
            None
        }
    }

    /// Debian's name.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// Rust's name of a target whose programs need nothing but a kernel.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-musl",
            Self::Arm => "aarch64-unknown-linux-musl",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} (Debian {}, {})",
            self.name, self.architecture, self.suite, self.package
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_the_kernel_on_every_architecture_and_an_architecture_narrows() {
        let both = select(&["5.10".to_owned()], &[]).unwrap();
        assert_eq!(both.len(), 2);
        let one = select(&["5.10".to_owned()], &[Architecture::Arm]).unwrap();
        assert_eq!(one, [arm("5.10", "bullseye")]);
        assert_eq!(select(&[], &[]).unwrap().len(), KERNELS.len());
    }

    #[test]
    fn an_unknown_kernel_is_answered_with_those_there_are() {
        let error = select(&["4.4".to_owned()], &[]).unwrap_err().to_string();
        assert!(
            error.contains("4.4") && error.contains("5.10, 6.1"),
            "{error}"
        );
        assert!(select(&["6.12-16k".to_owned()], &[Architecture::X86]).is_err());
    }
}
