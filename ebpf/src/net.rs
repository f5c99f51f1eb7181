//! The way from a packet to its socket, and to the place of its bytes in the stream.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_tcp_sock},
    btf_maps::SkStorage,
    helpers::{
        bpf_get_socket_cookie,
        generated::{bpf_sk_storage_get, bpf_skb_cgroup_id, bpf_tcp_sock},
    },
    macros::{btf_map, cgroup_skb},
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{Ledger, SLOT_UNKNOWN, role};
use galileo_ebpf_core::{
    connection::{self, Order, Place, RECEIVED, SENT},
    http::{mark, state},
    plain,
    socket::{Ends, Outside, Segment, Socket, last, watched},
    tcp,
};

use crate::{
    clock::now_ns,
    firsts, guard,
    headers::{self, ACK, FIN, RST, SYN, Tcp, ends},
    http::{self, FIRST},
    ledger::{count, count_for},
    loopback,
    outside::Here,
    slots::slot_of,
    spaces, traffic,
    verifier::opaque,
};

/// What is kept of a socket. The kernel zeroes it at first and frees it with the socket. The two directions may be looked
/// at on two CPUs at once, but for a reset; each writes what is its own, see [`Socket`]. One direction is looked at on one CPU at a
/// time, see [`guard`]. The client at the other end of a connection over loopback may hand it over, see [`loopback`].
#[btf_map]
static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// The segment is done.
#[inline(always)]
pub fn leave(socket: &mut Socket, segment: &mut Segment, way: u32) {
    if way == SENT {
        guard::leave_sent(socket);
    }
    if way != SENT || segment.last == last::CONNECTION {
        guard::leave(connection::stream(socket, RECEIVED));
    }
    spaces::release(segment);
}

/// Takes care that nobody else looks at what this segment bears on: what is received, what is sent or, if it is a reset, both. False if it
/// is not to be looked at: nobody may now, which is counted, or a reset is over or none. See [`guard`].
#[inline(always)]
fn enter(here: &Here<'_>, socket: &mut Socket, tcp: &Tcp, how: u32, way: u32) -> bool {
    let resets = how == last::CONNECTION;
    let guarded = way == RECEIVED || (way == SENT && resets);
    // Of two resets that cross, the one that waits for the guard is not in the other's way yet.
    if guarded && !guard::enter(connection::stream(socket, RECEIVED)) {
        here.count(socket, Ledger::SocketBusy, 1);
        return false;
    }
    let mut is_in = true;
    if way == SENT {
        is_in = guard::enter_sent(socket);
    } else if way == RECEIVED && resets {
        // Behind the guard: what comes right before it may be looked at on another CPU.
        is_in = connection::resets(socket, tcp.sequence, received(here.ctx));
        if is_in && !guard::close_sent(socket) {
            here.count(socket, Ledger::SocketBusy, 1);
            is_in = false;
        }
    }
    if !is_in && guarded {
        guard::leave(connection::stream(socket, RECEIVED));
    }
    is_in
}

/// Up to where TCP has taken in what this packet's socket receives.
#[inline(always)]
fn received(ctx: &SkBuffContext) -> Option<u32> {
    Some(tcp_sock(sk(ctx)?)?.rcv_nxt)
}

/// The storage of the packet's socket.
#[inline(always)]
pub fn socket(ctx: &SkBuffContext) -> Option<&'static mut Socket> {
    socket_of(sk(ctx)?, false)
}

/// The storage of a socket, which is not null. Its cookie is 0 until the first packet of its own has passed.
#[inline(always)]
pub fn socket_of(sk: *mut bpf_sock, create: bool) -> Option<&'static mut Socket> {
    storage(sk, &raw const SOCKETS, create)
}

/// What a map keeps of a socket, which is not null.
#[inline(always)]
pub fn storage<T>(
    sk: *mut bpf_sock,
    map: *const SkStorage<T>,
    create: bool,
) -> Option<&'static mut T> {
    let flags = if create {
        u64::from(BPF_SK_STORAGE_GET_F_CREATE)
    } else {
        0
    };
    // SAFETY: a map of this object, and a socket that is not null, which the verifier checks; the value begins as zeros.
    let value = unsafe {
        bpf_sk_storage_get(
            map.cast_mut().cast(),
            sk.cast(),
            core::ptr::null_mut(),
            flags,
        )
    };
    // SAFETY: null, or a value of this map: a `T`, which consists of integers, aligned to eight; it stays while the program runs
    // (RCU). Others may hold it too: each direction writes its own stream, under the guard if it receives, and `connections` the
    // field `tcp`, under the socket's lock. What they share (the slot, the role, the flags of the exchange, the other
    // direction's `may_resume`, counts where a lost place is found again, and what `loopback` writes at the end of a connection that is to
    // tell exchanges for both) is written in whole words or bytes, each of which may have any value.
    unsafe { value.cast::<T>().as_mut() }
}

/// The packet's socket.
#[inline(always)]
pub fn sk(ctx: &SkBuffContext) -> Option<*mut bpf_sock> {
    let sk: *mut bpf_sock;
    // SAFETY: the context is valid for the run; the verifier checks the access and wants the null check below. Written out
    // because the compiler computes the place first where it is read in several branches, and the kernel translates reads at
    // fixed places only.
    unsafe {
        asm!("{sk} = *(u64 *)({skb} + {offset})", sk = out(reg) sk, skb = in(reg) ctx.skb.skb,
            offset = const offset_of!(__sk_buff, __bindgen_anon_2), options(pure, readonly, nostack));
    }
    (!sk.is_null()).then_some(sk)
}

/// `BPF_TCP_LISTEN`.
pub const LISTEN: u32 = 10;

/// Hook: `cgroup_skb` ingress at the cgroup2 root. Context: softirq or process; after routing, before TCP orders segments.
/// Kernel: 5.10. Maps: `SOCKETS`, `FIRSTS`, `BLANK`, `SLOT_OF`, `OWNERS`, `SEGMENTS`, those of [`crate::traffic`], of [`crate::outside`]
/// and of [`crate::records`]. Cost: 100 to 320 ns a run, some 155 on keep-alive traffic over loopback, as the mean of both ends
/// (docs/measurements.md, "Probes beside nginx at full speed").
#[cgroup_skb]
#[inline(always)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    packet(&ctx, RECEIVED);
    1
}

/// Hook: `cgroup_skb` egress at the cgroup2 root. Context: as [`ingress`]; before segmentation. Kernel: 5.10. Maps: as
/// [`ingress`]. Cost: 110 to 380 ns a run, some 275 on keep-alive traffic over loopback, as there.
#[cgroup_skb]
#[inline(always)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    packet(&ctx, SENT);
    1
}

#[inline(always)]
fn packet(ctx: &SkBuffContext, direction: u32) {
    let length = ctx.len();
    let tcp = headers::tcp(ctx);
    let sk = sk(ctx);
    let mut listening = false;
    let mut socket = None;
    if let (Some(_), Some(sk)) = (&tcp, sk) {
        // SAFETY: not null; the kernel translates the access. `state` may be read of any socket, also of one that is no full
        // one (`bpf_sock_common_is_valid_access`).
        listening = unsafe { (*sk).state == LISTEN };
        if !listening {
            socket = socket_of(sk, true);
            if socket.is_none() {
                count(Ledger::StorageFailed);
            }
        }
    }
    // Found, and counted, in one place for all packets: what gives a cgroup its slot is long, and a program that makes tail
    // calls may not call functions on arm64 before 6.0.
    let kept = match &socket {
        Some(socket) if socket.cookie != 0 => Some((socket.record.cgroup_id, socket.slot)),
        _ => None,
    };
    let cgroup_id = match kept {
        Some((cgroup_id, _)) => cgroup_id,
        // SAFETY: the context is valid for the run.
        None => unsafe { bpf_skb_cgroup_id(ctx.skb.skb) },
    };
    let mut slot = kept.map_or(SLOT_UNKNOWN, |(_, slot)| slot);
    let mut traffic = traffic::of_slot(slot);
    if traffic.is_none() {
        // It has none yet, or that has been given to another cgroup.
        slot = slot_of(cgroup_id);
        traffic = traffic::of_slot(slot);
    }
    if let Some(traffic) = traffic {
        traffic::count_packet(ctx, traffic, slot, direction, length);
    }
    let (Some(tcp), Some(sk)) = (tcp, sk) else {
        return;
    };
    let payload = length.saturating_sub(tcp.payload);
    if listening {
        if payload > 0
            && direction == RECEIVED
            && let Some(ends) = ends(ctx, &tcp, direction)
        {
            firsts::look(ctx, ends, &tcp, length, slot);
        }
        return;
    }
    let Some(socket) = socket else { return };
    let mut control = opaque(usize::from(tcp.flags & (SYN | FIN | RST)));
    // Only if it is another: both directions read this line.
    if socket.slot != slot {
        socket.slot = slot;
    }
    if tcp.flags & SYN != 0 && direction == SENT && connection::is_another(socket, tcp.sequence) {
        connection::forget(socket);
    }
    if socket.watched == watched::AT_THE_PEER {
        if direction == SENT || tcp.flags & (FIN | RST) == 0 {
            return;
        }
        let payload = length.saturating_sub(tcp.payload);
        let received = tcp.sequence.wrapping_add(payload);
        loopback::take_back(ctx, socket, received, tcp.acknowledged);
        // It is one of them, as just seen. Said once more for the verifier, which does not know it of the flags, and would walk what is
        // done with a segment of nothing but data once more for this way.
        control = opaque(usize::from(FIN));
    }
    let new = socket.cookie == 0;
    if new {
        meet(ctx, sk, socket, &tcp, cgroup_id, direction);
        if socket.cookie == 0 {
            return count_for(slot, Ledger::SocketBusy, 1);
        }
    }
    if tcp.flags & SYN != 0
        && (new || connection::stream(socket, direction).flags & mark::SYNCED == 0)
    {
        let begin = Place {
            next_seq: tcp.sequence.wrapping_add(1),
            begun: true,
        };
        connection::synchronise(socket, direction, begin);
    }

    let ends = tcp.flags & (FIN | RST) != 0;
    if payload == 0 && (!ends || plain::ends_nothing(socket, direction, tcp.sequence)) {
        return;
    }
    if connection::stream(socket, direction).state == state::SILENT {
        return;
    }
    if direction == SENT
        && socket.role == role::CLIENT
        && !ends
        && loopback::hand_over(ctx, socket, tcp.sequence, slot)
    {
        return;
    }
    look(ctx, socket, None, &tcp, length, direction, control == 0);
}

/// The socket is seen for the first time, perhaps on several CPUs at once.
#[inline(always)]
fn meet(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    socket: &mut Socket,
    tcp: &Tcp,
    cgroup_id: u64,
    direction: u32,
) {
    if !guard::enter(connection::stream(socket, RECEIVED)) {
        return;
    }
    if socket.cookie == 0 {
        socket.record.cgroup_id = cgroup_id;
        introduce(sk, socket, direction);
        // SAFETY: the context is valid for the run.
        let mut cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
        if let Some(ends) = ends(ctx, tcp, direction) {
            set_ends(socket, &ends);
            // Who begins with a SYN of its own did not listen. With fast open, the connection begins with its SYN and ACK.
            if tcp.flags & (SYN | ACK) != SYN
                && let Some(first) = firsts::claim(socket, ends, tcp, direction)
            {
                cookie = first;
            }
        }
        // Last: with this it is known.
        socket.cookie = cookie;
    }
    guard::leave(connection::stream(socket, RECEIVED));
}

/// Looks at the segment: what it carries, or that it ends something. Of the way [`FIRST`], the guard is held already. `is_data` is whether
/// it carries nothing but data, on a socket of its own.
#[inline(always)]
pub fn look(
    ctx: &SkBuffContext,
    socket: &mut Socket,
    first: Option<Ends>,
    tcp: &Tcp,
    length: u32,
    way: u32,
    is_data: bool,
) {
    let direction = http::direction(way);
    let payload = length.saturating_sub(tcp.payload);
    let here = Here { ctx, way };
    let Some((space, segment)) = spaces::acquire() else {
        if way == FIRST {
            guard::leave(connection::stream(socket, RECEIVED));
        }
        return here.count(socket, Ledger::ScratchBusy, 1);
    };
    let how = if tcp.flags & RST != 0 {
        last::CONNECTION
    } else if tcp.flags & FIN != 0 {
        last::DIRECTION
    } else {
        last::NO
    };
    segment.last = how;
    if !enter(&here, socket, tcp, how, way) {
        return spaces::release(segment);
    }
    if is_data
        && http::is_plain(
            ctx,
            &mut segment.window,
            socket,
            direction,
            tcp.sequence,
            tcp.payload,
        )
    {
        return leave(socket, segment, way);
    }
    let sequence = tcp.begin();
    let is_level = |socket: &mut Socket| is_level(ctx, socket);
    let order = connection::place(&here, socket, direction, sequence, payload, how, is_level);
    let mut ahead = 0;
    if let Order::Follows(seen) = order {
        ahead = seen;
    } else if matches!(order, Order::Old) {
        return leave(socket, segment, way);
    } else if way != RECEIVED {
        // Sent bytes are in order, but for those that were sent before the probes came.
        connection::give_up(&here, socket, direction);
    }
    if let Some(ends) = first {
        segment.ends = ends;
    }
    segment.now_ns = now_ns();
    segment.offset = tcp.payload + ahead;
    segment.end = length;
    segment.next_seq = sequence.wrapping_add(payload);
    segment.run = 0;
    if way == RECEIVED && matches!(order, Order::Early) {
        http::keep_early(ctx, space);
        connection::exceeded(&here, segment, socket, direction);
        return leave(socket, segment, way);
    }
    http::enter(ctx, segment, socket, way, space);
}

/// Whether TCP waits for the same byte of this socket as we do. If it has more, what is missing was not seen when it came.
#[inline(always)]
pub fn is_level(ctx: &SkBuffContext, socket: &mut Socket) -> bool {
    let Some(sk) = sk(ctx) else { return false };
    let Some(tcp) = tcp_sock(sk) else {
        return false;
    };
    let next_seq = connection::stream(socket, RECEIVED).next_seq;
    tcp.rcv_nxt.wrapping_sub(next_seq) as i32 <= 0
}

/// What TCP counts of a socket, which is not null; none if it is no full TCP socket.
#[inline(always)]
pub fn tcp_sock(sk: *mut bpf_sock) -> Option<&'static bpf_tcp_sock> {
    // SAFETY: a socket that is not null, which the verifier checks.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    // SAFETY: null, or TCP's own counts, which stay while the program runs; the kernel translates each read of a field. TCP
    // writes them on other CPUs meanwhile: each is read once and whole, and two may be of different moments.
    unsafe { tcp.as_ref() }
}

/// Fills in whose socket it is, and where both its streams stand.
#[inline(always)]
fn introduce(sk: *mut bpf_sock, socket: &mut Socket, direction: u32) {
    socket.role = role::UNKNOWN;
    let Some(counts) = tcp_sock(sk) else { return };
    let received = Place {
        next_seq: counts.rcv_nxt,
        begun: counts.bytes_received == 0,
    };
    // A segment that is being sent is counted already, but `snd_nxt` is still its begin.
    let own = u32::from(direction == SENT);
    let sent = Place {
        next_seq: counts.snd_nxt,
        begun: counts.data_segs_out <= own && counts.bytes_acked <= 1,
    };
    // SAFETY: not null; the kernel translates the access.
    let state = unsafe { (*sk).state };
    // Until the peer has answered nothing is known of what it sends; its number 0 is one like any other.
    if state != tcp::state::SYN_SENT {
        connection::synchronise(socket, RECEIVED, received);
    }
    connection::synchronise(socket, SENT, sent);
}

#[inline(always)]
fn set_ends(socket: &mut Socket, ends: &Ends) {
    let record = &mut socket.record;
    record.local_addr = ends.local_addr;
    record.remote_addr = ends.remote_addr;
    record.local_port = ends.local_port;
    record.remote_port = ends.remote_port;
}
