//! The table of what ran in no cgroup of its own.

use galileo_analysis::RunResult;

use super::{Table, number, text};
use crate::numbers::{figure, percent};

/// Whose the root cgroup's time was, with the `most` names of each kind that ran longest.
pub(crate) fn system(result: &RunResult, most: usize) -> Table {
    let mut table = Table::new(
        "What ran in the root cgroup (system), in s of CPU: the kernel's threads, processes that are in no other cgroup, and what had \
         ended before /proc could tell",
        &[text("system"), number("CPU s"), number("of it")],
    );
    let Some(system) = &result.system else {
        return table;
    };
    let all = system
        .cpu_seconds
        .max(system.kernel_threads_seconds + system.processes_seconds);
    let cells = |name: &str, seconds: f64| {
        let share = if all > 0.0 { seconds / all } else { 0.0 };
        vec![name.to_owned(), figure(seconds), percent(share)]
    };
    let kinds = [
        ("kernel threads", true, system.kernel_threads_seconds),
        (
            "processes in no other cgroup",
            false,
            system.processes_seconds,
        ),
    ];
    for (kind, kernel_thread, seconds) in kinds {
        table.push(cells(kind, seconds));
        let of_kind = system
            .busiest
            .iter()
            .filter(|task| task.kernel_thread == kernel_thread);
        for task in of_kind.take(most) {
            table.push_as(true, cells(&task.name, task.cpu_seconds));
        }
    }
    table.push(cells("ended meanwhile", system.rest_seconds));
    table
}
