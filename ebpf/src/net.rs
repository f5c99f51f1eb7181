//! The way from a packet to its socket and the piece of its byte stream.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::{
        bpf_get_socket_cookie, bpf_skb_load_bytes,
        generated::{bpf_ktime_get_boot_ns, bpf_sk_storage_get, bpf_skb_cgroup_id},
    },
    macros::{btf_map, cgroup_skb, map},
    maps::{Array, LruHashMap, PerCpuArray},
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{Ledger, role};
use galileo_ebpf_core::{
    connection::{self, RECEIVED, SENT},
    http::{mark, state},
    socket::{Segment, Socket, last},
};

use crate::{
    http::{self, FIRST, Here},
    ledger::{count, take_back},
    slots::slot_of,
    traffic::count_packet,
};

/// What is kept of a socket. The kernel zeroes it at first and frees it with the socket. The two directions may be looked
/// at on two CPUs at once; each writes what is its own, see [`Socket`].
#[btf_map]
static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// Work spaces of a CPU: a process that sends may be interrupted by a softirq that receives.
const NESTING: u32 = 4;

#[map]
static SEGMENTS: PerCpuArray<Segment> = PerCpuArray::with_max_entries(NESTING, 0);

/// How many work spaces of a CPU are in use.
#[map]
static DEPTH: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// The work space at this depth.
#[inline(always)]
pub fn segment(depth: u32) -> Option<&'static mut Segment> {
    // SAFETY: a map value of this CPU, which `acquire` gave to this run only.
    SEGMENTS
        .get_ptr_mut(depth)
        .map(|segment| unsafe { &mut *segment })
}

#[inline(always)]
fn acquire() -> Option<u32> {
    let depth = DEPTH.get_ptr_mut(0)?;
    // SAFETY: a map value of this CPU. What interrupts this run leaves it as it was.
    unsafe {
        let mine = *depth;
        if mine >= NESTING {
            return None;
        }
        *depth = mine + 1;
        Some(mine)
    }
}

/// Gives the work space at this depth back.
#[inline(always)]
pub fn release(depth: u32) {
    if let Some(used) = DEPTH.get_ptr_mut(0) {
        // SAFETY: as in `acquire`.
        unsafe { *used = depth };
    }
}

/// The storage of the packet's socket.
#[inline(always)]
pub fn socket(ctx: &SkBuffContext, create: bool) -> Option<&'static mut Socket> {
    storage(sk(ctx)?, create)
}

/// The storage of a socket, which is not null. Its cookie is 0 until the first packet of its own has passed.
#[inline(always)]
pub fn storage(sk: *mut bpf_sock, create: bool) -> Option<&'static mut Socket> {
    let flags = if create {
        u64::from(BPF_SK_STORAGE_GET_F_CREATE)
    } else {
        0
    };
    // SAFETY: the helper takes a socket that is not null, and gives a map value or null.
    unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKETS).cast_mut().cast(),
            sk.cast(),
            core::ptr::null_mut(),
            flags,
        )
        .cast::<Socket>()
        .as_mut()
    }
}

#[inline(always)]
fn sk(ctx: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context is valid for the run; the verifier checks the access and wants the null check below.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk)
}

/// `BPF_TCP_LISTEN`.
const LISTEN: u32 = 10;

/// Hook: `cgroup_skb` ingress at the cgroup2 root. Context: softirq or process; after routing, before TCP orders segments.
/// Kernel: 5.10. Maps: `SOCKETS`, `FIRSTS`, `SLOT_OF`, `SEGMENTS`, those of
/// [`crate::traffic`].
#[cgroup_skb]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    packet(&ctx, RECEIVED);
    1
}

/// Hook: `cgroup_skb` egress at the cgroup2 root. Context: as [`ingress`]; before segmentation. Kernel: 5.10. Maps: as
/// [`ingress`].
#[cgroup_skb]
pub fn egress(ctx: SkBuffContext) -> i32 {
    packet(&ctx, SENT);
    1
}

#[inline(always)]
fn packet(ctx: &SkBuffContext, direction: u32) {
    let length = ctx.len();
    let Some((headers, tcp)) = headers(ctx) else {
        count_packet(ctx, slot_of(cgroup_id(ctx)), direction, length);
        return;
    };
    let listening = match sk(ctx) {
        None => return count_packet(ctx, slot_of(cgroup_id(ctx)), direction, length),
        // SAFETY: not null; the verifier checks the access.
        Some(sk) => unsafe { (*sk).state == LISTEN },
    };
    let payload = length.saturating_sub(headers.payload);
    if listening {
        count_packet(ctx, slot_of(cgroup_id(ctx)), direction, length);
        if payload > 0 && direction == RECEIVED {
            first_data(ctx, &headers, &tcp, length);
        }
        return;
    }
    let Some(socket) = socket(ctx, true) else {
        count(Ledger::StorageFailed);
        return count_packet(ctx, slot_of(cgroup_id(ctx)), direction, length);
    };
    if socket.cookie == 0 {
        introduce(ctx, socket);
        // Who begins with a SYN of its own did not listen. With fast open, the connection begins with its SYN and ACK.
        if tcp.flags & (SYN | ACK) != SYN {
            claim(socket, &headers, &tcp, direction);
        }
    }
    count_packet(ctx, socket.slot, direction, length);

    let ends = tcp.flags & (FIN | RST) != 0;
    if payload == 0 && !ends {
        return;
    }
    if connection::stream(socket, direction).state == state::SILENT {
        return;
    }
    look(ctx, socket, &headers, &tcp, length, direction);
}

/// Looks at the segment: what it carries, or that it ends something.
#[inline(always)]
fn look(
    ctx: &SkBuffContext,
    socket: &mut Socket,
    headers: &Headers,
    tcp: &Tcp,
    length: u32,
    way: u32,
) {
    let direction = http::direction(way);
    let payload = length.saturating_sub(headers.payload);
    let ends = tcp.flags & (FIN | RST) != 0;
    // A SYN takes a number of its own, before the data that fast open sends with it.
    let sequence = tcp.sequence.wrapping_add(u32::from(tcp.flags & SYN != 0));
    let here = Here(ctx);
    let Some(ahead) = connection::place(&here, socket, direction, sequence, payload, ends) else {
        return;
    };
    let Some(depth) = acquire() else {
        count(Ledger::ScratchBusy);
        connection::stream(socket, direction).flags &= !mark::SYNCED;
        return;
    };
    let Some(segment) = segment(depth) else {
        return;
    };
    // SAFETY: a helper without arguments.
    segment.now_ns = unsafe { bpf_ktime_get_boot_ns() };
    segment.offset = headers.payload + ahead;
    segment.end = length;
    segment.next_seq = sequence.wrapping_add(payload);
    segment.last = if tcp.flags & RST != 0 {
        last::CONNECTION
    } else if ends {
        last::DIRECTION
    } else {
        last::NO
    };
    let ends = ends_of(headers, tcp, direction);
    segment.local_addr = ends.local_addr;
    segment.remote_addr = ends.remote_addr;
    segment.local_port = ends.local_port;
    segment.remote_port = ends.remote_port;
    http::enter(ctx, segment, socket, way, depth);
}

/// Who talks to whom, from this end.
#[derive(Clone, Copy)]
#[repr(C)]
struct Ends {
    local_addr: [u8; 16],
    remote_addr: [u8; 16],
    local_port: u16,
    remote_port: u16,
}

#[inline(always)]
fn ends_of(headers: &Headers, tcp: &Tcp, direction: u32) -> Ends {
    let (local, remote) = if direction == RECEIVED {
        (1, 0)
    } else {
        (0, 1)
    };
    Ends {
        local_addr: headers.addresses[local],
        remote_addr: headers.addresses[remote],
        local_port: tcp.ports[local],
        remote_port: tcp.ports[remote],
    }
}

/// What is known of connections whose first data came while their socket was the listener's, which all share. The
/// connection claims it when it goes on.
#[map]
static FIRSTS: LruHashMap<Ends, Socket> = LruHashMap::with_max_entries(1024, 0);

/// A socket of which nothing is known, to copy from; never written to.
#[map]
static BLANK: Array<Socket> = Array::with_max_entries(1, 0);

/// Looks at data that comes on a listening socket.
#[inline(always)]
fn first_data(ctx: &SkBuffContext, headers: &Headers, tcp: &Tcp, length: u32) {
    let ends = ends_of(headers, tcp, RECEIVED);
    let payload = length.saturating_sub(headers.payload);
    let next = tcp
        .sequence
        .wrapping_add(u32::from(tcp.flags & SYN != 0))
        .wrapping_add(payload);
    if let Some(known) = FIRSTS.get_ptr(ends) {
        // SAFETY: a map value that only segments of these two ends use.
        if unsafe { (*known).streams[RECEIVED as usize].next_seq } == next {
            return;
        }
    }
    count(Ledger::ListenerData);
    let Some(blank) = BLANK.get(0) else { return };
    if FIRSTS.insert(ends, blank, 0).is_err() {
        return;
    }
    let Some(socket) = FIRSTS.get_ptr_mut(ends) else {
        return;
    };
    // SAFETY: as above.
    let socket = unsafe { &mut *socket };
    socket.role = role::UNKNOWN;
    // A key for what is carried over; cookies of sockets count up from 1 and never come near.
    socket.cookie = 1 << 63
        | u64::from(tcp.sequence) << 31
        | u64::from(ends.remote_port) << 15
        | u64::from(ends.local_port >> 1);
    look(ctx, socket, headers, tcp, length, FIRST);
}

/// The first data of the connection whose segment lies in the work space.
#[inline(always)]
pub fn first(segment: &Segment) -> Option<&'static mut Socket> {
    let ends = Ends {
        local_addr: segment.local_addr,
        remote_addr: segment.remote_addr,
        local_port: segment.local_port,
        remote_port: segment.remote_port,
    };
    // SAFETY: as in `first_data`.
    FIRSTS
        .get_ptr_mut(ends)
        .map(|socket| unsafe { &mut *socket })
}

/// Takes over what was seen of this connection on the listener's socket, if it is of this connection: either end goes on
/// where that ended.
#[inline(always)]
fn claim(socket: &mut Socket, headers: &Headers, tcp: &Tcp, direction: u32) {
    let ends = ends_of(headers, tcp, direction);
    let Some(first) = FIRSTS.get_ptr(ends) else {
        return;
    };
    // SAFETY: as in `first_data`.
    let first = unsafe { &*first };
    let reached = if direction == RECEIVED {
        tcp.sequence
    } else {
        tcp.acknowledged
    };
    let received = &first.streams[RECEIVED as usize];
    if reached == received.next_seq {
        socket.cookie = first.cookie;
        socket.role = first.role;
        socket.strikes = first.strikes;
        socket.requests = first.requests;
        socket.request = first.request;
        socket.streams[RECEIVED as usize] = *received;
        take_back(Ledger::ListenerData);
        count(Ledger::ListenerClaimed);
    }
    // It may have been pushed out in between, which is as good.
    let _ = FIRSTS.remove(ends);
}

/// Fills in what the storage of a socket says of it all its life.
#[inline(always)]
fn introduce(ctx: &SkBuffContext, socket: &mut Socket) {
    socket.cgroup_id = cgroup_id(ctx);
    socket.slot = slot_of(socket.cgroup_id);
    socket.role = role::UNKNOWN;
    // SAFETY: the context is valid for the run.
    socket.cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
}

#[inline(always)]
fn cgroup_id(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the context is valid for the run.
    unsafe { bpf_skb_cgroup_id(ctx.skb.skb) }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Where the payload begins, and who talks to whom: source first.
struct Headers {
    payload: u32,
    addresses: [[u8; 16]; 2],
}

struct Tcp {
    ports: [u16; 2],
    sequence: u32,
    acknowledged: u32,
    flags: u8,
}

const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
const TCP: u8 = 6;

/// Reads the headers of IP and TCP; none if it is another protocol, or an IPv6 packet with extension headers.
#[inline(always)]
fn headers(ctx: &SkBuffContext) -> Option<(Headers, Tcp)> {
    let mut addresses = [MAPPED; 2];
    let first: [u8; 20] = load(ctx, 0)?;
    let at = match first[0] >> 4 {
        4 if first[9] == TCP => {
            addresses[0][12..].copy_from_slice(&first[12..16]);
            addresses[1][12..].copy_from_slice(&first[16..20]);
            u32::from(first[0] & 0xf) * 4
        }
        6 if first[6] == TCP => {
            addresses = load(ctx, 8)?;
            40
        }
        _ => return None,
    };
    let tcp: [u8; 14] = load(ctx, at)?;
    Some((
        Headers {
            payload: at + u32::from(tcp[12] >> 4) * 4,
            addresses,
        },
        Tcp {
            ports: [
                u16::from_be_bytes([tcp[0], tcp[1]]),
                u16::from_be_bytes([tcp[2], tcp[3]]),
            ],
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            acknowledged: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            flags: tcp[13],
        },
    ))
}

#[inline(always)]
fn load<T>(ctx: &SkBuffContext, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper fills the whole value or fails; the types used here are bytes.
    unsafe {
        let failed = bpf_skb_load_bytes(
            ctx.skb.skb.cast(),
            offset,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        );
        if failed != 0 {
            return None;
        }
        Some(value.assume_init())
    }
}
