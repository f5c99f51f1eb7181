//! The programs of the hottest hooks, cut off after each step, for measuring what a step costs (`cargo xtask bench
//! switch`). They are loaded for that alone.
//!
//! What they cost stands in docs/measurements.md, "Scheduler probes". Hooks and contexts as `sched_switch` and `sched_wakeup` in [`crate::cpu`].

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use galileo_ebpf_abi::step;

use crate::cpu::{switch, wakeup};

macro_rules! cut_off {
    ($($step:path, $switch:ident, $wakeup:ident;)*) => {$(
        #[raw_tracepoint(tracepoint = "sched_switch")]
        pub fn $switch(ctx: RawTracePointContext) -> i32 {
            switch::<{ $step }, true>(&ctx)
        }

        #[raw_tracepoint(tracepoint = "sched_wakeup")]
        pub fn $wakeup(ctx: RawTracePointContext) -> i32 {
            wakeup::<{ $step }>(&ctx)
        }
    )*};
}

cut_off! {
    step::EMPTY, switch_empty, wakeup_empty;
    step::CLOCK, switch_clock, wakeup_clock;
    step::TASKS, switch_tasks, wakeup_tasks;
    step::RUNS, switch_runs, wakeup_runs;
    step::WAITS, switch_waits, wakeup_waits;
}
