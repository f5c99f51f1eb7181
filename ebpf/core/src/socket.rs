//! What is kept of a connection and of the segment that is looked at, and what both need of the kernel.

use galileo_ebpf_abi::{CarryKey, ExchangeRecord, Ledger, PendingKey, Request, TcpSocket, role};

use crate::{
    http::Stream,
    order::KEPT,
    window::{CARRY, Window},
    words::copy_words,
};

/// What is kept of a socket; all zero at first.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Socket {
    /// Its cookie; 0 until it was looked at for the first time.
    pub cookie: u64,
    /// Slot of the cgroup.
    pub slot: u32,
    /// See [`role`].
    pub role: u8,
    /// Turns that began like no message while the role was unknown.
    pub strikes: u8,
    /// The direction of the last such turn, plus one.
    pub turn: u8,
    /// Exchanges in a row that must speak against unseen requests before it is believed that there are none; 0 if nothing was
    /// missed.
    pub doubt: u8,
    /// Of each direction: 1 while its place is lost. Here, so that the other direction need not look at it there.
    pub lost: [u8; 2],
    /// See [`watched`].
    pub watched: u8,
    /// 1 once a reset was received: what is sent is not looked at any more, so that its direction may be ended from the other one.
    pub reset: u8,
    /// Requests when their lost place was found again. Those before it are given up, but for those that are answered; the direction of
    /// the answers counts them when it comes upon them. 0 if there are none: their own direction says so once all requests are answered.
    pub resumed: u32,
    /// The connection's life; of all this, the only part that belongs to the program that follows connections. Here, as the
    /// kernel allocates memory for each storage of a socket.
    pub tcp: TcpSocket,
    /// Always 0.
    pub apart: [u64; 16],
    /// Both directions.
    pub streams: [Stream; 2],
    /// Always 0.
    pub between: [u64; 4],
    /// Slot of the peer's cgroup, if exchanges are told for it, too.
    pub peer_slot: u64,
    /// What is handed out when the present exchange ends: who talks to whom, and the oldest unanswered request, if its
    /// sequence number is `answers`.
    pub record: ExchangeRecord,
    /// Always 0.
    pub behind: [u64; 4],
    /// [`Stream::count`] of the answers, for the requests' direction, which asks for each whether it is pipelined. In a line of its own,
    /// as what one CPU has read another one waits for.
    pub answers_told: u32,
    /// Always 0.
    pub end: u32,
}

/// At which end a connection is looked at that has both on this machine.
pub mod watched {
    /// At this one, for itself.
    pub const HERE: u8 = 0;
    /// At this one, a server's, for both.
    pub const HERE_FOR_BOTH: u8 = 1;
    /// At the peer's, for both.
    pub const AT_THE_PEER: u8 = 2;
}

/// Who has something that one run of the programs may have at a time: the object's work spaces, and what a socket receives.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Busy {
    /// Those who came for it, but for those who went away without.
    pub came: u32,
    /// Those who had it and are done.
    pub done: u32,
}

/// Who talks to whom, from this end; IPv4 as IPv4-mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Ends {
    /// Own address.
    pub local_addr: [u8; 16],
    /// The peer's address.
    pub remote_addr: [u8; 16],
    /// Own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
}

impl Socket {
    /// Requests whose head has ended, modulo 2^32.
    #[inline(always)]
    #[must_use]
    pub fn requests(&self) -> u32 {
        let [received, sent] = &self.streams;
        if self.role == role::CLIENT {
            sent.count
        } else {
            received.count
        }
    }

    /// Requests that are answered or given up, modulo 2^32.
    #[inline(always)]
    #[must_use]
    pub fn answers(&self) -> u32 {
        // SAFETY: a field of what is borrowed. Volatile, as the compiler would read it before it is known whether it is needed: the
        // answers' direction is not to wait for it.
        unsafe { (&raw const self.answers_told).read_volatile() }
    }

    /// See [`Socket::requests`].
    #[inline(always)]
    pub fn set_requests(&mut self, count: u32) {
        let [received, sent] = &mut self.streams;
        if self.role == role::CLIENT {
            sent.count = count;
        } else {
            received.count = count;
        }
    }

    /// See [`Socket::answers`].
    #[inline(always)]
    pub fn set_answers(&mut self, count: u32) {
        let [received, sent] = &mut self.streams;
        if self.role == role::CLIENT {
            received.count = count;
        } else {
            sent.count = count;
        }
        self.answers_told = count;
    }

    /// The oldest request is answered.
    #[inline(always)]
    pub fn answered(&mut self) {
        // Not `answers`, which another CPU has.
        let [received, sent] = &self.streams;
        let count = if self.role == role::CLIENT {
            received.count
        } else {
            sent.count
        };
        self.set_answers(count.wrapping_add(1));
    }
}

/// Bytes that the kernel puts before a value of a socket's storage: a cache line of its own and eight bytes (`struct
/// bpf_local_storage_elem`, since 5.2).
pub const STORAGE_HEAD: usize = 64 + 8;

/// Where a field lies in the memory that the kernel gives to a socket's storage.
const fn at(offset: usize) -> usize {
    STORAGE_HEAD + offset
}

/// The two directions are looked at on two CPUs as a rule, and what one of them has read or written last the other waits for, some
/// 80 ns. So what only one direction needs lies apart from what the other one touches, and not right behind that either: CPUs
/// fetch both lines of an aligned pair of them when they need one, and the line behind one that is read upwards (Intel 64 and IA-32
/// Architectures Optimization Reference Manual, hardware prefetching).
///
/// What stands before the streams is not written any more, as a rule, once the connection is known, and fills one line. What is known of the
/// request but for its texts fills one, which its own direction writes and the answers' only reads.
const _: () = {
    let [streams, between, record, answers] = [
        core::mem::offset_of!(Socket, streams),
        core::mem::offset_of!(Socket, between),
        core::mem::offset_of!(Socket, record),
        core::mem::offset_of!(Socket, answers_told),
    ];
    assert!(at(core::mem::offset_of!(Socket, apart)) == 128);
    assert!(at(streams) == 256 && at(between) == 512);
    assert!(at(record + core::mem::offset_of!(ExchangeRecord, request)).is_multiple_of(128));
    assert!(core::mem::offset_of!(Request, path) == 64);
    assert!(at(answers).is_multiple_of(64));
};

/// Unanswered requests that are kept of a connection besides the oldest. Of a connection that has more, the answers to some
/// miss their request. As many as fit into 8 kB, which is the most that newer kernels (7.2, not 6.12) give a socket's storage.
pub const PIPELINED: usize = 28;

const _: () = assert!(size_of::<Pipeline>() + 128 <= 8 << 10);

/// The pipelined requests of a connection, by their sequence number.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Pipeline {
    /// See [`Pipeline`].
    pub requests: [Request; PIPELINED],
}

/// What is kept of a head between two segments.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Carry {
    /// The request as far as it was read.
    pub request: Request,
    /// Bytes of the unfinished line.
    pub len: u64,
    /// The unfinished line.
    pub words: [u64; CARRY / 8],
}

impl Carry {
    /// Keeps the unfinished line of `length` bytes that begins at `line` of the window.
    #[inline(always)]
    pub fn keep_line(&mut self, window: &Window, line: u32, length: u32) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let value = window.word(line.wrapping_add(8 * index as u32));
            // SAFETY: an exclusive reference. Volatile, see `copy_words`.
            unsafe { core::ptr::from_mut(word).write_volatile(value) };
        }
        self.len = u64::from(length);
    }

    /// Puts what was kept where it was; returns how many bytes of the line that is.
    #[inline(always)]
    pub fn restore(&self, request: &mut Request, window: &mut Window) -> u32 {
        copy_words(request, &self.request);
        window.set_words(&self.words);
        self.len as u32 & (CARRY as u32 - 1)
    }
}

/// How a segment ends the connection, or one direction of it.
pub mod last {
    /// Not at all.
    pub const NO: u32 = 0;
    /// This direction (FIN).
    pub const DIRECTION: u32 = 1;
    /// Both (RST).
    pub const CONNECTION: u32 = 2;
}

/// One segment and the work space to look at it.
#[repr(C)]
pub struct Segment {
    /// When it was seen.
    pub now_ns: u64,
    /// Where the next byte to look at stands in the packet.
    pub offset: u32,
    /// Where the packet ends.
    pub end: u32,
    /// Sequence number behind the segment.
    pub next_seq: u32,
    /// See [`last`].
    pub last: u32,
    /// Who talks to whom; filled only where the connection is found by it.
    pub ends: Ends,
    /// Where in the window the byte at `offset` stands: behind what was carried over from the segment before.
    pub carried: u32,
    /// How reading ended, for the step that acts on it: a [`Step`](crate::connection::Step).
    pub event: u32,
    /// Where its bytes lie: 0 in the packet, else a run of [`Early`](crate::order::Early), plus one.
    pub run: u32,
    /// The request whose head is being read, and what is left over at the end of the segment.
    pub carry: Carry,
    /// Who uses this work space; of the object's, which more than one may want.
    pub busy: Busy,
    /// The lines that are looked at.
    pub window: Window,
}

/// What a connection needs of the place it is watched in: the object's maps, or a test's.
pub trait Outside {
    /// Counts so many events of this kind, of this connection.
    fn count(&self, socket: &Socket, kind: Ledger, events: u32);
    /// Copies `length` bytes, 1 to [`FRESH`](crate::window::FRESH), that begin at `offset` of the packet to the place `at`, at most
    /// [`CARRY`], of the window. False if that fails.
    fn load(&self, window: &mut Window, at: u32, offset: u32, length: u32) -> bool;
    /// As [`Outside::load`], from a run of what came early. False if the bytes are not kept.
    fn copy_early(&self, window: &mut Window, run: u32, at: u32, offset: u32, length: u32) -> bool;
    /// Copies `length` bytes, 1 to [`KEPT`], that begin at `offset` of the packet. False if that fails.
    fn load_early(&self, target: &mut [u8; KEPT], offset: u32, length: u32) -> bool;
    /// Keeps the begin of a head until its next segment. False if that fails.
    fn keep_carry(&self, key: CarryKey, carry: &Carry) -> bool;
    /// Puts back what was kept, as [`Carry::restore`], and forgets it. None if it is no longer there.
    fn take_carry(&self, key: CarryKey, request: &mut Request, window: &mut Window) -> Option<u32>;
    /// Keeps a pipelined request until its answer comes. Its answer finds out if that fails.
    fn keep_request(&self, key: PendingKey, request: &Request);
    /// Copies the request that was kept and forgets it. False if it is no longer there.
    fn take_request(&self, key: PendingKey, request: &mut Request) -> bool;
    /// Changes a request that was kept, if it still is.
    fn change_request(&self, key: PendingKey, change: impl FnOnce(&mut Request));
    /// Takes the exchange that `socket.record` is.
    fn exchange(&self, socket: &Socket);
}
