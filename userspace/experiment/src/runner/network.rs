//! The network of replicas: what went over which interface, and how their connections fared. The probes count; names of interfaces
//! and what full listeners turn away only the network namespaces tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use galileo_probes::{
    CgroupStats, Interface as Number, NetworkNamespace, TcpStats, Traffic,
    cgroup::CgroupId,
    sockets::{self, Listener, Sockets},
};
use galileo_wire::{
    Histogram,
    capture::{Interface, Tcp, Usage},
    histogram::Bucket,
};

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
    sockets: Option<Sockets>,
}

impl Network {
    /// Reads them; open connections only if they are asked for, of which there may be very many.
    pub(super) fn read(replicas: &[Replica], with_connections: bool) -> Self {
        let ask = |inside: &NetworkNamespace| {
            if with_connections {
                return sockets::tcp(inside).ok();
            }
            let listeners = sockets::listeners(inside).ok()?;
            Some(Sockets {
                listeners,
                ..Sockets::default()
            })
        };
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
                        sockets: ask(&inside),
                        inside: Arc::new(inside),
                    });
            }
            network.of_each.push(of_replica);
        }
        network
    }

    fn sockets(&self) -> impl Iterator<Item = &Sockets> {
        let asked = self.namespaces.values();
        asked.filter_map(|namespace| namespace.sockets.as_ref())
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
        usage.tcp = seen.tcp.then(|| {
            let mut tcp = tcp(&stats.tcp);
            self.tell_sockets(replica, ids, &mut tcp);
            tcp
        });
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

    /// Adds what the kernel tells of a replica's sockets at the end; of listeners that are gone nobody tells what they turned away.
    fn tell_sockets(&self, replica: usize, ids: &[CgroupId], tcp: &mut Tcp) {
        let Some((_, namespaces)) = self.of_replica(replica) else {
            return;
        };
        let asked = |id: &u64| self.after.namespaces.get(id)?.sockets.as_ref();
        let Some(sockets) = namespaces.iter().map(asked).collect::<Option<Vec<_>>>() else {
            return;
        };
        let listeners = || sockets.iter().flat_map(|sockets| &sockets.listeners);
        let connections = || sockets.iter().flat_map(|sockets| &sockets.connections);
        let owners = listeners()
            .map(|one| one.cgroup)
            .chain(connections().map(|one| one.cgroup));
        // Kernels before 5.9, or built so, do not tell whose a socket is.
        if owners.clone().count() > 0 && owners.flatten().next().is_none() {
            return;
        }
        let is_own = |cgroup: Option<CgroupId>| cgroup.is_some_and(|id| ids.contains(&id));
        let earlier: BTreeMap<u64, u32> = self
            .before
            .sockets()
            .flat_map(|sockets| &sockets.listeners)
            .map(|listener| (listener.cookie, listener.drops))
            .collect();
        let since = |listener: &Listener| {
            let then = earlier.get(&listener.cookie).copied().unwrap_or(0);
            u64::from(listener.drops.wrapping_sub(then))
        };
        let own = listeners().filter(|listener| is_own(listener.cgroup));
        tcp.listen_drops = Some(own.map(since).sum());
        let own = connections().filter(|connection| is_own(connection.cgroup));
        let measured = own
            .map(|connection| connection.info.rtt)
            .filter(|rtt| !rtt.is_zero());
        tcp.open_rtt = Some(round_trips(measured));
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

fn tcp(counted: &TcpStats) -> Tcp {
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
        rtt: histogram(&counted.rtt),
        // What takes more than the counters comes beside.
        listen_drops: None,
        open_rtt: None,
    }
}

/// Round trips, each in a bucket that is at most a sixteenth of it wide.
fn round_trips(times: impl Iterator<Item = Duration>) -> Histogram {
    let mut buckets: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut sum_ns = 0;
    for time in times {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let shift = ns.max(1).ilog2().saturating_sub(4);
        let low_ns = ns >> shift << shift;
        sum_ns += ns;
        *buckets
            .entry((low_ns, low_ns + (1 << shift) - 1))
            .or_default() += 1;
    }
    let bucket = |((low_ns, high_ns), count)| Bucket {
        low_ns,
        high_ns,
        count,
    };
    Histogram {
        buckets: buckets.into_iter().map(bucket).collect(),
        sum_ns,
    }
}

#[cfg(test)]
mod tests {
    use galileo_probes::sockets::{OpenConnection, TcpInfo};

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
            ..Tcp::default()
        };
        assert_eq!(tcp(&counted), expected);
    }

    fn networks_told(before: &Network, after: &Network, replica: usize, id: u64) -> Tcp {
        let networks = Networks { before, after };
        let mut told = Tcp::default();
        networks.tell_sockets(replica, &[CgroupId(id)], &mut told);
        told
    }

    #[test]
    fn what_sockets_tell_is_their_owners_alone_and_drops_count_from_the_earlier_reading() {
        let listener = |cookie, cgroup, drops| Listener {
            cgroup: Some(CgroupId(cgroup)),
            cookie,
            local: "127.0.0.1:80".parse().unwrap(),
            queued: 0,
            backlog: 1,
            drops,
        };
        let connection = |cgroup, micros| OpenConnection {
            cgroup: Some(CgroupId(cgroup)),
            cookie: 0,
            state: 1,
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "127.0.0.1:81".parse().unwrap(),
            receive_queue: 0,
            send_queue: 0,
            info: TcpInfo {
                rtt: Duration::from_micros(micros),
                ..TcpInfo::default()
            },
        };
        let network = |listeners, connections| Network {
            of_each: vec![BTreeSet::from([4])],
            namespaces: BTreeMap::from([(
                4,
                Namespace {
                    inside: Arc::new(NetworkNamespace::own().unwrap()),
                    sockets: Some(Sockets {
                        listeners,
                        connections,
                        ..Sockets::default()
                    }),
                },
            )]),
        };
        let before = network(
            vec![listener(1, 7, u32::MAX - 1), listener(2, 8, 5)],
            vec![connection(7, 9)],
        );
        let after = network(
            vec![listener(1, 7, 3), listener(2, 8, 9), listener(3, 7, 20)],
            vec![connection(7, 100), connection(7, 0), connection(8, 200)],
        );
        let told = networks_told(&before, &after, 0, 7);
        assert_eq!(told.listen_drops, Some(5 + 20));
        let rtt = told.open_rtt.unwrap();
        assert_eq!((rtt.count(), rtt.sum_ns), (1, 100_000));
        let nobodys = networks_told(&before, &after, 0, 9);
        assert_eq!(
            (nobodys.listen_drops, nobodys.open_rtt),
            (Some(0), Some(Histogram::default()))
        );
        assert_eq!(networks_told(&before, &after, 1, 7), Tcp::default());
    }

    #[test]
    fn a_round_trips_bucket_is_no_wider_than_a_sixteenth_of_it() {
        for micros in [1, 7, 50, 1_234, 2_000_000] {
            let ns = micros * 1_000;
            let buckets = round_trips([Duration::from_nanos(ns)].into_iter()).buckets;
            let [bucket] = buckets[..] else { panic!() };
            assert!((bucket.low_ns..=bucket.high_ns).contains(&ns), "{bucket:?}");
            assert!((bucket.high_ns - bucket.low_ns) * 16 <= ns, "{bucket:?}");
        }
        assert_eq!(round_trips([].into_iter()), Histogram::default());
    }
}
