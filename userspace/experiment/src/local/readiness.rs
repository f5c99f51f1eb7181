//! Waiting until a replica answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use super::process::ExitInfo;
use super::replica::Replica;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(25);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long the rest of an answer may take whose status is known.
const REST: Duration = Duration::from_millis(200);
/// Lines of output in a message.
const LINES: usize = 10;

/// How a replica shows that it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers `GET` of this path with a status from 200 to 399.
    Http(String),
    /// It accepts connections.
    Tcp,
}

impl Replica {
    /// Waits until the replica is ready, and says how long that took. A replica without a port is ready at once.
    ///
    /// # Errors
    /// [`Error::Died`] as soon as it has ended, [`Error::NotReady`] after `limit`, [`Error::Cancelled`].
    pub async fn wait_ready(
        &self,
        health: &Health,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<Duration> {
        let Some(addr) = self.addr() else {
            return Ok(Duration::ZERO);
        };
        let begin = Instant::now();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled),
            exit = self.end() => Err(Error::Died {
                replica: self.name().to_owned(),
                exit,
                output: self.output().last_lines(LINES),
            }),
            asked = ask_until_ready(addr, health, limit) => match asked {
                Ok(()) => Ok(begin.elapsed()),
                Err(last) => Err(Error::NotReady {
                    replica: self.name().to_owned(),
                    waited: limit,
                    last,
                    output: self.output().last_lines(LINES),
                }),
            },
        }
    }

    /// Waits until nobody is left who could become ready. A daemon's first process ends, and all is well.
    async fn end(&self) -> ExitInfo {
        let exit = self.wait().await;
        while exit.is_success() && !self.members().is_empty() {
            sleep(PAUSE).await;
        }
        exit
    }
}

/// Asks until the answer is good; the error is what the last attempt met. Where the deadline cut that short, what the one before it met
/// tells more.
async fn ask_until_ready(
    addr: SocketAddr,
    health: &Health,
    limit: Duration,
) -> std::result::Result<(), String> {
    let deadline = Instant::now() + limit;
    let silence = format!("{addr} does not answer");
    let mut last = None;
    while Instant::now() < deadline {
        let attempt = ATTEMPT.min(deadline - Instant::now());
        match timeout(attempt, ask(addr, health)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => last = Some(reason),
            Err(_) => {
                last = Some(match last {
                    Some(reason) if attempt <= PAUSE => reason,
                    Some(reason) if attempt < ATTEMPT && reason != silence => {
                        format!("{reason}; then {addr} did not answer for {attempt:.1?}")
                    }
                    _ => silence.clone(),
                });
            }
        }
        sleep(PAUSE).await;
    }
    Err(last.unwrap_or_else(|| "there was no time to ask".to_owned()))
}

async fn ask(addr: SocketAddr, health: &Health) -> std::result::Result<(), String> {
    let mut stream = TcpStream::connect(addr)
        .await
        .map_err(|error| format!("cannot connect to {addr}: {error}"))?;
    let Health::Http(path) = health else {
        return Ok(());
    };
    let broken = |error: std::io::Error| format!("GET {path} at {addr}: {error}");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: galileo\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < 1024 {
        if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
            break;
        }
    }
    let status = status(&head);
    // Reading to the end lets the server see an orderly client, and the probes a whole exchange.
    let mut rest = tokio::io::sink();
    let _ = timeout(REST, tokio::io::copy(&mut stream, &mut rest)).await;
    match status {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!(
            "GET {path} at {addr} is answered with status {status}"
        )),
        None => Err(format!(
            "GET {path} at {addr} is answered, but not in HTTP/1"
        )),
    }
}

/// The status in the first line of an answer (RFC 9112 section 4).
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.strip_prefix("HTTP/1.")?.split(' ');
    let (_minor, code) = (words.next()?, words.next()?);
    (code.len() == 3).then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that answers one connection with an error and holds those after it without a word; the reason.
    async fn refused_once(limit: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = async {
            let (mut first, _) = listener.accept().await.unwrap();
            // A close with unread bytes would be a reset.
            assert!(first.read(&mut [0; 1024]).await.unwrap() > 0);
            let answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
            first.write_all(answer).await.unwrap();
            drop(first);
            let mut held = Vec::new();
            loop {
                held.push(listener.accept().await.unwrap());
            }
        };
        let health = Health::Http("/".to_owned());
        tokio::select! {
            () = server => unreachable!("it holds connections for ever"),
            asked = ask_until_ready(addr, &health, limit) => asked.unwrap_err(),
        }
    }

    #[tokio::test]
    async fn an_attempt_that_the_deadline_cuts_short_does_not_replace_what_was_met_before() {
        let last = refused_once(ATTEMPT - PAUSE).await;
        assert!(last.contains("is answered with status 503"), "{last}");
        assert!(last.contains("; then 127.0.0.1:"), "{last}");
    }

    #[tokio::test]
    async fn an_attempt_that_had_its_time_tells_that_there_is_no_answer_any_more() {
        let last = refused_once(2 * ATTEMPT).await;
        assert!(last.ends_with("does not answer"), "{last}");
    }

    #[test]
    fn status_is_the_second_word_of_an_http_answer() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(status(b"HTTP/1.1 4770 no\r\n"), None);
        assert_eq!(status(b"SSH-2.0-OpenSSH\r\n"), None);
        assert_eq!(status(b""), None);
    }
}
