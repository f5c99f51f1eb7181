//! Bytes and packets.

use galileo_probes::Config;
use galileo_tests::{free_port, pod::Pod, turn, watch::Watch};

const SENDER: &str = r#"
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready")
peer, _ = listener.accept()
peer.sendall(b"\x00" * int(sys.argv[2]))
peer.close()
print("sent")
input()
"#;

const RECEIVER: &str = r#"
import socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
total = 0
while (data := peer.recv(1 << 16)):
    total += len(data)
print(total)
input()
"#;

#[test]
fn a_transfer_of_known_size_is_counted_on_both_sides_with_headers_and_little_else() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let payload = 20_000_000_u64;
    let port = free_port().to_string();
    let (from, to) = (Pod::new("from"), Pod::new("to"));
    let mut sender = from.python(SENDER, &[&port, &payload.to_string()]);
    assert_eq!(sender.line(), "ready");
    let mut receiver = to.python(RECEIVER, &[&port]);
    assert_eq!(receiver.line(), payload.to_string());
    assert_eq!(sender.line(), "sent");

    let seen = watch.snapshot().cgroups;
    let (from, to) = (&seen[&from.id], &seen[&to.id]);
    for (what, bytes) in [("sent", from.tx_bytes), ("received", to.rx_bytes)] {
        assert!(
            (payload..=payload / 100 * 105).contains(&bytes),
            "{what}: {bytes}"
        );
    }
    // What goes the other way is acknowledgements.
    for (bytes, packets) in [
        (to.tx_bytes, to.tx_packets),
        (from.rx_bytes, from.rx_packets),
    ] {
        assert!(packets > 3 && (40 * packets..=80 * packets).contains(&bytes));
    }
}
