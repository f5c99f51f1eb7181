//! TCP sockets that are open now, asked of the kernel (`sock_diag(7)`): connections older than the probes are among them,
//! and listeners with what they turned away. This costs the traffic nothing, and needs no eBPF.
//!
//! A listener turns a connection away, in silence, when the application does not take what is established fast enough:
//! its queue is full, and the SYN, or the ACK that would establish the connection, is dropped and comes again. No hook
//! tells that by cgroup (the reason that newer kernels give at `skb:kfree_skb` comes with an opaque pointer); the kernel
//! counts it by listener, and by network namespace.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SOCK_DIAG, recv, send,
    socket_with,
};

use crate::{Error, cgroup::CgroupId, namespace::NetworkNamespace};

/// The TCP sockets of a network namespace. The kernel goes through its tables while connections come and go: one that
/// comes or goes meanwhile may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Connections, and attempts at one; without those in TIME-WAIT, which belong to nobody any more.
    pub connections: Vec<OpenConnection>,
    /// Listening sockets.
    pub listeners: Vec<Listener>,
    /// Connections that found a listener's queue full, of all listeners that the namespace has had (`ListenOverflows` of
    /// `/proc/net/netstat`).
    pub listen_overflows: u64,
    /// Connections that listeners turned away for whichever reason (`ListenDrops`): those of `listen_overflows`, and those for
    /// which the kernel had no memory, no route, or no place for another SYN.
    pub listen_drops: u64,
}

/// A TCP connection at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConnection {
    /// The cgroup that owns the socket; none on kernels that do not tell.
    pub cgroup: Option<CgroupId>,
    /// The kernel's number of the socket, never used again while the machine runs.
    pub cookie: u64,
    /// Its state: a number of `BPF_TCP_*`, e.g. 1 for established.
    pub state: u8,
    /// Own address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Bytes received that the application has not read.
    pub receive_queue: u32,
    /// Bytes that the application has sent and the peer has not acknowledged.
    pub send_queue: u32,
    /// What the kernel knows of the connection.
    pub info: TcpInfo,
}

/// The part of the kernel's `tcp_info` that is kept here. What a kernel does not know yet is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time (`tcpi_rtt`).
    pub rtt: Duration,
    /// Its mean deviation (`tcpi_rttvar`).
    pub rtt_deviation: Duration,
    /// Smallest round-trip time of the last minutes (`tcpi_min_rtt`); none if there was none.
    pub min_rtt: Option<Duration>,
    /// Segments retransmitted since it began (`tcpi_total_retrans`).
    pub retransmits: u32,
    /// Segments of the present window taken for lost (`tcpi_lost`).
    pub lost: u32,
    /// Times that the kernel saw segments arrive at the peer in another order (`tcpi_reord_seen`, 4.19).
    pub reorderings: u32,
    /// Bytes sent and acknowledged (`tcpi_bytes_acked`).
    pub bytes_acked: u64,
    /// Bytes received in order (`tcpi_bytes_received`).
    pub bytes_received: u64,
    /// Segments sent (`tcpi_segs_out`).
    pub segments_out: u32,
    /// Segments received (`tcpi_segs_in`).
    pub segments_in: u32,
    /// Segments with data sent (`tcpi_data_segs_out`).
    pub data_segments_out: u32,
    /// Congestion window in segments (`tcpi_snd_cwnd`).
    pub congestion_window: u32,
}

/// A listening TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The cgroup that owns the socket; none on kernels that do not tell.
    pub cgroup: Option<CgroupId>,
    /// The kernel's number of the socket, never used again while the machine runs.
    pub cookie: u64,
    /// Where it listens.
    pub local: SocketAddr,
    /// Connections that the application has not taken yet.
    pub queued: u32,
    /// How many may queue, by `listen(2)` and `net.core.somaxconn`; one more is let in.
    pub backlog: u32,
    /// Times that it turned a connection away since it listens, see [`Sockets::listen_drops`]. One attempt counts each time
    /// that its SYN or ACK comes. Modulo 2^32.
    pub drops: u32,
}

/// Asks for the TCP sockets of a network namespace.
///
/// # Errors
///
/// If the namespace may not be entered, or the kernel has no `inet_diag`.
pub fn tcp(namespace: &NetworkNamespace) -> Result<Sockets, Error> {
    namespace.inside(here)?
}

/// Asks for the listening TCP sockets of a network namespace alone, which costs the less the more connections there are.
///
/// # Errors
///
/// As [`tcp`].
pub fn listeners(namespace: &NetworkNamespace) -> Result<Vec<Listener>, Error> {
    namespace.inside(|| Ok(in_states(1 << LISTEN)?.listeners))?
}

/// The sockets that are in one of these states.
fn in_states(states: u32) -> Result<Sockets, Error> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )
    .map_err(|error| Error::io("open a socket for questions about sockets", error))?;
    let mut sockets = Sockets::default();
    let mut seen = HashSet::new();
    for family in [INET, INET6] {
        ask(&socket, family, states, &mut |message| {
            let Some(entry) = Entry::read(message) else {
                return;
            };
            // A socket may move within the kernel's tables meanwhile.
            if seen.insert(entry.cookie) {
                entry.into(&mut sockets);
            }
        })?;
    }
    Ok(sockets)
}

fn here() -> Result<Sockets, Error> {
    let mut sockets = in_states(STATES)?;
    let netstat = fs::read_to_string("/proc/thread-self/net/netstat")
        .map_err(|error| Error::io("read /proc/net/netstat", error))?;
    let counter = |name| netstat_counter(&netstat, name).unwrap_or(0);
    sockets.listen_overflows = counter("ListenOverflows");
    sockets.listen_drops = counter("ListenDrops");
    Ok(sockets)
}

/// A counter of the group `TcpExt`: a line of names is followed by a line of values.
fn netstat_counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split(' ').position(|word| word == name)?;
    values.split(' ').nth(index)?.parse().ok()
}

/// `AF_INET` and `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `INET_DIAG_INFO`, `INET_DIAG_SKMEMINFO`, `INET_DIAG_CGROUP_ID`: kinds of attributes.
const INFO: u16 = 2;
const MEMORY: u16 = 7;
const CGROUP: u16 = 21;
/// `BPF_TCP_LISTEN`.
const LISTEN: u8 = 10;
/// All states from established to closing, without TIME-WAIT.
const STATES: u32 = 0xffe & !(1 << 6);
/// The kernel fills at most half of this at once.
const BUFFER: usize = 64 << 10;

/// Asks for all sockets of a family that are in one of these states, and hands each message to `take`.
fn ask(
    socket: &OwnedFd,
    family: u8,
    states: u32,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::io("ask the kernel for its TCP sockets", error);
    let mut question = Vec::with_capacity(72);
    question.extend(72_u32.to_ne_bytes());
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(DUMP.to_ne_bytes());
    question.extend([0; 8]);
    let wanted = 1 << (INFO - 1) | 1 << (MEMORY - 1);
    question.extend([family, TCP, wanted, 0]);
    question.extend(states.to_ne_bytes());
    question.resize(72, 0);
    send(socket.as_fd(), &question, SendFlags::empty()).map_err(|error| failed(error.into()))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let (_, length) = recv(socket.as_fd(), &mut *buffer, RecvFlags::empty())
            .map_err(|error| failed(error.into()))?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        while let Some(length) = u32_at(rest, 0) {
            let Some(message) = rest
                .get(..length as usize)
                .filter(|whole| whole.len() >= 16)
            else {
                break;
            };
            match u16_at(message, 4) {
                Some(DONE) => return Ok(()),
                Some(ERROR) => {
                    let code = u32_at(message, 16).unwrap_or(0).cast_signed();
                    return Err(failed(std::io::Error::from_raw_os_error(-code)));
                }
                _ => take(&message[16..]),
            }
            rest = rest
                .get(message.len().next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
}

/// A socket as `struct inet_diag_msg` and its attributes tell it.
struct Entry {
    state: u8,
    local: SocketAddr,
    remote: SocketAddr,
    cookie: u64,
    queues: [u32; 2],
    cgroup: Option<CgroupId>,
    drops: u32,
    info: TcpInfo,
}

impl Entry {
    fn read(message: &[u8]) -> Option<Self> {
        let family = *message.first()?;
        let mut entry = Self {
            state: *message.get(1)?,
            local: address(family, message.get(8..24)?, message.get(4..6)?)?,
            remote: address(family, message.get(24..40)?, message.get(6..8)?)?,
            cookie: u64::from(u32_at(message, 44)?) | u64::from(u32_at(message, 48)?) << 32,
            queues: [u32_at(message, 56)?, u32_at(message, 60)?],
            cgroup: None,
            drops: 0,
            info: TcpInfo::default(),
        };
        let mut rest = message.get(72..)?;
        while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
            let Some(value) = rest.get(4..usize::from(length)) else {
                break;
            };
            match kind {
                INFO => entry.info = TcpInfo::read(value),
                // The ninth number, `SK_MEMINFO_DROPS`.
                MEMORY => entry.drops = u32_at(value, 32).unwrap_or(0),
                CGROUP => entry.cgroup = u64_at(value, 0).map(CgroupId),
                _ => {}
            }
            rest = rest
                .get(usize::from(length).next_multiple_of(4)..)
                .unwrap_or_default();
        }
        Some(entry)
    }

    fn into(self, sockets: &mut Sockets) {
        let [first, second] = self.queues;
        if self.state == LISTEN {
            sockets.listeners.push(Listener {
                cgroup: self.cgroup,
                cookie: self.cookie,
                local: self.local,
                queued: first,
                backlog: second,
                drops: self.drops,
            });
        } else {
            sockets.connections.push(OpenConnection {
                cgroup: self.cgroup,
                cookie: self.cookie,
                state: self.state,
                local: self.local,
                remote: self.remote,
                receive_queue: first,
                send_queue: second,
                info: self.info,
            });
        }
    }
}

impl TcpInfo {
    /// Reads a `struct tcp_info` (include/uapi/linux/tcp.h), which has grown over the years.
    fn read(value: &[u8]) -> Self {
        let word = |offset| u32_at(value, offset).unwrap_or(0);
        let long = |offset| u64_at(value, offset).unwrap_or(0);
        let micros = |offset| Duration::from_micros(word(offset).into());
        let min_rtt = word(148);
        Self {
            rtt: micros(68),
            rtt_deviation: micros(72),
            min_rtt: (min_rtt != 0 && min_rtt != u32::MAX)
                .then(|| Duration::from_micros(min_rtt.into())),
            retransmits: word(100),
            lost: word(32),
            reorderings: word(220),
            bytes_acked: long(120),
            bytes_received: long(128),
            segments_out: word(136),
            segments_in: word(140),
            data_segments_out: word(156),
            congestion_window: word(80),
        }
    }
}

fn address(family: u8, address: &[u8], port: &[u8]) -> Option<SocketAddr> {
    let ip: IpAddr = match family {
        INET => Ipv4Addr::from(<[u8; 4]>::try_from(address.get(..4)?).ok()?).into(),
        INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into(),
        _ => return None,
    };
    let port = u16::from_be_bytes(port.try_into().ok()?);
    Some(SocketAddr::new(ip.to_canonical(), port))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + 8)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn an_own_listener_and_both_ends_of_a_connection_are_found_on_ipv4_and_ipv6() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(place).unwrap();
            let address = listener.local_addr().unwrap();
            let client = TcpStream::connect(address).unwrap();
            let own = client.local_addr().unwrap();

            let queued = tcp(&NetworkNamespace::own().unwrap()).unwrap();
            let found = queued.listeners.iter().find(|one| one.local == address);
            assert_eq!(found.map(|one| (one.queued, one.drops)), Some((1, 0)));
            let end = |local, remote| {
                let mut all = queued.connections.iter();
                all.find(|one| (one.local, one.remote) == (local, remote))
                    .unwrap()
            };
            let (asks, answers) = (end(own, address), end(address, own));
            assert_eq!((asks.state, answers.state), (1, 1));
            assert_ne!(asks.cookie, answers.cookie);
            assert!(asks.info.rtt > Duration::ZERO && asks.info.min_rtt.is_some());
            assert!(asks.cgroup.is_some() && asks.cgroup == answers.cgroup);

            let (_server, _) = listener.accept().unwrap();
            let taken = tcp(&NetworkNamespace::own().unwrap()).unwrap();
            let found = taken.listeners.iter().find(|one| one.local == address);
            assert_eq!(found.map(|one| one.queued), Some(0));
        }
    }

    #[test]
    fn counters_of_a_namespace_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 2 3\nIpExt: InNoRoutes\nIpExt: 4\n";
        assert_eq!(netstat_counter(text, "ListenOverflows"), Some(2));
        assert_eq!(netstat_counter(text, "ListenDrops"), Some(3));
        assert_eq!(netstat_counter(text, "InNoRoutes"), None);
        assert_eq!(netstat_counter("", "ListenDrops"), None);
    }

    #[test]
    fn what_is_cut_short_is_no_socket() {
        let whole = [0_u8; 72];
        for length in 0..72 {
            assert!(Entry::read(&whole[..length]).is_none());
        }
        assert_eq!(TcpInfo::read(&whole[..50]), TcpInfo::default());
    }
}
