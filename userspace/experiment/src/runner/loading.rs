//! Loading the probes, and what they cannot see here.

use std::sync::Arc;

use galileo_probes::{Capability, Config, ExchangeStream, Probes};

/// Loads the probes; what they cannot see here is added to `unseen`.
pub(super) fn load_probes(
    interrupts: bool,
    unseen: &mut Vec<String>,
) -> (Option<Arc<Probes>>, Option<ExchangeStream>) {
    let config = Config {
        statistics: true,
        interrupts,
        ..Config::default()
    };
    let mut probes = match Probes::load(&config) {
        Ok(probes) => probes,
        Err(error) => {
            unseen.push(format!(
                "The kernel's probes are off, so only CPU time is known of the replicas: {error}."
            ));
            return (None, None);
        }
    };
    unseen.extend(probes.capabilities().iter().filter_map(not_seen));
    let stream = match probes.exchanges() {
        Ok(stream) => Some(stream),
        Err(error) => {
            unseen.push(format!("Single exchanges are not seen: {error}."));
            None
        }
    };
    (Some(Arc::new(probes)), stream)
}

/// What is not seen as a feature is off, why, and what is left; none if it is on.
fn not_seen(capability: &Capability) -> Option<String> {
    let Capability { feature, off } = capability;
    let reason = off.as_ref()?;
    Some(format!(
        "Not seen: {} ({reason}). What is left: {}.",
        feature.meaning(),
        feature.instead()
    ))
}

#[cfg(test)]
mod tests {
    use galileo_probes::Feature;

    use super::*;

    #[test]
    fn what_is_left_of_a_feature_that_is_off_is_told() {
        let capability = |off: Option<&str>| Capability {
            feature: Feature::Interrupts,
            off: off.map(str::to_owned),
        };
        assert_eq!(not_seen(&capability(None)), None);
        assert_eq!(
            not_seen(&capability(Some("no such tracepoint"))).unwrap(),
            "Not seen: time of interrupts and softirqs by CPU (no such tracepoint). What is left: ticks of interrupts and softirqs by \
             CPU from /proc/stat."
        );
    }
}
