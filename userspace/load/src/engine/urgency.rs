//! The sender's right of way.
//!
//! Between its requests the sender sleeps, and under the usual scheduler a task that wakes waits until the one that runs
//! has had its slice (2.8 ms and more since EEVDF): requests would be late by what they are meant to measure. So the
//! sender runs under `SCHED_FIFO` (`sched(7)`), at the lowest of its priorities, if the process may; it does little at
//! a time, and the kernel leaves 5 % of each second to the others whatever it does (`sched_rt_runtime_us`).

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Gives the calling thread right of way if that is allowed.
pub(super) fn take() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    if let Err(error) =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
    {
        tracing::info!(
            ?error,
            "the load engine runs under the usual scheduler: requests may be late"
        );
    }
}
