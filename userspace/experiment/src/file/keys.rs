//! Every key of an experiment file, in one table: what is not in it is an error, and all of it is documented.

/// A mapping with a fixed set of keys.
#[derive(Debug)]
pub(super) struct Section {
    /// Where it stands: `services.<name>.limits`; empty for the file itself. The reference names keys by it.
    #[cfg_attr(not(test), allow(dead_code))]
    pub path: &'static str,
    /// What it is called in a message: "a service".
    pub what: &'static str,
    /// Its keys in the order of the reference.
    pub keys: &'static [&'static str],
}

pub(super) const FILE: Section = Section {
    path: "",
    what: "an experiment file",
    keys: &[
        "version",
        "name",
        "nodes",
        "services",
        "workloads",
        "warmup",
        "duration",
        "telemetry",
        "record",
    ],
};

pub(super) const NODE: Section = Section {
    path: "nodes.<name>",
    what: "a node",
    keys: &["cpus"],
};

pub(super) const SERVICE: Section = Section {
    path: "services.<name>",
    what: "a service",
    keys: &[
        "command",
        "port",
        "replicas",
        "node",
        "env",
        "health",
        "ready_timeout",
        "limits",
        "weights",
        "cwd",
    ],
};

pub(super) const LIMITS: Section = Section {
    path: "services.<name>.limits",
    what: "limits",
    keys: &["cpu", "memory"],
};

pub(super) const WORKLOAD: Section = Section {
    path: "workloads[]",
    what: "a workload",
    keys: &[
        "service",
        "through",
        "clients",
        "request",
        "arrival",
        "duration",
        "requests",
        "seed",
        "in_flight",
        "timeout",
    ],
};

pub(super) const REQUEST: Section = Section {
    path: "workloads[].request",
    what: "a request",
    keys: &["method", "path", "headers", "body"],
};

pub(super) const ARRIVAL: Section = Section {
    path: "workloads[].arrival",
    what: "an arrival process",
    keys: &["poisson", "constant"],
};

pub(super) const TELEMETRY: Section = Section {
    path: "telemetry",
    what: "telemetry",
    keys: &["period", "interrupts"],
};

pub(super) const RECORD: Section = Section {
    path: "record",
    what: "record",
    keys: &["exchanges"],
};

pub(super) const ALL: [&Section; 9] = [
    &FILE, &NODE, &SERVICE, &LIMITS, &WORKLOAD, &REQUEST, &ARRIVAL, &TELEMETRY, &RECORD,
];

/// Is it a key of any section?
pub(super) fn is_known(name: &str) -> bool {
    ALL.iter().any(|section| section.keys.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../../../docs/experiment-file.md");

    /// Headings of the reference are the keys with their place: "### `services.<name>.port`".
    #[test]
    fn every_key_has_a_heading_in_the_reference() {
        for section in ALL {
            for key in section.keys {
                let name = if section.path.is_empty() {
                    (*key).to_owned()
                } else {
                    format!("{}.{key}", section.path)
                };
                let heading = format!("### `{name}`");
                assert!(
                    REFERENCE.lines().any(|line| line == heading),
                    "docs/experiment-file.md lacks {heading}"
                );
            }
        }
    }

    #[test]
    fn every_heading_of_the_reference_is_a_key() {
        let known: Vec<String> = ALL
            .iter()
            .flat_map(|section| {
                section
                    .keys
                    .iter()
                    .map(|key| format!("{}.{key}", section.path))
            })
            .map(|name| name.trim_start_matches('.').to_owned())
            .collect();
        for heading in REFERENCE
            .lines()
            .filter_map(|line| line.strip_prefix("### `"))
        {
            let name = heading.trim_end_matches('`');
            assert!(
                known.iter().any(|known| known == name),
                "docs/experiment-file.md tells of {name}, no such key"
            );
        }
    }
}
