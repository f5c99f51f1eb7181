//! Bytes and packets.

use galileo_probes::{CgroupStats, Config, Interface, Ledger, Traffic};
use galileo_tests::{
    free_port,
    pod::{Pod, Process},
    turn,
    wait::until,
    watch::Watch,
    wire::{DEVICE, ETHERNET, Wire},
};

/// Sends so many bytes to the first who connects, and keeps the connection.
const SENDER: &str = r#"
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("ready")
peer, _ = listener.accept()
peer.sendall(b"\x00" * int(sys.argv[3]))
print("sent")
input()
"#;

/// Reads so many bytes, and keeps the connection.
const RECEIVER: &str = r#"
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
total = 0
while total < int(sys.argv[3]):
    total += len(peer.recv(1 << 16))
print(total)
input()
"#;

/// Bytes of the headers of IP and TCP of a segment with data: TCP has time stamps.
const HEADERS_V4: u64 = 20 + 32;
const HEADERS_V6: u64 = 40 + 32;

#[test]
fn a_transfer_of_known_size_is_counted_on_both_sides_with_headers_and_little_else() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let payload = 20_000_000_u64;
    let port = free_port().to_string();
    let (from, to) = (Pod::new("from"), Pod::new("to"));
    let size = payload.to_string();
    let mut sender = from.python(SENDER, &["127.0.0.1", &port, &size]);
    assert_eq!(sender.line(), "ready");
    let mut receiver = to.python(RECEIVER, &["127.0.0.1", &port, &size]);
    assert_eq!(receiver.line(), size);
    assert_eq!(sender.line(), "sent");

    let seen = watch.snapshot().cgroups;
    let (from, to) = (&seen[&from.id], &seen[&to.id]);
    // What TCP sent again went by again: segments of up to 64 kB, where a CPU stood still for long enough.
    let again = from.tcp.retransmits * 65_535;
    for (what, bytes) in [("sent", from.tx_bytes), ("received", to.rx_bytes)] {
        assert!(
            (payload..=payload / 100 * 105 + again).contains(&bytes),
            "{what}: {bytes}, sent again: at most {again}"
        );
    }
    // What goes the other way is acknowledgements.
    for (bytes, packets) in [
        (to.tx_bytes, to.tx_packets),
        (from.rx_bytes, from.rx_packets),
    ] {
        assert!(packets > 3 && (40 * packets..=80 * packets).contains(&bytes));
    }
    for pod in [from, to] {
        assert_eq!(
            pod.interfaces.keys().collect::<Vec<_>>(),
            [&Interface::LOOPBACK]
        );
        assert_eq!(pod.interfaces[&Interface::LOOPBACK], total(pod));
    }
}

fn total(stats: &CgroupStats) -> Traffic {
    Traffic {
        rx_bytes: stats.rx_bytes,
        rx_packets: stats.rx_packets,
        tx_bytes: stats.tx_bytes,
        tx_packets: stats.tx_packets,
    }
}

/// Bytes of data in a segment of Ethernet, at most.
const SEGMENT: u64 = 1_448;

/// A transfer over a wire, from left to right, whose two ends are still open.
struct Transfer {
    wire: Wire,
    before: [Traffic; 2],
    pods: [Pod; 2],
    _processes: [Process; 2],
}

impl Transfer {
    fn new(wire: Wire, address: &'static str, payload: u64) -> Self {
        let before = [wire.left.device(), wire.right.device()];
        let pods = [Pod::new("left"), Pod::new("right")];
        let size = payload.to_string();
        let arguments = [address, "8000", &size];
        let mut sender = pods[0].python_inside(&wire.left, SENDER, &arguments);
        assert_eq!(sender.line(), "ready");
        let mut receiver = pods[1].python_inside(&wire.right, RECEIVER, &arguments);
        assert_eq!(receiver.line(), size);
        assert_eq!(sender.line(), "sent");
        Self {
            wire,
            before,
            pods,
            _processes: [sender, receiver],
        }
    }

    /// What the device and the hook at both ends counted, the interface being the only one: at a moment when the last
    /// acknowledgement has passed, so that both ends of the wire agree.
    fn counted(&self, watch: &Watch) -> [(Traffic, Traffic); 2] {
        until("the wire is quiet", || {
            let ends = [&self.wire.left, &self.wire.right];
            let device = [0, 1].map(|end| {
                let mut device = ends[end].device();
                device -= self.before[end];
                device
            });
            let cgroups = watch.snapshot().cgroups;
            let hook = [0, 1].map(|end| cgroups[&self.pods[end].id].clone());
            let passed = [0, 1].map(|end| ends[end].device());
            let quiet = [0, 1].iter().all(|end| {
                let mut passed = passed[*end];
                passed -= self.before[*end];
                passed == device[*end]
            });
            let agree = device[0].tx_bytes == device[1].rx_bytes
                && device[1].tx_bytes == device[0].rx_bytes;
            (quiet && agree).then(|| {
                [0, 1].map(|end| {
                    let stats = &hook[end];
                    let interfaces: Vec<_> = stats.interfaces.iter().collect();
                    let [(interface, traffic)] = interfaces[..] else {
                        panic!("one interface: {interfaces:?}");
                    };
                    assert_eq!(*traffic, total(stats));
                    let name = ends[end].open().interface_name(*interface).unwrap();
                    assert_eq!(name.as_deref(), Some(DEVICE));
                    (device[end], *traffic)
                })
            })
        })
    }
}

/// What was counted of a transfer, from left to right, of which the device dropped nothing, as what it dropped passed the hook before, and
/// only there; and which passed the hook in packets of several segments each, as TCP makes smaller ones where it gets on slowly.
fn in_large_packets(
    watch: &Watch,
    payload: u64,
    transfer: impl Fn() -> Transfer,
) -> [(Traffic, Traffic); 2] {
    until("a wire that drops nothing, with large packets", || {
        let transfer = transfer();
        let counted = transfer.counted(watch);
        let dropped = transfer.wire.left.dropped() + transfer.wire.right.dropped();
        let [(_, left), _] = counted;
        (dropped == 0 && left.tx_packets < payload / SEGMENT / 4).then_some(counted)
    })
}

#[test]
fn bytes_over_a_wire_are_those_of_the_device_without_its_headers() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let payload = 20_000_000;
    for address in ["10.9.0.1", "fd09::1"] {
        // A veth passes what the kernel would segment for a real device as it is: both count the same packets.
        let transfer = || Transfer::new(Wire::new(), address, payload);
        for (device, hook) in in_large_packets(&watch, payload, transfer) {
            assert_eq!(device.rx_packets, hook.rx_packets);
            assert_eq!(device.tx_packets, hook.tx_packets);
            assert_eq!(device.rx_bytes, hook.rx_bytes + ETHERNET * hook.rx_packets);
            assert_eq!(device.tx_bytes, hook.tx_bytes + ETHERNET * hook.tx_packets);
        }
    }
}

#[test]
fn a_packet_that_is_segmented_or_merged_later_is_one_with_one_header() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let payload = 20_000_000;
    for (address, headers) in [("10.9.0.1", HEADERS_V4), ("fd09::1", HEADERS_V6)] {
        // A veth whose packets are merged behind it counts, at both ends, without the header of Ethernet.
        for (merge, ethernet) in [("off", ETHERNET), ("on", 0)] {
            let transfer = || {
                let wire = Wire::new();
                // The left end segments before the device, the right end merges behind it.
                wire.left.run("ethtool -K wire tso off gso off");
                wire.right.run(&format!("ethtool -K wire gro {merge}"));
                Transfer::new(wire, address, payload)
            };
            let counted = in_large_packets(&watch, payload, transfer);
            let [(left_device, left), (right_device, right)] = counted;

            let on_the_device = |bytes, packets, device_packets: u64| {
                bytes + ethernet * device_packets + headers * (device_packets - packets)
            };
            assert!(left_device.tx_packets >= payload / SEGMENT);
            assert_eq!(right.rx_packets < right_device.rx_packets, merge == "on");
            assert_eq!(
                left_device.tx_bytes,
                on_the_device(left.tx_bytes, left.tx_packets, left_device.tx_packets)
            );
            assert_eq!(
                right_device.rx_bytes,
                on_the_device(right.rx_bytes, right.rx_packets, right_device.rx_packets)
            );
        }
    }
}

/// Sends datagrams to an address, and to itself on loopback.
const DATAGRAMS: &str = r#"
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
own = "::1" if family == socket.AF_INET6 else "127.0.0.1"
end = socket.socket(family, socket.SOCK_DGRAM)
end.bind(("", 9000))
for to, count in ((sys.argv[1], int(sys.argv[2])), (own, int(sys.argv[3]))):
    for _ in range(count):
        end.sendto(b"\x00" * int(sys.argv[4]), (to, 9000))
print("sent")
input()
"#;

#[test]
fn datagrams_are_counted_to_the_byte_and_loopback_apart() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (over, own, size) = (300, 70, 500);
    for (left_address, right_address, headers) in [
        ("10.9.0.1", "10.9.0.2", 20 + 8),
        ("fd09::1", "fd09::2", 40 + 8),
    ] {
        let wire = Wire::new();
        let [left, right] = ["left", "right"].map(Pod::new);
        // The right one listens first, as a datagram to nobody makes an ICMP message.
        let mut to = right.python_inside(&wire.right, DATAGRAMS, &[left_address, "0", "0", "1"]);
        assert_eq!(to.line(), "sent");
        let arguments = [
            right_address,
            &over.to_string(),
            &own.to_string(),
            &size.to_string(),
        ];
        let mut from = left.python_inside(&wire.left, DATAGRAMS, &arguments);
        assert_eq!(from.line(), "sent");

        let expected = |count: u64| (count * (size + headers), count);
        let seen = until("all have come", || {
            let seen = watch.snapshot().cgroups;
            (seen.get(&right.id)?.rx_packets == over).then_some(seen)
        });
        let (left, right) = (&seen[&left.id], &seen[&right.id]);
        let loopback = left.interfaces[&Interface::LOOPBACK];
        assert_eq!((loopback.tx_bytes, loopback.tx_packets), expected(own));
        assert_eq!((loopback.rx_bytes, loopback.rx_packets), expected(own));
        assert_eq!(left.interfaces.len(), 2);
        let mut rest = total(left);
        rest -= loopback;
        assert_eq!((rest.tx_bytes, rest.tx_packets), expected(over));
        assert_eq!(rest.rx_packets, 0);
        assert_eq!((right.rx_bytes, right.rx_packets), expected(over));
        assert_eq!(right.interfaces.len(), 1);
    }
}

/// Sends a datagram of a size over each of the interfaces `m0`, `m1`, …
const MANY_INTERFACES: &str = r#"
import socket, struct, sys
for index in range(int(sys.argv[1])):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number = socket.if_nametoindex(f"m{index}")
    end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", b"", b"", number))
    end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    end.sendto(b"\x00" * int(sys.argv[2]), ("239.9.9.9", 9000))
print("sent")
input()
"#;

#[test]
fn what_finds_no_place_in_the_table_of_interfaces_keeps_its_bytes_and_is_counted() {
    // D-08
    let _turn = turn();
    let Some(watch) = Watch::start(&Config {
        cgroups: Some(64),
        ..Config::default()
    }) else {
        return;
    };
    // The table has two places for each cgroup.
    let (interfaces, size) = (150, 100);
    let wire = Wire::new();
    for index in 0..interfaces {
        wire.left.run(&format!(
            "ip link add link {DEVICE} name m{index} up type macvlan mode private"
        ));
    }
    let pod = Pod::new("many");
    let arguments = [&interfaces.to_string()[..], &size.to_string()];
    let mut sender = pod.python_inside(&wire.left, MANY_INTERFACES, &arguments);
    assert_eq!(sender.line(), "sent");

    let seen = watch.snapshot();
    let stats = &seen.cgroups[&pod.id];
    assert_eq!(stats.tx_packets, interfaces);
    assert_eq!(stats.tx_bytes, interfaces * (size + 20 + 8));
    let known = stats.interfaces.len() as u64;
    assert!(known > 0 && known <= 128, "{known}");
    let told = stats
        .interfaces
        .values()
        .all(|one| one.tx_bytes == size + 28);
    assert!(told, "{:?}", stats.interfaces);
    let missing = interfaces - known;
    assert_eq!(stats.ledger[&Ledger::InterfacesFull], missing);
    assert!(seen.ledger[&Ledger::InterfacesFull] >= missing);
}
