//! Whether the CPUs' time is accounted for, from each reading of the measured phase to the next.

use galileo_probes::{Closure, Snapshot};
use galileo_wire::capture::{self, Closed};

/// The readings so far.
#[derive(Debug, Default)]
pub(super) struct Closures {
    first: Option<Snapshot>,
    last: Option<Snapshot>,
    worst: Option<Closed>,
    readings: u32,
}

impl Closures {
    /// Goes on to the next reading.
    pub(super) fn next(&mut self, reading: &Snapshot) {
        match &mut self.last {
            None => {
                self.first = Some(reading.clone());
                self.last = Some(reading.clone());
            }
            Some(last) => {
                let now = closed(last, reading);
                if self.worst.is_none_or(|worst| now.gap() > worst.gap()) {
                    self.worst = Some(now);
                }
                self.readings += 1;
                last.clone_from(reading);
            }
        }
    }

    /// All of them, and the two between which they lie; none if the CPUs were not watched.
    pub(super) fn within(
        mut self,
        before: &Snapshot,
        after: &Snapshot,
    ) -> Option<capture::Closure> {
        let mut edges = Self::default();
        edges.next(before);
        // Readings that were taken while the phase's own were do not lie between them.
        let ends = self.first.take().zip(self.last.take());
        if let Some((first, last)) = ends
            && first.begin_ns >= before.end_ns
            && last.end_ns <= after.begin_ns
        {
            edges.next(&first);
            edges.last = Some(last);
        }
        edges.next(after);
        let worst = edges.worst.into_iter().chain(self.worst);
        let worst = worst.max_by(|one, other| one.gap().total_cmp(&other.gap()))?;
        let whole = closed(before, after);
        (whole.watched_ns > 0).then(|| capture::Closure {
            whole,
            worst,
            readings: self.readings + edges.readings,
        })
    }
}

fn closed(before: &Snapshot, after: &Snapshot) -> Closed {
    let closure = Closure::between(before, after);
    Closed {
        watched_ns: closure.watched_ns,
        cgroups_ns: closure.cgroups_ns,
        idle_ns: closure.idle_ns,
        unassigned_ns: closure.unassigned_ns,
    }
}

#[cfg(test)]
mod tests {
    use galileo_probes::CpuTimes;

    use super::*;

    /// One CPU that only idles, and has missed so much of it.
    fn reading(at_ns: u64, missed_ns: u64) -> Snapshot {
        let times = CpuTimes {
            at_ns,
            watched_ns: at_ns,
            idle_ns: at_ns - missed_ns,
            ..CpuTimes::default()
        };
        Snapshot {
            cpus: vec![times],
            ..Snapshot::default()
        }
    }

    fn expected(watched_ns: i64, missing_ns: i64) -> Closed {
        Closed {
            watched_ns,
            idle_ns: watched_ns - missing_ns,
            ..Closed::default()
        }
    }

    #[test]
    fn the_worst_reading_is_kept_wherever_it_lies() {
        const MS: u64 = 1_000_000;
        let at = |ms: u64, missed_ms: u64| reading(ms * MS, missed_ms * MS);
        let closed = |ms: i64, missed_ms: i64| expected(ms * 1_000_000, missed_ms * 1_000_000);
        let (before, after) = (at(10_000, 0), at(20_000, 6));
        for (readings, worst) in [
            ([at(11_000, 5), at(19_000, 6)], closed(1_000, 5)),
            ([at(14_000, 0), at(16_000, 6)], closed(2_000, 6)),
            ([at(14_000, 1), at(19_000, 1)], closed(1_000, 5)),
            // Of 1 s 5 ms may be missing, of 7 s 35.
            ([at(11_000, 4), at(18_000, 6)], closed(1_000, 4)),
        ] {
            let mut closures = Closures::default();
            readings.iter().for_each(|reading| closures.next(reading));
            let expected = capture::Closure {
                whole: closed(10_000, 6),
                worst,
                readings: 3,
            };
            assert_eq!(closures.within(&before, &after), Some(expected));
        }
    }

    #[test]
    fn without_readings_between_the_whole_is_the_only_one() {
        let whole = Closures::default().within(&reading(1_000, 0), &reading(2_000, 1));
        let whole = whole.unwrap();
        assert_eq!((whole.whole, whole.readings), (whole.worst, 1));
        let nothing = Snapshot::default();
        assert_eq!(Closures::default().within(&nothing, &nothing), None);
    }
}
