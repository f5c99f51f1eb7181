//! One connection: requests in, answers out in their order, until one side closes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::body::Body;
use crate::head::{self, After, Head, Refusal};
use crate::work;

/// How long a refused client may go on sending before the connection closes under it.
const LINGER: Duration = Duration::from_secs(1);

/// What every request costs and gets.
pub(crate) struct Service {
    /// CPU time per request.
    pub(crate) work: Duration,
    /// The answer's body.
    pub(crate) body: Vec<u8>,
}

/// Serves `stream` until the client closes it, asks to have it closed, or sends what is not served.
///
/// # Errors
///
/// If the connection breaks.
pub(crate) async fn serve(stream: TcpStream, service: Arc<Service>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection {
        stream,
        service,
        received: Vec::new(),
    };
    loop {
        match connection.exchange().await? {
            Ended::Answered(After::Closes) | Ended::Closed => return Ok(()),
            Ended::Answered(After::Stays | After::StaysAndSaysSo) => {}
            Ended::Refused(refusal) => return connection.refuse(refusal).await,
        }
    }
}

/// How an exchange ended.
enum Ended {
    Answered(After),
    Refused(Refusal),
    Closed,
}

struct Connection {
    stream: TcpStream,
    service: Arc<Service>,
    /// Bytes received and not consumed yet; the beginning of the next request among them.
    received: Vec<u8>,
}

impl Connection {
    async fn exchange(&mut self) -> io::Result<Ended> {
        let head = loop {
            match head::parse(&self.received) {
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(refusal) => return Ok(Ended::Refused(refusal)),
            }
            if !self.receive().await? {
                return Ok(Ended::Closed);
            }
        };
        self.received.drain(..head.length);

        let mut body = Body::new(head.framing);
        if head.expects_continue && !body.is_done() && self.received.is_empty() {
            self.stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await?;
        }
        loop {
            match body.consume(&self.received) {
                Ok(taken) => self.received.drain(..taken),
                Err(_malformed) => return Ok(Ended::Refused(Refusal::Malformed)),
            };
            if body.is_done() {
                break;
            }
            if !self.receive().await? {
                return Ok(Ended::Closed);
            }
        }

        if !head.is_health {
            work::burn(self.service.work);
        }
        let answer = answer(&head, &self.service.body);
        self.stream.write_all(&answer).await?;
        Ok(Ended::Answered(head.after))
    }

    /// Receives some bytes; false at the end of the stream.
    async fn receive(&mut self) -> io::Result<bool> {
        // What is left over is less than a head or nothing: see `exchange`.
        self.received.reserve(head::LIMIT);
        Ok(self.stream.read_buf(&mut self.received).await? > 0)
    }

    /// Answers with an error and closes so that the client can still read it: a close with unread bytes would reset the
    /// connection (RFC 9112 §9.6).
    async fn refuse(mut self, refusal: Refusal) -> io::Result<()> {
        let status = refusal.status();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.stream.write_all(answer.as_bytes()).await?;
        self.stream.shutdown().await?;
        let drain = async {
            let mut unread = [0; 4096];
            while self
                .stream
                .read(&mut unread)
                .await
                .is_ok_and(|length| length > 0)
            {}
        };
        // A client that goes on sending is cut off then, which is what the bound is for.
        timeout(LINGER, drain).await.ok();
        Ok(())
    }
}

/// The answer to a request with `head`, in one piece so that it leaves in one segment where it fits.
fn answer(head: &Head, body: &[u8]) -> Vec<u8> {
    let connection = match head.after {
        After::Stays => "",
        After::StaysAndSaysSo => "Connection: keep-alive\r\n",
        After::Closes => "Connection: close\r\n",
    };
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{connection}\r\n"
    )
    .into_bytes();
    if !head.is_head {
        answer.extend_from_slice(body);
    }
    answer
}
