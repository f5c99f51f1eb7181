//! The program as its users run it.

mod harness;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use galileo_wire::Hop;
use harness::upstream::ok;
use harness::{Client, PATIENCE, Upstream, wait_until};
use rustix::process::{Pid, Signal, kill_process};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_galileo-balancer"));
    command
        .env_remove("RUST_LOG")
        .env_remove("eb_go_lb_listen_port")
        .env_remove("eb_go_lb_node_name");
    command
}

/// The program with a file of weights; killed when the test ends.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    addr: SocketAddr,
}

impl Running {
    fn start(weights: &Path, args: &[&str]) -> Self {
        let mut child = program()
            .args(["--listen", "127.0.0.1:0", "--node", "n1", "--weights"])
            .arg(weights)
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut running = Self {
            child,
            log,
            addr: ([0, 0, 0, 0], 0).into(),
        };
        let line = running.line("the balancer listens");
        let addr = line.trim_end().rsplit_once("addr=").expect("an address").1;
        running.addr = addr.parse().expect("an address");
        running
    }

    /// The next line of the log that contains `text`.
    fn line(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.log.read_line(&mut line).expect("a log"),
                0,
                "it ended before it said {text:?}"
            );
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program has ended", || {
            status = self.child.try_wait().expect("it is a child");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Most have ended by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Files {
    weights: PathBuf,
    hops: PathBuf,
    _folder: tempfile::TempDir,
}

fn files(replica: &Upstream) -> Files {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("weights.json");
    std::fs::write(&weights, json(replica)).expect("a file");
    Files {
        weights,
        hops: folder.path().join("hops.ndjson"),
        _folder: folder,
    }
}

fn json(replica: &Upstream) -> String {
    format!(
        r#"{{"web": {{"ips": ["{}"], "weights": [1]}}}}"#,
        replica.addr()
    )
}

/// A replica that answers once the sender is used or dropped.
fn held() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let replica = Upstream::start(move |_, stream| {
        let _ = wait.lock().expect("no panic").recv_timeout(PATIENCE);
        std::io::Write::write_all(stream, &ok("late")).is_ok()
    });
    (replica, go)
}

#[test]
fn requests_are_forwarded_and_hops_written_until_sigterm() {
    let replica = Upstream::named("web");
    let files = files(&replica);
    let mut running = Running::start(
        &files.weights,
        &["--hops", files.hops.to_str().expect("text")],
    );
    let mut client = Client::connect(running.addr);
    for path in ["/function/web/1", "/function/web/2"] {
        let response = client.get(path);
        assert_eq!(
            (response.status, response.header("x-galileo-via")),
            (200, Some("n1"))
        );
    }
    assert_eq!(client.get("/function/none").status, 404);
    let hops = || -> Vec<Hop> {
        let text = std::fs::read_to_string(&files.hops).expect("a file");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a record"))
            .collect()
    };
    wait_until("the hops are in the file while it runs", || {
        hops().len() == 3
    });

    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(0));
    let statuses: Vec<_> = hops().iter().map(|hop| hop.status).collect();
    assert_eq!(statuses, [200, 200, 404]);
}

#[test]
fn weights_are_read_again_and_a_bad_file_changes_nothing() {
    let (first, second) = (Upstream::named("first"), Upstream::named("second"));
    let files = files(&first);
    let mut running = Running::start(&files.weights, &[]);
    let get = |addr| harness::Client::connect(addr).get("/function/web/").text();
    assert_eq!(get(running.addr), "first");
    std::fs::write(&files.weights, "{\"web\": oops").expect("the file");
    let line = running.line("the last good weights stay in force");
    assert!(
        line.contains("weights.json") && line.contains("line 1 column"),
        "{line}"
    );
    assert_eq!(get(running.addr), "first");
    std::fs::write(&files.weights, json(&second)).expect("the file");
    wait_until("the new weights are in force", || {
        get(running.addr) == "second"
    });
}

#[test]
fn a_request_in_flight_ends_before_the_program_does() {
    let (replica, go) = held();
    let files = files(&replica);
    let mut running = Running::start(&files.weights, &["--drain", "20s"]);
    let mut client = Client::connect(running.addr);
    client.send_get("/function/web/");
    wait_until("the replica has the request", || !replica.seen().is_empty());
    running.signal(Signal::INT);
    running.line("stops taking connections");
    go.send(()).expect("the replica waits");
    assert_eq!(client.response().expect("an answer").text(), "late");
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let (replica, _go) = held();
    let files = files(&replica);
    let mut running = Running::start(&files.weights, &["--drain", "10m"]);
    let mut client = Client::connect(running.addr);
    client.send_get("/function/web/");
    wait_until("the replica has the request", || !replica.seen().is_empty());
    running.signal(Signal::TERM);
    running.line("stops taking connections");
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(1));
}

#[test]
fn errors_say_what_to_do_and_exit_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("weights.json");
    let run = || {
        let output = program()
            .args(["--listen", "127.0.0.1:0", "--weights"])
            .arg(&weights)
            .output()
            .expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = run();
    assert_eq!(code, Some(1));
    assert!(
        text.starts_with("error: cannot read the weights in ") && text.lines().count() == 1,
        "{text}"
    );
    std::fs::write(&weights, "[]").expect("a file");
    let (code, text) = run();
    assert_eq!(code, Some(1));
    assert!(text.contains(r#"{"<service>": {"ips": ["#), "{text}");
}

#[test]
fn it_tells_its_version_and_how_to_use_it() {
    let output = |args: &[&str]| {
        let output = program().args(args).output().expect("it runs");
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let version = output(&["--version"]);
    assert!(
        version.starts_with(concat!(
            "galileo-balancer ",
            env!("CARGO_PKG_VERSION"),
            " ("
        )),
        "{version}"
    );
    for text in [
        "/function/<service>/",
        "\"weights\": [3, 1]",
        "[default: 10s]",
        "Examples:",
    ] {
        assert!(output(&["--help"]).contains(text), "{text}");
    }
    assert!(output(&["completions", "bash"]).contains("--response-timeout"));
    assert!(output(&["man"]).contains(".TH galileo-balancer"));
}

// D-43.
#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = program()
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let mut errors = String::new();
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut errors)
        .expect("text");
    assert_eq!(
        (child.wait().expect("it ends").code(), &*errors),
        (Some(0), "")
    );
}
