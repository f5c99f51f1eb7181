//! HTTP/1.x exchanges, put together from the segments that [`crate::net`] finds.
//!
//! A segment is looked at in steps, each a tail call: pass over the rest of a body, then read one window of lines up to
//! the end of a head or a message. So the verifier walks one window only, and a segment may hold many messages.
//!
//! Cost: the kernel counts the time of a step as that of the program it was called from. They run for what is not plain alone:
//! docs/measurements.md has pipelined and chunked traffic, of which an egress run takes up to 380 ns.

use aya_ebpf::{
    macros::{cgroup_skb, map},
    maps::ProgramArray,
    programs::SkBuffContext,
};
use galileo_ebpf_core::{
    connection::{self, Next, RECEIVED, SENT, Step},
    plain::{self, Piece},
    socket::{Outside, Segment, Socket},
    window::{FRESH, Window},
};

use crate::{clock::now_ns, firsts, net, outside::Here, spaces};

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
    let here = Here {
        ctx,
        way: direction,
    };
    let length = ctx.len().wrapping_sub(payload);
    let mut piece = Piece {
        sequence,
        offset: payload,
        payload: length,
        filled: 0,
    };
    if !plain::may_begin(socket, direction, sequence) {
        return plain::body(&here, window, socket, direction, piece, now_ns);
    }
    piece.filled = if length > FRESH as u32 {
        FRESH as u32
    } else {
        length
    };
    plain::ask(socket, direction);
    if !here.load(window, 0, payload, piece.filled) {
        return false;
    }
    plain::message(&here, window, socket, direction, piece, now_ns())
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
    // The first step is to be short, as what leads here is long: chunks are for the next one.
    if read(ctx, segment, socket, way, false) {
        // There is no step to call: this kernel refused it.
        connection::exceeded(&Here { ctx, way }, segment, socket, direction(way));
    }
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
fn read(
    ctx: &SkBuffContext,
    segment: &mut Segment,
    socket: &mut Socket,
    way: u32,
    chunks: bool,
) -> bool {
    let here = Here { ctx, way };
    let direction = direction(way);
    let step = connection::read(&here, segment, socket, direction, chunks);
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

/// The segment is done: goes on with what came early, if anything did.
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
        if let Some(early) = here.early(false) {
            connection::leave_early(here, early, segment, socket, RECEIVED);
        }
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

/// Hook: tail-called from [`act_received`] and [`keep_received`]. Context: as [`net::ingress`]. Kernel: 5.10. Maps: `SOCKETS`,
/// `SEGMENTS`, those of [`crate::outside`] and of [`crate::records`].
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

/// Hook: tail-called from [`net::ingress`], [`read_received`], [`follow_received`] and [`act_received`], and from itself. Context,
/// kernel: as there. Maps: `SOCKETS`, `SEGMENTS`, `EARLY`.
#[cgroup_skb]
#[inline(always)]
pub fn scan_received(ctx: SkBuffContext) -> i32 {
    scan_step(&ctx, RECEIVED);
    1
}

/// Hook: tail-called from [`net::egress`], [`read_sent`] and [`act_sent`], and from itself. Context, kernel, maps: as [`scan_received`].
#[cgroup_skb]
#[inline(always)]
pub fn scan_sent(ctx: SkBuffContext) -> i32 {
    scan_step(&ctx, SENT);
    1
}

/// Hook: tail-called from [`scan_received`], [`net::ingress`], [`read_received`] and [`follow_received`]. Context, kernel: as there.
/// Maps: as [`read_received`].
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

/// Hook: tail-called from [`net::ingress`], [`keep_received`], [`read_received`] and [`act_received`], and from itself. Context, kernel: as there. Maps:
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
    let here = Here { ctx, way: RECEIVED };
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
    let here = Here { ctx, way: RECEIVED };
    if let Some(early) = here.early(false)
        && early.follow(segment, connection::stream(socket, RECEIVED))
        // Here, and not by a tail call: what is kept of a long head takes almost as many as there may be.
        // It is never in chunks that lie in the packet.
        && read(ctx, segment, socket, RECEIVED, false)
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
    if read(ctx, segment, socket, way, true) {
        connection::exceeded(&Here { ctx, way }, segment, socket, direction(way));
    }
    net::leave(socket, segment, way);
}

#[inline(always)]
fn scan_step(ctx: &SkBuffContext, way: u32) {
    let Some((segment, socket)) = taken(ctx, way) else {
        return;
    };
    let (here, direction) = (Here { ctx, way }, direction(way));
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
    let (here, direction) = (Here { ctx, way }, direction(way));
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
