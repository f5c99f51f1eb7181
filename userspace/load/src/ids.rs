//! Names of requests: the request id and the W3C trace context.

/// Bits of a client's part of a request id: 10 hexadecimal digits.
const BITS: u32 = 40;
const MASK: u64 = (1 << BITS) - 1;

/// Makes the names of a workload's requests.
///
/// A client's 10 digits are its workload's and its own index, shuffled by the run's nonce. The shuffle is one-to-one, so two
/// clients of a run never share digits (which 40 random bits would not guarantee), while other runs have other digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    run_nonce: u64,
    workload: u16,
}

impl Names {
    pub(crate) fn new(run_nonce: u64, workload: u16) -> Self {
        Self {
            run_nonce,
            workload,
        }
    }

    /// The 40 bits that stand for a client; `client` has at most 24.
    pub(crate) fn client(self, client: u32) -> u64 {
        let mut bits = u64::from(self.workload) << 24 | u64::from(client);
        for round in 0..3 {
            let key = mix(self.run_nonce.wrapping_add(round));
            // Each of the three steps can be undone modulo 2⁴⁰: exclusive or, an odd factor, a shift folded in.
            bits = (bits ^ key) & MASK;
            bits = bits.wrapping_mul(key >> 20 | 1) & MASK;
            bits ^= bits >> (BITS / 2);
        }
        bits
    }

    /// `<10 hex digits of the client>:<n>`.
    pub(crate) fn request_id(self, client: u32, n: u64) -> String {
        format!("{:010x}:{n}", self.client(client))
    }

    /// Trace id and parent id of a `traceparent` header; neither is zero, as the recommendation demands.
    pub(crate) fn trace_context(self, client: u32, n: u64) -> (u128, u64) {
        let high = mix(self.run_nonce ^ self.client(client));
        let low = mix(high ^ n);
        (
            u128::from(high) << 64 | u128::from(low.max(1)),
            mix(!low).max(1),
        )
    }
}

/// The finalizer of `SplitMix64`: one-to-one, every input bit changes about half of the output bits.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_id_is_ten_digits_and_a_counter() {
        let id = Names::new(7, 0).request_id(3, 12);
        let (client, n) = id.split_once(':').unwrap();
        assert_eq!(n, "12");
        assert_eq!(client.len(), 10);
        assert!(client.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }

    proptest! {
        #[test]
        fn no_two_clients_of_a_run_share_their_digits(run_nonce: u64, first in 0..u16::MAX - 2, from in 0..1u32 << 23) {
            let mut seen = HashSet::new();
            for workload in first..first + 3 {
                let names = Names::new(run_nonce, workload);
                for client in from..from + 2_000 {
                    prop_assert!(seen.insert(names.client(client)));
                }
            }
        }

        #[test]
        fn another_run_has_other_digits(run_nonce: u64, client in 0..1_000u32) {
            prop_assert_ne!(Names::new(run_nonce, 0).client(client), Names::new(run_nonce.wrapping_add(1), 0).client(client));
        }

        #[test]
        fn trace_ids_differ_from_request_to_request(run_nonce: u64, client in 0..1_000u32) {
            let names = Names::new(run_nonce, 0);
            let ids: HashSet<_> = (1..=1_000).map(|n| names.trace_context(client, n)).collect();
            prop_assert_eq!(ids.len(), 1_000);
        }
    }
}
