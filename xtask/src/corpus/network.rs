//! How the loopback interface of the corpus' namespace treats segments while a case runs.

use std::process::Command;

use anyhow::Result;

use crate::namespace::Namespace;
use crate::process;

/// What happens to segments between two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Network {
    /// Whatever is sent arrives, in pieces as large as it was sent in (64 kB at most).
    Usual,
    /// What is sent in large pieces arrives in pieces of 1,448 bytes, as on Ethernet without offloads.
    Segmented,
    /// Each eighth segment with data is lost, and sent again after some 10 ms.
    Lossy,
    /// Segmented and lossy: what is behind a lost segment overtakes it.
    LossyHeads,
    /// Segmented, and each twentieth segment that does not begin a message is lost: those behind it overtake it.
    LossyBodies,
}

/// `tso off`: the kernel cuts the large pieces behind the hook of what is sent, before the hook of what is received.
const SEGMENT: &str = "ip link set lo mtu 1500 && ethtool -K lo tso off";
/// What is lost is sent again after 10 ms instead of 200.
const HURRY: &str = "ip route change local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1 rto_min 10ms";
/// Restores what any of the others set.
const USUAL: &str = "ip link set lo mtu 65536 && ethtool -K lo tso on \
    && ip route change local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1 \
    && nft 'add table ip corpus; delete table ip corpus'";

/// Segments longer than this have data: the headers of IP and TCP with options take 120 bytes at most.
const HEADERS: u32 = 120;

impl Network {
    /// What is to be done for a server on this port; none if nothing.
    fn script(self, port: u16) -> Option<String> {
        let lossy = |rule: &str| {
            format!(
                "{HURRY} && nft 'table ip corpus {{ \
                   chain lossy {{ ip length > {HEADERS} {rule} drop; }}; \
                   chain in {{ type filter hook input priority 0; tcp dport {port} jump lossy; tcp sport {port} jump lossy; }}; }}'"
            )
        };
        // A TCP header with a time stamp, as all but the first segments have, takes 32 bytes. What follows: GET, POST, HTTP.
        let bodies = "@th,256,32 != { 0x47455420, 0x504f5354, 0x48545450 } numgen inc mod 20 7";
        match self {
            Self::Usual => None,
            Self::Segmented => Some(SEGMENT.to_owned()),
            Self::Lossy => Some(lossy("numgen inc mod 8 3")),
            Self::LossyHeads => Some(format!("{SEGMENT} && {}", lossy("numgen inc mod 8 3"))),
            Self::LossyBodies => Some(format!("{SEGMENT} && {}", lossy(bodies))),
        }
    }

    /// Does something while the network is so.
    pub(super) fn during<T>(
        self,
        namespace: &Namespace,
        port: u16,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(script) = self.script(port) else {
            return work();
        };
        run(namespace, &script)?;
        let result = work();
        run(namespace, USUAL)?;
        result
    }
}

fn run(namespace: &Namespace, script: &str) -> Result<()> {
    let [program, first] = namespace.entry();
    process::output(Command::new(program).arg(first).args(["sh", "-c", script])).map(drop)
}
