//! A small HTTP server that does with each request what a test asks for: a thread per connection.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use galileo_load::Target;
use galileo_wire::clock::boot_ns;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub head: String,
    pub body: Vec<u8>,
    /// Number of the connection, from 0 in the order of accepting.
    pub connection: u64,
    /// Number of the request on its connection, from 0.
    pub nth: u64,
}

/// What the server does next.
#[derive(Debug, Clone)]
pub struct Reply {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// What becomes of the connection after the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
    /// Abort it with RST.
    Reset,
    /// Keep it open and never read or write again, until the client closes it.
    Hang,
}

impl Reply {
    pub fn raw(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self {
            bytes: bytes.into(),
            then,
        }
    }

    pub fn ok() -> Self {
        Self::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Then::Keep,
        )
    }

    pub fn never() -> Self {
        Self::raw("", Then::Hang)
    }
}

pub struct Server {
    pub addr: SocketAddr,
    accepted: Arc<AtomicU64>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// A server that answers each whole request, body included, with what `handler` says.
    pub fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_reading(true, handler)
    }

    /// A server that answers as soon as the head is there and never reads a body.
    pub fn start_hasty(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_reading(false, handler)
    }

    fn start_reading(
        bodies: bool,
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let handler = Arc::new(handler);
        let (accepted, asked, stopped) = (Arc::default(), Arc::default(), Arc::default());
        let server = Self {
            addr,
            accepted: Arc::clone(&accepted),
            asked: Arc::clone(&asked),
            stopped: Arc::clone(&stopped),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                let connection = accepted.fetch_add(1, SeqCst);
                let (handler, asked) = (Arc::clone(&handler), Arc::clone(&asked));
                thread::spawn(move || {
                    serve(stream.unwrap(), connection, bodies, &*handler, &asked);
                });
            }
        });
        server
    }

    pub fn target(&self) -> Target {
        Target::new(self.addr)
    }

    pub fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    /// The same, once it is so many at least: those that nobody waits for an answer on may be accepted late.
    pub fn accepted_once(&self, least: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.accepted() < least && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.accepted()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        let _woken = TcpStream::connect(self.addr);
    }
}

fn serve(
    mut stream: TcpStream,
    connection: u64,
    bodies: bool,
    handler: &(impl Fn(&Asked) -> Reply + ?Sized),
    log: &Mutex<Vec<Asked>>,
) {
    stream.set_nodelay(true).unwrap();
    for nth in 0.. {
        let Some((head, body)) = read_request(&mut stream, bodies) else {
            return;
        };
        let asked = Asked {
            head,
            body,
            connection,
            nth,
        };
        log.lock().unwrap().push(asked.clone());
        let reply = handler(&asked);
        if stream.write_all(&reply.bytes).is_err() {
            return;
        }
        match reply.then {
            Then::Keep => {}
            Then::Close => {
                // A close with unread bytes would be a reset.
                let _closing = stream.shutdown(Shutdown::Write);
                let _rest = std::io::copy(&mut stream, &mut std::io::sink());
                return;
            }
            Then::Reset => {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                return;
            }
            Then::Hang => {
                wait_for_close(&stream);
                return;
            }
        }
    }
}

/// Waits without reading: the kernel tells of a hang-up by itself.
fn wait_for_close(stream: &TcpStream) {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut fds, None).unwrap();
}

fn read_request(stream: &mut TcpStream, bodies: bool) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 65_536];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    };
    let mut body = bytes.split_off(head_end);
    let head = String::from_utf8(bytes).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse::<usize>().unwrap());
    while bodies && body.len() < length {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => body.extend_from_slice(&chunk[..read]),
        }
    }
    Some((head, body))
}

/// Sleeps until a boot time, as a server does that is stalled until then.
pub fn stall_until(at_ns: u64) {
    while let Some(left_ns) = at_ns.checked_sub(boot_ns()).filter(|left_ns| *left_ns > 0) {
        thread::sleep(Duration::from_nanos(left_ns));
    }
}
