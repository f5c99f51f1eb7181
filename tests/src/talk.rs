//! A connection both ends of which are ours, so that every byte and its time is known.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

/// Two ends of a loopback connection. Each write is one segment, and is read before the next.
pub struct Talk {
    /// The end that asks.
    pub client: TcpStream,
    /// The end that answers.
    pub server: TcpStream,
    /// The server's port.
    pub port: u16,
}

impl Talk {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn new() -> Self {
        Self::on("127.0.0.1:0")
    }

    /// As [`Talk::new`], on this address.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn on(address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).expect("the listener accepts");
        let (server, _) = listener.accept().expect("the client connects");
        for end in [&client, &server] {
            end.set_nodelay(true).expect("a TCP socket");
            end.set_read_timeout(Some(Duration::from_secs(20)))
                .expect("a TCP socket");
        }
        Self {
            client,
            server,
            port: address.port(),
        }
    }

    /// The client writes, the server reads.
    pub fn ask(&mut self, bytes: &[u8]) {
        pass(&mut self.client, &mut self.server, bytes);
    }

    /// The server writes, the client reads.
    pub fn answer(&mut self, bytes: &[u8]) {
        pass(&mut self.server, &mut self.client, bytes);
    }

    /// Both ends close, the server first.
    ///
    /// # Panics
    ///
    /// If the client does not see the end.
    pub fn close(mut self) {
        self.server.shutdown(Shutdown::Write).expect("still open");
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).expect("the end");
        assert_eq!(rest, b"");
    }
}

impl Default for Talk {
    fn default() -> Self {
        Self::new()
    }
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("the connection holds");
    let mut read = vec![0; bytes.len()];
    to.read_exact(&mut read).expect("the connection holds");
    assert_eq!(read, bytes);
}
