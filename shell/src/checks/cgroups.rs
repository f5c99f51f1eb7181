//! Cgroups and limits: a run is opened, and a process started in it under each limit.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use galileo_experiment::local::{Error, LocalPlatform, Options, ReplicaSpec};
use galileo_probes::mounts::Hierarchies;

use super::{Check, State};

const DELEGATED: &str = "run as root, or in a delegated cgroup:
  systemd-run --user --scope --property=Delegate=yes galileo …";
const REFUSED: &str = "cannot be set: an experiment that asks for it is refused";

pub(super) async fn all(parent: Option<&Path>) -> anyhow::Result<Vec<Check>> {
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let options = Options {
        cgroup_parent: parent.map(Path::to_owned),
        ..Options::new(format!("check-{}", std::process::id()), folder.path())
    };
    let mut platform = match LocalPlatform::open(options) {
        Ok(platform) => platform,
        Err(error) => {
            return Ok(vec![Check::lacks(
                "cgroups",
                State::Blocks,
                "no run can be opened",
                error.to_string(),
                "see the reason; --cgroup-parent names another place",
            )]);
        }
    };
    let mut checks = vec![place(&platform)];
    let limits = [
        ("CPU limit", Some(0.5), None),
        ("memory limit", None, Some(64 << 20)),
    ];
    for (name, cpu_limit, memory_limit_bytes) in limits {
        if platform.own_cgroup().is_none() {
            checks.push(Check::lacks(
                name,
                State::Off,
                REFUSED,
                "there are no cgroups",
                "as for cgroups",
            ));
            continue;
        }
        let spec = ReplicaSpec {
            name: name.to_lowercase().replace(' ', "-"),
            argv: vec!["true".to_owned()],
            cpu_limit,
            memory_limit_bytes,
            ..ReplicaSpec::default()
        };
        checks.push(match platform.start(spec) {
            Ok(replica) => {
                // How `true` ends does not matter; it has been started under the limit.
                let _ = tokio::time::timeout(Duration::from_secs(5), replica.wait()).await;
                Check::works(name, format!("can be set{}", controller(name)))
            }
            Err(Error::Limit { why, .. }) => {
                Check::lacks(name, State::Off, REFUSED, why, DELEGATED)
            }
            Err(error) => Check::lacks(
                name,
                State::Blocks,
                "no process can be started",
                error.to_string(),
                "see the reason",
            ),
        });
    }
    let report = platform.stop(Duration::from_secs(1)).await;
    if !report.problems.is_empty() {
        checks.push(Check::lacks(
            "cleaning up",
            State::Off,
            "something was left",
            report.problems.join("; "),
            "galileo clean",
        ));
    }
    Ok(checks)
}

fn place(platform: &LocalPlatform) -> Check {
    match platform.own_cgroup() {
        Some(own) => {
            let base = own.folder.ancestors().nth(3).unwrap_or(&own.folder);
            Check::works("cgroups", format!("can be made in {}", base.display()))
        }
        None => Check::lacks(
            "cgroups",
            State::Off,
            "replicas are watched as processes: CPU time from /proc and nothing else",
            no_cgroups(platform),
            DELEGATED,
        ),
    }
}

/// Why there are none. The platform tells it behind a colon, in a sentence about replicas.
fn no_cgroups(platform: &LocalPlatform) -> String {
    let sentences = platform.visibility();
    let first = sentences.first().map_or("", |sentence| sentence.as_str());
    let why = first.split_once(": ").map_or(first, |(_, why)| why);
    why.trim_end_matches('.').to_owned()
}

/// Where the controller sits, if that is known.
fn controller(limit: &str) -> String {
    let name = if limit.starts_with("CPU") {
        "cpu"
    } else {
        "memory"
    };
    match Hierarchies::read()
        .ok()
        .map(|found| found.v1.contains_key(name))
    {
        Some(true) => " (cgroup version 1)".to_owned(),
        Some(false) => " (cgroup2)".to_owned(),
        None => String::new(),
    }
}
