//! Where the time of a request goes that the probes take: by samples of both CPUs (`perf record`), by program and by what that calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::process;

/// Samples a second and CPU. Each takes some microseconds: these take less than a hundredth of the time. An odd number, so that nothing
/// that comes each millisecond is met always or never.
const FREQUENCY: &str = "1999";

/// A part of the time of a request.
#[derive(Serialize, Debug, PartialEq)]
pub(super) struct Share {
    /// 0 is the server's, 1 the load generator's and the reader's.
    pub cpu: u32,
    /// A program of the probes, or who else worked for them.
    pub program: String,
    /// What it has called; its own code if empty.
    pub called: String,
    /// Nanoseconds a request.
    pub ns: f64,
}

impl Share {
    /// What takes the time, for people.
    pub(super) fn what(&self) -> String {
        match (self.program.as_str(), self.called.as_str()) {
            (program, "") => program.to_owned(),
            (program, called) => format!("{program}: {called}"),
        }
    }
}

/// Samples both CPUs for some seconds.
pub(super) fn record(folder: &Path, seconds: u64) -> Result<()> {
    process::output(
        Command::new("perf")
            .args([
                "record",
                "--quiet",
                "-a",
                "-g",
                "-e",
                "cpu-clock",
                "-F",
                FREQUENCY,
            ])
            .arg("-o")
            .arg(folder.join("samples"))
            .args(["--", "sleep", &seconds.to_string()]),
    )
    .map(drop)
}

/// What was recorded, shared out to so many requests a second.
pub(super) fn shares(folder: &Path, requests_per_second: f64) -> Result<Vec<Share>> {
    let text = process::output(
        Command::new("perf")
            .arg("script")
            .arg("-i")
            .arg(folder.join("samples"))
            .args(["-F", "cpu,ip,sym"]),
    )
    .context("cannot read what perf has recorded")?;
    Ok(share_out(&text, requests_per_second))
}

/// Reads what `perf script -F cpu,ip,sym` prints: for each sample a line with the CPU and one for each function, from the innermost on.
fn share_out(text: &str, requests_per_second: f64) -> Vec<Share> {
    let mut samples: BTreeMap<u32, f64> = BTreeMap::new();
    let mut counts: BTreeMap<(u32, String, String), f64> = BTreeMap::new();
    for sample in text.split("\n\n") {
        let mut lines = sample.lines().skip_while(|line| line.trim().is_empty());
        let Some(cpu) = lines.next().and_then(cpu) else {
            continue;
        };
        *samples.entry(cpu).or_default() += 1.0;
        let functions: Vec<&str> = lines.filter_map(function).collect();
        if let Some((program, called)) = attribute(&functions) {
            *counts.entry((cpu, program, called)).or_default() += 1.0;
        }
    }
    let mut shares: Vec<Share> = counts
        .into_iter()
        .map(|((cpu, program, called), count)| Share {
            cpu,
            program,
            called,
            ns: count / samples[&cpu] * 1e9 / requests_per_second,
        })
        .collect();
    shares.sort_by(|a, b| a.cpu.cmp(&b.cpu).then(b.ns.total_cmp(&a.ns)));
    shares
}

/// The number in `[000]`.
fn cpu(line: &str) -> Option<u32> {
    let number = line.trim().strip_prefix('[')?.split(']').next()?;
    number.parse().ok()
}

/// The name behind the address.
fn function(line: &str) -> Option<&str> {
    line.trim().split_once(' ').map(|(_, name)| name.trim())
}

/// What the kernel does around the programs, by a part of its functions' names: the dispatch of each hook, and the life of what is
/// kept of a socket.
const AROUND: [(&str, &str); 5] = [
    ("bpf_run_filter_skb", "the hook of packets"),
    ("bpf_run_filter_sock_ops", "the hook of connections"),
    ("bpf_prog_run_save_cb", "the hook of packets"),
    ("bpf_local_storage", "freeing what is kept of sockets"),
    ("bpf_sk_storage_free", "freeing what is kept of sockets"),
];
/// The reader of records, in its process.
const READER: &str = "galileo_probes::";

/// Who a sample is to be laid on: a program and what it has called, or what else there is because of the probes.
fn attribute(functions: &[&str]) -> Option<(String, String)> {
    for (at, function) in functions.iter().enumerate() {
        if let Some(program) = program(function) {
            let called = at.checked_sub(1).map_or("", |inner| functions[inner]);
            return Some((program.to_owned(), called.to_owned()));
        }
    }
    let has = |part: &str| functions.iter().any(|function| function.contains(part));
    if has(READER) {
        return Some(("the reader".to_owned(), String::new()));
    }
    let (_, what) = AROUND.iter().find(|(part, _)| has(part))?;
    Some(("the kernel".to_owned(), (*what).to_owned()))
}

/// The probes' programs that run beside a load. Those of others (of systemd, of a network plugin) run as well.
const PROGRAMS: [&str; 9] = [
    "ingress",
    "egress",
    "connections",
    "sched_switch",
    "sched_switch_stateless",
    "sched_wakeup",
    "sched_wakeup_new",
    "sched_migrate_task",
    "sched_process_free",
];
/// How the names of the steps begin, to which ingress and egress go on.
const STEPS: [&str; 5] = ["read_", "scan_", "act_", "keep_", "follow_"];

/// The name in `bpf_prog_`, the program's tag, and its name, if it is the probes'.
fn program(function: &str) -> Option<&str> {
    let (tag, name) = function.strip_prefix("bpf_prog_")?.split_once('_')?;
    // Its tag has eight bytes; functions of the kernel begin like this, too.
    let tagged = tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let ours = PROGRAMS.contains(&name) || STEPS.iter().any(|step| name.starts_with(step));
    (tagged && ours).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
[000]
\tffffffff81b9d6a0 bpf_ringbuf_submit
\tffffffffc03b2e6b bpf_prog_0df375ea11e6effa_egress
\tffffffff81b8f1d0 __cgroup_bpf_run_filter_skb

[000]
\tffffffffc03b2e6b bpf_prog_0df375ea11e6effa_egress

 [001]
\tffffffff81ed6965 bpf_prog_run_save_cb
\tffffffff81b8f1d0 __cgroup_bpf_run_filter_skb

[001]
\t    5581d4a31d2f main
";

    fn share(cpu: u32, program: &str, called: &str, ns: f64) -> Share {
        Share {
            cpu,
            program: program.to_owned(),
            called: called.to_owned(),
            ns,
        }
    }

    #[test]
    fn a_sample_is_laid_on_the_program_and_on_what_it_has_called() {
        assert_eq!(
            share_out(SCRIPT, 1e6),
            [
                share(0, "egress", "", 500.0),
                share(0, "egress", "bpf_ringbuf_submit", 500.0),
                share(1, "the kernel", "the hook of packets", 500.0),
            ]
        );
    }

    #[test]
    fn what_is_none_of_the_probes_is_nobodys() {
        assert_eq!(attribute(&["tcp_ack", "tcp_rcv_established"]), None);
        assert_eq!(attribute(&["bpf_prog_array_free"]), None);
        assert_eq!(attribute(&["bpf_prog_0df375ea11e6effa_sd_fw_egress"]), None);
        assert_eq!(attribute(&[]), None);
    }
}
