//! Limits on CPU and memory of a replica.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::accounting::number;
use super::error::{Error, Result};
use super::tree::Tree;

/// Length of the period in which a CPU limit is counted, the kernel's default.
const PERIOD_USEC: u64 = 100_000;
/// The kernel refuses a quota below 1 ms.
const SMALLEST_QUOTA_USEC: u64 = 1_000;

/// What a replica may use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    /// CPUs; 0.5 is half of one.
    pub cpu: Option<f64>,
    /// Main memory; swap is not given in its place.
    pub memory_bytes: Option<u64>,
}

/// Where a replica's limits are kept, and can be asked about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limited {
    /// The folder with the CPU limit, if there is one.
    pub cpu: Option<PathBuf>,
    /// The folder with the memory limit, if there is one.
    pub memory: Option<PathBuf>,
}

impl Limits {
    pub(crate) fn none(self) -> bool {
        self.cpu.is_none() && self.memory_bytes.is_none()
    }

    /// Sets the limits of the cgroup `name`, which exists, making its twins where controllers sit in version 1.
    pub(crate) fn apply(self, tree: &Tree, name: &str) -> Result<Limited> {
        let refused = |what: &'static str| {
            move |why| Error::Limit {
                replica: name.to_owned(),
                what,
                why,
            }
        };
        let mut limited = Limited::default();
        if let Some(cpus) = self.cpu {
            let quota = quota_usec(cpus).map_err(refused("CPU"))?;
            limited.cpu = Some(limit_cpu(tree, name, quota).map_err(refused("CPU"))?);
        }
        if let Some(bytes) = self.memory_bytes {
            limited.memory = Some(limit_memory(tree, name, bytes).map_err(refused("memory"))?);
        }
        Ok(limited)
    }
}

impl Limited {
    /// The folders besides the replica's cgroup that it must join.
    pub(crate) fn twins(&self, cgroup: &Path) -> Vec<PathBuf> {
        let mut twins: Vec<PathBuf> = [&self.cpu, &self.memory]
            .into_iter()
            .flatten()
            .filter(|folder| *folder != cgroup)
            .cloned()
            .collect();
        twins.dedup();
        twins
    }

    /// How many processes the kernel killed because the memory limit was reached.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(folder) = &self.memory else { return 0 };
        ["memory.events", "memory.oom_control"]
            .iter()
            .filter_map(|file| fs::read_to_string(folder.join(file)).ok())
            .find_map(|text| number(&text, "oom_kill"))
            .unwrap_or(0)
    }
}

fn quota_usec(cpus: f64) -> std::result::Result<u64, String> {
    let quota = (cpus * PERIOD_USEC as f64).round();
    if quota.is_finite() && quota >= SMALLEST_QUOTA_USEC as f64 && quota < 1e12 {
        Ok(quota as u64)
    } else {
        Err(format!(
            "{cpus} CPUs is no limit that the kernel takes; the smallest is 0.01"
        ))
    }
}

fn limit_cpu(tree: &Tree, name: &str, quota_usec: u64) -> std::result::Result<PathBuf, String> {
    let (folder, files) = match tree.v1.get("cpu") {
        Some(mount) => (
            tree.create_twin(mount, name)
                .map_err(|error| refusal(&mount.point, &error))?,
            vec![
                ("cpu.cfs_period_us", PERIOD_USEC.to_string()),
                ("cpu.cfs_quota_us", quota_usec.to_string()),
            ],
        ),
        None => (
            enabled(tree, name, "cpu")?,
            vec![("cpu.max", format!("{quota_usec} {PERIOD_USEC}"))],
        ),
    };
    for (file, value) in files {
        write(&folder.join(file), &value)?;
    }
    Ok(folder)
}

fn limit_memory(tree: &Tree, name: &str, bytes: u64) -> std::result::Result<PathBuf, String> {
    let value = bytes.to_string();
    let (folder, limit, swap) = match tree.v1.get("memory") {
        Some(mount) => {
            let twin = tree
                .create_twin(mount, name)
                .map_err(|error| refusal(&mount.point, &error))?;
            (
                twin,
                "memory.limit_in_bytes",
                ("memory.memsw.limit_in_bytes", value.clone()),
            )
        }
        None => (
            enabled(tree, name, "memory")?,
            "memory.max",
            ("memory.swap.max", "0".to_owned()),
        ),
    };
    write(&folder.join(limit), &value)?;
    match fs::write(folder.join(swap.0), swap.1) {
        // Without accounting of swap the file is missing.
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Err(format!(
                "{} refuses: {error}",
                folder.join(swap.0).display()
            ))
        }
        _ => Ok(folder),
    }
}

fn enabled(tree: &Tree, name: &str, controller: &str) -> std::result::Result<PathBuf, String> {
    let available = fs::read_to_string(tree.base.join("cgroup.controllers")).unwrap_or_default();
    if !available
        .split_ascii_whitespace()
        .any(|word| word == controller)
    {
        let hint = if controller == "memory" {
            "; on a Raspberry Pi, cgroup_enable=memory on the kernel's command line switches it on"
        } else {
            ""
        };
        return Err(format!(
            "{} has no {controller} controller{hint}",
            tree.base.display()
        ));
    }
    tree.enable(controller)?;
    Ok(tree.folder(name))
}

fn refusal(point: &Path, error: &io::Error) -> String {
    let hint = if error.kind() == io::ErrorKind::PermissionDenied {
        "; run galileo as root"
    } else {
        ""
    };
    format!(
        "no cgroup can be made in {}: {error}{hint}",
        point.display()
    )
}

fn write(file: &Path, value: &str) -> std::result::Result<(), String> {
    fs::write(file, value)
        .map_err(|error| format!("{} does not take {value}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_a_cpu_becomes_a_quota_of_the_period() {
        assert_eq!(quota_usec(0.2), Ok(20_000));
        assert_eq!(quota_usec(1.5), Ok(150_000));
        assert_eq!(quota_usec(0.01), Ok(1_000));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for cpus in [0.0, -1.0, 0.001, f64::NAN, f64::INFINITY] {
            assert!(quota_usec(cpus).is_err(), "{cpus}");
        }
    }
}
