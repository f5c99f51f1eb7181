//! Connections: which one carries a request, how it is written and read, and what happens when it breaks.
//!
//! * A target's idle connections are a stack: the one used last is used next, so that no more stay warm than are needed.
//! * An idle connection that the server has closed meanwhile is noticed before it is used and thrown away.
//! * It may also be closed while the request is on its way. If a reused connection breaks before any byte of the answer came,
//!   a request of an idempotent method (RFC 9110 §9.2.2) is sent once more on a new connection, as browsers do; the time of
//!   the first sending stays, and the repetition is counted. Everything else that breaks is a failure.
//! * Connections, idle ones included, are never more than requests may be in flight.

use std::{io, net::SocketAddr, pin::pin, rc::Rc, time::Duration};

use bytes::BytesMut;
use galileo_wire::{FailureKind, clock::boot_ns};
use rustix::net::{RecvFlags, recv};
use tokio::{
    net::{TcpStream, tcp::WriteHalf},
    time::{Instant, timeout_at},
};

use super::{
    answer::{Seen, read_answer},
    message::Message,
};
use crate::workload::Workload;

/// A connection to a target and what was read from it beyond need (nothing, between requests).
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// Sends requests; one per workload.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Rc<Settings>,
    idle: Vec<Vec<Connection>>,
    idle_count: usize,
    busy: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Settings {
    targets: Vec<SocketAddr>,
    timeout: Duration,
    to_head: bool,
    idempotent: bool,
}

/// How a request ended; hand it to [`Client::take_back`].
#[derive(Debug)]
pub(crate) struct Ended {
    /// The answer was whole, or why it was not.
    pub(crate) answer: Result<(), FailureKind>,
    /// When it was whole, or the failure was noticed.
    pub(crate) done_ns: u64,
    /// It was sent a second time.
    pub(crate) retried: bool,
    /// New connections made for it.
    pub(crate) connections: u64,
    target: usize,
    connection: Option<Connection>,
}

impl Client {
    pub(crate) fn new(workload: &Workload) -> Self {
        let method = workload.request.method.as_str();
        Self {
            settings: Rc::new(Settings {
                targets: workload.targets.iter().map(|target| target.addr).collect(),
                timeout: workload.timeout,
                to_head: method == "HEAD",
                idempotent: matches!(
                    method,
                    "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE"
                ),
            }),
            idle: workload.targets.iter().map(|_| Vec::new()).collect(),
            idle_count: 0,
            busy: 0,
            capacity: workload.in_flight,
        }
    }

    /// Sends a request to a target. If a connection is idle, as much as the socket takes is written before this returns; the
    /// future does the rest.
    pub(crate) fn send(
        &mut self,
        target: usize,
        message: Message,
        seen: Rc<Seen>,
    ) -> impl Future<Output = Ended> + use<> {
        let first = self.take_idle(target).map(|mut connection| {
            let written = connection.write_now(&message, &seen);
            (connection, written)
        });
        if first.is_none() && self.busy + self.idle_count >= self.capacity {
            self.close_one_idle();
        }
        self.busy += 1;
        exchange(Rc::clone(&self.settings), target, message, seen, first)
    }

    /// Takes note that a request has ended, and keeps its connection if it can carry another.
    pub(crate) fn take_back(&mut self, ended: &mut Ended) {
        self.busy -= 1;
        if let Some(connection) = ended.connection.take() {
            self.idle[ended.target].push(connection);
            self.idle_count += 1;
        }
    }

    fn take_idle(&mut self, target: usize) -> Option<Connection> {
        while let Some(connection) = self.idle[target].pop() {
            self.idle_count -= 1;
            if connection.is_silent() {
                return Some(connection);
            }
        }
        None
    }

    /// Makes room by closing the connection that was idle longest at the target that has most.
    fn close_one_idle(&mut self) {
        if let Some(most) = self.idle.iter_mut().max_by_key(|idle| idle.len())
            && !most.is_empty()
        {
            drop(most.remove(0));
            self.idle_count -= 1;
        }
    }
}

impl Connection {
    async fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        // A port of the ephemeral range that nobody listens on can be drawn as the local one: TCP then connects the socket
        // with itself.
        if stream.local_addr()? == addr {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: BytesMut::new(),
        })
    }

    /// Whether the peer has neither closed the connection nor said something unasked.
    fn is_silent(&self) -> bool {
        recv(
            &self.stream,
            &mut [0u8; 1],
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        ) == Err(rustix::io::Errno::WOULDBLOCK)
    }

    /// Writes what the socket takes at once; tells how much.
    fn write_now(&mut self, message: &Message, seen: &Seen) -> io::Result<usize> {
        match stamped(seen, || self.stream.try_write_vectored(&message.rest(0))) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Carries out one request of which `written` tells what is done. Tells whether the connection may carry another.
    async fn converse(
        &mut self,
        message: &Message,
        written: io::Result<usize>,
        to_head: bool,
        seen: &Seen,
    ) -> Result<bool, FailureKind> {
        let Self { stream, buffer } = self;
        let (mut reader, writer) = stream.split();
        let mut answer = pin!(read_answer(&mut reader, buffer, to_head, seen));
        let whole = match written {
            Ok(written) if written == message.len() => true,
            Ok(written) => tokio::select! {
                biased;
                whole = write_rest(writer, message, written, seen) => whole.is_ok(),
                // An answer may come before the request is written, to refuse a long body for instance; nothing can follow
                // on this connection then.
                early = &mut answer => return early.map(|_| false),
            },
            Err(_) => false,
        };
        let answer = answer.await;
        if whole {
            return answer;
        }
        // The peer has stopped reading, perhaps after it has answered; what it wrote before it did may still be here.
        match answer {
            Ok(_) => Ok(false),
            Err(FailureKind::Closed) => Err(FailureKind::Reset),
            Err(kind) => Err(kind),
        }
    }
}

async fn write_rest(
    writer: WriteHalf<'_>,
    message: &Message,
    mut written: usize,
    seen: &Seen,
) -> io::Result<()> {
    while written < message.len() {
        writer.writable().await?;
        match stamped(seen, || writer.try_write_vectored(&message.rest(written))) {
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Stamps the request as sent if this write is its first that took something. The stamp is taken before the call: on the
/// loopback interface the peer may have read the bytes before it returns.
fn stamped(seen: &Seen, write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    let now_ns = boot_ns();
    let written = write();
    if seen.sent_ns.get().is_none() && matches!(written, Ok(1..)) {
        seen.sent_ns.set(Some(now_ns));
    }
    written
}

async fn exchange(
    settings: Rc<Settings>,
    target: usize,
    message: Message,
    seen: Rc<Seen>,
    first: Option<(Connection, io::Result<usize>)>,
) -> Ended {
    let Settings {
        timeout,
        to_head,
        idempotent,
        ..
    } = *settings;
    let mut deadline = Instant::now() + timeout;
    let mut ended = Ended {
        answer: Ok(()),
        done_ns: 0,
        retried: false,
        connections: 0,
        target,
        connection: None,
    };

    if let Some((mut connection, written)) = first {
        let answer = within(
            deadline,
            connection.converse(&message, written, to_head, &seen),
        )
        .await;
        let stale = matches!(answer, Err(FailureKind::Closed | FailureKind::Reset))
            && seen.first_byte_ns.get().is_none();
        if !(stale && idempotent) {
            return ended.with(answer, connection, &seen);
        }
        ended.retried = true;
    }

    let Ok(Ok(mut connection)) =
        timeout_at(deadline, Connection::open(settings.targets[target])).await
    else {
        return Ended {
            answer: Err(FailureKind::Connect),
            done_ns: boot_ns(),
            ..ended
        };
    };
    ended.connections = 1;
    if !ended.retried {
        deadline = Instant::now() + timeout;
    }
    let written = connection.write_now(&message, &seen);
    let answer = within(
        deadline,
        connection.converse(&message, written, to_head, &seen),
    )
    .await;
    ended.with(answer, connection, &seen)
}

async fn within(
    deadline: Instant,
    answer: impl Future<Output = Result<bool, FailureKind>>,
) -> Result<bool, FailureKind> {
    timeout_at(deadline, answer)
        .await
        .unwrap_or(Err(FailureKind::Timeout))
}

impl Ended {
    fn with(self, answer: Result<bool, FailureKind>, connection: Connection, seen: &Seen) -> Self {
        let done_ns = if answer.is_ok() {
            seen.last_read_ns.get()
        } else {
            boot_ns()
        };
        let connection = (answer == Ok(true)).then_some(connection);
        Self {
            answer: answer.map(drop),
            done_ns,
            connection,
            ..self
        }
    }
}
