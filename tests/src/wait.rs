//! Waiting for conditions, never for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a condition may take; the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(30);

/// Asks until there is an answer.
///
/// # Panics
///
/// If there is none within 30 seconds; the message says what was waited for.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    try_until(ask).unwrap_or_else(|| panic!("waited in vain: {what}"))
}

/// Asks until there is an answer, or for 30 seconds.
pub fn try_until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > end {
            return answer;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the kernel takes packets to an IPv6 address that was just set. `run` runs a program in its network namespace and returns
/// what that prints.
///
/// # Panics
///
/// As [`until`].
pub fn until_local(v6: &str, run: impl Fn(&str) -> String) {
    // By a job of the kernel's own, which takes its time on a busy machine; packets that come before are refused.
    until("the kernel takes packets to its IPv6 address", || {
        run("ip -6 route show table local")
            .contains(&format!("local {v6} "))
            .then_some(())
    });
}
