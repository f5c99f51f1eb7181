//! What the probes counted beside exchanges: losses, and what they noticed.

use std::collections::BTreeMap;

use galileo_probes::{Ledger, Snapshot};

use super::names::{Names, Owner};

/// What the probes counted of the run by the kinds of their ledger: of the replicas, of Galileo itself, and what is nobody's. What
/// they lost of others on this machine does not touch the run.
pub(crate) struct Counted {
    /// By the kinds that mean a loss.
    pub losses: BTreeMap<String, u64>,
    /// By the others.
    pub noticed: BTreeMap<String, u64>,
}

impl Counted {
    /// `used` is the difference of the run's first and last snapshot.
    pub(crate) fn of(used: &Snapshot, names: &Names) -> Self {
        names.learn(used.cgroups.keys().copied());
        let own = used
            .cgroups
            .keys()
            .filter(|id| matches!(names.owner(**id), Owner::Replica(_) | Owner::Galileo));
        let counted = used.losses_of(own);
        let of = |kind: Ledger| {
            (
                kind.as_str().to_owned(),
                counted.get(&kind).copied().unwrap_or(0),
            )
        };
        let (losses, others): (Vec<_>, Vec<_>) =
            Ledger::ALL.into_iter().partition(|kind| kind.is_loss());
        Self {
            losses: losses.into_iter().map(of).collect(),
            noticed: others.into_iter().map(of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use galileo_probes::{CgroupStats, cgroup::CgroupId};

    use super::*;
    use crate::runner::observe::tests::one_replica;

    #[test]
    fn what_the_probes_counted_is_a_loss_or_noticed_and_all_kinds_are_told() {
        let tree = tempfile::tempdir().unwrap();
        let (names, cgroup) = one_replica(tree.path());
        let stats = |count| CgroupStats {
            ledger: BTreeMap::from([(Ledger::JoinedLate, count), (Ledger::GivenUp, count)]),
            ..CgroupStats::default()
        };
        let used = Snapshot {
            cgroups: BTreeMap::from([(cgroup, stats(3)), (CgroupId(0), stats(70))]),
            machine: BTreeMap::from([(Ledger::SwitchUnseen, 2), (Ledger::GivenUp, 1)]),
            ..Snapshot::default()
        };

        let Counted { losses, noticed } = Counted::of(&used, &names);

        assert_eq!((losses["given_up"], losses["ring_full"]), (4, 0));
        assert_eq!((noticed["joined_late"], noticed["not_http"]), (3, 0));
        assert_eq!(noticed["switch_unseen"], 2);
        assert_eq!(losses.len() + noticed.len(), Ledger::ALL.len());
    }
}
