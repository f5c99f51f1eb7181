//! What replicas answered in the measured phase.

use std::collections::BTreeMap;

use galileo_probes::{Exchange, Role};
use galileo_wire::Phase;

use super::{
    names::{Names, Owner},
    phases::Phases,
};

/// Exchanges as a server whose request began in the measured phase, by replica.
///
/// They are counted here and not from what is stored, which has a limit; and by when they began and not by when
/// counters were read, which on a busy machine may be late.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    by_replica: BTreeMap<usize, Answers>,
}

/// Those of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// All of them.
    pub exchanges: u64,
    /// What is not plain or not certain of them; a flag that none had is absent.
    pub by_flag: BTreeMap<String, u64>,
    /// By status; one that none had is absent.
    pub by_status: BTreeMap<u16, u64>,
}

impl Answered {
    pub(super) fn count(&mut self, exchange: &Exchange, names: &Names, phases: &Phases) {
        if exchange.role != Role::Server || phases.at(exchange.start_ns) != Phase::Measured {
            return;
        }
        if let Owner::Replica(index) = names.owner(exchange.cgroup) {
            let answers = self.by_replica.entry(index).or_default();
            answers.exchanges += 1;
            *answers.by_status.entry(exchange.status).or_default() += 1;
            for flag in exchange.flag_names() {
                *answers.by_flag.entry(flag.to_owned()).or_default() += 1;
            }
        }
    }

    /// Those of a replica.
    pub(crate) fn of_replica(&self, index: usize) -> Answers {
        self.by_replica.get(&index).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use galileo_probes::{cgroup::CgroupId, flags};
    use galileo_wire::records;

    use super::*;
    use crate::runner::observe::tests::{answered_by, one_replica};

    #[test]
    fn what_a_replica_answered_while_measuring_is_counted_by_flag_and_status() {
        let tree = tempfile::tempdir().unwrap();
        let (names, cgroup) = one_replica(tree.path());
        let phases = Phases::default();
        phases.begin(0, 30);
        phases.drain_ns.store(50, Relaxed);
        let seen = Exchange {
            flags: flags::CUT_OFF | flags::RESUMED,
            start_ns: 30,
            ..answered_by(cgroup)
        };
        let exchanges = [
            seen,
            Exchange {
                flags: flags::RESUMED,
                ..seen
            },
            Exchange { flags: 0, ..seen },
            Exchange {
                flags: 0,
                status: 503,
                ..seen
            },
            Exchange {
                role: Role::Client,
                ..seen
            },
            Exchange {
                cgroup: CgroupId(0),
                ..seen
            },
            // The one began in the warm-up, the other in the drain.
            Exchange {
                start_ns: 29,
                ..seen
            },
            Exchange {
                start_ns: 50,
                ..seen
            },
        ];

        let mut answered = Answered::default();
        for exchange in &exchanges {
            answered.count(exchange, &names, &phases);
        }

        let resumed = records::Exchange::RESUMED.to_owned();
        let expected = Answers {
            exchanges: 4,
            by_flag: BTreeMap::from([("cut_off".to_owned(), 1), (resumed, 2)]),
            by_status: BTreeMap::from([(seen.status, 3), (503, 1)]),
        };
        assert_eq!(answered.of_replica(0), expected);
        assert_eq!(answered.of_replica(1), Answers::default());
    }
}
