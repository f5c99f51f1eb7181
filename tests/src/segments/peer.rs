//! A TCP by hand: it opens a connection to or from a socket of the kernel, and then does what it is told.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use galileo_oracle::segment::{Mark, Segment, Way};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt},
    time::{ClockId, clock_gettime},
};

use super::{
    packet::{Packet, flag},
    place::{Family, Place, Size},
};

/// How long the kernel may take to send what it must send.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nanoseconds of `CLOCK_BOOTTIME`, which the probes use.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Room for all that a conversation says at once, so that nothing waits for who reads it.
const ROOM: usize = 2 << 20;

/// The first of the ports that our ends have.
const FIRST_PORT: u16 = 20_000;

fn listener(family: Family) -> TcpListener {
    let listener = TcpListener::bind((family.kernel(), 0)).expect("an address of this place");
    make_room(&listener);
    listener
}

fn make_room(socket: &impl AsFd) {
    sockopt::set_socket_recv_buffer_size_force(socket, ROOM)
        .expect("who may load probes may do so");
    sockopt::set_socket_send_buffer_size_force(socket, ROOM)
        .expect("who may load probes may do so");
}

/// A connection between the kernel and the test.
pub struct Peer {
    place: Place,
    family: Family,
    /// The port of the kernel's end.
    listener: TcpListener,
    next_port: u16,
}

/// One connection of a [`Peer`].
pub struct Connection<'a> {
    peer: &'a mut Peer,
    /// The kernel's end; none once it is closed.
    socket: Option<TcpStream>,
    /// The way that the test sends.
    ours: Way,
    local: SocketAddr,
    remote: SocketAddr,
    /// Number of the next byte that is expected from the kernel.
    expected: u32,
    /// Number of the byte behind the last one sent.
    sent: u32,
    /// Everything that went through the hook, in order, each with the time before.
    pub segments: Vec<Segment>,
    /// The longest time that a segment took.
    pub late_ns: u64,
}

impl Peer {
    /// Makes a place, and a listener of the kernel's in it.
    ///
    /// # Panics
    ///
    /// If that may not be done here.
    #[must_use]
    pub fn new(family: Family, size: Size) -> Self {
        let place = Place::enter(size);
        Self {
            place,
            family,
            listener: listener(family),
            next_port: FIRST_PORT,
        }
    }

    /// A port that together with the listener's has had no connection yet: what the probes keep of a listener's data outlives its
    /// connection, and the numbers that connections begin with here are few.
    fn port(&mut self) -> u16 {
        if let Some(next) = self.next_port.checked_add(1) {
            self.next_port = next;
        } else {
            self.next_port = FIRST_PORT;
            self.listener = listener(self.family);
        }
        self.next_port
    }

    /// A connection of which nothing was sent yet, with this number of our SYN.
    fn unopened(
        &mut self,
        ours: Way,
        [local, remote]: [SocketAddr; 2],
        initial: u32,
    ) -> Connection<'_> {
        Connection {
            peer: self,
            socket: None,
            ours,
            local,
            remote,
            expected: 0,
            sent: initial,
            segments: Vec::new(),
            late_ns: 0,
        }
    }

    /// Opens a connection in which the kernel's end is the server's, with this number of our SYN.
    ///
    /// # Panics
    ///
    /// If the kernel does not answer.
    pub fn client(&mut self, initial: u32) -> Connection<'_> {
        let local = SocketAddr::new(self.family.peer(), self.port());
        let remote = self.listener.local_addr().expect("bound");
        let mut connection = self.unopened(Way::Up, [local, remote], initial);
        connection.put(initial, flag::SYN, b"");
        let answer = connection.next_packet();
        assert_eq!(
            answer.flags & (flag::SYN | flag::ACK),
            flag::SYN | flag::ACK
        );
        connection.opened(&answer);
        connection.put(initial.wrapping_add(1), flag::ACK, b"");
        let (socket, _) = connection.peer.listener.accept().expect("a connection");
        connection.ready(socket);
        connection
    }

    /// Opens a connection in which the kernel's end is the client's, with this number of our SYN.
    ///
    /// # Panics
    ///
    /// If the kernel does not ask for it.
    pub fn server(&mut self, initial: u32) -> Connection<'_> {
        let local = SocketAddr::new(self.family.peer(), self.port());
        let family = match self.family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket: OwnedFd =
            socket_with(family, SocketType::STREAM, flags, None).expect("a socket");
        make_room(&socket);
        assert_eq!(connect(&socket, &local), Err(Errno::INPROGRESS));
        let socket = TcpStream::from(socket);
        let remote = socket.local_addr().expect("it was bound to connect");
        let mut connection = self.unopened(Way::Down, [local, remote], initial);
        let syn = connection.next_packet();
        assert_eq!(syn.flags & (flag::SYN | flag::ACK), flag::SYN);
        connection.opened(&syn);
        connection.put(initial, flag::SYN | flag::ACK, b"");
        let mut third = connection.next_packet();
        while third.flags & flag::SYN != 0 {
            // Sent once more, as ours took its time.
            third = connection.next_packet();
        }
        assert_eq!(
            third.flags & (flag::SYN | flag::ACK),
            flag::ACK,
            "{third:?}"
        );
        connection.ready(socket);
        connection
    }
}

impl Connection<'_> {
    fn ready(&mut self, socket: TcpStream) {
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_nonblocking(true).expect("a TCP socket");
        self.socket = Some(socket);
        self.sent = self.sent.wrapping_add(1);
    }

    /// Notes the kernel's SYN.
    fn opened(&mut self, packet: &Packet) {
        self.expected = packet.sequence.wrapping_add(1);
        self.note(self.ours.back(), packet.sequence, Mark::Syn, b"", now_ns());
    }

    fn note(&mut self, way: Way, sequence: u32, mark: Mark, payload: &[u8], time_ns: u64) {
        self.segments.push(Segment {
            way,
            time_ns,
            sequence,
            mark,
            payload: payload.to_vec(),
        });
    }

    /// Sends a segment as it is.
    fn put(&mut self, sequence: u32, flags: u8, payload: &[u8]) {
        let mark = match flags {
            flags if flags & flag::SYN != 0 => Mark::Syn,
            flags if flags & flag::RST != 0 => Mark::Rst,
            flags if flags & flag::FIN != 0 => Mark::Fin,
            _ => Mark::Plain,
        };
        let before = now_ns();
        if mark != Mark::Plain || !payload.is_empty() {
            self.note(self.ours, sequence, mark, payload, before);
        }
        self.peer.place.send(&Packet {
            from: self.local,
            to: self.remote,
            sequence,
            acknowledged: self.expected,
            flags,
            payload: payload.to_vec(),
        });
        self.late_ns = self.late_ns.max(now_ns() - before);
    }

    /// The next packet of this connection, which must come.
    fn next_packet(&mut self) -> Packet {
        let begin = Instant::now();
        while let Some(packet) = self.peer.place.receive_within(PATIENCE) {
            if packet.to == self.local {
                return packet;
            }
        }
        // Much longer than the patience if this process was stopped, or the machine.
        let waited = begin.elapsed();
        let last = self.segments.iter().rev().take(4).map(|segment| {
            let length = segment.payload.len();
            (segment.way, segment.mark, segment.sequence, length)
        });
        panic!(
            "the kernel sends nothing for {waited:?}; it has sent up to {}, we up to {}; the last segments, backwards: {:?}; \
             its socket: {:?}",
            self.expected,
            self.sent,
            last.collect::<Vec<_>>(),
            self.socket
        );
    }

    /// Our way: sends this segment, whatever its number.
    pub fn send(&mut self, segment: &Segment) {
        let flags = match segment.mark {
            Mark::Plain => flag::ACK | flag::PSH,
            Mark::Syn => flag::SYN,
            Mark::Fin => flag::ACK | flag::FIN,
            Mark::Rst => flag::ACK | flag::RST,
        };
        let behind = segment
            .sequence
            .wrapping_add(segment.payload.len() as u32)
            .wrapping_add(u32::from(segment.mark == Mark::Fin));
        if behind.wrapping_sub(self.sent) as i32 > 0 {
            self.sent = behind;
        }
        self.put(segment.sequence, flags, &segment.payload);
        self.settle();
    }

    /// The kernel's way: lets its socket send these bytes, and end its way after them.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub fn write(&mut self, payload: &[u8], mark: Mark) {
        let before = now_ns();
        let from = self.segments.len();
        let last = self.expected.wrapping_add(payload.len() as u32);
        let Some(mut socket) = self.socket.take() else {
            return;
        };
        if !payload.is_empty() {
            socket.set_nonblocking(false).expect("a TCP socket");
            socket
                .write_all(payload)
                .expect("the connection holds, and its window is open");
            socket.set_nonblocking(true).expect("a TCP socket");
            self.read_until(last);
        }
        match mark {
            Mark::Plain | Mark::Syn => self.socket = Some(socket),
            Mark::Fin => {
                socket.shutdown(Shutdown::Write).expect("a TCP socket");
                self.socket = Some(socket);
                self.read_until(last.wrapping_add(1));
            }
            Mark::Rst => {
                sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("a TCP socket");
                drop(socket);
                while self
                    .segments
                    .last()
                    .is_none_or(|segment| segment.mark != Mark::Rst)
                {
                    let packet = self.next_packet();
                    self.take(&packet);
                }
            }
        }
        let after = now_ns();
        for segment in &mut self.segments[from..] {
            segment.time_ns = before;
        }
        self.late_ns = self.late_ns.max(after - before);
        self.settle();
    }

    /// Reads until the kernel has sent everything up to this number.
    fn read_until(&mut self, number: u32) {
        while number.wrapping_sub(self.expected) as i32 > 0 {
            let packet = self.next_packet();
            self.take(&packet);
            self.put(self.sent, flag::ACK, b"");
        }
    }

    /// Takes in what the kernel sent.
    fn take(&mut self, packet: &Packet) {
        let mark = match packet.flags {
            flags if flags & flag::RST != 0 => Mark::Rst,
            flags if flags & flag::FIN != 0 => Mark::Fin,
            flags if flags & flag::SYN != 0 => Mark::Syn,
            _ => Mark::Plain,
        };
        if mark != Mark::Plain || !packet.payload.is_empty() {
            let way = self.ours.back();
            self.note(way, packet.sequence, mark, &packet.payload, now_ns());
        }
        let behind = packet
            .sequence
            .wrapping_add(packet.payload.len() as u32)
            .wrapping_add(u32::from(matches!(mark, Mark::Fin | Mark::Syn)));
        if behind.wrapping_sub(self.expected) as i32 > 0 {
            self.expected = behind;
        }
    }

    /// Takes in what the kernel has sent by itself, and lets its application read.
    fn settle(&mut self) {
        while let Some(packet) = self.peer.place.receive() {
            if packet.to == self.local {
                self.take(&packet);
            }
        }
        let Some(socket) = &mut self.socket else {
            return;
        };
        let mut buffer = [0; 65_536];
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // It was reset.
                Err(_) => {
                    self.socket = None;
                    return;
                }
            }
        }
    }

    /// Ends the connection with a RST of ours, unless it has ended.
    pub fn reset(&mut self) {
        if self
            .segments
            .iter()
            .all(|segment| segment.mark != Mark::Rst)
        {
            self.put(self.sent, flag::ACK | flag::RST, b"");
        }
        self.settle();
        self.socket = None;
        self.settle();
    }
}
