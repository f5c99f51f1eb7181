//! Ports of replicas: a free one, or who has the one that is wanted.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;

use super::procfs;

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Name of the program, at most 15 bytes.
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.program, self.pid)
    }
}

/// Whether nobody is bound to the port, on any address of IPv4 or IPv6.
pub(crate) fn is_free(port: u16) -> bool {
    let taken = |bound: io::Result<TcpListener>| {
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    // Other refusals (no IPv6, a privileged port) do not tell that somebody has it.
    !taken(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        && !taken(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))
}

/// A free port outside of the range that the kernel takes ports of outgoing connections from: a load generator opens
/// many of those, and must not be given a replica's port before the replica binds it.
pub(crate) fn find_free(taken: &[u16]) -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let (first, last) = outside(&range);
    let count = last - first;
    // Runs that start at the same time begin to look at different places.
    let start = std::process::id() as u16 % count;
    (0..count)
        .map(|n| first + (start + n) % count)
        .find(|port| !taken.contains(port) && is_free(*port))
}

/// The larger part of the unprivileged ports beside the range, as `first..last`.
fn outside(range: &str) -> (u16, u16) {
    let mut bounds = range
        .split_ascii_whitespace()
        .filter_map(|bound| bound.parse::<u16>().ok());
    let (low, high) = (
        bounds.next().unwrap_or(32_768),
        bounds.next().unwrap_or(60_999),
    );
    let below = (10_000.min(low), low);
    let above = (high.min(u16::MAX - 1) + 1, u16::MAX);
    let widest = if below.1 - below.0 >= above.1 - above.0 {
        below
    } else {
        above
    };
    if widest.1 - widest.0 < 100 {
        (1_024, u16::MAX)
    } else {
        widest
    }
}

/// Who listens on the port, as far as this user may know.
pub(crate) fn holder(port: u16) -> Option<Holder> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    procfs::all().into_iter().find_map(|stat| {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", stat.pid)).ok()?;
        let holds = descriptors
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| sockets.iter().any(|socket| link == Path::new(socket)));
        holds.then(|| Holder {
            pid: stat.pid.cast_unsigned(),
            program: stat.comm,
        })
    })
}

/// `sl local_address rem_address st … inode`: address and port in hexadecimal, state 0A listens (`proc_net(5)`).
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    let port = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A";
            listens.then(|| fields.get(9)?.parse().ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_outgoing_connections_are_left_alone() {
        assert_eq!(outside("32768\t60999\n"), (10_000, 32_768));
        assert_eq!(outside("1024 50000"), (50_001, 65_535));
        assert_eq!(outside("1024 65535"), (1_024, 65_535));
        assert_eq!(outside(""), (10_000, 32_768));
    }

    #[test]
    fn listener_is_found_with_its_program() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let port = listener.local_addr().expect("it is bound").port();
        assert!(!is_free(port));
        let holder = holder(port).expect("it is this process");
        assert_eq!(holder.pid, std::process::id());
        drop(listener);
        // A process that another test starts has it until it becomes another program.
        let mut looks = 0..500;
        assert!(looks.any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            is_free(port)
        }));
    }

    #[test]
    fn free_ports_differ_from_those_given_before() {
        let first = find_free(&[]).expect("there are thousands");
        let second = find_free(&[first]).expect("there are thousands");
        assert_ne!(first, second);
    }

    #[test]
    fn only_listening_sockets_of_that_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
             1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n";
        assert_eq!(listening_inodes(table, 8080), vec![4711]);
    }
}
