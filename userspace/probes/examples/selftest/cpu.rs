//! CPU time against the kernel's own account, and who waited for whom.

use std::time::Duration;

use galileo_probes::{Accounting, Blame, Probes, Ticks};

use crate::{Outcome, child::Worker, report::Report};

/// CPU time that a spinner uses, in milliseconds.
const SPIN_MS: &str = "1000";
/// CPU time that each of two on one CPU uses at least.
const TOGETHER_NS: u64 = 1_000_000_000;

pub(crate) fn check(probes: &Probes) -> Outcome {
    alone(probes)?;
    together(probes)
}

/// One spinner: on-CPU time is what `cpu.stat` says within 1 % or 5 ms, and what the kernel may have taken off that.
fn alone(probes: &Probes) -> Outcome {
    let (mut spinner, _) = Worker::start("spinner", "spin", SPIN_MS)?;
    let id = spinner.id()?;
    spinner.sleeps()?;
    let (before, used_before) = (probes.snapshot()?, spinner.used_ns()?);
    let ticks_before = Ticks::read()?;
    spinner.go()?;
    spinner.line()?;
    spinner.sleeps()?;
    let used = spinner.used_ns()? - used_before;
    let after = probes.snapshot()?.since(&before);
    let taken = Ticks::read()?.since(&ticks_before);
    let (steal, interrupts) = Accounting::find().taken_off_ns(taken);
    let taken_off = steal + interrupts;
    let counted = after.cgroups.get(&id).map_or(0, |stats| stats.on_cpu_ns);
    Report::check(
        "cpu time of a spinner is what cpu.stat says",
        counted.abs_diff(used)
            <= (used / 100).max(5_000_000) + if counted > used { taken_off } else { 0 },
        &format!(
            "{} µs counted, {} µs used, at most {} µs taken off that",
            counted / 1000,
            used / 1000,
            taken_off / 1000
        ),
    );
    Ok(())
}

/// Two on one CPU: each waits while the other runs, and for nobody else to speak of.
///
/// Both go on until each has used its time, so that each runs while the other one waits, whatever the machine does
/// meanwhile: an emulator that stands still for a while gives all of that time to the one that runs.
fn together(probes: &Probes) -> Outcome {
    let (mut one, _) = Worker::start("one", "run", "")?;
    let (mut other, _) = Worker::start("other", "run", "")?;
    let before = probes.snapshot()?;
    for worker in [&mut one, &mut other] {
        worker.go()?;
    }
    for worker in [&one, &other] {
        while worker.used_ns()? < TOGETHER_NS {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for worker in [&mut one, &mut other] {
        worker.go()?;
    }
    for worker in [&mut one, &mut other] {
        worker.line()?;
        worker.sleeps()?;
    }
    let after = probes.snapshot()?.since(&before);
    for (victim, aggressor) in [(one.id()?, other.id()?), (other.id()?, one.id()?)] {
        let blamed = after
            .blames
            .get(&Blame { victim, aggressor })
            .copied()
            .unwrap_or(0);
        let ran = after
            .cgroups
            .get(&aggressor)
            .map_or(0, |stats| stats.on_cpu_ns);
        let waited = after
            .cgroups
            .get(&victim)
            .map_or(0, |stats| stats.wait.sum_ns);
        // The one that is told first runs alone for a while, and the other one at the end.
        Report::check(
            "of two spinners on one CPU each waits for the other",
            blamed <= ran && blamed >= ran / 10 * 7 && blamed >= waited / 10 * 9,
            &format!(
                "waited {} µs, {} µs of them for the other, which ran {} µs",
                waited / 1000,
                blamed / 1000,
                ran / 1000
            ),
        );
    }
    Ok(())
}
