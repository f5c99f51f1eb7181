//! The network of replicas: what went over which interface, and how their connections fared. The probes count; names of interfaces
//! and what full listeners turn away only the network namespaces tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use galileo_probes::{
    CgroupStats, Interface as Number, NetworkNamespace, TcpStats, Traffic,
    cgroup::CgroupId,
    sockets::{self, Listener},
};
use galileo_wire::capture::{Interface, Tcp, Usage};

use super::usage::{Seen, histogram};
use crate::local::Replica;

/// What the network namespaces tell at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Network {
    /// Of each replica the namespaces that its processes are in.
    of_each: Vec<BTreeSet<u64>>,
    namespaces: BTreeMap<u64, Namespace>,
}

#[derive(Debug, Clone)]
struct Namespace {
    inside: Arc<NetworkNamespace>,
    /// None if the kernel could not be asked.
    listeners: Option<Vec<Listener>>,
}

impl Network {
    pub(super) fn read(replicas: &[Replica]) -> Self {
        let mut network = Self::default();
        for replica in replicas {
            let mut of_replica = BTreeSet::new();
            for pid in replica.members() {
                // It may have ended meanwhile.
                let Ok(inside) = NetworkNamespace::of_process(pid) else {
                    continue;
                };
                of_replica.insert(inside.id);
                network
                    .namespaces
                    .entry(inside.id)
                    .or_insert_with(|| Namespace {
                        listeners: sockets::listeners(&inside).ok(),
                        inside: Arc::new(inside),
                    });
            }
            network.of_each.push(of_replica);
        }
        network
    }

    fn listeners(&self) -> impl Iterator<Item = &Listener> {
        let asked = self.namespaces.values();
        asked
            .filter_map(|namespace| namespace.listeners.as_ref())
            .flatten()
    }
}

/// The networks of replicas at both ends of the measured phase.
pub(super) struct Networks<'a> {
    pub before: &'a Network,
    pub after: &'a Network,
}

impl Networks<'_> {
    /// Adds what is known of a replica's network, whose cgroups are `ids`, to what it used.
    pub(super) fn tell(
        &self,
        replica: usize,
        stats: &CgroupStats,
        seen: Seen,
        ids: &[CgroupId],
        usage: &mut Usage,
    ) {
        usage.interfaces = seen
            .network
            .then(|| interfaces(stats, |number| self.name(replica, number)));
        usage.tcp = seen
            .tcp
            .then(|| tcp(&stats.tcp, self.listen_drops(replica, ids)));
    }

    /// The namespaces of a replica; those of before, if its processes have ended.
    fn of_replica(&self, replica: usize) -> Option<(&Network, &BTreeSet<u64>)> {
        [self.after, self.before]
            .into_iter()
            .filter_map(|network| Some((network, network.of_each.get(replica)?)))
            .find(|(_, namespaces)| !namespaces.is_empty())
    }

    /// The name of an interface. In several namespaces one number has several.
    fn name(&self, replica: usize, number: Number) -> Option<String> {
        let (network, namespaces) = self.of_replica(replica)?;
        let mut namespaces = namespaces.iter();
        let (Some(only), None) = (namespaces.next(), namespaces.next()) else {
            return None;
        };
        let inside = &network.namespaces.get(only)?.inside;
        inside.interface_name(number).ok().flatten()
    }

    /// What a replica's listeners turned away; of those that are gone nobody tells.
    fn listen_drops(&self, replica: usize, ids: &[CgroupId]) -> Option<u64> {
        let (_, namespaces) = self.of_replica(replica)?;
        let asked = |id: &u64| self.after.namespaces.get(id)?.listeners.as_ref();
        let tells = |listeners: &Vec<Listener>| listeners.iter().all(|one| one.cgroup.is_some());
        if !namespaces.iter().all(|id| asked(id).is_some_and(tells)) {
            return None;
        }
        let earlier: BTreeMap<u64, u32> = self
            .before
            .listeners()
            .map(|listener| (listener.cookie, listener.drops))
            .collect();
        let own = self
            .after
            .listeners()
            .filter(|listener| listener.cgroup.is_some_and(|id| ids.contains(&id)));
        let since = |listener: &Listener| {
            let then = earlier.get(&listener.cookie).copied().unwrap_or(0);
            u64::from(listener.drops.wrapping_sub(then))
        };
        Some(own.map(since).sum())
    }
}

/// What went over each interface, and what could be laid to none.
fn interfaces(stats: &CgroupStats, name: impl Fn(Number) -> Option<String>) -> Vec<Interface> {
    let entry = |number: Option<Number>, traffic: Traffic| Interface {
        number: number.map(|number| number.0),
        name: number.and_then(&name),
        loopback: number == Some(Number::LOOPBACK),
        rx_bytes: traffic.rx_bytes,
        rx_packets: traffic.rx_packets,
        tx_bytes: traffic.tx_bytes,
        tx_packets: traffic.tx_packets,
    };
    let mut rest = Traffic {
        rx_bytes: stats.rx_bytes,
        rx_packets: stats.rx_packets,
        tx_bytes: stats.tx_bytes,
        tx_packets: stats.tx_packets,
    };
    let used = stats
        .interfaces
        .iter()
        .filter(|(_, traffic)| !traffic.is_empty());
    let mut interfaces: Vec<Interface> = used
        .map(|(interface, traffic)| {
            rest -= *traffic;
            entry(Some(*interface), *traffic)
        })
        .collect();
    if !rest.is_empty() {
        interfaces.push(entry(None, rest));
    }
    interfaces
}

fn tcp(counted: &TcpStats, listen_drops: Option<u64>) -> Tcp {
    Tcp {
        opened: counted.connected,
        accepted: counted.accepted,
        refused: counted.refused,
        timed_out: counted.timed_out,
        abandoned: counted.abandoned,
        closed: counted.closed,
        aborted: counted.aborted,
        data_segments: counted.data_segments,
        retransmits: counted.retransmits,
        timeouts: counted.timeouts,
        listen_drops,
        rtt: histogram(&counted.rtt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(unit: u64) -> Traffic {
        Traffic {
            rx_bytes: unit * 100,
            rx_packets: unit,
            tx_bytes: unit * 200,
            tx_packets: unit * 2,
        }
    }

    #[test]
    fn loopback_is_told_apart_and_what_has_no_interface_is_the_rest() {
        let stats = CgroupStats {
            rx_bytes: 600,
            rx_packets: 6,
            tx_bytes: 1_200,
            tx_packets: 12,
            interfaces: [
                (Number::LOOPBACK, traffic(1)),
                (Number(3), traffic(2)),
                (Number(4), Traffic::default()),
            ]
            .into(),
            ..CgroupStats::default()
        };
        let name = |number: Number| (number.0 == 3).then(|| "eth0".to_owned());
        let entry = |number, name: Option<&str>, loopback, unit| {
            let Traffic {
                rx_bytes,
                rx_packets,
                tx_bytes,
                tx_packets,
            } = traffic(unit);
            Interface {
                number,
                name: name.map(str::to_owned),
                loopback,
                rx_bytes,
                rx_packets,
                tx_bytes,
                tx_packets,
            }
        };
        let expected = [
            entry(Some(1), None, true, 1),
            entry(Some(3), Some("eth0"), false, 2),
            entry(None, None, false, 3),
        ];
        assert_eq!(interfaces(&stats, name), expected);
    }

    #[test]
    fn every_counter_of_connections_is_told_as_itself() {
        let counted = TcpStats {
            connected: 1,
            accepted: 2,
            refused: 3,
            timed_out: 4,
            abandoned: 5,
            closed: 6,
            aborted: 7,
            retransmits: 8,
            timeouts: 9,
            data_segments: 10,
            ..TcpStats::default()
        };
        let expected = Tcp {
            opened: 1,
            accepted: 2,
            refused: 3,
            timed_out: 4,
            abandoned: 5,
            closed: 6,
            aborted: 7,
            retransmits: 8,
            timeouts: 9,
            data_segments: 10,
            listen_drops: Some(11),
            ..Tcp::default()
        };
        assert_eq!(tcp(&counted, Some(11)), expected);
    }

    #[test]
    fn a_listeners_drops_are_those_since_the_earlier_reading_of_its_owner_alone() {
        let listener = |cookie, cgroup, drops| Listener {
            cgroup: Some(CgroupId(cgroup)),
            cookie,
            local: "127.0.0.1:80".parse().unwrap(),
            queued: 0,
            backlog: 1,
            drops,
        };
        let network = |listeners: Vec<Listener>| Network {
            of_each: vec![BTreeSet::from([4])],
            namespaces: BTreeMap::from([(
                4,
                Namespace {
                    inside: Arc::new(NetworkNamespace::own().unwrap()),
                    listeners: Some(listeners),
                },
            )]),
        };
        let before = network(vec![listener(1, 7, u32::MAX - 1), listener(2, 8, 5)]);
        let after = network(vec![
            listener(1, 7, 3),
            listener(2, 8, 9),
            listener(3, 7, 20),
        ]);
        let networks = Networks {
            before: &before,
            after: &after,
        };
        assert_eq!(networks.listen_drops(0, &[CgroupId(7)]), Some(5 + 20));
        assert_eq!(networks.listen_drops(0, &[CgroupId(9)]), Some(0));
        assert_eq!(networks.listen_drops(1, &[CgroupId(7)]), None);
    }
}
