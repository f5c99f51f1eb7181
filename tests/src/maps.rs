//! What the maps of this process take, as the kernel tells.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use crate::wait;

/// What the kernel says that each map takes of which this process has a descriptor, by the map's number; since 6.4. What it
/// allocates for sockets is in none of them.
///
/// # Panics
///
/// If /proc is not mounted.
#[must_use]
pub fn told() -> BTreeMap<u32, usize> {
    let mut told = BTreeMap::new();
    for file in fs::read_dir("/proc/self/fdinfo").expect("/proc is mounted") {
        // Others may close theirs meanwhile.
        let Ok(text) = fs::read_to_string(file.expect("/proc can be read").path()) else {
            continue;
        };
        let number = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok())
        };
        if let (Some(id), Some(bytes)) = (number("map_id:"), number("memlock:")) {
            told.insert(
                u32::try_from(id).expect("the kernel numbers maps in 32 bits"),
                bytes,
            );
        }
    }
    told
}

/// Bytes that the kernel has allocated in pieces on account of whoever asked for them, on the whole machine: sockets' storages of
/// the probes are among them, as is what sockets have of their own. 0 where it does not tell that apart (before 5.14).
#[must_use]
pub fn charged_bytes() -> u64 {
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let charged = slabs
        .lines()
        .filter(|line| line.starts_with("kmalloc-cg-"))
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().skip(1);
            let used: u64 = numbers.next()?.parse().ok()?;
            let size: u64 = numbers.nth(1)?.parse().ok()?;
            Some(used * size)
        });
    charged.sum()
}

/// The same, once it stands still: the kernel frees what sockets had some time after they were closed. Where the rest of the machine
/// never rests, as it is after 30 seconds.
#[must_use]
pub fn settled_charged_bytes() -> u64 {
    /// What the rest of a machine at rest takes and gives back meanwhile, at most.
    const LITTLE: u64 = 64 << 10;
    let settled = wait::try_until(|| {
        let before = charged_bytes();
        thread::sleep(Duration::from_millis(200));
        let after = charged_bytes();
        (before.abs_diff(after) < LITTLE).then_some(after)
    });
    settled.unwrap_or_else(charged_bytes)
}
