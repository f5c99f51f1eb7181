//! Connections older than the probes, with requests under way that these never saw.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use galileo_probes::{Config, Exchange, Ledger, Role, flags};
use galileo_tests::{
    free_port,
    pod::{Pod, Process, listens},
    turn,
    watch::{Watch, of_role},
};

/// Answers one request for each line of its input. The status follows from the path's number, so that a wrong pair is seen.
const PYTHON: &str = r#"
import sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
lines = threading.Semaphore(0)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        lines.acquire()
        self.send_response(210 + int(self.path[1:]) % 90)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_):
        pass
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
for line in sys.stdin:
    lines.release()
"#;

/// As [`PYTHON`].
const NODE: &str = r#"
let lines = 0;
const waiting = [];
const answer = () => {
  while (lines > 0 && waiting.length > 0) {
    lines -= 1;
    waiting.shift()();
  }
};
require("http").createServer((request, response) => {
  waiting.push(() => {
    response.writeHead(210 + Number(request.url.slice(1)) % 90, { "Content-Length": "5" });
    response.end("hello");
  });
  answer();
}).listen(Number(process.argv[1]), "127.0.0.1");
require("readline").createInterface({ input: process.stdin }).on("line", () => {
  lines += 1;
  answer();
});
"#;

fn status_of(number: u32) -> u16 {
    210 + u16::try_from(number % 90).unwrap()
}

fn is_right(exchange: &Exchange) -> bool {
    let number = exchange.path[1..].parse().unwrap();
    exchange.status == status_of(number)
}

/// How much longer than answers take a silence is to be: twice what speaks against a request that was not seen, as the next answer may
/// take longer than those before it.
const CALM: u32 = 64;
/// The longest silence: node ends a connection that is idle for five seconds.
const LONGEST: Duration = Duration::from_secs(2);
/// Silences after which the doubt has ended. Eight calm ones in a row do that; on a busy machine one answer in between may be
/// late.
const SILENCES: u32 = 100;

/// A connection to a server that answers when told.
struct Conversation {
    server: Process,
    client: BufReader<TcpStream>,
    asked: u32,
    answered: u32,
    /// Of the last calm requests: how long until the answer was there.
    took: VecDeque<Duration>,
}

impl Conversation {
    fn start(server: Process, port: u16) -> Self {
        listens(port);
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_nodelay(true).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            server,
            client: BufReader::new(client),
            asked: 0,
            answered: 0,
            took: VecDeque::new(),
        }
    }

    fn ask(&mut self) {
        let request = format!("GET /{} HTTP/1.1\r\nHost: here\r\n\r\n", self.asked);
        self.asked += 1;
        self.client.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// Has the oldest request answered.
    fn answer(&mut self) {
        self.server.say("answer");
        let mut line = String::new();
        self.client.read_line(&mut line).unwrap();
        let expected = format!("HTTP/1.1 {} ", status_of(self.answered));
        assert!(line.starts_with(&expected), "{line}");
        while line != "\r\n" {
            line.clear();
            self.client.read_line(&mut line).unwrap();
        }
        let mut body = [0; 5];
        self.client.read_exact(&mut body).unwrap();
        assert_eq!(body, *b"hello");
        self.answered += 1;
    }

    /// A request after a silence that is much longer than answers take, which is what speaks against one that was not seen.
    fn ask_calmly(&mut self) {
        let longest = self.took.iter().max().copied().unwrap_or_default();
        thread::sleep(LONGEST.min(CALM * longest));
        let begin = Instant::now();
        self.ask();
        self.answer();
        self.took.push_back(begin.elapsed());
        if self.took.len() > 8 {
            self.took.pop_front();
        }
    }
}

/// So many requests are under way when the probes come, and always, for a while; then the connection gets calm.
fn check(start: impl FnOnce(&Pod, u16) -> Process, under_way: u32) {
    let _turn = turn();
    let pod = Pod::new("older");
    let port = free_port();
    let mut talk = Conversation::start(start(&pod, port), port);
    for _ in 0..under_way {
        talk.ask();
    }
    let Some(mut watch) = Watch::start(&Config {
        each_end: true,
        ..Config::default()
    }) else {
        return;
    };
    let before = watch.snapshot();
    for _ in 0..40 {
        talk.ask();
        talk.answer();
    }
    for _ in 0..under_way {
        talk.answer();
    }
    // All of these are paired, in either role, as if each answer were that of a request which came later.
    let seen = watch.wait_for(port, 80);
    for exchange in &seen {
        assert!(!is_right(exchange), "{exchange:?}");
        assert_ne!(exchange.flags & flags::RESUMED, 0, "{exchange:?}");
    }
    let late = watch.until_counted("answers that nobody asked for", pod.id, |snapshot| {
        let since = snapshot.since(&before);
        let late = *since
            .cgroups
            .get(&pod.id)?
            .ledger
            .get(&Ledger::JoinedLate)?;
        (late >= u64::from(under_way)).then_some(late)
    });
    assert_eq!(late, u64::from(under_way));

    talk.ask();
    talk.answer();
    let ended = (0..SILENCES).any(|_| {
        watch.meanwhile(port, || talk.ask_calmly());
        let seen = watch.wait_for(port, 2 * (talk.asked - under_way) as usize);
        [Role::Server, Role::Client].iter().all(|role| {
            let last = of_role(&seen, *role).into_iter().next_back();
            last.is_some_and(|last| last.flags == 0)
        })
    });
    assert!(ended, "answers took {:?}", talk.took);
    for _ in 0..20 {
        talk.ask();
        talk.answer();
    }
    let seen = watch.wait_for(port, 2 * (talk.asked - under_way) as usize);
    for role in [Role::Server, Role::Client] {
        let seen = of_role(&seen, role);
        let calm = &seen[40..];
        assert!(calm.iter().all(|exchange| is_right(exchange)), "{calm:#?}");
        let marked = calm.iter().filter(|exchange| exchange.flags != 0).count();
        assert!(marked >= 8, "{role:?}: {marked}");
        let (doubted, sure) = calm.split_at(marked);
        assert!(doubted.iter().all(|one| one.flags == flags::RESUMED));
        assert!(sure.iter().all(|one| one.flags == 0));
        assert!(sure.len() >= 20, "{role:?}: {}", sure.len());
    }
}

fn python(pod: &Pod, port: u16) -> Process {
    pod.python(PYTHON, &[&port.to_string()])
}

fn node(pod: &Pod, port: u16) -> Process {
    pod.start(&["node", "-e", NODE, &port.to_string()])
}

#[test]
fn a_request_to_python_that_was_under_way_makes_no_wrong_pair_that_is_not_marked() {
    check(python, 1);
}

#[test]
fn pipelined_requests_to_python_that_were_under_way_make_no_wrong_pair_that_is_not_marked() {
    check(python, 3);
}

#[test]
fn pipelined_requests_to_node_that_were_under_way_make_no_wrong_pair_that_is_not_marked() {
    check(node, 3);
}
