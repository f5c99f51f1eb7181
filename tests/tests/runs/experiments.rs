//! Experiments that several tests use.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use galileo_probes::{Config, Probes};
use galileo_tests::runs::{Alone, alone, program};
use galileo_wire::capture::Usage;
use serde_json::Value;

/// The machine for one test; none if the kernel lets no probes be loaded here.
pub fn machine() -> Option<Alone> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let machine = alone();
    let reason = REASON.get_or_init(|| {
        let loaded = Probes::load(&Config::default());
        loaded.err().map(|error| error.to_string())
    });
    match reason {
        None => Some(machine),
        Some(reason) => {
            galileo_skips::skip(format!("probes cannot be loaded here: {reason}"));
            None
        }
    }
}

/// An example of the repository, with the server of this build.
pub fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(name);
    let text = fs::read_to_string(&path).expect("the example is there");
    let changed = replaced(&text, "../target/release/galileo-example-server", &server());
    assert!(!changed.contains("../target"), "{changed}");
    changed
}

/// Replaces something that is there.
pub fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "no '{old}' in: {text}");
    text.replace(old, new)
}

/// The run that these are the results of.
pub fn id(results: &Value) -> &str {
    results["experiment"]["id"].as_str().expect("a text")
}

/// The CPU time of a replica by the probes is what the kernel accounted, within what is allowed and what either may lack of the
/// other although neither is wrong (docs/measurements.md).
pub fn assert_accounted(replica: &str, usage: &Usage, allowed_ns: u64) {
    let accounted = usage.accounted_cpu_ns.expect("cpu.stat is there");
    let apart = usage.apart.expect("it is known how far they may be apart");
    let lacking = apart.end_ns + apart.preempted_ns + apart.steal_ns + apart.interrupts_ns;
    let more = apart.begin_ns + apart.preempting_ns;
    assert!(
        usage.cpu_ns <= accounted + allowed_ns + lacking
            && accounted <= usage.cpu_ns + allowed_ns + more,
        "{replica}: {} ns by the probes, {accounted} ns by cpu.stat, {apart:?}",
        usage.cpu_ns
    );
}

/// Path of the example server.
pub fn server() -> String {
    program::server().display().to_string()
}

/// One replica of the example server, with a constant load straight at it.
pub struct Plain {
    pub port: u16,
    pub work: &'static str,
    pub rate: &'static str,
    pub extent: &'static str,
    pub warmup: &'static str,
}

impl Plain {
    pub fn new(port: u16) -> Self {
        Self {
            port,
            work: "0ms",
            rate: "50/s",
            extent: "duration: 2s",
            warmup: "0s",
        }
    }

    pub fn text(&self) -> String {
        let Self {
            port,
            work,
            rate,
            extent,
            warmup,
        } = self;
        let server = server();
        format!(
            "services:
  web: {{command: ['{server}', --work, {work}], port: {port}, health: /health}}
workloads:
  - {{service: web, through: direct, arrival: {{constant: {rate}}}, {extent}}}
warmup: {warmup}
"
        )
    }
}
