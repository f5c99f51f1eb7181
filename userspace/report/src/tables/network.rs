//! The tables of the network.

use galileo_analysis::RunResult;
use galileo_analysis::result::InterfaceResult;

use super::{Table, extra, number, text};
use crate::numbers::{bytes, count, optional, optional_bytes, optional_count};

/// What each replica's network did, in one line.
pub(crate) fn network(result: &RunResult) -> Table {
    let mut table = Table::new(
        "Network and TCP: bytes both ways over loopback and other interfaces; connections opened, accepted, failed and turned away by \
         full listeners (drops); segments sent again; smoothed round trip of each connection at its end, or at that of the phase, in ms",
        &[
            text("replica"),
            number("loopback"),
            number("other"),
            number("opened"),
            number("accepted"),
            number("failed"),
            number("drops"),
            extra("ended"),
            extra("open"),
            extra("aborted"),
            extra("segments"),
            number("resent"),
            extra("timeouts"),
            number("RTT p50"),
            extra("RTT p99"),
            extra("RTT max"),
        ],
    );
    let seen = result
        .replicas()
        .filter(|replica| replica.interfaces.is_some() || replica.tcp.is_some());
    for replica in seen {
        let interfaces = replica.interfaces.as_ref();
        let over = |loopback: bool| {
            let of_kind = interfaces?
                .iter()
                .filter(|interface| interface.loopback == loopback);
            Some(of_kind.map(|it| it.rx_bytes + it.tx_bytes).sum())
        };
        let tcp = replica.tcp.as_ref();
        let rtt = tcp.and_then(|tcp| tcp.rtt_ms);
        table.push(vec![
            replica.name.clone(),
            optional_bytes(over(true)),
            optional_bytes(over(false)),
            optional_count(tcp.map(|tcp| tcp.opened)),
            optional_count(tcp.map(|tcp| tcp.accepted)),
            optional_count(tcp.map(|tcp| tcp.failed)),
            optional_count(tcp.and_then(|tcp| tcp.listen_drops)),
            optional_count(tcp.map(|tcp| tcp.closed)),
            optional_count(tcp.and_then(|tcp| tcp.open)),
            optional_count(tcp.map(|tcp| tcp.aborted)),
            optional_count(tcp.map(|tcp| tcp.data_segments)),
            optional_count(tcp.map(|tcp| tcp.retransmits)),
            optional_count(tcp.map(|tcp| tcp.timeouts)),
            optional(rtt.map(|rtt| rtt.p50)),
            optional(rtt.map(|rtt| rtt.p99)),
            optional(rtt.map(|rtt| rtt.max)),
        ]);
    }
    table
}

/// What went over each interface.
pub(crate) fn interfaces(result: &RunResult) -> Table {
    let mut table = Table::new(
        "What each replica received and sent by network interface; packets as the kernel handles them: merged when they come, not yet \
         cut when they go",
        &[
            text("replica"),
            text("interface"),
            number("received"),
            number("packets"),
            number("sent"),
            number("packets"),
        ],
    );
    for replica in result.replicas() {
        let interfaces = replica.interfaces.iter().flatten();
        for (index, interface) in interfaces.enumerate() {
            let cells = vec![
                if index == 0 {
                    replica.name.clone()
                } else {
                    String::new()
                },
                name(interface),
                bytes(interface.rx_bytes),
                count(interface.rx_packets),
                bytes(interface.tx_bytes),
                count(interface.tx_packets),
            ];
            table.push_as(index > 0, cells);
        }
    }
    table
}

fn name(interface: &InterfaceResult) -> String {
    match (&interface.name, interface.interface) {
        (Some(name), _) => name.clone(),
        (None, _) if interface.loopback => "loopback".to_owned(),
        (None, Some(number)) => format!("number {number}"),
        (None, None) => "others".to_owned(),
    }
}
