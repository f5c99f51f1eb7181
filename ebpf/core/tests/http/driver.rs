//! What the object does around the state machines, for one connection, with maps of the host.

mod maps;

use std::collections::HashMap;

use galileo_ebpf_abi::{Ledger, role};
use galileo_ebpf_core::{
    connection::{self, Next, Order, Place, RECEIVED, SENT, Step},
    http::{mark, state},
    plain::{self, Piece},
    socket::{Outside, Segment, Socket, last},
    window::FRESH,
};

use maps::Maps;
pub use maps::Refused;

/// An exchange as the object would hand it out, `traceparent` as it stands in the head.
pub use galileo_oracle::agreement::Seen;

/// `MAX_TAIL_CALL_CNT` of the kernel; 32 in some versions.
pub const TAIL_CALLS: u32 = 32;

/// One end of a connection, watched twice: as the object does, and by the steps alone. What comes out must be the same.
pub struct Connection {
    watches: [Watch; 2],
    next_seq: [u32; 2],
    /// Most steps that one segment took, each of them a tail call in the object.
    pub steps: u32,
    /// How many a segment may take.
    pub limit: u32,
}

/// What the object keeps of one end, and does with its segments.
pub struct Watch {
    pub socket: Box<Socket>,
    segment: Box<Segment>,
    maps: Maps,
    plain: bool,
}

/// Tail calls of a segment.
struct Calls {
    used: u32,
    limit: u32,
}

impl Calls {
    /// Makes one; false if there are none left.
    fn spend(&mut self) -> bool {
        let fine = self.used < self.limit;
        self.used += u32::from(fine);
        fine
    }
}

/// Headers of IP and TCP before the payload.
const HEADERS: u32 = 52;
/// Sequence numbers shortly before they wrap.
const NEXT_SEQ: [u32; 2] = [u32::MAX - 100, u32::MAX - 7];
/// Stale bytes that an unread window holds: what a parser that reads too far would take for something.
const STALE: u8 = b'\n';

impl Watch {
    pub fn new(plain: bool, next_seq: [u32; 2], begun: [bool; 2]) -> Self {
        // SAFETY: both consist of integers only, for which zero is a value.
        let (mut socket, mut segment) = unsafe {
            (
                Box::<Socket>::new_zeroed().assume_init(),
                Box::<Segment>::new_zeroed().assume_init(),
            )
        };
        socket.cookie = 1;
        socket.role = role::UNKNOWN;
        segment.window.bytes.fill(STALE);
        for direction in [RECEIVED, SENT] {
            let (next_seq, begun) = (next_seq[direction as usize], begun[direction as usize]);
            connection::synchronise(&mut socket, direction, Place { next_seq, begun });
        }
        Self {
            socket,
            segment,
            maps: Maps::default(),
            plain,
        }
    }

    /// A segment passes by, for which there are as many tail calls as the kernel makes.
    pub fn pass(&mut self, direction: u32, now_ns: u64, sequence: u32, payload: &[u8], how: u32) {
        let mut calls = Calls {
            used: 0,
            limit: TAIL_CALLS,
        };
        self.at(direction, now_ns, sequence, payload, how, &mut calls);
    }

    /// The exchanges since the last time, with the role in which they were seen, and what was counted.
    pub fn take(&mut self) -> (Vec<(u8, Seen)>, HashMap<Ledger, u64>) {
        (self.maps.seen.take(), self.maps.ledger.take())
    }

    /// What the object does before the steps.
    fn is_plain(&mut self, direction: u32, now_ns: u64, sequence: u32, length: u32) -> bool {
        let (socket, maps) = (&mut *self.socket, &self.maps);
        let window = &mut self.segment.window;
        let mut piece = Piece {
            sequence,
            offset: HEADERS,
            payload: length,
            filled: 0,
        };
        if plain::may_begin(socket, direction, sequence) {
            piece.filled = length.min(FRESH as u32);
            if !maps.load(window, 0, HEADERS, piece.filled) {
                return false;
            }
            return plain::message(maps, window, socket, direction, piece, now_ns);
        }
        plain::body(maps, window, socket, direction, piece, || now_ns)
    }

    /// What `packet` and the step programs of the object do, with the tail calls there are.
    fn at(
        &mut self,
        direction: u32,
        now_ns: u64,
        sequence: u32,
        payload: &[u8],
        how: u32,
        calls: &mut Calls,
    ) {
        let length = payload.len() as u32;
        let ends = how != last::NO;
        if (length == 0 && !ends)
            || connection::stream(&mut self.socket, direction).state == state::SILENT
        {
            return;
        }
        let mut packet = vec![0; HEADERS as usize];
        packet.extend_from_slice(payload);
        *self.maps.packet.borrow_mut() = packet;
        if self.plain {
            let whole = if ends {
                length == 0 && plain::ends_nothing(&mut self.socket, direction, sequence)
            } else {
                self.is_plain(direction, now_ns, sequence, length)
            };
            if whole {
                return;
            }
        }
        let (socket, segment, maps) = (&mut *self.socket, &mut *self.segment, &self.maps);
        if direction == RECEIVED
            && how == last::CONNECTION
            && !connection::resets(socket, sequence, maps.received.get())
        {
            return;
        }
        let received = maps.received.get();
        let is_level = |socket: &mut Socket| {
            let next_seq = connection::stream(socket, RECEIVED).next_seq;
            received.unwrap_or(next_seq).wrapping_sub(next_seq) as i32 <= 0
        };
        let order = connection::place(maps, socket, direction, sequence, length, how, is_level);
        let ahead = match order {
            Order::Old => return,
            Order::Follows(ahead) => ahead,
            Order::Early => 0,
        };
        segment.now_ns = now_ns;
        segment.offset = HEADERS + ahead;
        segment.end = HEADERS + length;
        segment.next_seq = sequence.wrapping_add(length);
        segment.last = how;
        segment.run = 0;
        let is_level = is_level(socket);
        let tries = order == Order::Early && direction == RECEIVED;
        if tries {
            calls.spend();
        }
        let is_kept = tries && is_level && {
            let mut early = maps.early.borrow_mut();
            // SAFETY: it consists of integers only, for which zero is a value.
            let early = early.get_or_insert_with(|| unsafe { Box::new_zeroed().assume_init() });
            connection::keep_early(maps, early, segment, socket, direction)
        };
        if order == Order::Early && !is_kept {
            connection::give_up(maps, socket, direction);
        }
        if tries && !is_kept {
            calls.spend();
        }
        if !is_kept {
            Self::walk(maps, segment, socket, direction, calls);
        }
        while connection::has_early(socket, direction) {
            let mut early = maps.early.borrow_mut();
            let kept = early.as_mut().expect("something was kept");
            if !calls.spend() {
                connection::leave_early(maps, kept, segment, socket, direction);
                break;
            }
            let this = connection::stream(socket, direction);
            if !kept.follow(segment, this) {
                break;
            }
            drop(early);
            Self::walk(maps, segment, socket, direction, calls);
        }
        let this = connection::stream(socket, direction);
        assert!(this.flags & mark::SYNCED != 0);
    }

    /// All steps of a segment, the first of which runs already.
    fn walk(
        maps: &Maps,
        segment: &mut Segment,
        socket: &mut Socket,
        direction: u32,
        calls: &mut Calls,
    ) {
        let mut next = Next::Read;
        while next != Next::Finish {
            let mut step = Step::Scan;
            if next == Next::Read {
                step = connection::read(maps, segment, socket, direction, true);
                if step == Step::Nothing {
                    break;
                }
                if !calls.spend() {
                    return connection::exceeded(maps, segment, socket, direction);
                }
            }
            segment.event = step as u32;
            if step == Step::Scan {
                loop {
                    segment.event = connection::scan(segment, socket, direction) as u32;
                    let goes_on = connection::scan_on(maps, segment, socket, direction);
                    if !calls.spend() {
                        return connection::exceeded(maps, segment, socket, direction);
                    }
                    if !goes_on {
                        break;
                    }
                }
            }
            connection::act(maps, segment, socket, direction);
            next = connection::next(segment, socket, direction);
            if next != Next::Finish && !calls.spend() {
                connection::exceeded(maps, segment, socket, direction);
                break;
            }
        }
        connection::finish(maps, segment, socket, direction);
    }
}

impl Connection {
    /// A connection that begins.
    pub fn new() -> Self {
        Self::joined(NEXT_SEQ, [true; 2])
    }

    /// A connection through which data went before it was watched.
    pub fn older() -> Self {
        Self::joined(NEXT_SEQ, [false; 2])
    }

    /// A connection with these sequence numbers of the next byte received and sent, which may be the first.
    pub fn joined(next_seq: [u32; 2], begun: [bool; 2]) -> Self {
        Self {
            watches: [true, false].map(|plain| Watch::new(plain, next_seq, begun)),
            next_seq,
            steps: 0,
            limit: u32::MAX,
        }
    }

    /// The next segment in order, at the time `now_ns`.
    pub fn segment(&mut self, direction: u32, now_ns: u64, payload: &[u8]) {
        let sequence = self.next_seq[direction as usize];
        self.next_seq[direction as usize] = sequence.wrapping_add(payload.len() as u32);
        self.at(direction, now_ns, sequence, payload, last::NO);
    }

    /// Bytes that the network carries at another time, or never.
    pub fn miss(&mut self, direction: u32, payload: &[u8]) -> u32 {
        let sequence = self.next_seq[direction as usize];
        self.next_seq[direction as usize] = sequence.wrapping_add(payload.len() as u32);
        sequence
    }

    /// Bytes that are received without being seen here.
    pub fn pass_by(&mut self, direction: u32, payload: &[u8]) {
        self.miss(direction, payload);
        assert_eq!(direction, RECEIVED, "what is sent is seen");
        for watch in &self.watches {
            watch.maps.received.set(Some(self.next_seq[0]));
        }
    }

    /// A FIN or RST without data.
    pub fn end(&mut self, direction: u32, now_ns: u64, how: u32) {
        let sequence = self.next_seq[direction as usize];
        self.at(direction, now_ns, sequence, b"", how);
    }

    /// A segment with any sequence number.
    pub fn at(&mut self, direction: u32, now_ns: u64, sequence: u32, payload: &[u8], how: u32) {
        for watch in &mut self.watches {
            let mut calls = Calls {
                used: 0,
                limit: self.limit,
            };
            watch.at(direction, now_ns, sequence, payload, how, &mut calls);
            self.steps = self.steps.max(calls.used);
        }
    }

    /// From now on the kernel refuses this.
    pub fn refuse(&mut self, what: Option<Refused>) {
        for watch in &self.watches {
            watch.maps.refused.set(what);
        }
    }

    /// The exchanges so far, all of which must have been seen in this role.
    pub fn seen(&self, expected: u8) -> Vec<Seen> {
        let seen = self.seen_as_any();
        assert!(seen.iter().all(|(role, _)| *role == expected));
        seen.into_iter().map(|(_, seen)| seen).collect()
    }

    /// The exchanges so far, with the role in which they were seen.
    pub fn seen_as_any(&self) -> Vec<(u8, Seen)> {
        let [seen, by_steps] = self
            .watches
            .each_ref()
            .map(|watch| watch.maps.seen.borrow());
        assert_eq!(*seen, *by_steps);
        seen.clone()
    }

    /// How often a kind was counted.
    pub fn counted(&self, kind: Ledger) -> u64 {
        self.ledger().get(&kind).copied().unwrap_or(0)
    }

    /// All that was counted.
    pub fn ledger(&self) -> HashMap<Ledger, u64> {
        let [counted, by_steps] = self
            .watches
            .each_ref()
            .map(|watch| watch.maps.ledger.borrow());
        assert_eq!(*counted, *by_steps);
        counted.clone()
    }

    /// How often bytes of a packet were loaded.
    pub fn loads(&self) -> u32 {
        self.watches[0].maps.loads.get()
    }
}

/// The direction of requests and that of answers, for a role.
pub fn directions(of: u8) -> (u32, u32) {
    if of == role::SERVER {
        (RECEIVED, SENT)
    } else {
        (SENT, RECEIVED)
    }
}
