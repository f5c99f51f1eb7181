//! HTTP/1.x exchanges, put together from the segments that [`crate::net`] finds.
//!
//! A segment is looked at in steps, each a tail call: pass over the rest of a body, then read one window of lines up to
//! the end of a head or a message. So the verifier walks one window only, and a segment may hold many messages.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    btf_maps::SkStorage,
    helpers::bpf_skb_load_bytes,
    macros::{btf_map, cgroup_skb, map},
    maps::{Array, LruHashMap, ProgramArray, RingBuf},
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{
    CarryKey, ExchangeRecord, HttpCounters, Ledger, PendingKey, Request, SLOT_UNKNOWN, role,
    slot_index,
};
use galileo_ebpf_core::{
    connection::{self, Next, RECEIVED, SENT, Step},
    head::SHORT_PATH,
    order::{Early, KEPT},
    plain::{self, Piece},
    socket::{Carry, Outside, PIPELINED, Pipeline, Segment, Socket},
    window::{FRESH, Window},
    words::{Words, copy_words},
};

use crate::{
    firsts,
    ledger::{MMAPABLE, add, count_duration, count_for, field, opaque},
    net, spaces,
};

/// Heads split over segments, received and sent. In storage of their own, made for the sockets that need it, so that no peer can
/// push out what belongs to another's connection.
#[btf_map]
static CARRY_RECEIVED: SkStorage<Carry> = SkStorage::new();
/// See [`CARRY_RECEIVED`].
#[btf_map]
static CARRY_SENT: SkStorage<Carry> = SkStorage::new();

/// Requests sent before the one before them was answered; as [`CARRY_RECEIVED`].
#[btf_map]
static PIPELINES: SkStorage<Pipeline> = SkStorage::new();

/// What came before bytes in front of it; as [`CARRY_RECEIVED`].
#[btf_map]
static EARLY: SkStorage<Early> = SkStorage::new();

/// As [`CARRY_RECEIVED`], of what came on a listening socket, which all its connections share. An entry pushed out by newer
/// ones is found missing, and counted, when its rest comes.
#[map]
static FIRST_CARRIES: LruHashMap<CarryKey, Carry> = LruHashMap::with_max_entries(1024, 0);

/// As [`FIRST_CARRIES`], of pipelined requests.
#[map]
static FIRST_PIPELINED: LruHashMap<PendingKey, Request> = LruHashMap::with_max_entries(1024, 0);

/// What is counted of all exchanges, by slot.
#[map]
static HTTP: Array<HttpCounters> = Array::with_max_entries(1024, MMAPABLE);

/// The single exchanges.
#[map]
static EXCHANGES: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// A reader that sleeps is woken when this much lies in the ring; otherwise it comes by itself. A wake-up for each
/// record would halve the throughput of a busy server.
const WAKE_AT: u64 = 512 << 10;

/// The steps of each direction: [`READ`], [`SCAN`], [`ACT`], and of what is received [`KEEP`] and [`FOLLOW`]. The directions may
/// not share an array, as they are attached differently.
#[map]
static STEPS_RECEIVED: ProgramArray = ProgramArray::with_max_entries(5, 0);
/// See [`STEPS_RECEIVED`].
#[map]
static STEPS_SENT: ProgramArray = ProgramArray::with_max_entries(3, 0);
/// See [`STEPS_RECEIVED`]; for what is received on a listening socket. Programs of their own, because what is known of the
/// connection lies in another map then, and the verifier walks what follows once for each.
#[map]
static STEPS_FIRST: ProgramArray = ProgramArray::with_max_entries(3, 0);

/// The third way of a segment besides [`RECEIVED`] and [`SENT`]: received on a listening socket.
pub const FIRST: u32 = 2;

/// The direction of a way.
#[inline(always)]
pub const fn direction(way: u32) -> u32 {
    if way == SENT { SENT } else { RECEIVED }
}

/// What is known of the connection.
#[inline(always)]
fn socket(ctx: &SkBuffContext, segment: &Segment, way: u32) -> Option<&'static mut Socket> {
    if way == FIRST {
        firsts::of(segment)
    } else {
        net::socket(ctx)
    }
}

/// Index of the step that passes over bodies and fills the window.
const READ: u32 = 0;
/// Index of the step that goes through the window. Programs of their own, because the verifier walks what follows once for
/// each way that leads there: the loops of this step, and what follows an event, are to be walked once.
const SCAN: u32 = 1;
/// Index of the step that acts on what was come upon.
const ACT: u32 = 2;
/// Index of the step that keeps a segment which came early, or gives up what is missing in front of it.
const KEEP: u32 = 3;
/// Index of the step that goes on with what was kept.
const FOLLOW: u32 = 4;

/// Looks at a segment of nothing but data that may hold a plain message, or go on with a body: most do. False if it is for
/// the steps. `payload` is where its data begins in the packet.
#[inline(always)]
pub fn is_plain(
    ctx: &SkBuffContext,
    window: &mut Window,
    socket: &mut Socket,
    direction: u32,
    sequence: u32,
    payload: u32,
) -> bool {
    let here = here(ctx, socket, direction);
    let length = ctx.len().wrapping_sub(payload);
    if !plain::may_begin(socket, direction, sequence) {
        return plain::body(&here, socket, direction, sequence, length, net::now_ns);
    }
    let filled = if length > FRESH as u32 {
        FRESH as u32
    } else {
        length
    };
    plain::ask_for_request(socket, direction);
    if !here.load(window, 0, payload, filled) {
        return false;
    }
    let piece = Piece {
        sequence,
        payload: length,
        filled,
        now_ns: net::now_ns(),
    };
    plain::message(&here, window, socket, direction, piece)
}

/// Looks at the segment that lies in the work space `space`, and gives that back when done.
#[inline(always)]
pub fn enter(
    ctx: &SkBuffContext,
    segment: &mut Segment,
    socket: &mut Socket,
    way: u32,
    space: u32,
) {
    // SAFETY: the context is valid for the run. The kernel saves and clears these 20 bytes for a program that names them, and
    // gives TCP its own back (`__bpf_prog_run_save_cb`); programs that are tail-called find in them what the one before wrote.
    unsafe { (*ctx.skb.skb).cb[0] = space };
    // Nothing follows it only if there is no step to call: HTTP is off on this machine.
    read(ctx, segment, socket, way);
    net::leave(socket, segment, way);
}

/// Keeps the segment that lies in the work space `space` until what is missing in front of it has come. Returns only if there is
/// no step to call.
#[inline(always)]
pub fn keep_early(ctx: &SkBuffContext, space: u32) {
    // SAFETY: as in `enter`.
    unsafe { (*ctx.skb.skb).cb[0] = space };
    go_on(ctx, RECEIVED, KEEP);
}

/// Reads and goes on with what follows from that. True if there is something to follow and it could not be called.
#[inline(always)]
fn read(ctx: &SkBuffContext, segment: &mut Segment, socket: &mut Socket, way: u32) -> bool {
    let here = here(ctx, socket, way);
    let direction = direction(way);
    let step = connection::read(&here, segment, socket, direction);
    if step as u32 == Step::Nothing as u32 {
        finish(ctx, &here, segment, socket, direction);
        return false;
    }
    segment.event = step as u32;
    // A call for each: a constant index makes the kernel compile a jump (`BPF_TAIL_CALL` with a known key, 5.5).
    if step as u32 == Step::Scan as u32 {
        go_on(ctx, way, SCAN);
    } else {
        go_on(ctx, way, ACT);
    }
    true
}

/// The segment is done: goes on with what came early, if anything did. Where the tail calls are used up, that is left to the next
/// segment.
#[inline(always)]
fn finish(
    ctx: &SkBuffContext,
    here: &Here<'_>,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) {
    connection::finish(here, segment, socket, direction);
    if here.way == RECEIVED && connection::has_early(socket, direction) {
        go_on(ctx, RECEIVED, FOLLOW);
    }
}

#[inline(always)]
fn go_on(ctx: &SkBuffContext, way: u32, step: u32) {
    if way == RECEIVED {
        // SAFETY: the context is this program's. What is called does not return here, and needs nothing of this stack.
        unsafe { STEPS_RECEIVED.tail_call(ctx, step) };
    } else if way == SENT {
        // SAFETY: as above.
        unsafe { STEPS_SENT.tail_call(ctx, step) };
    } else {
        // SAFETY: as above.
        unsafe { STEPS_FIRST.tail_call(ctx, step) };
    }
}

/// Hook: tail-called from [`act_received`]. Context: as [`net::ingress`]. Kernel: 5.10. Maps: `SOCKETS`, `SEGMENTS`,
/// `CARRY_RECEIVED`.
#[cgroup_skb]
#[inline(always)]
pub fn read_received(ctx: SkBuffContext) -> i32 {
    read_step(&ctx, RECEIVED);
    1
}

/// Hook: tail-called from [`act_sent`]. Context, kernel, maps: as [`read_received`].
#[cgroup_skb]
#[inline(always)]
pub fn read_sent(ctx: SkBuffContext) -> i32 {
    read_step(&ctx, SENT);
    1
}

/// Hook: tail-called from [`net::ingress`], [`read_received`] and [`act_received`]. Context, kernel: as there. Maps: `SOCKETS`, `SEGMENTS`.
#[cgroup_skb]
#[inline(always)]
pub fn scan_received(ctx: SkBuffContext) -> i32 {
    scan_step(&ctx, RECEIVED);
    1
}

/// Hook: tail-called from [`net::egress`], [`read_sent`] and [`act_sent`]. Context, kernel, maps: as [`scan_received`].
#[cgroup_skb]
#[inline(always)]
pub fn scan_sent(ctx: SkBuffContext) -> i32 {
    scan_step(&ctx, SENT);
    1
}

/// Hook: tail-called from [`scan_received`], [`net::ingress`] and [`read_received`]. Context, kernel: as there. Maps: `SOCKETS`, `SEGMENTS`, `CARRY_RECEIVED`,
/// `PIPELINES`, `HTTP`, `EXCHANGES`.
#[cgroup_skb]
#[inline(always)]
pub fn act_received(ctx: SkBuffContext) -> i32 {
    act_step(&ctx, RECEIVED);
    1
}

/// Hook: tail-called from [`scan_sent`], [`net::egress`] and [`read_sent`]. Context, kernel, maps: as [`act_received`].
#[cgroup_skb]
#[inline(always)]
pub fn act_sent(ctx: SkBuffContext) -> i32 {
    act_step(&ctx, SENT);
    1
}

/// Hook: as [`read_received`], for what is received on a listening socket. Maps: `FIRSTS`, `SEGMENTS`, `FIRST_CARRIES`.
#[cgroup_skb]
#[inline(always)]
pub fn read_first(ctx: SkBuffContext) -> i32 {
    read_step(&ctx, FIRST);
    1
}

/// Hook: as [`scan_received`], for what is received on a listening socket. Maps: `FIRSTS`, `SEGMENTS`.
#[cgroup_skb]
#[inline(always)]
pub fn scan_first(ctx: SkBuffContext) -> i32 {
    scan_step(&ctx, FIRST);
    1
}

/// Hook: as [`act_received`], for what is received on a listening socket. Maps: `FIRSTS`, `SEGMENTS`, `FIRST_CARRIES`,
/// `FIRST_PIPELINED`.
#[cgroup_skb]
#[inline(always)]
pub fn act_first(ctx: SkBuffContext) -> i32 {
    act_step(&ctx, FIRST);
    1
}

/// Hook: tail-called from [`net::ingress`]. Context, kernel: as there. Maps: `SOCKETS`, `SEGMENTS`, `EARLY`.
#[cgroup_skb]
#[inline(always)]
pub fn keep_received(ctx: SkBuffContext) -> i32 {
    keep_step(&ctx);
    1
}

/// Hook: tail-called from [`keep_received`], [`read_received`] and [`act_received`], and from itself. Context, kernel: as there. Maps:
/// those of [`keep_received`] and [`read_received`].
#[cgroup_skb]
#[inline(always)]
pub fn follow_received(ctx: SkBuffContext) -> i32 {
    follow_step(&ctx);
    1
}

/// The segment in the work space that the program before this one used, and the socket. If there is none, the work space is given
/// back.
#[inline(always)]
fn taken(ctx: &SkBuffContext, way: u32) -> Option<(&'static mut Segment, &'static mut Socket)> {
    // SAFETY: as in `enter`, which wrote this number, or `keep_early`. Whether there is a space of it is looked up.
    let space = unsafe { (*ctx.skb.skb).cb[0] };
    let segment = spaces::segment(space)?;
    if let Some(socket) = socket(ctx, segment, way) {
        return Some((segment, socket));
    }
    spaces::release(segment);
    None
}

#[inline(always)]
fn keep_step(ctx: &SkBuffContext) {
    let Some((segment, socket)) = taken(ctx, RECEIVED) else {
        return;
    };
    let here = here(ctx, socket, RECEIVED);
    if net::is_level(ctx, socket)
        && let Some(early) = here.early(true)
        && connection::keep_early(&here, early, segment, socket, RECEIVED)
    {
        // What was kept before may follow already.
        go_on(ctx, RECEIVED, FOLLOW);
    } else {
        connection::give_up(&here, socket, RECEIVED);
        go_on(ctx, RECEIVED, READ);
        connection::exceeded(&here, segment, socket, RECEIVED);
    }
    net::leave(socket, segment, RECEIVED);
}

#[inline(always)]
fn follow_step(ctx: &SkBuffContext) {
    let Some((segment, socket)) = taken(ctx, RECEIVED) else {
        return;
    };
    let here = here(ctx, socket, RECEIVED);
    if let Some(early) = here.early(false)
        && early.follow(segment, connection::stream(socket, RECEIVED))
        // Here, and not by a tail call: what is kept of a long head takes almost as many as there may be.
        && read(ctx, segment, socket, RECEIVED)
    {
        connection::exceeded(&here, segment, socket, RECEIVED);
    }
    net::leave(socket, segment, RECEIVED);
}

#[inline(always)]
fn read_step(ctx: &SkBuffContext, way: u32) {
    let Some((segment, socket)) = taken(ctx, way) else {
        return;
    };
    if read(ctx, segment, socket, way) {
        connection::exceeded(&here(ctx, socket, way), segment, socket, direction(way));
    }
    net::leave(socket, segment, way);
}

#[inline(always)]
fn scan_step(ctx: &SkBuffContext, way: u32) {
    let Some((segment, socket)) = taken(ctx, way) else {
        return;
    };
    let (here, direction) = (here(ctx, socket, way), direction(way));
    segment.event = connection::scan(segment, socket, direction) as u32;
    if connection::scan_on(&here, segment, socket, direction) {
        go_on(ctx, way, SCAN);
    } else {
        go_on(ctx, way, ACT);
    }
    connection::exceeded(&here, segment, socket, direction);
    net::leave(socket, segment, way);
}

#[inline(always)]
fn act_step(ctx: &SkBuffContext, way: u32) {
    let Some((segment, socket)) = taken(ctx, way) else {
        return;
    };
    let (here, direction) = (here(ctx, socket, way), direction(way));
    connection::act(&here, segment, socket, direction);
    let next = connection::next(segment, socket, direction);
    if !matches!(next, Next::Finish) {
        if matches!(next, Next::Scan) {
            go_on(ctx, way, SCAN);
        } else {
            go_on(ctx, way, READ);
        }
        connection::exceeded(&here, segment, socket, direction);
    }
    finish(ctx, &here, segment, socket, direction);
    net::leave(socket, segment, way);
}

/// The packet that is looked at, and the maps.
pub struct Here<'a> {
    pub ctx: &'a SkBuffContext,
    /// [`RECEIVED`], [`SENT`] or [`FIRST`].
    pub way: u32,
    /// The slot of the socket's cgroup.
    pub slot: u32,
}

/// A packet of this socket.
#[inline(always)]
pub const fn here<'a>(ctx: &'a SkBuffContext, socket: &Socket, way: u32) -> Here<'a> {
    Here {
        ctx,
        way,
        slot: socket.slot,
    }
}

impl Here<'_> {
    /// What this socket carries over in a direction.
    #[inline(always)]
    fn carry(&self, direction: u64, create: bool) -> Option<&'static mut Carry> {
        if direction == u64::from(RECEIVED) {
            net::storage(net::sk(self.ctx)?, &raw const CARRY_RECEIVED, create)
        } else {
            net::storage(net::sk(self.ctx)?, &raw const CARRY_SENT, create)
        }
    }

    /// What came early on this socket.
    #[inline(always)]
    fn early(&self, create: bool) -> Option<&'static mut Early> {
        net::storage(net::sk(self.ctx)?, &raw const EARLY, create)
    }

    /// The place of a pipelined request of this socket; a later one may lie there.
    #[inline(always)]
    fn pipelined(&self, key: PendingKey, create: bool) -> Option<&'static mut Request> {
        let pipeline = net::storage(net::sk(self.ctx)?, &raw const PIPELINES, create)?;
        pipeline
            .requests
            .get_mut(opaque(key.sequence as usize % PIPELINED))
    }
}

/// Whether a connection's first data came on its listener's socket: it keeps the cookie made up for it there.
#[inline(always)]
const fn is_first(cookie: u64) -> bool {
    cookie >> 63 != 0
}

impl Outside for Here<'_> {
    #[inline(always)]
    fn count(&self, kind: Ledger, events: u32) {
        count_for(self.slot, kind, events);
        #[cfg(feature = "log")]
        crate::messages::counted(self.ctx, kind);
    }

    #[inline(always)]
    fn load(&self, window: &mut Window, at: u32, offset: u32, length: u32) -> bool {
        // At least 1 and at most FRESH, in a form that the verifier follows.
        let length = (opaque(length as usize - 1) & (FRESH - 1)) as u32 + 1;
        // SAFETY: `Carry::restore` gives an `at` of less than CARRY, or it is 0: within `bytes`.
        let target = unsafe { window.bytes.as_mut_ptr().add(at as usize) };
        // SAFETY: the context is valid for the run. CARRY + FRESH bytes lie in the window, so from the target on there are as many
        // as are asked for; the verifier checks both for every caller.
        let failed =
            unsafe { bpf_skb_load_bytes(self.ctx.skb.skb.cast(), offset, target.cast(), length) };
        failed == 0
    }

    #[inline(always)]
    fn copy_early(&self, window: &mut Window, run: u32, at: u32, offset: u32, length: u32) -> bool {
        self.way == RECEIVED
            && self
                .early(false)
                .is_some_and(|early| early.copy(run, window, at, offset, length))
    }

    #[inline(always)]
    fn load_early(&self, target: &mut [u8; KEPT], offset: u32, length: u32) -> bool {
        // At least 1 and at most KEPT, in a form that the verifier follows.
        let beyond_one = opaque(length.wrapping_sub(1) as usize);
        if beyond_one >= KEPT {
            return false;
        }
        // SAFETY: the context is valid for the run. The target has KEPT bytes, and no more are asked for.
        let failed = unsafe {
            bpf_skb_load_bytes(
                self.ctx.skb.skb.cast(),
                offset,
                target.as_mut_ptr().cast(),
                beyond_one as u32 + 1,
            )
        };
        failed == 0
    }

    #[inline(always)]
    fn keep_carry(&self, key: CarryKey, carry: &Carry) -> bool {
        if self.way == FIRST {
            return FIRST_CARRIES.insert(key, carry, 0).is_ok();
        }
        let Some(kept) = self.carry(key.direction, true) else {
            return false;
        };
        copy_words(kept, carry);
        true
    }

    #[inline(always)]
    fn take_carry(&self, key: CarryKey, request: &mut Request, window: &mut Window) -> Option<u32> {
        let first = self.way == FIRST || is_first(key.cookie);
        let mut kept = core::ptr::null();
        if first && let Some(carry) = FIRST_CARRIES.get_ptr(key) {
            kept = carry;
        }
        if kept.is_null()
            && self.way != FIRST
            && let Some(carry) = self.carry(key.direction, false)
        {
            kept = carry;
        }
        // SAFETY: null, or memory of a map that stays while the program runs: of this socket, see `net::storage`; or of a
        // preallocated one, where an entry that was pushed out may be another connection's meanwhile, and what is read mixed. It
        // consists of integers, each of which may have any value: `restore` masks the length of the line, and user space checks
        // those of the texts.
        let carry = unsafe { kept.as_ref() }?;
        let length = carry.restore(request, window);
        if first {
            // It may have been pushed out in between, or be none of these, which is as good.
            let _ = FIRST_CARRIES.remove(key);
        }
        Some(length)
    }

    #[inline(always)]
    fn keep_request(&self, key: PendingKey, request: &Request) {
        // If that fails, its answer will miss it and count it.
        if self.way == FIRST {
            let _ = FIRST_PIPELINED.insert(key, request, 0);
        } else if let Some(kept) = self.pipelined(key, true) {
            copy_words(kept, request);
        }
    }

    #[inline(always)]
    fn take_request(&self, key: PendingKey, request: &mut Request) -> bool {
        if let Some(kept) = self.pipelined(key, false)
            && u64::from(kept.sequence) == key.sequence
        {
            copy_words(request, kept);
            return true;
        }
        if !is_first(key.cookie) {
            return false;
        }
        let Some(pending) = FIRST_PIPELINED.get_ptr(key) else {
            return false;
        };
        // SAFETY: memory of a preallocated map, as in `take_carry`; copied before it is removed.
        copy_words(request, unsafe { &*pending });
        // It may have been pushed out in between, which is as good.
        let _ = FIRST_PIPELINED.remove(key);
        true
    }

    #[inline(always)]
    fn change_request(&self, key: PendingKey, change: impl FnOnce(&mut Request)) {
        if self.way != FIRST
            && let Some(kept) = self.pipelined(key, false)
            && u64::from(kept.sequence) == key.sequence
        {
            change(kept);
        } else if (self.way == FIRST || is_first(key.cookie))
            && let Some(pending) = FIRST_PIPELINED.get_ptr_mut(key)
        {
            // SAFETY: memory of a preallocated map, as in `take_carry`. Only this connection changes it, under its guard or its
            // lock; if it was pushed out, another one's request is changed, in whole words.
            change(unsafe { &mut *pending });
        }
    }

    #[inline(always)]
    fn exchange(&self, socket: &Socket) {
        let record = &socket.record;
        count_for(self.slot, Ledger::ExchangesAttempted, 1);
        count_exchange(
            socket.slot,
            record.role,
            record.end_ns.saturating_sub(record.request.start_ns),
        );
        let given = if record.bytes() <= size_of::<Short>() {
            let begin = core::ptr::from_ref(record).cast::<Short>();
            // SAFETY: a record is longer, as asserted below, aligned to eight, and has no padding, see `Words`.
            let short = unsafe { &*begin };
            give(short, self.slot, wake(record))
        } else {
            give(record, self.slot, wake(record))
        };
        if !given {
            self.count(Ledger::RingFull, 1);
        }
    }
}

/// A record without id and `traceparent` whose path is short: most are. The ring is given one of two sizes, as the verifier must
/// know it where memory of the ring is asked for; that is faster than to have the kernel copy any number of bytes there.
type Short = [u64; (ExchangeRecord::BEFORE_PATH + SHORT_PATH) / 8];

const _: () = assert!(size_of::<Short>() < size_of::<ExchangeRecord>());

/// Puts a record into the ring. False if there is no room.
#[inline(always)]
fn give<T: Words + 'static>(record: &T, slot: u32, wake: u32) -> bool {
    let Some(mut place) = EXCHANGES.reserve::<T>(0) else {
        return false;
    };
    // Before the ring's memory is written to: an atomic addition behind that would wait for it.
    count_for(slot, Ledger::ExchangesSeen, 1);
    // SAFETY: memory of the ring, which is this run's until it is handed over. It holds some bytes or other, and all bytes are
    // values of integers.
    let target = unsafe { place.assume_init_mut() };
    // All of it: there is no padding.
    copy_words(target, record);
    place.submit(u64::from(wake));
    true
}

/// Whether the reader is to be woken. Records are some hundred bytes: a reader that comes every few milliseconds needs no
/// wake-up, and how full the ring is need not be asked for each.
#[inline(always)]
fn wake(record: &ExchangeRecord) -> u32 {
    if record.request.sequence.is_multiple_of(ASKED_EACH) && EXCHANGES.query(AVAILABLE) > WAKE_AT {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }
}

/// Of how many exchanges of a connection one looks how full the ring is.
const ASKED_EACH: u32 = 16;

/// `BPF_RB_AVAIL_DATA`: bytes in the ring that are not read yet.
const AVAILABLE: u64 = 0;

#[inline(always)]
fn count_exchange(slot: u32, role: u8, duration_ns: u64) {
    if slot >= SLOT_UNKNOWN {
        return;
    }
    let Some(counters) = HTTP.get_ptr_mut(slot_index(slot)) else {
        return;
    };
    if role == role::SERVER {
        add(field!(counters.exchanges[0]), 1);
        add(field!(counters.duration_ns[0]), duration_ns);
        count_duration(field!(counters.server_buckets), duration_ns);
    } else {
        add(field!(counters.exchanges[1]), 1);
        add(field!(counters.duration_ns[1]), duration_ns);
    }
}
