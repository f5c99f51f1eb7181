//! Why a run is not valid without a fault of the program.

use serde_json::Value;

/// What a machine may do to a run, which then says that it is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// Some requests were sent late, but less than half, and nothing else: others took the CPUs, or the machine's timers woke late.
    Late,
    /// The kernel hid switches, so that the probes had a time for another task than the kernel's account; or one CPU was taken away while
    /// its programs looked at a connection that another CPU had a segment of.
    Machine,
}

impl Excuse {
    /// Of results that are not valid; none if there is a reason that the program may be to blame for.
    ///
    /// # Panics
    ///
    /// If these are no results.
    #[must_use]
    pub fn of(results: &Value) -> Option<Self> {
        let hidden = results["noticed"]["switch_unseen"].as_u64() > Some(0);
        let reasons = results["invalid_reasons"].as_array().expect("an array");
        let of_each = reasons.iter().map(|reason| {
            let reason = reason.as_str().expect("a sentence");
            if few_are_late(reason) {
                Some(Self::Late)
            } else if reason.contains(" lost (socket_busy): ")
                || hidden && reason.ends_with(": one of the two observers is wrong.")
            {
                Some(Self::Machine)
            } else {
                None
            }
        });
        let all: Vec<_> = of_each.collect::<Option<_>>()?;
        if all.contains(&Self::Machine) {
            Some(Self::Machine)
        } else {
            all.first().copied()
        }
    }

    /// Whether results are valid, or would be had all requests been sent in time.
    ///
    /// # Panics
    ///
    /// If these are no results.
    #[must_use]
    pub fn valid_but_late(results: &Value) -> bool {
        results["valid"] == true || Self::of(results) == Some(Self::Late)
    }
}

/// Reads `web: 1 late and 0 dropped of 96 requests …`.
fn few_are_late(reason: &str) -> bool {
    let numbers = || {
        let (late, of) = reason.split_once(" late and 0 dropped of ")?;
        let late: u64 = late.rsplit(' ').next()?.replace(',', "").parse().ok()?;
        let of: u64 = of.split(' ').next()?.replace(',', "").parse().ok()?;
        Some((late, of))
    };
    numbers().is_some_and(|(late, of)| 2 * late < of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LATE: &str = "web: 1 late and 0 dropped of 96 requests (1.0 %, allowed is 1 %): the load was not the one asked for.";
    const DROPPED: &str = "web: 1 late and 1 dropped of 96 requests (2.1 %, allowed is 1 %): the load was not the one asked for.";
    const APART: &str = "web/web-0: 1.200 s CPU by the probes are not 1.000 s by the kernel's accounting: one of the two observers is wrong.";
    const BUSY: &str = "1 lost (socket_busy): what was counted there is too low.";
    const FULL: &str = "1 lost (ring_full): what was counted there is too low.";

    fn excuse(reasons: &[&str], hidden: u64) -> Option<Excuse> {
        let noticed = json!({"switch_unseen": hidden});
        Excuse::of(&json!({"valid": false, "invalid_reasons": reasons, "noticed": noticed}))
    }

    #[test]
    fn only_what_a_machine_may_do_excuses() {
        assert_eq!(excuse(&[LATE, LATE], 0), Some(Excuse::Late));
        assert_eq!(excuse(&[&LATE.replace("1 late", "48 late")], 0), None);
        assert_eq!(excuse(&[LATE, BUSY], 0), Some(Excuse::Machine));
        assert_eq!(excuse(&[APART], 1), Some(Excuse::Machine));
        assert_eq!(excuse(&[APART], 0), None);
        assert_eq!(excuse(&[LATE, FULL], 1), None);
        assert_eq!(excuse(&[DROPPED], 1), None);
        assert_eq!(excuse(&[], 1), None);
    }
}
