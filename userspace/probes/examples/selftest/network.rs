//! Bytes of a transfer whose size is known.

use std::fs;

use galileo_probes::Probes;

use crate::{Outcome, child::Worker, report::Report};

/// Payload.
const BYTES: u64 = 20_000_000;

/// Longest headers of a packet that count: IPv4 and TCP with all options.
const HEADERS: u64 = 120;

/// Longest packet on loopback: its MTU. What is sent again counts again.
const PACKET: u64 = 65_536;

pub(crate) fn check(probes: &Probes) -> Outcome {
    let (before, again_before) = (probes.snapshot()?, sent_again()?);
    let (mut sender, port) = Worker::start("sender", "send", &BYTES.to_string())?;
    let (mut receiver, _) = Worker::start("receiver", "receive", &port)?;
    receiver.go()?;
    let received: u64 = receiver.line()?.parse()?;
    sender.line()?;
    let after = probes.snapshot()?.since(&before);
    let again = sent_again()? - again_before;
    let sent = after
        .cgroups
        .get(&sender.id()?)
        .map(|stats| (stats.tx_bytes, stats.tx_packets));
    let got = after
        .cgroups
        .get(&receiver.id()?)
        .map(|stats| (stats.rx_bytes, stats.rx_packets));
    for (name, counted) in [("sent", sent), ("received", got)] {
        let (bytes, packets) = counted.unwrap_or((0, 0));
        let most = BYTES + packets * HEADERS + again * PACKET;
        Report::check(
            &format!("bytes {name} are those of the transfer and of its headers"),
            received == BYTES && (BYTES..=most).contains(&bytes),
            &format!(
                "{bytes} B in {packets} packets for {received} B of payload, {again} segments sent again"
            ),
        );
    }
    Ok(())
}

/// Segments that this machine has retransmitted: `RetransSegs` of RFC 4022, which stands in the second of the lines that
/// begin with `Tcp:`, at the place that the first one gives it.
fn sent_again() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let place = names.split(' ').position(|name| name == "RetransSegs");
    let value = place.and_then(|place| values.split(' ').nth(place));
    Ok(value.ok_or("/proc/net/snmp has no RetransSegs")?.parse()?)
}
