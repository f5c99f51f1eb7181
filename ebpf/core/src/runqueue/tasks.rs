//! Tasks: where what is known of one lies, and what changes it.

use galileo_ebpf_abi::{SLOT_UNKNOWN, TASK_WAYS, Task, task_state};

use super::spread;

/// The place at which the search for a task begins, and at which most are found; `mask` is the number of places less one.
#[inline(always)]
#[must_use]
pub const fn place_of(key: u64, mask: u32) -> u32 {
    // task_structs are aligned to at least 64 bytes.
    spread(key >> 6) as u32 & mask
}

/// Searches the places of a hash value for `wanted`, the one of `key` itself first; `at` gives what lies at a place, of which
/// there are `mask` and one.
#[inline(always)]
pub fn search<'a>(
    key: u64,
    wanted: u64,
    mask: u32,
    mut at: impl FnMut(u32) -> Option<&'a mut Task>,
) -> Option<&'a mut Task> {
    for way in 0..TASK_WAYS {
        let task = at(place_of(key, mask) ^ way)?;
        if task.key == wanted {
            return Some(task);
        }
    }
    None
}

/// A task of which nothing is known.
#[inline(always)]
#[must_use]
pub const fn new_task(key: u64) -> Task {
    Task {
        key,
        since_ns: 0,
        until_ns: 0,
        settled_ns: 0,
        cgroup_id: 0,
        slot: SLOT_UNKNOWN,
        wakeups: 0,
        migrations: 0,
        cpu: 0,
        state: task_state::NEW,
        moved_ns: 0,
    }
}

/// Notes that a task leaves its CPU.
#[inline(always)]
pub fn leave(task: &mut Task, now_ns: u64, runnable: bool) {
    // If it is still runnable it waits from now on. If it sleeps, its wake-up will overwrite this; that it comes back
    // without one means that it never slept.
    task.since_ns = now_ns;
    task.settled_ns = 0;
    task.moved_ns = 0;
    task.state = if runnable {
        task_state::WAITING
    } else {
        task_state::LEFT
    };
}

/// Notes a wake-up; `now_ns` is asked only if it begins a wait.
///
/// A task that was woken before it could sleep still runs, or waits since the CPU was taken from it: its wake-up begins
/// nothing.
#[inline(always)]
pub fn wake(task: &mut Task, now_ns: impl FnOnce() -> u64) {
    task.wakeups = task.wakeups.wrapping_add(1);
    if matches!(task.state, task_state::RUNNING | task_state::WAITING) {
        return;
    }
    task.since_ns = now_ns();
    task.settled_ns = 0;
    task.moved_ns = 0;
    task.state = task_state::WAITING;
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use galileo_ebpf_abi::TASK_PLACES;

    use super::*;

    const MASK: u32 = TASK_PLACES - 1;

    #[test]
    fn a_wake_up_begins_a_wait_only_if_the_task_sleeps() {
        let mut task = new_task(1);
        wake(&mut task, || 10);
        assert_eq!((task.since_ns, task.state), (10, task_state::WAITING));
        // Woken again before it got a CPU.
        wake(&mut task, || 20);
        assert_eq!(task.since_ns, 10);
        task.state = task_state::RUNNING;
        task.since_ns = 0;
        // Woken before it could sleep.
        wake(&mut task, || 30);
        assert_eq!((task.since_ns, task.state), (0, task_state::RUNNING));
        // The CPU was taken from it on its way to sleep, then it was woken: it waits since it was taken.
        leave(&mut task, 40, true);
        wake(&mut task, || 50);
        assert_eq!(task.since_ns, 40);
        leave(&mut task, 60, false);
        wake(&mut task, || 70);
        assert_eq!((task.since_ns, task.wakeups), (70, 5));
    }

    #[test]
    fn tasks_of_one_hash_value_share_its_places() {
        const WAYS: usize = TASK_WAYS as usize;
        // As many tasks as may share a hash value, whose search begins at one of the same places, and one more.
        let keys: Vec<u64> = (1..)
            .map(|index| index << 6)
            .filter(|key| place_of(*key, MASK) < TASK_WAYS)
            .take(WAYS + 1)
            .collect();
        let mut places = [new_task(0); WAYS];
        let mut take = |key, wanted| {
            let mut at: Vec<_> = places.iter_mut().map(Some).collect();
            let found = search(key, wanted, MASK, |place| at[place as usize].take());
            if let Some(task) = found {
                *task = new_task(key);
                return true;
            }
            false
        };
        for key in &keys[..WAYS] {
            assert!(!take(*key, *key));
            assert!(take(*key, 0));
        }
        assert!(!take(keys[WAYS], 0));
        for key in &keys[..WAYS] {
            assert!(take(*key, *key));
        }
    }
}
