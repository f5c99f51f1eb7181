//! TCP connections: what becomes of them, and how well they go.
//!
//! In reading order: this file (probes whose connections are read, a client and a server), `ends` (how they begin and end), `losses`
//! (what a wire loses and reorders), `bounds` (what is turned away, too old or too much).

mod bounds;
mod ends;
mod losses;

use galileo_probes::{Config, Connection, ConnectionStream, TcpStats};
use galileo_tests::{
    pod::{Pod, Process},
    wait::until,
    watch::Watch,
};

/// Probes whose connections are read.
struct Connections {
    watch: Watch,
    stream: ConnectionStream,
    seen: Vec<Connection>,
}

impl Connections {
    fn start(config: &Config) -> Option<Self> {
        let mut watch = Watch::start(config)?;
        let stream = {
            let _inside = watch.runtime.enter();
            watch.probes.connections().unwrap()
        };
        Some(Self {
            watch,
            stream,
            seen: Vec::new(),
        })
    }

    /// Waits until so many connections of a pod have ended.
    fn ended(&mut self, pod: &Pod, count: usize) -> Vec<Connection> {
        let what = format!("{count} connections have ended");
        let ended = until(&what, || {
            self.seen.extend(self.stream.drain());
            let of_pod = self.seen.iter().filter(|one| one.cgroup == pod.id);
            let of_pod: Vec<_> = of_pod.cloned().collect();
            (of_pod.len() >= count).then_some(of_pod)
        });
        assert_eq!(ended.len(), count, "{ended:#?}");
        ended
    }

    fn stats(&self, pod: &Pod) -> TcpStats {
        let cgroups = self.watch.snapshot().cgroups;
        cgroups
            .get(&pod.id)
            .map(|stats| stats.tcp.clone())
            .unwrap_or_default()
    }
}

/// A client told what to do by lines of Python, with the address to talk to in `peer`. `say` answers.
const CLIENT: &str = r#"
import fcntl, socket, struct, sys, termios, time
peer = (sys.argv[1], int(sys.argv[2]))
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
say = lambda *words: print(*words, flush=True)
def total_retrans(end):
    return struct.unpack_from("I", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 100)[0]
def reorderings(end):
    return struct.unpack_from("I", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 220)[0]
def unacked(end):
    return struct.unpack("i", fcntl.ioctl(end, termios.TIOCOUTQ, b"\0" * 4))[0]
def wait_for_acks(end):
    while unacked(end): time.sleep(0.002)
say("ready")
for line in sys.stdin:
    exec(line.strip())
"#;

/// A server that answers each connection with as many bytes as it got, when the other end is done; in a thread for each.
const SERVER: &str = r#"
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, backlog=128)
print("ready")
def serve(end):
    total = 0
    try:
        while data := end.recv(1 << 16):
            total += len(data)
        end.sendall(b"x" * total)
        end.close()
    except ConnectionResetError:
        pass
while True:
    end, _ = listener.accept()
    threading.Thread(target=serve, args=(end,)).start()
"#;

fn ready(mut process: Process) -> Process {
    assert_eq!(process.line(), "ready");
    process
}
