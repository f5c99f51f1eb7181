//! By how much two observers of CPU time may be apart although neither is wrong.

use galileo_wire::capture::Usage;

/// By how much the probes' CPU time may be apart from the kernel's, in the direction in which it is.
pub(super) fn allowed(usage: &Usage, accounted_ns: u64) -> Vec<(&'static str, u64)> {
    const READINGS: &str = "between their readings";
    const PREEMPTIONS: &str = "from wake-ups to the switches they asked for";
    const STEAL: &str = "of steal";
    let more = usage.cpu_ns > accounted_ns;
    match &usage.apart {
        Some(apart) if more => vec![
            (READINGS, apart.end_ns),
            (PREEMPTIONS, apart.preempted_ns),
            (STEAL, apart.steal_ns),
            ("of interrupts", apart.interrupts_ns),
        ],
        Some(apart) => vec![
            (READINGS, apart.begin_ns),
            (PREEMPTIONS, apart.preempting_ns),
        ],
        // A capture of before this was known: steal is told in steps of 10 ms.
        None => match usage.stolen_ns {
            Some(stolen) if more && stolen > 0 => vec![(STEAL, stolen + 10_000_000)],
            _ => Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use galileo_wire::capture::Apart;

    use super::super::{Ledger, Sum, times};
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    /// Two observers of about a second, of which 10 ms are 1 %.
    fn ledger(cpu_ms: u64, apart: Option<Apart>, stolen_ms: u64) -> Ledger {
        let usage = Usage {
            cpu_ns: cpu_ms * MILLISECOND,
            apart,
            stolen_ns: Some(stolen_ms * MILLISECOND),
            ..Usage::default()
        };
        let accounted = 1_000 * MILLISECOND;
        times(
            Sum::Cpu,
            "web/web-0",
            ("CPU by the probes", usage.cpu_ns),
            ("by the kernel's accounting", accounted),
            &allowed(&usage, accounted),
        )
    }

    fn names(ledger: &Ledger) -> Vec<&str> {
        ledger.allowed.iter().map(|term| &*term.name).collect()
    }

    #[test]
    fn what_the_account_may_lack_is_allowed_in_that_direction_only_and_told() {
        let apart = Apart {
            begin_ns: 4 * MILLISECOND,
            end_ns: 2 * MILLISECOND,
            preempting_ns: 3 * MILLISECOND,
            preempted_ns: MILLISECOND,
            steal_ns: 20 * MILLISECOND,
            interrupts_ns: 0,
        };
        let more = ledger(1_033, Some(apart), 0);
        assert!(more.holds);
        assert_eq!(
            names(&more),
            [
                "between their readings",
                "from wake-ups to the switches they asked for",
                "of steal"
            ]
        );
        assert!(!ledger(1_034, Some(apart), 0).holds);
        // Neither steal nor what ran at the end makes the account say more.
        let less = ledger(983, Some(apart), 0);
        assert!(less.holds);
        assert_eq!(
            names(&less),
            [
                "between their readings",
                "from wake-ups to the switches they asked for"
            ]
        );
        assert!(!ledger(982, Some(apart), 0).holds);
    }

    #[test]
    fn nothing_is_told_where_nothing_was_needed() {
        let apart = Apart {
            steal_ns: 20 * MILLISECOND,
            ..Apart::default()
        };
        let agreed = ledger(1_009, Some(apart), 10);
        assert!(agreed.holds && agreed.allowed.is_empty());
    }

    #[test]
    fn captures_of_before_know_of_steal_alone() {
        assert!(ledger(1_028, None, 10).holds);
        assert!(!ledger(1_028, None, 0).holds);
    }
}
