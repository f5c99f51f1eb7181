//! What is not plain or not certain of exchanges stands in a run's result as in its records.

use std::collections::BTreeMap;

use galileo_tests::{free_port, runs::Place};

use crate::experiments::{id, machine};

/// Answers one request a connection, with a body that ends with it.
const UNTIL_CLOSED: &str = "\
import socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    peer, _ = listener.accept()
    if peer.recv(4096):
        peer.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\nyes')
    peer.close()
";

#[test]
fn flags_of_exchanges_are_counted_whether_they_are_stored_or_not() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = free_port();
    place.file("server.py", UNTIL_CLOSED);
    let server = place.path("server.py").display().to_string();
    let service = format!("web: {{command: [python3, -S, '{server}', '{port}'], port: {port}}}");

    let json = place.results(&format!(
        "services: {{{service}}}
workloads:
  - {{service: web, through: direct, arrival: {{constant: 40/s}}, duration: 1s}}
warmup: 300ms
"
    ));

    let stored = place.stored(id(&json));
    let window = stored.measured();
    let mut by_flag = BTreeMap::<&str, u64>::new();
    let measured = stored
        .served("web-0")
        .filter(|it| (window.start_ns..window.end_ns).contains(&it.start_ns));
    for flag in measured.flat_map(|exchange| &exchange.flags) {
        *by_flag.entry(flag).or_default() += 1;
    }
    let web = &json["services"]["web"]["replicas"][0];
    assert_eq!(web["exchanges_by_flag"], serde_json::json!(by_flag));
    let answered = by_flag["close_delimited"];
    assert_eq!(stored.answered_as_due("web-0"), 40);
    // One may come behind an edge; of all that came within, none is without the flag.
    assert_eq!(web["exchanges"], answered);
    assert_eq!(
        web["exchanges_by_status"],
        serde_json::json!({"200": answered})
    );
    let shown = place.galileo(&["show"]).fine();
    assert!(shown.contains("close_delimited of web-0"), "{shown}");

    // Nobody but Galileo's own load sends its ids.
    let asker = format!("while curl -s http://127.0.0.1:{port}; do sleep 0.02; done");
    let json = place.results(&format!(
        "services: {{{service}, asker: {{command: [sh, -c, '{asker}']}}}}
workloads: []
duration: 3s
record: {{exchanges: 5}}
"
    ));

    let stored = place.stored(id(&json));
    // Whatever else is on this machine may have taken places, too.
    assert!(stored.served("web-0").count() <= 5);
    let web = &json["services"]["web"]["replicas"][0];
    let counted = web["exchanges_by_flag"]["close_delimited"].as_u64();
    assert!(counted > Some(5), "{web}");
    let exchanges = web["exchanges"].as_u64().expect("a number");
    assert_eq!(counted, Some(exchanges), "{web}");
}
