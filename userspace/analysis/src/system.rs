//! What ran in the root cgroup, and what the kernel's account of CPU time leaves out.

use galileo_wire::Capture;
use galileo_wire::capture::{SystemTask, TakenOff};

use crate::result::{AccountingResult, SystemResult, SystemTaskResult, TakenOffResult};
use crate::seconds;

/// Whose the root cgroup's time was.
#[must_use]
pub fn figures(capture: &Capture) -> Option<SystemResult> {
    let system = capture.system.as_ref()?;
    let task = |task: &SystemTask| SystemTaskResult {
        name: task.name.clone(),
        kernel_thread: task.kernel_thread,
        cpu_seconds: seconds(task.cpu_ns),
    };
    let told_ns = system.kernel_threads_ns + system.processes_ns;
    Some(SystemResult {
        cpu_seconds: seconds(system.cpu_ns),
        kernel_threads_seconds: seconds(system.kernel_threads_ns),
        processes_seconds: seconds(system.processes_ns),
        rest_seconds: seconds(system.cpu_ns.saturating_sub(told_ns)),
        busiest: system.busiest.iter().map(task).collect(),
    })
}

/// What the kernel takes off.
#[must_use]
pub fn accounting(capture: &Capture) -> Option<AccountingResult> {
    let accounting = capture.accounting.as_ref()?;
    let taken_off = |of: &TakenOff| TakenOffResult {
        taken_off: of.taken_off,
        how: of.how.clone(),
    };
    Some(AccountingResult {
        interrupts: taken_off(&accounting.interrupts),
        steal: taken_off(&accounting.steal),
    })
}
