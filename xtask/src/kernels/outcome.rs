//! What the self-test said on one kernel.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::catalog::Architecture;
use super::guest::Booted;

/// Everything of one boot.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) machine: Machine,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) runs: Vec<Run>,
    pub(crate) took: Duration,
    /// What went wrong outside of a run.
    errors: Vec<String>,
}

/// One run of the self-test.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) kernel_btf: bool,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) checks: Vec<Check>,
    pub(crate) recalls: Vec<Recall>,
    pub(crate) costs: Vec<Cost>,
    errors: Vec<String>,
}

/// A line of the self-test (userspace/probes/examples/selftest/report.rs).
#[derive(Deserialize)]
#[serde(tag = "finding", rename_all = "lowercase")]
enum Finding {
    Begin { task: String },
    Machine(Machine),
    Verdict(Verdict),
    Capability(Capability),
    Check(Check),
    Recall(Recall),
    Cost(Cost),
    Error { text: String },
    End { task: String, status: String },
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Machine {
    pub(crate) release: String,
    pub(crate) page_bytes: u64,
    pub(crate) kernel_btf: bool,
    /// 0 if eBPF programs are interpreted.
    pub(crate) jit: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) program: String,
    pub(crate) walked: Option<u32>,
    pub(crate) refused: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Capability {
    pub(crate) feature: String,
    pub(crate) meaning: String,
    pub(crate) off: Option<String>,
    /// The next best where it is off.
    pub(crate) instead: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) holds: bool,
    pub(crate) detail: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Recall {
    pub(crate) role: String,
    pub(crate) expected: u64,
    pub(crate) seen: u64,
    pub(crate) right: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Cost {
    pub(crate) program: String,
    pub(crate) runs: u64,
    pub(crate) time_ns: u64,
}

impl Outcome {
    /// Reads the lines of a console: those that are no findings are the kernel's.
    ///
    /// # Errors
    ///
    /// If the self-test never began, which the last lines of the console tell more of.
    pub(crate) fn read(name: &str, architecture: Architecture, booted: &Booted) -> Result<Self> {
        let mut machine: Option<Machine> = None;
        let mut verdicts = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut errors = Vec::new();
        let mut in_run = false;
        let mut open = None;
        for line in booted.lines.iter().filter(|line| line.starts_with('{')) {
            let finding = match serde_json::from_str(line) {
                Ok(finding) => finding,
                Err(error) => {
                    errors.push(format!("a line cannot be read ({error}): {line}"));
                    continue;
                }
            };
            match (finding, runs.last_mut().filter(|_| in_run)) {
                (Finding::Begin { task }, _) => {
                    in_run = task == "run";
                    if in_run {
                        runs.push(Run::default());
                    }
                    open = Some(task);
                }
                (Finding::Machine(found), run) => {
                    if let Some(run) = run {
                        run.kernel_btf = found.kernel_btf;
                    }
                    machine.get_or_insert(found);
                }
                (Finding::Verdict(verdict), _) => verdicts.push(verdict),
                (Finding::Capability(capability), Some(run)) => run.capabilities.push(capability),
                (Finding::Check(check), Some(run)) => run.checks.push(check),
                (Finding::Recall(recall), Some(run)) => run.recalls.push(recall),
                (Finding::Cost(cost), Some(run)) => run.costs.push(cost),
                (Finding::Error { text }, Some(run)) => run.errors.push(text),
                (Finding::Error { text }, None) => errors.push(text),
                (Finding::End { task, status }, _) => {
                    open = None;
                    if status != "exit status: 0" {
                        errors.push(format!("{task} ended with {status}"));
                    }
                }
                (
                    Finding::Capability(_)
                    | Finding::Check(_)
                    | Finding::Recall(_)
                    | Finding::Cost(_),
                    None,
                ) => errors.push(format!("a finding outside of a run: {line}")),
            }
        }
        if let Some(task) = open.filter(|task| !task.starts_with("hide")) {
            errors.push(format!("{task} never ended"));
        }
        let Some(machine) = machine else {
            let last = booted.lines.len().saturating_sub(5);
            bail!(
                "the self-test never began; the console ends with: {}",
                booted.lines[last..].join(" / ")
            );
        };
        verdicts.sort_by(|one, other| one.program.cmp(&other.program));
        Ok(Self {
            name: name.to_owned(),
            architecture,
            machine,
            verdicts,
            runs,
            took: booted.took,
            errors,
        })
    }

    /// Everything that is not as it should be. A feature that is off is none by itself: what it would have told is
    /// missing in a check.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.errors.clone();
        for verdict in &self.verdicts {
            if let Some(log) = &verdict.refused {
                faults.push(format!("{} is refused: {}", verdict.program, cause(log)));
            }
        }
        for run in &self.runs {
            let with = if run.kernel_btf { "" } else { "without BTF: " };
            faults.extend(run.errors.iter().map(|error| format!("{with}{error}")));
            for check in run.checks.iter().filter(|check| !check.holds) {
                faults.push(format!("{with}{}: {}", check.name, check.detail));
            }
            for recall in run.recalls.iter().filter(|recall| !recall.is_perfect()) {
                faults.push(format!(
                    "{with}of {} exchanges the {} saw {}, {} of them rightly",
                    recall.expected, recall.role, recall.seen, recall.right
                ));
            }
        }
        faults
    }

    /// Writes what the verifier said to programs that it refused.
    pub(crate) fn keep_logs(&self, folder: &Path) -> Result<()> {
        for verdict in &self.verdicts {
            let path = folder.join(format!("{}.log", verdict.program));
            match &verdict.refused {
                Some(log) => {
                    fs::write(&path, log)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                    eprintln!("the verifier's log stands in {}", path.display());
                }
                // That of an earlier object would mislead.
                None if path.exists() => fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?,
                None => {}
            }
        }
        Ok(())
    }

    /// One line.
    pub(crate) fn summary(&self) -> String {
        let refused = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.refused.is_some())
            .count();
        let checks: usize = self.runs.iter().map(|run| run.checks.len()).sum();
        format!(
            "{} on {}: {} programs taken alone, {refused} refused; {checks} checks in {} runs of the self-test; {} faults; {} s",
            self.machine.release,
            self.architecture,
            self.verdicts.len() - refused,
            self.runs.len(),
            self.faults().len(),
            self.took.as_secs()
        )
    }
}

impl Recall {
    fn is_perfect(&self) -> bool {
        self.expected > 0 && self.seen == self.expected && self.right == self.expected
    }

    /// The part of what happened that was reported rightly.
    pub(crate) fn recall(&self) -> f64 {
        ratio(self.right, self.expected)
    }

    /// The part of what was reported that is right.
    pub(crate) fn precision(&self) -> f64 {
        ratio(self.right, self.seen)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

/// What a verifier's log closes with, whatever came of it.
const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];

/// The line of a verifier's log that says why: the last one before its statistics.
pub(crate) fn cause(log: &str) -> &str {
    let mut lines = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)));
    lines.next_back().unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Outcome> {
        let booted = Booted {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            took: Duration::from_secs(1),
        };
        Outcome::read("5.10", Architecture::X86, &booted)
    }

    const MACHINE: &str = r#"{"finding":"machine","jit":1,"kernel_btf":true,"machine":"x86_64","page_bytes":4096,"release":"5.10.0"}"#;

    #[test]
    fn a_boot_without_faults_has_none() {
        let outcome = read(&[
            "[    1.0] the kernel says something",
            r#"{"finding":"begin","task":"verify,/o"}"#,
            MACHINE,
            r#"{"finding":"verdict","program":"egress","refused":null,"walked":77}"#,
            r#"{"finding":"end","status":"exit status: 0","task":"verify,/o"}"#,
            r#"{"finding":"begin","task":"run"}"#,
            MACHINE,
            r#"{"finding":"recall","role":"server","expected":2,"seen":2,"right":2}"#,
            r#"{"finding":"end","status":"exit status: 0","task":"run"}"#,
        ])
        .unwrap();

        assert_eq!(outcome.faults(), [""; 0]);
        assert_eq!(outcome.verdicts[0].walked, Some(77));
        assert!(outcome.runs[0].kernel_btf);
    }

    #[test]
    fn what_is_wrong_becomes_a_fault_each() {
        let outcome = read(&[
            r#"{"finding":"begin","task":"verify,/o"}"#,
            MACHINE,
            r#"{"finding":"verdict","program":"egress","refused":"x\nR1 invalid\nverification time 7 usec\nprocessed 5 insns\n","walked":5}"#,
            r#"{"finding":"end","status":"exit status: 0","task":"verify,/o"}"#,
            r#"{"finding":"begin","task":"run"}"#,
            r#"{"finding":"recall","role":"client","expected":2,"seen":2,"right":1}"#,
            r#"{"finding":"check","name":"nothing is lost","holds":false,"detail":"ring_full 1"}"#,
            r#"{"finding":"error","text":"no cgroup2"}"#,
        ])
        .unwrap();

        assert_eq!(
            outcome.faults(),
            [
                "run never ended",
                "egress is refused: R1 invalid",
                "without BTF: no cgroup2",
                "without BTF: nothing is lost: ring_full 1",
                "without BTF: of 2 exchanges the client saw 2, 1 of them rightly",
            ]
        );
    }

    #[test]
    fn a_kernel_that_panics_is_told_with_its_last_words() {
        let error = read(&["early", "Kernel panic - not syncing: No working init"]).unwrap_err();
        assert!(error.to_string().contains("No working init"), "{error}");
    }
}
