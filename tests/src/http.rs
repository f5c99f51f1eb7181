//! A plain HTTP/1.1 client that knows how many bytes it wrote and read.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// A connection to a server on the loopback address.
pub struct Client {
    stream: BufReader<TcpStream>,
    port: u16,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Bytes of the request's head and body.
    pub sent: (u64, u64),
    /// Bytes of the answer's head and body.
    pub received: (u64, u64),
    /// The server ends the connection after this answer.
    pub closes: bool,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If nobody listens.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream: BufReader::new(stream),
            port,
        }
    }

    /// Sends a request with our id and reads the answer.
    ///
    /// # Panics
    ///
    /// If the server does not answer as HTTP/1.1 with a length.
    pub fn request(&mut self, method: &str, path: &str, id: &str, body: &[u8]) -> Reply {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nx-galileo-request-id: {id}\r\n{length}\r\n",
            self.port
        );
        let message = [head.as_bytes(), body].concat();
        self.stream
            .get_mut()
            .write_all(&message)
            .expect("the connection holds");
        let mut received = 0;
        let mut status = 0;
        let mut left = 0;
        let mut closes = false;
        loop {
            let mut line = String::new();
            received += self.stream.read_line(&mut line).expect("a line") as u64;
            let text = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = text.strip_prefix("http/1.") {
                status = rest[2..5].parse().expect("a status");
            } else if let Some(value) = text.strip_prefix("content-length:") {
                left = value.trim().parse().expect("a length");
            } else if text == "connection: close" {
                closes = true;
            } else if text.is_empty() {
                assert!(!line.is_empty(), "the server closed the connection");
                break;
            }
        }
        if method == "HEAD" {
            left = 0;
        }
        let mut rest = vec![0; left];
        self.stream.read_exact(&mut rest).expect("the body");
        Reply {
            status,
            sent: (head.len() as u64, body.len() as u64),
            received: (received, left as u64),
            closes,
        }
    }
}
