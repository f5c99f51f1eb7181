//! The server as a client meets it: a process and a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A client gives up after this, so that a fault ends the test.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_galileo-example-server"))
            .args(arguments)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap()
            .parse()
            .unwrap();
        Self { process, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends `text` on a connection of its own and returns all that comes back.
    fn converse(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    }

    /// CPU time in user and kernel mode that the process has used, from `/proc/<pid>/stat` (fields 14 and 15, in hundredths of a
    /// second).
    fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, as the test wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn count(answers: &str) -> usize {
    answers.matches("HTTP/1.1 200 OK\r\n").count()
}

#[test]
fn pipelined_requests_are_answered_in_full_and_the_last_one_closes() {
    let server = Server::start(&["--work", "0ms", "--body", "3"]);

    let answers = server.converse(
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\n\
         POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
         POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
         GET /d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );

    assert_eq!(count(&answers), 4, "{answers}");
    assert_eq!(answers.matches("\r\n\r\nxxx").count(), 4, "{answers}");
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_one_request() {
    let server = Server::start(&["--work", "0ms", "--body", "0"]);
    let mut stream = server.connect();

    for byte in b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();

    assert_eq!(count(&answers), 1, "{answers}");
}

#[test]
fn head_gets_the_length_and_no_body() {
    let server = Server::start(&["--work", "0ms", "--body", "7"]);

    let answers = server.converse("HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n");

    assert!(answers.contains("Content-Length: 7\r\n"), "{answers}");
    assert!(answers.ends_with("\r\n\r\n"), "{answers}");
}

#[test]
fn a_client_that_expects_to_go_on_is_told_to() {
    let server = Server::start(&["--work", "0ms", "--body", "0"]);
    let mut stream = server.connect();

    stream
        .write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut interim).unwrap();
    stream.write_all(b"body").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();

    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(count(&answers), 1, "{answers}");
}

#[test]
fn a_head_without_end_is_refused_and_the_client_can_read_why() {
    let server = Server::start(&[]);
    let text = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(64 * 1024));

    let answers = server.converse(&text);

    assert!(answers.starts_with("HTTP/1.1 431 "), "{answers}");
}

#[test]
fn each_request_costs_its_work_in_cpu_time_and_health_costs_none() {
    let server = Server::start(&["--work", "20ms", "--threads", "2"]);
    let begin = server.cpu_time();

    let healthy = server.converse(
        &("GET /health HTTP/1.1\r\n\r\n".repeat(50)
            + "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"),
    );
    let after_health = server.cpu_time();
    let worked = server.converse(
        &("GET / HTTP/1.1\r\n\r\n".repeat(19) + "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
    );
    let used = server.cpu_time() - after_health;

    assert_eq!((count(&healthy), count(&worked)), (51, 20));
    assert!(
        after_health - begin < Duration::from_millis(100),
        "{after_health:?}"
    );
    // 20 × 20 ms, in the clock's grain of 10 ms.
    assert!(used >= Duration::from_millis(390), "{used:?}");
    assert!(used < Duration::from_millis(600), "{used:?}");
}

#[test]
fn sigterm_ends_the_server_at_once() {
    let mut server = Server::start(&[]);
    let _open = server.connect();

    let status = Command::new("sh")
        .args(["-c", &format!("kill -TERM {}", server.process.id())])
        .status()
        .unwrap();
    let end = server.process.wait().unwrap();

    assert!(status.success());
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&end),
        Some(15)
    );
}
