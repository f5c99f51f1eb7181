//! Connections that have both ends on this machine, see [`galileo_ebpf_core::loopback`].
//!
//! Only those over loopback: of other interfaces it is not known in which network namespace the peer is.

use aya_ebpf::{
    bindings::BPF_F_CURRENT_NETNS,
    helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_release},
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{LOOPBACK, SLOT_UNKNOWN};
use galileo_ebpf_core::{
    loopback::{self, Standing},
    socket::{Socket, watched},
};

use crate::{
    net::{self, LISTEN, socket_of},
    slots::is_current,
};

/// Not 0 if each end is to be looked at for itself. User space sets it before the object is loaded.
#[unsafe(no_mangle)]
static EACH_END: u8 = 0;

/// Leaves a client's connection to its peer, if that is on this machine and stands where this end does, and a request begins with
/// the byte of this sequence number. `slot` is that of the client's cgroup.
#[inline(always)]
pub fn hand_over(ctx: &SkBuffContext, client: &mut Socket, sequence: u32, slot: u32) -> bool {
    // SAFETY: the context is valid for the run. The device is set, see `traffic::count_packet`.
    let interface = unsafe { (*ctx.skb.skb).ifindex };
    if interface != LOOPBACK || slot >= SLOT_UNKNOWN || !loopback::may_hand_over(client, sequence) {
        return false;
    }
    // SAFETY: a byte that nobody writes once the object is loaded; volatile, as the compiler takes it for 0.
    if unsafe { (&raw const EACH_END).read_volatile() } != 0 {
        return false;
    }
    peer(ctx, client).is_some_and(|server| loopback::hand_over(client, server, slot))
}

/// Has each end look for itself again: the server of this client, which left the connection to it, ends its side, or all of it, with
/// the segment whose data ends before the byte of the sequence number `received`.
#[inline(always)]
pub fn take_back(ctx: &SkBuffContext, client: &mut Socket, received: u32, acknowledged: u32) {
    let mut sent = acknowledged;
    if let Some(sk) = net::sk(ctx)
        && let Some(tcp) = net::tcp_sock(sk)
    {
        sent = tcp.snd_nxt;
    }
    let standing = Standing {
        received,
        sent,
        acknowledged,
    };
    let server = peer(ctx, client);
    loopback::take_back(client, server, standing);
}

/// What is kept of the socket at the other end of a connection over loopback; none if that socket is gone, or is none that is looked at.
#[inline(always)]
fn peer(ctx: &SkBuffContext, socket: &Socket) -> Option<&'static mut Socket> {
    let (mut tuple, bytes) = tuple(socket);
    // SAFETY: the context is valid for the run, and so is the tuple, of which no more is read than it has.
    let peer = unsafe {
        bpf_sk_lookup_tcp(
            ctx.skb.skb.cast(),
            tuple.as_mut_ptr().cast(),
            bytes,
            // It is taken for an i32.
            BPF_F_CURRENT_NETNS as u32 as u64,
            0,
        )
    };
    if peer.is_null() {
        return None;
    }
    // SAFETY: a socket that is not null and not given back yet; the kernel translates the access.
    let listens = unsafe { (*peer).state } == LISTEN;
    let kept = if listens {
        None
    } else {
        socket_of(peer, false)
    };
    // SAFETY: what was looked up, once. Its storage stays while the program runs (RCU).
    unsafe { bpf_sk_release(peer.cast()) };
    kept
}

/// What the kernel finds the peer of a socket by (`struct bpf_sock_tuple`), and how many bytes of it count: as the peer receives it,
/// so from this end to that one.
#[inline(always)]
fn tuple(socket: &Socket) -> ([u32; 9], u32) {
    let record = &socket.record;
    let (from, to) = (words(record.local_addr), words(record.remote_addr));
    let ([a, b], [c, d]) = (
        record.local_port.to_be_bytes(),
        record.remote_port.to_be_bytes(),
    );
    let ports = u32::from_ne_bytes([a, b, c, d]);
    if is_mapped(from) && is_mapped(to) {
        ([from[3], to[3], ports, 0, 0, 0, 0, 0, 0], 12)
    } else {
        let ([a, b, c, d], [e, f, g, h]) = (from, to);
        ([a, b, c, d, e, f, g, h, ports], 36)
    }
}

/// An address as words, in network order.
#[inline(always)]
fn words(address: [u8; 16]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
}

/// Whether it is an IPv4 address.
#[inline(always)]
const fn is_mapped(words: [u32; 4]) -> bool {
    words[0] | words[1] == 0 && words[2] == 0xffff_u32.to_be()
}

/// Instead of a client's slot: there is no client to count for. A number, as the compiler keeps an `Option` in halves that the verifier
/// cannot follow.
pub const NO_CLIENT: u32 = u32::MAX;

/// The slot of the client's cgroup, if exchanges of this connection are told for both its ends; [`SLOT_UNKNOWN`] if that was given up:
/// the cgroup is gone.
#[inline(always)]
pub fn client_slot(socket: &Socket) -> u32 {
    if socket.watched != watched::HERE_FOR_BOTH {
        return NO_CLIENT;
    }
    let slot = socket.peer_slot as u32;
    if is_current(slot) { slot } else { SLOT_UNKNOWN }
}
