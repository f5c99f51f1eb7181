//! Which member is next: smooth weighted round robin, as nginx does it (`ngx_http_upstream_get_peer`).
//!
//! Every pick adds each eligible member's weight to its current weight, takes the member with the largest (the first
//! listed on a tie) and subtracts the sum of the weights added from it. Over one cycle — as many picks as the weights
//! add up to — every member is picked exactly as often as its weight says, spread out instead of in runs.
//!
//! The state survives changes of the weights. A schedule that starts anew with every change gives members of a small
//! weight nothing when changes are frequent, because they come last in a cycle (envoyproxy/envoy issue 31378).

/// Members with weights, and where in their cycle they are. A pure state machine: no clock, no randomness, no I/O.
///
/// Two values that are equal are the same member; see [`Selector::update`].
#[derive(Debug, Clone)]
pub struct Selector<T> {
    members: Vec<Member<T>>,
}

#[derive(Debug, Clone)]
struct Member<T> {
    value: T,
    weight: u32,
    current: i64,
}

impl<T> Default for Selector<T> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
        }
    }
}

impl<T: PartialEq> Selector<T> {
    /// The next member among those with a weight above zero that `eligible` admits; none if there is none.
    ///
    /// Members that are not eligible keep their state, and the others share in proportion to their own weights. (To
    /// step on to the next one instead gives all of an unhealthy member's share to its neighbour.)
    pub fn pick(&mut self, eligible: impl Fn(&T) -> bool) -> Option<&T> {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if member.weight == 0 || !eligible(&member.value) {
                continue;
            }
            member.current += i64::from(member.weight);
            total += i64::from(member.weight);
            let current = member.current;
            if best.is_none_or(|best| current > self.members[best].current) {
                best = Some(index);
            }
        }
        let chosen = &mut self.members[best?];
        chosen.current -= total;
        Some(&chosen.value)
    }

    /// Makes `members` the members, in this order.
    ///
    /// Those that stay keep their current weights, those that are new start at zero. What changes nothing changes no
    /// state. After a change the current weights are limited to one cycle of the new weights: within a cycle they never
    /// exceed it, and what is left of much larger weights would make a member wait for as many picks.
    pub fn update(&mut self, members: impl IntoIterator<Item = (T, u32)>) {
        let mut members: Vec<_> = members
            .into_iter()
            .map(|(value, weight)| Member {
                value,
                weight,
                current: 0,
            })
            .collect();
        for member in &mut members {
            if let Some(old) = self.members.iter().find(|old| old.value == member.value) {
                member.current = old.current;
            }
        }
        let unchanged = members.len() == self.members.len()
            && members
                .iter()
                .zip(&self.members)
                .all(|(new, old)| new.value == old.value && new.weight == old.weight);
        if !unchanged {
            let cycle: i64 = members.iter().map(|member| i64::from(member.weight)).sum();
            for member in &mut members {
                member.current = member.current.clamp(-cycle, cycle);
            }
        }
        self.members = members;
    }

    /// The members in order, those of weight zero included.
    pub fn members(&self) -> impl Iterator<Item = &T> {
        self.members.iter().map(|member| &member.value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selector(weights: &[(char, u32)]) -> Selector<char> {
        let mut selector = Selector::default();
        selector.update(weights.iter().copied());
        selector
    }

    fn picks(selector: &mut Selector<char>, count: usize) -> String {
        (0..count)
            .filter_map(|_| selector.pick(|_| true).copied())
            .collect()
    }

    fn times(picked: &str, member: char) -> usize {
        picked.chars().filter(|&c| c == member).count()
    }

    fn longest_run(picked: &str, member: char) -> usize {
        picked
            .split(|c| c != member)
            .map(str::len)
            .max()
            .unwrap_or(0)
    }

    // D-24. The sequences are those of nginx, computed by hand.
    #[test]
    fn picks_are_spread_as_nginx_spreads_them() {
        assert_eq!(
            picks(&mut selector(&[('a', 5), ('b', 1), ('c', 1)]), 7),
            "aabacaa"
        );
        assert_eq!(
            picks(&mut selector(&[('a', 6), ('b', 3), ('c', 1)]), 10),
            "abaabacaba"
        );
        let picked = picks(&mut selector(&[('a', 21), ('b', 11)]), 32);
        assert_eq!((times(&picked, 'a'), times(&picked, 'b')), (21, 11));
        assert_eq!(longest_run(&picked, 'a'), 2);
    }

    #[test]
    fn after_a_full_cycle_all_current_weights_are_zero() {
        for weights in [
            &[('a', 5), ('b', 1), ('c', 1)][..],
            &[('a', 21), ('b', 11)],
            &[('a', 6), ('b', 3), ('c', 1)],
        ] {
            let mut selector = selector(weights);
            let cycle: u32 = weights.iter().map(|(_, weight)| weight).sum();
            picks(&mut selector, cycle as usize);
            assert!(
                selector.members.iter().all(|member| member.current == 0),
                "{selector:?}"
            );
        }
    }

    // D-25.
    #[test]
    fn all_weights_zero_picks_nothing_and_the_next_update_is_applied() {
        let mut selector = selector(&[('a', 0), ('b', 0)]);
        assert_eq!(selector.pick(|_| true), None);
        selector.update([('a', 3), ('b', 0)]);
        assert_eq!(picks(&mut selector, 5), "aaaaa");
    }

    #[test]
    fn a_member_of_weight_zero_is_never_picked() {
        let picked = picks(&mut selector(&[('a', 0), ('b', 1)]), 100);
        assert_eq!((times(&picked, 'a'), times(&picked, 'b')), (0, 100));
    }

    #[test]
    fn nobody_there_picks_nothing() {
        assert_eq!(Selector::<char>::default().pick(|_| true), None);
        assert_eq!(selector(&[('a', 1)]).pick(|_| false), None);
    }

    // D-26.
    #[test]
    fn the_share_of_unhealthy_members_is_split_in_proportion() {
        let mut even = selector(&[('1', 1), ('2', 1), ('3', 1), ('4', 1)]);
        let picked: String = (0..1000)
            .filter_map(|_| even.pick(|c| !['2', '3'].contains(c)).copied())
            .collect();
        assert_eq!((times(&picked, '1'), times(&picked, '4')), (500, 500));

        let mut uneven = selector(&[('1', 2), ('2', 1), ('3', 1)]);
        let picked: String = (0..900)
            .filter_map(|_| uneven.pick(|&c| c != '2').copied())
            .collect();
        assert_eq!((times(&picked, '1'), times(&picked, '3')), (600, 300));
    }

    // D-27. A schedule rebuilt at every update gives b nothing: the first three picks of a cycle are a.
    #[test]
    fn updates_that_change_nothing_starve_nobody() {
        let mut selector = selector(&[('a', 9), ('b', 1)]);
        let mut picked = String::new();
        for _ in 0..100 {
            picked += &picks(&mut selector, 3);
            selector.update([('a', 9), ('b', 1)]);
        }
        assert_eq!((times(&picked, 'a'), times(&picked, 'b')), (270, 30));
    }

    #[test]
    fn members_that_stay_keep_their_place_when_weights_change() {
        // After "aa" of a=5, b=1, c=1 the current weights are -4, 2, 2. With c gone and b=2 the next is b (-4+5, 2+2).
        let mut selector = selector(&[('a', 5), ('b', 1), ('c', 1)]);
        assert_eq!(picks(&mut selector, 2), "aa");
        selector.update([('a', 5), ('b', 2)]);
        assert_eq!(picks(&mut selector, 1), "b");
    }

    #[test]
    fn what_is_left_of_large_weights_does_not_starve_a_member_under_small_ones() {
        // Half way through the cycle of 1000:1, b has just been picked and stands at about -500.
        let mut selector = selector(&[('a', 1000), ('b', 1)]);
        let before = picks(&mut selector, 501);
        assert!(
            before.ends_with('b'),
            "b is picked in the middle of the cycle"
        );
        selector.update([('a', 1), ('b', 1)]);
        assert!(times(&picks(&mut selector, 6), 'b') >= 2);
    }

    fn weights() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(0u32..=20, 1..=8)
    }

    proptest! {
        #[test]
        fn a_full_cycle_is_exact(weights in weights(), mask in prop::collection::vec(any::<bool>(), 8)) {
            let mut selector = Selector::default();
            selector.update(weights.iter().copied().enumerate());
            let eligible = |index: &usize| mask[*index];
            let cycle: u32 = weights.iter().enumerate().filter(|(index, _)| eligible(index)).map(|(_, w)| w).sum();
            for _ in 0..2 {
                let mut counts = vec![0; weights.len()];
                for _ in 0..cycle {
                    counts[*selector.pick(eligible).expect("weights are above zero")] += 1;
                }
                for (index, count) in counts.into_iter().enumerate() {
                    prop_assert_eq!(count, if eligible(&index) { weights[index] } else { 0 });
                }
            }
        }

        #[test]
        fn updates_that_change_nothing_leave_the_sequence_alone(weights in weights(), at in prop::collection::vec(any::<bool>(), 100)) {
            let mut plain = Selector::default();
            plain.update(weights.iter().copied().enumerate());
            let mut updated = plain.clone();
            for update in at {
                if update {
                    updated.update(weights.iter().copied().enumerate());
                }
                prop_assert_eq!(plain.pick(|_| true), updated.pick(|_| true));
            }
        }

        // Current weights are within one cycle after an update and within one cycle of their mean ever after, so that a
        // member gets its share over a few cycles whatever the weights were before.
        #[test]
        fn whatever_the_weights_were_the_shares_are_right_again_within_cycles(
            before in prop::collection::vec((weights(), 0usize..60), 0..5),
            after in weights(),
        ) {
            let mut selector = Selector::default();
            for (weights, picks) in before {
                selector.update(weights.into_iter().enumerate());
                for _ in 0..picks {
                    selector.pick(|_| true);
                }
            }
            selector.update(after.iter().copied().enumerate());
            let cycle: u32 = after.iter().sum();
            let mut counts = vec![0i64; after.len()];
            for _ in 0..cycle * 10 {
                counts[*selector.pick(|_| true).expect("weights are above zero")] += 1;
            }
            for (index, count) in counts.into_iter().enumerate() {
                let off = (count - 10 * i64::from(after[index])).abs();
                prop_assert!(off <= 3, "member {index} of {after:?} is off by {off}");
            }
        }
    }
}
