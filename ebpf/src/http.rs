//! HTTP/1.x exchanges, put together from the segments that [`crate::net`] finds.
//!
//! A segment is looked at in steps, each a tail call: pass over the rest of a body, then read one window of lines up to
//! the end of a head or a message. So the verifier walks one window only, and a segment may hold many messages.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_skb_load_bytes,
    macros::{cgroup_skb, map},
    maps::{Array, LruHashMap, ProgramArray, RingBuf},
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{
    CarryKey, ExchangeRecord, HttpCounters, Ledger, PendingKey, Request, flags, role,
};
use galileo_ebpf_core::{
    http::{self, Body, Event, Opening, Stream, mark, state},
    window::{CARRY, FRESH},
};

use crate::{
    ledger::{MMAPABLE, add, count, count_duration, opaque},
    net::{self, RECEIVED, SENT, Scratch, Socket},
};

/// What is kept of a head between two segments.
#[repr(C)]
pub struct Carry {
    /// The request as far as it was read.
    pub request: Request,
    /// Bytes of the unfinished line.
    pub len: u64,
    /// The unfinished line.
    pub words: [u64; CARRY / 8],
}

/// Heads split over segments; an entry pushed out by newer ones is found missing, and counted, when its rest comes.
#[map]
static CARRIES: LruHashMap<CarryKey, Carry> = LruHashMap::with_max_entries(1024, 0);

/// Requests sent before the one before them was answered; as `CARRIES`.
#[map]
static PENDING: LruHashMap<PendingKey, Request> = LruHashMap::with_max_entries(8192, 0);

/// What is counted of all exchanges, by slot.
#[map]
static HTTP: Array<HttpCounters> = Array::with_max_entries(1024, MMAPABLE);

/// The single exchanges.
#[map]
static EXCHANGES: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// A reader that sleeps is woken when this much lies in the ring; otherwise it comes by itself. A wake-up for each
/// record would halve the throughput of a busy server.
const WAKE_AT: u64 = 512 << 10;

/// The steps of each direction: [`READ`], [`SCAN`], [`ACT`]. The directions may not share an array, as they are attached
/// differently.
#[map]
static STEPS_RECEIVED: ProgramArray = ProgramArray::with_max_entries(3, 0);
/// See [`STEPS_RECEIVED`].
#[map]
static STEPS_SENT: ProgramArray = ProgramArray::with_max_entries(3, 0);

/// Index of the step that passes over bodies and fills the window.
const READ: u32 = 0;
/// Index of the step that goes through the window. Programs of their own, because the verifier walks what follows once for
/// each way that leads there: the loops of this step, and what follows an event, are to be walked once.
const SCAN: u32 = 1;
/// Index of the step that acts on what was come upon.
const ACT: u32 = 2;

/// Looks at the segment that lies in the work space `depth`, and gives that back when done.
#[inline(always)]
pub fn enter(
    ctx: &SkBuffContext,
    scratch: &mut Scratch,
    socket: &mut Socket,
    direction: u32,
    depth: u32,
) {
    // SAFETY: the control buffer belongs to this run of the program and those it tail-calls.
    unsafe { (*ctx.skb.skb).cb[0] = depth };
    match read(ctx, scratch, socket, direction) {
        Step::Nothing => finish(scratch, socket, direction),
        step => {
            scratch.event = step as u32;
            go_on(
                ctx,
                direction,
                if step as u32 == Step::Scan as u32 {
                    SCAN
                } else {
                    ACT
                },
            );
            // Only reached if there is no step to call: HTTP is off on this machine.
        }
    }
    net::release(depth);
}

#[inline(always)]
fn go_on(ctx: &SkBuffContext, direction: u32, step: u32) {
    // SAFETY: the arrays hold the step programs, which never return here.
    unsafe {
        if direction == RECEIVED {
            STEPS_RECEIVED.tail_call(ctx, step);
        } else {
            STEPS_SENT.tail_call(ctx, step);
        }
    }
}

/// Hook: tail-called from [`act_received`]. Context: as [`net::ingress`]. Kernel: 5.10. Maps: `SOCKETS`, `SCRATCH`,
/// `CARRIES`.
#[cgroup_skb]
pub fn read_received(ctx: SkBuffContext) -> i32 {
    read_step(&ctx, RECEIVED);
    1
}

/// Hook: tail-called from [`act_sent`]. Context, kernel, maps: as [`read_received`].
#[cgroup_skb]
pub fn read_sent(ctx: SkBuffContext) -> i32 {
    read_step(&ctx, SENT);
    1
}

/// Hook: tail-called from [`net::ingress`] and [`read_received`]. Context, kernel: as there. Maps: `SOCKETS`, `SCRATCH`.
#[cgroup_skb]
pub fn scan_received(ctx: SkBuffContext) -> i32 {
    scan_step(&ctx, RECEIVED);
    1
}

/// Hook: tail-called from [`net::egress`] and [`read_sent`]. Context, kernel, maps: as [`scan_received`].
#[cgroup_skb]
pub fn scan_sent(ctx: SkBuffContext) -> i32 {
    scan_step(&ctx, SENT);
    1
}

/// Hook: tail-called from [`scan_received`]. Context, kernel: as there. Maps: `SOCKETS`, `SCRATCH`, `CARRIES`, `PENDING`,
/// `HTTP`, `EXCHANGES`.
#[cgroup_skb]
pub fn act_received(ctx: SkBuffContext) -> i32 {
    act_step(&ctx, RECEIVED);
    1
}

/// Hook: tail-called from [`scan_sent`]. Context, kernel, maps: as [`act_received`].
#[cgroup_skb]
pub fn act_sent(ctx: SkBuffContext) -> i32 {
    act_step(&ctx, SENT);
    1
}

#[inline(always)]
fn read_step(ctx: &SkBuffContext, direction: u32) {
    // SAFETY: as in `enter`.
    let depth = unsafe { (*ctx.skb.skb).cb[0] };
    if let (Some(scratch), Some(socket)) = (net::scratch(depth), net::socket(ctx, false)) {
        match read(ctx, scratch, socket, direction) {
            Step::Nothing => finish(scratch, socket, direction),
            step => {
                scratch.event = step as u32;
                go_on(
                    ctx,
                    direction,
                    if step as u32 == Step::Scan as u32 {
                        SCAN
                    } else {
                        ACT
                    },
                );
                exceeded(scratch, socket, direction);
            }
        }
    }
    net::release(depth);
}

#[inline(always)]
fn scan_step(ctx: &SkBuffContext, direction: u32) {
    // SAFETY: as in `enter`.
    let depth = unsafe { (*ctx.skb.skb).cb[0] };
    if let (Some(scratch), Some(socket)) = (net::scratch(depth), net::socket(ctx, false)) {
        let answers = carries_answers(socket, direction);
        let event = http::scan(stream(socket, direction), &mut scratch.window, answers);
        scratch.event = match event {
            Event::More => Step::Scan,
            Event::HeadEnd => Step::HeadEnd,
            Event::MessageEnd => Step::MessageEnd,
            Event::Unparsable => Step::Unparsable,
        } as u32;
        go_on(ctx, direction, ACT);
        exceeded(scratch, socket, direction);
    }
    net::release(depth);
}

#[inline(always)]
fn act_step(ctx: &SkBuffContext, direction: u32) {
    // SAFETY: as in `enter`.
    let depth = unsafe { (*ctx.skb.skb).cb[0] };
    if let (Some(scratch), Some(socket)) = (net::scratch(depth), net::socket(ctx, false)) {
        act(scratch, socket, direction);
        if scratch.offset < scratch.end {
            go_on(ctx, direction, READ);
            exceeded(scratch, socket, direction);
        }
        finish(scratch, socket, direction);
    }
    net::release(depth);
}

/// There are more messages in one segment than tail calls are allowed.
#[inline(always)]
fn exceeded(scratch: &mut Scratch, socket: &mut Socket, direction: u32) {
    count(Ledger::StepsExceeded);
    let this = stream(socket, direction);
    lose(this);
    this.next_seq = scratch.next_seq;
}

#[inline(always)]
fn stream(socket: &mut Socket, direction: u32) -> &mut Stream {
    let [received, sent] = &mut socket.streams;
    if direction == RECEIVED {
        received
    } else {
        sent
    }
}

#[inline(always)]
fn other(socket: &mut Socket, direction: u32) -> &mut Stream {
    stream(socket, SENT - direction)
}

#[inline(always)]
fn carries_answers(socket: &Socket, direction: u32) -> bool {
    (socket.role == role::SERVER) == (direction == SENT)
}

/// Reads on: the rest of a body, or a window of lines.
#[inline(always)]
fn read(ctx: &SkBuffContext, scratch: &mut Scratch, socket: &mut Socket, direction: u32) -> Step {
    let unknown = socket.role == role::UNKNOWN;
    let this = stream(socket, direction);
    if this.left > 0 || this.state == state::UNTIL_CLOSE {
        let available = u64::from(scratch.end.wrapping_sub(scratch.offset));
        scratch.offset += this.skip(available) as u32;
        return if this.left == 0 && this.state == state::BODY {
            Step::BodyEnd
        } else {
            Step::Nothing
        };
    }
    let judged = unknown || this.state == state::LOST;
    if scratch.offset >= scratch.end || !(judged || this.wants_lines()) {
        scratch.offset = scratch.end;
        return Step::Nothing;
    }
    if !load(ctx, scratch, socket, direction) || (judged && !judge(scratch, socket, direction)) {
        scratch.offset = scratch.end;
        return Step::Nothing;
    }
    let this = stream(socket, direction);
    if this.state == state::START && scratch.carried == 0 {
        this.bytes = 0;
        this.first_ns = scratch.now_ns;
        let request = &mut scratch.carry.request;
        request.start_ns = scratch.now_ns;
        request.flags = 0;
        request.method_len = 0;
        request.path_len = 0;
        request.id_len = 0;
    }
    Step::Scan
}

/// How reading ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Step {
    /// There is nothing to act on.
    Nothing,
    /// A body of known length has ended.
    BodyEnd,
    /// The window is filled; after [`SCAN`]: it was read up to an unfinished line, or to a body.
    Scan,
    /// See [`Event`].
    HeadEnd,
    /// See [`Event`].
    MessageEnd,
    /// See [`Event`].
    Unparsable,
}

/// Acts on how reading ended.
#[inline(always)]
fn act(scratch: &mut Scratch, socket: &mut Socket, direction: u32) {
    let mut event = scratch.event;
    if event == Step::Nothing as u32 {
        return;
    }
    if event == Step::BodyEnd as u32 {
        return message_end(scratch, socket, direction, 0);
    }
    let answers = carries_answers(socket, direction);
    let this = stream(socket, direction);
    let mut rest = scratch.window.len.wrapping_sub(scratch.window.line);
    // Otherwise there are more lines, or a body, in the window: the next step goes on there.
    let searched = scratch.window.at >= scratch.window.len;
    if event == Step::Scan as u32 && searched && rest >= CARRY as u32 {
        scratch.carry.request.flags |= flags::HEAD_CUT;
        if http::cut_line(this, &mut scratch.window) as u32 == Event::Unparsable as u32 {
            event = Step::Unparsable as u32;
        }
        rest = 0;
    }
    if !http::note_head(
        this,
        &mut scratch.carry.request,
        &mut scratch.window,
        answers,
    ) {
        event = Step::Unparsable as u32;
    }
    scratch.offset = scratch
        .offset
        .wrapping_add(scratch.window.line.wrapping_sub(scratch.carried));

    if event == Step::Scan as u32 {
        if searched && scratch.offset.wrapping_add(rest) >= scratch.end {
            // All that is left of the segment is an unfinished line, if anything.
            scratch.offset = scratch.end;
            let unfinished = this.state == state::HEAD && !answers;
            if rest > 0 || unfinished {
                save(scratch, socket, direction, rest);
            }
        }
    } else if event == Step::HeadEnd as u32 {
        head_end(scratch, socket, direction, answers);
    } else if event == Step::MessageEnd as u32 {
        message_end(scratch, socket, direction, 0);
    } else {
        unparsable(scratch, socket, direction);
    }
}

/// Fills the window: what was carried over first, then the next bytes of the segment. False if that fails.
#[inline(always)]
fn load(ctx: &SkBuffContext, scratch: &mut Scratch, socket: &mut Socket, direction: u32) -> bool {
    let cookie = socket.cookie;
    let this = stream(socket, direction);
    let mut carried = 0_u32;
    if this.flags & mark::CARRY != 0 {
        this.flags &= !mark::CARRY;
        let key = CarryKey {
            cookie,
            direction: u64::from(direction),
        };
        let Some(carry) = CARRIES.get_ptr(key) else {
            count(Ledger::CarryLost);
            lose(this);
            return false;
        };
        // SAFETY: a map value that only this direction of this socket uses; it is copied before it is removed.
        unsafe {
            scratch.carry.request = (*carry).request;
            carried = (*carry).len as u32 & (CARRY as u32 - 1);
            scratch
                .window
                .bytes
                .as_mut_ptr()
                .cast::<[u64; CARRY / 8]>()
                .write_unaligned((*carry).words);
        }
        // It may have been pushed out in between, which is as good.
        let _ = CARRIES.remove(key);
    }
    let window = &mut scratch.window;
    let available = scratch.end.wrapping_sub(scratch.offset);
    if available == 0 {
        return false;
    }
    let fresh = if available > FRESH as u32 {
        FRESH as u32
    } else {
        available
    };
    // At least 1 and at most FRESH, in a form that the verifier follows.
    let fresh = (opaque(fresh as usize - 1) & (FRESH - 1)) as u32 + 1;
    // SAFETY: carried < CARRY and fresh ≤ FRESH, so the target lies within `bytes`.
    let failed = unsafe {
        bpf_skb_load_bytes(
            ctx.skb.skb.cast(),
            scratch.offset,
            window.bytes.as_mut_ptr().add(carried as usize).cast(),
            fresh,
        )
    };
    if failed != 0 {
        count(Ledger::LoadFailed);
        lose(this);
        return false;
    }
    scratch.carried = carried;
    window.rewind(carried + fresh);
    true
}

/// Keeps the unfinished line, and the request as far as it was read, for the next segment.
#[inline(always)]
fn save(scratch: &mut Scratch, socket: &mut Socket, direction: u32, rest: u32) {
    let line = scratch.window.line;
    for index in 0..CARRY / 8 {
        scratch.carry.words[index] = scratch.window.word(line.wrapping_add(8 * index as u32));
    }
    scratch.carry.len = u64::from(rest);
    let key = CarryKey {
        cookie: socket.cookie,
        direction: u64::from(direction),
    };
    let this = stream(socket, direction);
    if CARRIES.insert(key, &scratch.carry, 0).is_ok() {
        this.flags |= mark::CARRY;
    } else {
        count(Ledger::CarryLost);
        lose(this);
    }
}

/// Decides what a connection of unknown role, or one that lost its place, has before it. False if nothing of use.
#[inline(always)]
fn judge(scratch: &mut Scratch, socket: &mut Socket, direction: u32) -> bool {
    let opening = http::opening(scratch.window.word(0), u64::from(scratch.window.len));
    let (server, client) = if direction == RECEIVED {
        (role::SERVER, role::CLIENT)
    } else {
        (role::CLIENT, role::SERVER)
    };
    let role = match opening {
        Opening::Request => server,
        Opening::Response => client,
        Opening::Other => role::UNKNOWN,
    };
    if role == role::UNKNOWN || (socket.role != role::UNKNOWN && socket.role != role) {
        if socket.role == role::UNKNOWN {
            strike(socket);
        }
        return false;
    }
    socket.role = role;
    if stream(socket, direction).state == state::LOST {
        // What is outstanding can no longer be told from what comes.
        socket.answers = socket.requests;
        let other = other(socket, direction);
        if other.state != state::START {
            other.flags |= mark::ORPHAN;
        }
        stream(socket, direction).restart();
    }
    true
}

/// Beginnings that look like no message before a connection is left alone. More than one, as a connection older than
/// the probes may be in the middle of a body.
const STRIKES: u8 = 32;

#[inline(always)]
fn strike(socket: &mut Socket) {
    socket.strikes = socket.strikes.wrapping_add(1);
    if socket.strikes >= STRIKES {
        silence(socket);
        count(Ledger::NotHttp);
    }
}

#[inline(always)]
fn silence(socket: &mut Socket) {
    let [received, sent] = &mut socket.streams;
    received.state = state::SILENT;
    received.left = 0;
    sent.state = state::SILENT;
    sent.left = 0;
}

#[inline(always)]
fn lose(this: &mut Stream) {
    this.restart();
    this.state = state::LOST;
    this.flags &= mark::SYNCED;
}

#[inline(always)]
fn unparsable(scratch: &mut Scratch, socket: &mut Socket, direction: u32) {
    scratch.offset = scratch.end;
    lose(stream(socket, direction));
    if socket.requests == 0 && socket.answers == 0 {
        // It never spoke HTTP: what looked like a beginning was none.
        socket.role = role::UNKNOWN;
        stream(socket, direction).restart();
        strike(socket);
    } else {
        count(Ledger::Unparsable);
    }
}

#[inline(always)]
fn head_end(scratch: &mut Scratch, socket: &mut Socket, direction: u32, answers: bool) {
    if stream(socket, direction).flags & mark::BROKEN != 0 {
        return unparsable(scratch, socket, direction);
    }
    let body = if answers {
        let method = match_request(socket, direction);
        let this = stream(socket, direction);
        let body = this.response_body(method);
        if matches!(body, Body::Interim) && socket.interim < u8::MAX {
            socket.interim += 1;
        }
        body
    } else {
        let this = stream(socket, direction);
        let body = this.request_body();
        let announced = if let Body::Length(length) = body {
            length
        } else {
            0
        };
        scratch.carry.request.bytes = this.bytes + announced;
        keep_request(scratch, socket);
        body
    };
    if matches!(body, Body::Tunnel) {
        message_end(scratch, socket, direction, flags::TUNNEL);
        silence(socket);
        scratch.offset = scratch.end;
        return;
    }
    if !stream(socket, direction).enter(body) {
        message_end(scratch, socket, direction, 0);
    }
}

/// Keeps the request that was read until its answer has ended.
#[inline(always)]
fn keep_request(scratch: &mut Scratch, socket: &mut Socket) {
    let request = &mut scratch.carry.request;
    request.sequence = socket.requests;
    request.reserved = 0;
    if socket.requests == socket.answers {
        socket.request = *request;
    } else {
        request.flags |= flags::PIPELINED;
        let key = PendingKey {
            cookie: socket.cookie,
            sequence: u64::from(socket.requests),
        };
        if PENDING.insert(key, *request, 0).is_err() {
            // Its answer will miss it, and count it.
        }
    }
    socket.requests = socket.requests.wrapping_add(1);
}

/// Finds the request that the present answer belongs to; returns its method.
#[inline(always)]
fn match_request(socket: &mut Socket, direction: u32) -> u64 {
    if stream(socket, direction).flags & mark::ORPHAN != 0 {
        return 0;
    }
    if socket.requests == socket.answers {
        stream(socket, direction).flags |= mark::ORPHAN;
        return 0;
    }
    if socket.request.sequence != socket.answers {
        let key = PendingKey {
            cookie: socket.cookie,
            sequence: u64::from(socket.answers),
        };
        let Some(pending) = PENDING.get_ptr(key) else {
            count(Ledger::PendingLost);
            socket.answers = socket.answers.wrapping_add(1);
            stream(socket, direction).flags |= mark::ORPHAN;
            return 0;
        };
        // SAFETY: a map value that only this socket uses; copied before it is removed.
        socket.request = unsafe { *pending };
        // It may have been pushed out in between, which is as good.
        let _ = PENDING.remove(key);
    }
    http::method_word(&socket.request)
}

#[inline(always)]
fn message_end(scratch: &mut Scratch, socket: &mut Socket, direction: u32, flags: u32) {
    if carries_answers(socket, direction) {
        answer_end(scratch, socket, direction, flags);
    } else {
        request_end(socket, direction);
    }
    stream(socket, direction).restart();
}

/// A request's length is known now, also if it came in chunks.
#[inline(always)]
fn request_end(socket: &mut Socket, direction: u32) {
    let bytes = stream(socket, direction).bytes;
    let sequence = socket.requests.wrapping_sub(1);
    if stream(socket, direction).flags & mark::CHUNKED == 0 {
        return;
    }
    if socket.request.sequence == sequence {
        socket.request.bytes = bytes;
    } else if let Some(pending) = PENDING.get_ptr_mut(PendingKey {
        cookie: socket.cookie,
        sequence: u64::from(sequence),
    }) {
        // SAFETY: a map value that only this socket uses.
        unsafe { (*pending).bytes = bytes };
    }
}

#[inline(always)]
fn answer_end(scratch: &mut Scratch, socket: &mut Socket, direction: u32, mut flags: u32) {
    let interim = core::mem::take(&mut socket.interim);
    let this = stream(socket, direction);
    if this.flags & mark::ORPHAN != 0 {
        count(Ledger::JoinedLate);
        return;
    }
    let (status, first_byte_ns, response_bytes) = (this.status, this.first_ns, this.bytes);
    if other(socket, direction).state != state::START
        && socket.requests.wrapping_sub(1) == socket.answers
    {
        flags |= flags::EARLY_ANSWER;
    }
    count(Ledger::ExchangesAttempted);
    count_exchange(
        socket,
        scratch.now_ns.saturating_sub(socket.request.start_ns),
    );
    // Records are some hundred bytes: a reader that comes every few milliseconds needs no wake-up.
    let wake = if EXCHANGES.query(AVAILABLE) > WAKE_AT {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    if let Some(mut entry) = EXCHANGES.reserve::<ExchangeRecord>(0) {
        let record = entry.as_mut_ptr();
        // SAFETY: the ring gave this much memory; every field is written before it is handed over.
        unsafe {
            (*record).cgroup_id = socket.cgroup_id;
            (*record).first_byte_ns = first_byte_ns;
            (*record).end_ns = scratch.now_ns;
            (*record).response_bytes = response_bytes;
            (*record).local_addr = scratch.local_addr;
            (*record).remote_addr = scratch.remote_addr;
            (*record).local_port = scratch.local_port;
            (*record).remote_port = scratch.remote_port;
            (*record).status = status;
            (*record).role = socket.role;
            (*record).interim = interim;
            (*record).request = socket.request;
            (*record).request.flags |= flags;
        }
        entry.submit(u64::from(wake));
        count(Ledger::ExchangesSeen);
    } else {
        count(Ledger::RingFull);
    }
    socket.answers = socket.answers.wrapping_add(1);
}

/// `BPF_RB_AVAIL_DATA`: bytes in the ring that are not read yet.
const AVAILABLE: u64 = 0;

#[inline(always)]
fn count_exchange(socket: &Socket, duration_ns: u64) {
    let Some(counters) = HTTP.get_ptr_mut(socket.slot) else {
        return;
    };
    // SAFETY: a map value, added to atomically.
    unsafe {
        if socket.role == role::SERVER {
            add(&raw mut (*counters).exchanges[0], 1);
            add(&raw mut (*counters).duration_ns[0], duration_ns);
            count_duration(&raw mut (*counters).server_buckets, duration_ns);
        } else {
            add(&raw mut (*counters).exchanges[1], 1);
            add(&raw mut (*counters).duration_ns[1], duration_ns);
        }
    }
}

/// The segment is done: its end is where the stream goes on, and a FIN or RST ends more than that.
#[inline(always)]
fn finish(scratch: &mut Scratch, socket: &mut Socket, direction: u32) {
    let this = stream(socket, direction);
    let advance = scratch.next_seq.wrapping_sub(this.next_seq) as i32;
    if advance > 0 {
        this.next_seq = scratch.next_seq;
    }
    if scratch.last == 0 || !carries_answers(socket, direction) || socket.role == role::UNKNOWN {
        return;
    }
    if stream(socket, direction).state == state::UNTIL_CLOSE {
        message_end(scratch, socket, direction, flags::CLOSE_DELIMITED);
    }
    if socket.requests != socket.answers {
        count(Ledger::ClosedWithoutAnswer);
        socket.answers = socket.requests;
    }
    stream(socket, direction).state = state::SILENT;
}
