//! What the kernel tells of CPU limits while a run is under way: for how long they held somebody whatever else the machine did.

use std::{
    fs,
    path::{Path, PathBuf},
};

use galileo_probes::mounts::Hierarchies;
use galileo_tests::{
    pod::v1_cpu_controller,
    runs::{Said, Started, left},
    wait::until,
};
use galileo_wire::{capture::PhaseWindow, clock::boot_ns};

/// The period of all limits here.
pub const PERIOD: f64 = 0.1;

/// What is told of one group, again and again.
pub struct Throttled {
    folder: PathBuf,
    readings: Vec<Reading>,
}

#[derive(Clone, Copy)]
struct Reading {
    /// Before it was read.
    begin_ns: u64,
    /// After that.
    end_ns: u64,
    held_ns: u64,
    periods: u64,
}

/// What happened between the first and the last reading of a window.
#[derive(Debug, Clone, Copy)]
pub struct Within {
    /// For how long the group was held.
    pub seconds: f64,
    /// How much of the window lies before the first or behind the last reading.
    pub unread_seconds: f64,
    /// In how many periods it was, for which it had used up its quota.
    pub periods: u64,
}

impl Throttled {
    /// Of the group with this folder, where the cpu controller is.
    pub fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            readings: Vec::new(),
        }
    }

    /// Of a replica that has a limit.
    pub fn of_replica(run: &str, replica: &str) -> Self {
        let mount = v1_cpu_controller().unwrap_or_else(|| {
            let hierarchies = Hierarchies::read().expect("procfs is mounted");
            hierarchies.unified.expect("a cgroup2 mount").point
        });
        Self::of(mount.join("galileo").join(run).join(replica))
    }

    /// Reads it, if it is still there.
    fn read(&mut self) {
        self.readings.extend(read(&self.folder));
    }

    /// What happened within a window, of which there must be most.
    pub fn within(&self, window: PhaseWindow) -> Within {
        let mut inside = self
            .readings
            .iter()
            .filter(|it| it.begin_ns >= window.start_ns && it.end_ns <= window.end_ns);
        let first = inside.next().expect("it was read");
        let last = inside.next_back().expect("it was read again and again");
        let unread_ns = (window.end_ns - window.start_ns) - (last.begin_ns - first.end_ns);
        assert!(unread_ns < 1_000_000_000, "{unread_ns} ns without reading");
        Within {
            seconds: (last.held_ns - first.held_ns) as f64 / 1e9,
            unread_seconds: unread_ns as f64 / 1e9,
            periods: last.periods - first.periods,
        }
    }
}

/// Waits for the end of a run and reads what is told of these groups until its replicas are gone.
pub fn watch(run: Started, id: &str, groups: &mut [&mut Throttled]) -> Said {
    until("the replicas are gone", || {
        groups.iter_mut().for_each(|group| group.read());
        left::cgroups(id).is_empty().then_some(())
    });
    run.end()
}

fn read(folder: &Path) -> Option<Reading> {
    let begin_ns = boot_ns();
    let text = fs::read_to_string(folder.join("cpu.stat")).ok()?;
    let number = |key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
    };
    // Version 1 tells nanoseconds.
    let held_ns = number("throttled_time ").or_else(|| Some(number("throttled_usec ")? * 1_000));
    Some(Reading {
        begin_ns,
        end_ns: boot_ns(),
        held_ns: held_ns?,
        periods: number("nr_throttled ")?,
    })
}
