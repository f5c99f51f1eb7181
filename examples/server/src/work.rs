//! Work that costs a known amount of CPU time, however long the thread waits for its CPU meanwhile.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Turns between two looks at the clock: some microseconds, so that the clock's system call is a small part.
const TURNS: u64 = 4_000;

/// Burns `amount` of this thread's CPU time, a few microseconds more at most.
pub(crate) fn burn(amount: Duration) {
    if amount.is_zero() {
        return;
    }
    let end = cpu_time() + amount;
    let mut state = 1_u64;
    while cpu_time() < end {
        for turn in 0..TURNS {
            state = black_box(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(turn),
            );
        }
    }
}

/// CPU time that this thread has used since it began.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Time since the thread's start is neither negative nor has it more than 1e9 ns in its second part.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn work_is_cpu_time_even_while_threads_compete() {
        let amount = Duration::from_millis(30);
        // More threads than most machines have CPUs, so that wall time and CPU time differ.
        let threads: Vec<_> = (0..16)
            .map(|_| {
                thread::spawn(move || {
                    let before = cpu_time();
                    burn(amount);
                    cpu_time() - before
                })
            })
            .collect();

        for thread in threads {
            let used = thread.join().unwrap();
            assert!(used >= amount, "{used:?}");
            // A hypervisor that takes the CPU away without saying so is charged to the thread.
            assert!(used < 2 * amount, "{used:?}");
        }
    }

    #[test]
    fn no_work_takes_no_time() {
        let before = cpu_time();

        burn(Duration::ZERO);

        assert!(cpu_time() - before < Duration::from_millis(1));
    }
}
