//! What a run tells of a replica's network is what the replica knows of it.

use galileo_tests::{
    runs::Place,
    wire::{DEVICE, Wire},
};
use serde_json::{Value, json};

use crate::experiments::machine;

/// Connects to itself over loopback, to nobody, and to a listener that has no place; sends datagrams of known size over both
/// interfaces. Then it writes down what it did and stays.
const TALKER: &str = r#"
import json, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0), backlog=16)
ends = []
for _ in range(5):
    here = socket.create_connection(listener.getsockname())
    there, _ = listener.accept()
    here.sendall(b"x" * 1000)
    there.recv(2000)
    here.close()
    there.recv(1)
    there.close()
refused = 0
for _ in range(3):
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    try:
        socket.create_connection(closed.getsockname())
    except ConnectionRefusedError:
        refused += 1
full = socket.create_server(("127.0.0.1", 0), backlog=0)
waiting = socket.create_connection(full.getsockname())
abandoned = 0
for _ in range(2):
    try:
        socket.create_connection(full.getsockname(), timeout=0.2)
    except TimeoutError:
        abandoned += 1
near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
near.bind(("127.0.0.1", 0))
far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(10):
    near.sendto(b"x" * 100, near.getsockname())
    near.recv(200)
    far.sendto(b"x" * 200, ("10.9.0.2", 9))
json.dump({"refused": refused, "abandoned": abandoned}, open(sys.argv[1], "w"))
time.sleep(60)
"#;

/// Bytes of an IPv4 and a UDP header.
const HEADERS: u64 = 28;

#[test]
fn a_runs_figures_of_the_network_are_what_the_replica_did() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let wire = Wire::new();
    let program = place.file("talker.py", TALKER);
    let (program, told) = (program.display().to_string(), place.path("told.json"));
    let told_path = told.display().to_string();
    let command = wire.left.command(&["python3", &program, &told_path]);
    let words: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
    let command = serde_json::to_string(&words).unwrap();
    let file = format!(
        "version: 1\nname: talker\nservices: {{talk: {{command: {command}}}}}\nworkloads: []\nduration: 6s\n"
    );

    let json = place.results(&file);

    let told: Value = serde_json::from_str(&std::fs::read_to_string(told).unwrap()).unwrap();
    assert_eq!(told, json!({"refused": 3, "abandoned": 2}));
    let replica = &json["services"]["talk"]["replicas"][0];
    let tcp = &replica["tcp"];
    // Five connections at both ends, and one that waits at the listener which then has no place: whose that is shows at its
    // first answer.
    assert_eq!((&tcp["opened"], &tcp["accepted"]), (&json!(6), &json!(5)));
    assert_eq!(tcp["failed"], 5);
    assert_eq!(
        tcp["failed_by_kind"],
        json!({"refused": 3, "timed_out": 0, "abandoned": 2})
    );
    assert_eq!((&tcp["closed"], &tcp["aborted"]), (&json!(10), &json!(0)));
    assert_eq!(tcp["data_segments"], 5);
    assert_eq!(
        (&tcp["retransmits"], &tcp["timeouts"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(tcp["listen_drops"], 2);
    // The one that waits, at its own end at least.
    assert!(tcp["open"].as_u64().unwrap() >= 1, "{tcp}");
    let rtt = &tcp["rtt_ms"];
    let (p50, max) = (rtt["p50"].as_f64().unwrap(), rtt["max"].as_f64().unwrap());
    assert!(p50 > 0.0 && p50 <= max && max < 1_000.0, "{rtt}");

    let interfaces = replica["interfaces"].as_array().expect("an array");
    let [loopback, other] = &interfaces[..] else {
        panic!("two interfaces: {interfaces:?}");
    };
    assert_eq!(
        (&loopback["name"], &loopback["loopback"]),
        (&json!("lo"), &json!(true))
    );
    assert_eq!(
        (&other["name"], &other["loopback"]),
        (&json!(DEVICE), &json!(false))
    );
    let number = |value: &Value| value.as_u64().expect("a whole number");
    assert_eq!(number(&other["tx_packets"]), 10);
    assert_eq!(number(&other["tx_bytes"]), 10 * (200 + HEADERS));
    assert_eq!(number(&other["rx_bytes"]), 0);
    // All that it sent over loopback it got itself, the SYNs to the full listener and what refused it included.
    let least = 10 * (100 + HEADERS) + 5 * 1_000;
    let [sent, received] = ["tx_bytes", "rx_bytes"].map(|of| number(&loopback[of]));
    assert!(sent >= least && sent < least + 10_000, "{sent} bytes");
    assert!(
        received >= least && received <= sent,
        "{received} of {sent} bytes"
    );
    for of in ["tx_bytes", "rx_bytes"] {
        let all = number(&loopback[of]) + number(&other[of]);
        assert_eq!(number(&replica[of]), all);
    }
}
