//! A kernel that refuses one of the programs: what it is for is off, which all outputs tell alike, and the rest counts.

use std::fs;

use galileo_probes::Feature;
use galileo_tests::{
    free_port, object,
    runs::{Place, Said, Started},
};
use galileo_wire::Phase;
use serde_json::Value;

use crate::experiments::{id, machine, server};

/// A program that is refused, and what follows.
struct Case {
    program: &'static str,
    /// In the order in which they are told.
    off: &'static [Feature],
    /// What is then not known of a replica.
    unknown: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case {
        program: "sched_switch",
        off: &[Feature::Cpu],
        unknown: &["runq_wait_ms", "waits_seconds"],
    },
    Case {
        program: "ingress",
        off: &[Feature::Http, Feature::Network, Feature::Tcp],
        unknown: &[
            "cpu_ms_per_request",
            "exchanges",
            "service_ms",
            "rx_bytes",
            "tx_bytes",
            "interfaces",
            "tcp",
        ],
    },
    Case {
        program: "connections",
        off: &[Feature::Tcp],
        unknown: &["tcp"],
    },
    // A step, which the packet hooks call for what is not plain.
    Case {
        program: "act_sent",
        off: &[Feature::Http],
        unknown: &["cpu_ms_per_request", "exchanges", "service_ms"],
    },
    Case {
        program: "softirq_exit",
        off: &[Feature::Interrupts],
        unknown: &[],
    },
];

/// What is known of each replica where nothing is off. CPU time comes from `cpu.stat` where the probes do not tell it.
const KNOWN: [&str; 10] = [
    "cpu_seconds",
    "cpu_ms_per_request",
    "exchanges",
    "service_ms",
    "rx_bytes",
    "tx_bytes",
    "interfaces",
    "tcp",
    "runq_wait_ms",
    "waits_seconds",
];

/// A place whose object has a program that is refused.
struct Refused {
    place: Place,
}

impl Refused {
    fn new(program: &str) -> Self {
        let place = Place::new();
        object::write_refused(&place.path("refused.o"), program);
        Self { place }
    }

    fn galileo(&self, arguments: &[&str]) -> Said {
        let mut command = self.place.command(arguments);
        command.env(object::VARIABLE, self.place.path("refused.o"));
        Started::new(command).end()
    }

    /// A run of 50 requests; returns what it says, its results and its page.
    fn run(&self) -> (String, Value, String) {
        let (server, port) = (server(), free_port());
        self.place.file(
            "experiment.yaml",
            &format!(
                "services:
  web: {{command: ['{server}', --work, 1ms], port: {port}, health: /health}}
workloads: [{{service: web, arrival: {{constant: 50/s}}, duration: 1s}}]
warmup: 200ms
telemetry: {{interrupts: true}}
"
            ),
        );
        let said = self.galileo(&["run", "experiment.yaml"]);
        // Late requests make a run of a busy machine invalid.
        assert!(matches!(said.code, Some(0 | 3)), "{}{}", said.out, said.err);
        let results = self.galileo(&["show", "--output", "json"]).json();
        let folder = self.place.path("runs").join(self.place.id());
        let page = fs::read_to_string(folder.join("report.html")).expect("there is a report");
        (said.out, results, page)
    }
}

/// Why a feature is off, by `galileo check`, which must say so with what is left; none if it is on.
fn checked(checks: &Value, feature: Feature) -> Option<String> {
    let of = |check: &&Value| {
        let found = check["found"].as_str();
        found.is_some_and(|found| found.contains(feature.meaning()))
    };
    let mut checks = checks["checks"].as_array().expect("an array").iter();
    let check = checks.find(of).expect("each feature is checked");
    let Some(why) = check["why"].as_str() else {
        assert_eq!(check["state"], "works");
        assert_eq!(check["found"], feature.meaning());
        return None;
    };
    assert_eq!(check["state"], "off");
    let (meaning, instead) = (feature.meaning(), feature.instead());
    let missing = format!("not seen: {meaning}; what is left: {instead}");
    assert_eq!(check["found"], missing.as_str());
    Some(why.to_owned())
}

/// However its lines are broken.
fn closed_up(text: &str) -> String {
    text.split_whitespace().collect()
}

/// The text of a page's paragraph.
fn unescaped(page: &str) -> String {
    let escapes = [
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    escapes
        .iter()
        .fold(page.to_owned(), |text, (escape, character)| {
            text.replace(escape, character)
        })
}

#[test]
fn what_a_refused_program_is_for_is_told_with_the_reason_and_all_else_counts() {
    let Some(_machine) = machine() else { return };
    for Case {
        program,
        off,
        unknown,
    } in CASES
    {
        let refused = Refused::new(program);

        let checks = refused.galileo(&["check", "--output", "json"]).json();
        let (out, results, page) = refused.run();

        assert_eq!(checks["verdict"], "reduced", "{program}");
        let reasons: Vec<_> = Feature::ALL
            .into_iter()
            .filter_map(|feature| Some((feature, checked(&checks, feature)?)))
            .collect();
        assert_eq!(reasons.len(), off.len(), "{program}: {reasons:?}");
        let sentences: Vec<_> = off
            .iter()
            .map(|feature| {
                let (_, why) = reasons
                    .iter()
                    .find(|(one, _)| one == feature)
                    .unwrap_or_else(|| panic!("{feature:?} is on"));
                // The kernel's own words, and nothing but the reason.
                let begin = format!("the kernel refuses {program}: ");
                assert!(why.starts_with(&begin), "{why}");
                assert!(why.ends_with("Verifier output: R9 !read_ok"), "{why}");
                let (meaning, instead) = (feature.meaning(), feature.instead());
                format!("Not seen: {meaning} ({why}). What is left: {instead}.")
            })
            .collect();
        assert_eq!(results["unseen"], Value::from(sentences.clone()));
        let (out, page) = (closed_up(&out), closed_up(&unescaped(&page)));
        for sentence in &sentences {
            let sentence = closed_up(sentence);
            assert!(out.contains(&sentence), "{sentence} in {out}");
            assert!(page.contains(&sentence), "{sentence}");
        }

        // All else counts as ever.
        let replica = &results["services"]["web"]["replicas"][0];
        for figure in KNOWN {
            let is_known = !unknown.contains(&figure);
            assert_eq!(!replica[figure].is_null(), is_known, "{program}: {figure}");
        }
        // Requests of 1 ms each; those at the edges may have been worked on outside of what was read, of which the first part takes a while
        // on a busy machine. What a wake-up takes may be within a request's time (docs/measurements.md).
        let stored = refused.place.stored(id(&results));
        let window = stored.measured();
        let least_ns = window.start_ns + 150_000_000;
        let within = stored.traces.iter().filter(|it| {
            it.sent_ns.is_some_and(|sent_ns| sent_ns >= least_ns)
                && it.done_ns.is_some_and(|done_ns| done_ns <= window.end_ns)
        });
        let least = within.count() as f64 / 1_000.0;
        let cpu = replica["cpu_seconds"].as_f64().expect("a number");
        assert!(least > 0.02, "{program}: {least} s");
        assert!(
            (least - 0.01..0.5).contains(&cpu),
            "{program}: {cpu} s, not {least} s"
        );
        if let Some(exchanges) = replica["exchanges"].as_u64() {
            assert_eq!(stored.answered_as_due("web-0"), 50, "{program}");
            let measured = stored
                .served("web-0")
                .filter(|it| it.phase == Phase::Measured);
            assert_eq!(exchanges, measured.count() as u64, "{program}");
        }
        if !off.contains(&Feature::Network) {
            // Where a step is refused as well: all of these messages come in one piece.
            assert_eq!(results["joined"], 50, "{program}");
        }
        if let Some(bytes) = replica["rx_bytes"].as_u64() {
            assert!(bytes > 50 * 100, "{program}: {bytes} B");
        }
        for cpu in results["cpus"].as_array().expect("an array") {
            let interrupts = !off.contains(&Feature::Interrupts);
            assert_eq!(!cpu["softirq_seconds"].is_null(), interrupts, "{cpu}");
        }
    }
}

/// Ten connections to itself, each with a request in two segments and an answer in one.
const IN_TWO_SEGMENTS: &str = r#"
import socket
listener = socket.create_server(("127.0.0.1", 0))
for _ in range(10):
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    for part in (b"GET / HTTP/1.1\r\nHost: a", b".b\r\n\r\n"):
        client.sendall(part)
        assert server.recv(100) == part
    server.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    client.recv(100)
    client.close()
    server.close()
"#;

#[test]
fn what_a_refused_step_would_have_read_is_counted_as_lost() {
    let Some(_machine) = machine() else { return };
    let refused = Refused::new("act_sent");
    let command = ["python3", "-c", IN_TWO_SEGMENTS];

    let record = ["record", "--output", "json", "--"];
    let said = refused.galileo(&[&record[..], &command[..]].concat());

    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    let results = said.json();
    // Where it is sent. Where it is received it is seen, as the answer comes in one piece.
    assert_eq!(results["losses"]["steps_exceeded"], 10, "{results}");
    assert_eq!(results["noticed"]["exchanges_attempted"], 10, "{results}");
    assert_eq!(results["noticed"]["exchanges_seen"], 10, "{results}");
    let reasons = results["invalid_reasons"].to_string();
    assert!(reasons.contains("steps_exceeded"), "{reasons}");
}
