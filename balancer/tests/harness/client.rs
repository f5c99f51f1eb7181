//! A client that writes bytes and reads answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::upstream::read_body;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// All bytes of the head as text, blank line included.
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .trim_end()
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("an option");
        Self {
            reader: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader
            .get_mut()
            .write_all(bytes.as_ref())
            .expect("it is written");
    }

    /// `GET path` with a Host.
    pub fn send_get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: galileo\r\n\r\n"));
    }

    /// The head of the next answer; none at the end of the connection.
    pub fn head(&mut self) -> Option<Response> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        Some(Response {
            status,
            head,
            body: Vec::new(),
        })
    }

    /// The next answer; none at the end of the connection, also if it ends within the answer.
    pub fn response(&mut self) -> Option<Response> {
        let mut response = self.head()?;
        let (length, encoding) = (
            response.header("content-length"),
            response.header("transfer-encoding"),
        );
        response.body = read_body(&mut self.reader, length, encoding)?;
        Some(response)
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send_get(path);
        self.response().expect("an answer")
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.reader.read_to_end(&mut rest);
        rest
    }
}

/// `GET path` on a connection of its own.
pub fn get(addr: SocketAddr, path: &str) -> Response {
    Client::connect(addr).get(path)
}
