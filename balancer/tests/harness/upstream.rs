//! A small HTTP/1.1 server on threads that keeps what it was sent.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// All bytes of the head as text, blank line included.
    pub head: String,
    pub body: Vec<u8>,
    /// Which connection it came on, from 1.
    pub connection: usize,
    /// Which request on this connection it is, from 1.
    pub turn: usize,
}

impl Request {
    /// The lines of the head.
    pub fn lines(&self) -> Vec<&str> {
        self.head.trim_end().split("\r\n").collect()
    }

    /// `GET` of `GET /x HTTP/1.1`.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().expect("a method")
    }

    /// `/x` of `GET /x HTTP/1.1`.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).expect("a target")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.lines()
            .into_iter()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// An answer with a body.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        body,
    ]
    .concat()
}

/// For the end of a handler: the connection is closed, whatever became of the last write.
pub fn close(_written: std::io::Result<()>) -> bool {
    false
}

/// For the end of a handler: no answer, until the other side closes the connection.
pub fn silent(stream: &mut TcpStream) -> bool {
    // Whatever comes, it is the end.
    let _ = std::io::Read::read(stream, &mut [0]);
    false
}

type Handler = dyn Fn(&Request, &mut TcpStream) -> bool + Send + Sync;

/// A server. It takes connections until it is dropped.
pub struct Upstream {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// `handle` writes the answer and says whether the connection stays.
    pub fn start(
        handle: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (shared, counter) = (Arc::clone(&seen), Arc::clone(&connections));
        let handle: Arc<Handler> = Arc::new(handle);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = counter.fetch_add(1, Ordering::SeqCst) + 1;
                let (seen, handle) = (Arc::clone(&shared), Arc::clone(&handle));
                std::thread::spawn(move || serve(stream, connection, &seen, &*handle));
            }
        });
        Self {
            addr,
            seen,
            connections,
        }
    }

    /// Answers everything with its name.
    pub fn named(name: &'static str) -> Self {
        Self::start(move |_, stream| stream.write_all(&ok(name)).is_ok())
    }

    /// An address where nobody listens.
    pub fn dead() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        Self {
            addr,
            seen: Arc::default(),
            connections: Arc::default(),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic").clone()
    }

    /// The only request it got.
    pub fn only(&self) -> Request {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// Connections taken so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, connection: usize, seen: &Mutex<Vec<Request>>, handle: &Handler) {
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::new(stream);
    for turn in 1.. {
        let Some(mut request) = read_head(&mut reader) else {
            return;
        };
        (request.connection, request.turn) = (connection, turn);
        if request.header("expect").is_some()
            && writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err()
        {
            return;
        }
        match read_body(
            &mut reader,
            request.header("content-length"),
            request.header("transfer-encoding"),
        ) {
            Some(body) => request.body = body,
            None => return,
        }
        seen.lock().expect("no panic").push(request.clone());
        if !handle(&request, &mut writer) {
            return;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(Request {
        head,
        body: Vec::new(),
        connection: 0,
        turn: 0,
    })
}

/// A body by its framing; both sides of the tests read them.
pub fn read_body(
    reader: &mut impl BufRead,
    length: Option<&str>,
    encoding: Option<&str>,
) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return Some(body);
            }
        }
    }
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    body.resize(length, 0);
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
