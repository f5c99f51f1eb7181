//! IPv6 packets with other headers in front of TCP's, as the kernel makes and takes them.

use galileo_probes::{CgroupStats, Config, Exchange, Ledger, Role};
use galileo_tests::{
    pod::{Pod, Process},
    turn,
    wait::{try_until, until},
    watch::Watch,
    wire::{ETHERNET, Namespace, Wire},
};

/// Puts headers in front of all that a socket sends: `hop` and `dest` with an option that does nothing, `long` the same as large as
/// the kernel lets them be, `route` by the other end itself (a segment routing header, RFC 8754).
const PUT: &str = r#"
import http.client, http.server, socket, sys
def options(length):
    made = bytes([0, length // 8 - 1])
    while len(made) < length:
        # For experiments, to be passed over by who does not know it (RFC 4727); the length is one byte.
        rest = min(length - len(made), 257)
        made += bytes([0x1e, rest - 2]) + bytes(rest - 2)
    return made
def put(end, headers, peer):
    length = 2040 if "long" in headers else 8
    if "hop" in headers:
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, options(length))
    if "dest" in headers:
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, options(length))
    if "route" in headers:
        route = bytes([0, 2, 4, 0, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, peer)
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, route)
"#;

/// Answers a body with as many bytes. Arguments: its address, its port, headers, the client's address.
const SERVER: &str = r#"
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
server = Server((sys.argv[1], int(sys.argv[2])), Echo, bind_and_activate=False)
put(server.socket, sys.argv[3], sys.argv[4])
server.server_bind()
server.server_activate()
print("ready")
server.serve_forever()
"#;

/// Has bodies echoed on one connection. Arguments: the server's address and port, headers, how many bodies, of how many bytes.
const CLIENT: &str = r#"
end = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
put(end, sys.argv[3], sys.argv[1])
end.connect((sys.argv[1], int(sys.argv[2])))
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))
connection.sock = end
body = bytes(int(sys.argv[5]))
for index in range(int(sys.argv[4])):
    connection.request("POST", f"/{index}", body=body)
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read() == body
print("done")
input()
"#;

/// Bytes of both headers without options.
const IPV6_AND_TCP: u64 = 40 + 20;
const PORT: u16 = 80;
/// Of a server without other headers.
const PLAIN: u16 = 81;

/// What is counted of connections that are looked at and cannot be followed.
const LOSSES: [Ledger; 7] = [
    Ledger::CarryLost,
    Ledger::GivenUp,
    Ledger::NotHttp,
    Ledger::PendingLost,
    Ledger::Reordered,
    Ledger::StepsExceeded,
    Ledger::Unparsable,
];

/// A client and a server over a wire.
struct Pair {
    wire: Wire,
    client: Pod,
    server: Pod,
}

impl Pair {
    fn new() -> Self {
        let wire = Wire::new();
        for end in [&wire.left, &wire.right] {
            // A packet that is to be routed on by who gets it is dropped unless both are set.
            for device in ["all", "wire"] {
                end.set(&format!("net.ipv6.conf.{device}.seg6_enabled"), "1");
            }
            end.run("ip link set wire mtu 9000");
        }
        let [client, server] = ["client", "server"].map(Pod::new);
        Self {
            wire,
            client,
            server,
        }
    }

    fn ends(&self) -> [(&Pod, &Namespace, Role); 2] {
        [
            (&self.client, &self.wire.left, Role::Client),
            (&self.server, &self.wire.right, Role::Server),
        ]
    }

    fn serve(&self, port: u16, headers: &str) -> Process {
        let (here, there) = (self.wire.right.v6, self.wire.left.v6);
        let program = [PUT, SERVER].concat();
        let arguments = [here, &port.to_string(), headers, there];
        let mut server = self
            .server
            .python_inside(&self.wire.right, &program, &arguments);
        assert_eq!(server.line(), "ready");
        server
    }

    /// Has so many bodies of so many bytes echoed.
    fn ask(&self, port: u16, headers: &str, count: usize, bytes: usize) -> Process {
        let program = [PUT, CLIENT].concat();
        let [port, count, bytes] = [usize::from(port), count, bytes].map(|n| n.to_string());
        let arguments = [self.wire.right.v6, &port, headers, &count, &bytes];
        let mut client = self
            .client
            .python_inside(&self.wire.left, &program, &arguments);
        assert_eq!(client.line(), "done");
        client
    }

    /// What the hook counted at both ends of the wire, at a moment at which the devices have counted the same packets: they pass what
    /// would be segmented for a real one as it is.
    fn counted(&self, watch: &Watch) -> [CgroupStats; 2] {
        until("devices and hook agree", || {
            let seen = watch.snapshot().cgroups;
            let agree = self.ends().iter().all(|(pod, namespace, _)| {
                let (device, hook) = (namespace.device(), &seen[&pod.id]);
                device.rx_packets == hook.rx_packets
                    && device.tx_packets == hook.tx_packets
                    && device.rx_bytes == hook.rx_bytes + ETHERNET * hook.rx_packets
                    && device.tx_bytes == hook.tx_bytes + ETHERNET * hook.tx_packets
            });
            agree.then(|| self.ends().map(|(pod, ..)| seen[&pod.id].clone()))
        })
    }

    /// Waits for so many exchanges at both ends, with bodies of so many bytes; those of the client's end.
    fn see(&self, watch: &mut Watch, port: u16, count: usize, bytes: usize) -> Vec<Exchange> {
        let [client, _server] = self.ends().map(|(pod, _, role)| {
            let seen = watch.wait_for_in(pod.id, role, port, count);
            for exchange in &seen {
                let request = exchange.request_bytes - exchange.request_head_bytes;
                let response = exchange.response_bytes - exchange.response_head_bytes;
                assert_eq!([request, response], [bytes as u64; 2], "{exchange:?}");
                assert_eq!(exchange.status, 200);
            }
            seen
        });
        client
    }
}

#[test]
fn segments_of_more_than_64_kib_are_seen_to_the_byte() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (count, bytes) = (5, 10_000_000);
    // As one end makes them and the other gets them; and segmented before the wire, and merged behind it.
    for merge in [false, true] {
        let pair = Pair::new();
        for end in [&pair.wire.left, &pair.wire.right] {
            // From 5.19 on, of veth later; iproute2 has to know it, too.
            if let Err(error) =
                end.try_run("ip link set wire gso_max_size 400000 gro_max_size 400000")
            {
                galileo_skips::skip(format!("no packets of more than 64 KiB here: {error}"));
                return;
            }
            if merge {
                end.run("ethtool -K wire tso off gso off gro on");
            }
        }
        let _server = pair.serve(PORT, "");
        // Acknowledgements are among the packets, and TCP makes them smaller where it gets on slowly: some time they are mostly large,
        // one way or the other.
        let (mut seen, mut large) = ([[0; 2]; 4], [false; 4]);
        let mut intervals = Vec::new();
        let all_were = try_until(|| {
            let _client = watch.meanwhile(PORT, || pair.ask(PORT, "", count, bytes));
            pair.see(&mut watch, PORT, count, bytes);
            watch.forget();
            let counted = if merge {
                let seen = watch.snapshot().cgroups;
                pair.ends().map(|(pod, ..)| seen[&pod.id].clone())
            } else {
                pair.counted(&watch)
            };
            let [left, right] = counted.each_ref().map(|end| {
                [
                    [end.rx_bytes, end.rx_packets],
                    [end.tx_bytes, end.tx_packets],
                ]
            });
            let before = std::mem::replace(&mut seen, [left[0], left[1], right[0], right[1]]);
            let interval = [0, 1, 2, 3].map(|way| {
                let ([bytes, packets], before) = (seen[way], before[way]);
                [bytes - before[0], packets - before[1]]
            });
            intervals.push(interval);
            for (large, [bytes, packets]) in large.iter_mut().zip(interval) {
                *large |= bytes > packets * 65_536;
            }
            (large == [true; 4]).then_some(())
        });
        assert!(all_were.is_some(), "bytes and packets: {intervals:?}");
    }
}

#[test]
fn what_is_behind_options_is_seen() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (count, bytes) = (3, 100_000);
    for (headers, options) in [
        ("hop", 8),
        ("dest", 8),
        ("hop dest", 16),
        ("long hop", 2040),
        ("long dest", 2040),
        ("long hop dest", 4080),
    ] {
        let pair = Pair::new();
        let _server = pair.serve(PORT, headers);
        let _client = watch.meanwhile(PORT, || pair.ask(PORT, headers, count, bytes));
        let seen = pair.see(&mut watch, PORT, count, bytes);
        watch.forget();
        let client = &watch.snapshot().cgroups[&pair.client.id];
        let sent: u64 = seen.iter().map(|exchange| exchange.request_bytes).sum();
        // More if TCP sent something again.
        let (more, packets) = (client.tx_bytes - sent, client.tx_packets);
        assert!(
            more >= packets * (IPV6_AND_TCP + options),
            "{headers}: {more} bytes in {packets}"
        );
    }
}

#[test]
fn what_is_behind_a_routing_header_is_traffic_and_harms_nothing() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (count, bytes) = (3, 100_000);
    for (client, server) in [
        ("route", "route"),
        ("route", ""),
        ("", "route"),
        ("hop route dest", "route"),
    ] {
        let pair = Pair::new();
        let _server = pair.serve(PORT, server);
        let _client = watch.meanwhile(PORT, || pair.ask(PORT, client, count, bytes));
        for end in pair.counted(&watch) {
            let least = (count * bytes) as u64;
            assert!(end.rx_bytes > least && end.tx_bytes > least, "{end:?}");
            // An answer alone is one that came late to be looked at; a request alone is one that waits for its answer.
            let late = end.ledger.get(&Ledger::JoinedLate).copied().unwrap_or(0);
            let expected = if server.is_empty() { count } else { 0 };
            assert_eq!(late, expected as u64);
            assert!(
                LOSSES.iter().all(|loss| !end.ledger.contains_key(loss)),
                "{:?}",
                end.ledger
            );
        }
        // Behind this nothing of the others can come.
        let _plain_server = pair.serve(PLAIN, "");
        let _plain_client = pair.ask(PLAIN, "", 1, bytes);
        pair.see(&mut watch, PLAIN, 1, bytes);
        assert_eq!(watch.seen(PORT), []);
        watch.forget();
    }
}
