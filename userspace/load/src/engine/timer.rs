//! A timer on the clock that all records use.

use std::{io, os::fd::OwnedFd};

use galileo_wire::clock::boot_ns;
use rustix::{
    fs::Timespec,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

/// Waits for absolute times on `CLOCK_BOOTTIME`, to the resolution of the kernel's high-resolution timers (tokio's own timer
/// counts in whole milliseconds).
#[derive(Debug)]
pub(super) struct BootTimer {
    timer: AsyncFd<OwnedFd>,
    armed_ns: u64,
}

impl BootTimer {
    /// Must be called within a runtime with its I/O driver.
    #[allow(
        deprecated,
        reason = "its successor asks, as an unsafe fn, for a descriptor that stays open and the same, which an OwnedFd \
                  that is only lent out shared does; this crate forbids unsafe code"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self {
            timer: AsyncFd::with_interest(fd, Interest::READABLE)?,
            armed_ns: 0,
        })
    }

    /// Returns as soon as the time has come, at once if it has passed. May be dropped and called anew at any point.
    ///
    /// The clock is asked first: on a busy thread it knows before the timer's event has made its way here.
    pub(super) async fn until(&mut self, at_ns: u64) -> io::Result<()> {
        while boot_ns() < at_ns {
            if self.armed_ns != at_ns {
                timerfd_settime(
                    self.timer.get_ref(),
                    TimerfdTimerFlags::ABSTIME,
                    &once(at_ns),
                )?;
                self.armed_ns = at_ns;
            }
            // The expiration count stays unread: arming the timer anew resets it, and each expiration is a new event.
            self.timer.readable().await?.clear_ready();
        }
        Ok(())
    }
}

fn once(at_ns: u64) -> Itimerspec {
    const SECOND_NS: u64 = 1_000_000_000;
    // Both quotient (below 2⁶⁴/10⁹) and remainder fit.
    let it_value = Timespec {
        tv_sec: (at_ns / SECOND_NS) as i64,
        tv_nsec: (at_ns % SECOND_NS) as i64,
    };
    Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_timer_never_fires_early_and_serves_again() {
        let mut timer = BootTimer::new().unwrap();
        for wait_ns in [0, 50_000, 700_000, 3_000_000, 100] {
            let at_ns = boot_ns() + wait_ns;
            timer.until(at_ns).await.unwrap();
            assert!(boot_ns() >= at_ns);
        }
    }

    #[tokio::test]
    async fn a_time_that_has_passed_is_not_waited_for() {
        let mut timer = BootTimer::new().unwrap();
        let waiting = timer.until(boot_ns() - 1);
        assert!(futures_util::FutureExt::now_or_never(waiting).is_some());
    }

    #[tokio::test]
    async fn waiting_can_be_broken_off_and_taken_up_for_another_time() {
        let mut timer = BootTimer::new().unwrap();
        let far_ns = boot_ns() + 3_600_000_000_000;
        tokio::select! {
            biased;
            _ = timer.until(far_ns) => unreachable!("an hour has not passed"),
            () = tokio::task::yield_now() => {}
        }
        let near_ns = boot_ns() + 1_000_000;
        timer.until(near_ns).await.unwrap();
        assert!((near_ns..far_ns).contains(&boot_ns()));
    }
}
