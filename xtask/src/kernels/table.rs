//! docs/kernels.md.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use super::catalog::Architecture;
use super::outcome::{Capability, Outcome, cause};
use crate::process;

const HEAD: &str = "\
# Kernels

What the probes do on kernels from 5.10 on: Debian's, booted in qemu without hardware virtualisation, with the committed
object. `cargo xtask kernels` writes this page; `cargo xtask kernels --list` says which kernels there are, and
`--kernel 5.10 --verify --object FILE` asks one verifier about another object in less than a minute.

On each kernel a self-test (userspace/probes/examples/selftest) is the first process. It uses a second of CPU time in a cgroup
and compares with `cpu.stat`; lets two cgroups compete for one CPU and compares who waited for whom; sends 20 MB over loopback and
counts bytes; has a thousand HTTP exchanges of odd kinds (chunked with extensions and trailers, interim answers, answers
without body, pipelined, cut at any byte, each byte a segment, ended by close, upgraded, half-closed, on a listener that defers
accepting, over IPv6, of 100 kB …), each of which both roles must report with its method, path, id, status, sizes and flags; and
checks that the ledger adds up. It does so with the kernel's BTF as it is, then with it hidden.
";

/// What the table does not tell.
const ORDER: &str = "
## What is weaker on ARM, and not shown here

x86_64 shows other CPUs the stores of one in their order; ARM does not, unless it is asked to, and the first instructions of eBPF that
ask came after 5.10: additions that return a value, with 5.12. Two places rely on that order. Who reads a CPU's times relies on the
number that `publish` (ebpf/src/cpu.rs) stores behind them: on ARM a reading may put the state after a switch beside counters from before
it, and tell the time of one run twice, or not at all. The next reading tells it right, as all are totals. What a socket receives is
looked at by one CPU at a time, by two counts (ebpf/src/busy.rs): that holds on ARM, too, but the next CPU may for a moment see what
was there before the last stores of the one before. That costs an exchange or the place in a stream; it reaches nothing else.

None of this was seen, and none could be: qemu runs all of its four CPUs in one thread here, so each of them sees the others' stores in
their order. The probes have not been run on an ARM machine with several CPUs.
";

const NANOSECONDS: &str = "\
Nanoseconds on emulated processors tell what is dear and what is cheap on one kernel, not what a program costs on a real one:
docs/measurements.md does.
";

/// The page; without the self-test's part if only verifiers were asked.
pub(crate) fn render(outcomes: &[Outcome], verify_only: bool) -> Result<String> {
    let mut page = String::from(HEAD);
    let date = process::output(Command::new("date").args(["--utc", "+%F"]))?;
    let qemu = super::version("qemu-system-x86_64")?;
    let _ = writeln!(page, "\nMade on {date} with {qemu}.\n");
    if !verify_only {
        page.push_str(&overview(outcomes));
        page.push_str(&off(outcomes));
        page.push_str(&faults(outcomes));
        page.push_str(ORDER);
    }
    page.push_str(&verdicts(outcomes));
    if !verify_only {
        page.push_str(&costs(outcomes));
    }
    Ok(page)
}

/// One row a kernel and run.
fn overview(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "## What works\n\n\
         | kernel | architecture | page | BTF | features on | recall server / client | precision server / client | checks |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        for run in &outcome.runs {
            let on: Vec<_> = run
                .capabilities
                .iter()
                .filter(|capability| capability.off.is_none())
                .map(|capability| capability.feature.as_str())
                .collect();
            let roles = |value: fn(&super::outcome::Recall) -> f64| {
                let values: Vec<_> = run
                    .recalls
                    .iter()
                    .map(|recall| format!("{:.4}", value(recall)))
                    .collect();
                values.join(" / ")
            };
            let held = run.checks.iter().filter(|check| check.holds).count();
            let _ = writeln!(
                text,
                "| {} | {} | {} kB | {} | {} | {} | {} | {held} of {} |",
                outcome.machine.release,
                outcome.architecture,
                outcome.machine.page_bytes >> 10,
                if run.kernel_btf { "yes" } else { "no" },
                on.join(", "),
                roles(super::outcome::Recall::recall),
                roles(super::outcome::Recall::precision),
                run.checks.len(),
            );
        }
    }
    text
}

/// Which features are off, and why.
fn off(outcomes: &[Outcome]) -> String {
    let mut lines = BTreeSet::new();
    for outcome in outcomes {
        for run in &outcome.runs {
            for Capability { feature, off, .. } in &run.capabilities {
                if let Some(reason) = off {
                    let reason = reason.lines().next().unwrap_or_default();
                    lines.insert(format!(
                        "* {} {}: {feature}: {reason}\n",
                        outcome.machine.release, outcome.architecture
                    ));
                }
            }
        }
        if outcome.machine.jit == Some(0) {
            lines.insert(format!(
                "* {} {}: programs are interpreted, the compiler for them is off\n",
                outcome.machine.release, outcome.architecture
            ));
        }
    }
    let lines = if lines.is_empty() {
        "\nNo feature is off on any of them.\n".to_owned()
    } else {
        format!("\nWhat is off, and why:\n\n{}", String::from_iter(lines))
    };
    lines + &instead(outcomes)
}

/// What each feature tells, and what is left of it where it is off.
fn instead(outcomes: &[Outcome]) -> String {
    let mut runs = outcomes.iter().flat_map(|outcome| &outcome.runs);
    let Some(run) = runs.next() else {
        return String::new();
    };
    let mut text = String::from(
        "\nWhere a kernel refuses one program, its feature is off and the others work. What is left then:\n\n\
         | feature | tells | where it is off |\n|---|---|---|\n",
    );
    for capability in &run.capabilities {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            capability.feature, capability.meaning, capability.instead
        );
    }
    text
}

/// What is not as it should be.
fn faults(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        for fault in outcome.faults() {
            let _ = writeln!(
                text,
                "* {} {}: {fault}",
                outcome.machine.release, outcome.architecture
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    format!("\nFaults:\n\n{text}")
}

/// How far each verifier walks.
fn verdicts(outcomes: &[Outcome]) -> String {
    let programs = outcomes
        .iter()
        .flat_map(|outcome| outcome.verdicts.iter().map(|verdict| &verdict.program));
    let rows: BTreeSet<&String> = programs.collect();
    let mut text = String::from(
        "\n## Instructions that the verifier walks\n\nOf the million that it allows.\n\n",
    );
    text.push_str(&header(outcomes));
    for program in rows {
        let _ = write!(text, "| {program} |");
        for outcome in outcomes {
            let verdict = outcome
                .verdicts
                .iter()
                .find(|verdict| verdict.program == *program);
            let cell = match verdict {
                None => "–".to_owned(),
                Some(verdict) => match (&verdict.refused, verdict.walked) {
                    (Some(log), _) => format!("**refused**: {}", cause(log).replace('|', "\\|")),
                    (None, Some(walked)) => walked.to_string(),
                    (None, None) => "taken".to_owned(),
                },
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// Time per run of each program that ran, in the first run of the self-test.
fn costs(outcomes: &[Outcome]) -> String {
    let of = |outcome: &Outcome, program: &str| {
        let run = outcome.runs.first()?;
        let cost = run.costs.iter().find(|cost| cost.program == program)?;
        cost.time_ns.checked_div(cost.runs)
    };
    let programs = outcomes.iter().filter_map(|outcome| outcome.runs.first());
    let rows: BTreeSet<&String> = programs
        .flat_map(|run| run.costs.iter().map(|cost| &cost.program))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n## Nanoseconds per run\n\n{NANOSECONDS}\n{}",
        header(outcomes)
    );
    for program in rows {
        let _ = write!(text, "| {program} |");
        for outcome in outcomes {
            let cell = of(outcome, program).map_or_else(|| "–".to_owned(), |ns| ns.to_string());
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// The head of a table with a column for each kernel.
fn header(outcomes: &[Outcome]) -> String {
    let mut names = String::from("| program |");
    let mut rule = String::from("|---|");
    for outcome in outcomes {
        let short = match outcome.architecture {
            Architecture::X86 => "x86_64",
            Architecture::Arm => "aarch64",
        };
        let _ = write!(names, " {} {short} |", outcome.name);
        rule.push_str("---:|");
    }
    format!("{names}\n{rule}\n")
}
