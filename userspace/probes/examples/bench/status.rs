//! nginx's own count of requests (`stub_status`).

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::Outcome;

/// Where the count is.
pub const PATH: &str = "/status";

/// How long nothing may be counted until nginx is at rest.
const REST: Duration = Duration::from_millis(50);

/// Asks for the count over one connection.
pub struct Status {
    connection: BufReader<TcpStream>,
    asked: u64,
}

impl Status {
    /// Connects to nginx on a port of 127.0.0.1.
    pub fn connect(port: u16) -> Outcome<Self> {
        let connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            connection: BufReader::new(connection),
            asked: 0,
        })
    }

    /// Requests that began so far, without those of this connection.
    pub fn requests(&mut self) -> Outcome<u64> {
        write!(
            self.connection.get_mut(),
            "GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n"
        )?;
        self.asked += 1;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.connection.read_line(&mut line)?;
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" || line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body)?;
        let body = String::from_utf8(body)?;
        let numbers = body
            .lines()
            .nth(2)
            .ok_or("no third line in nginx's status")?;
        let requests: u64 = numbers
            .split_whitespace()
            .nth(2)
            .ok_or("no third number")?
            .parse()?;
        Ok(requests - self.asked)
    }

    /// As [`Status::requests`], once what clients left behind is done with and nothing is counted any more.
    pub fn requests_at_rest(&mut self) -> Outcome<u64> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut before = self.requests()?;
        loop {
            thread::sleep(REST);
            let now = self.requests()?;
            if now == before {
                return Ok(now);
            }
            if Instant::now() > deadline {
                return Err("somebody still asks nginx although the load has ended".into());
            }
            before = now;
        }
    }
}
