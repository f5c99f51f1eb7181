//! TCP connections of every cgroup: opened, failed, ended, retransmissions, round-trip times.
//!
//! The program is called when something rare happens to a connection: it begins, is established, retransmits, changes its
//! state. Calls at each round-trip time are left off, as they would be made for each exchange: the smoothed round-trip time
//! is read where a connection ends, and user space asks the kernel for that of open ones (`sock_diag`).
//!
//! No helper of this hook tells a cgroup. The packet hooks know it, and keep it in the socket's storage: before an own
//! connection is established its SYN has passed them. A connection from outside is established while its first packets are
//! still the listener's; so the call at its first round-trip time is asked for, by which a packet of its own has passed,
//! and then not again.
//!
//! Flags that others set on a socket stay set, and the program's reply is never written: nothing of a connection changes.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{
    bindings::{
        BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG,
        BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_RTT_CB,
        BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock, bpf_sock_ops,
    },
    macros::{map, sock_ops},
    maps::{Array, RingBuf},
    programs::SockOpsContext,
};
use galileo_ebpf_abi::{
    ConnectionRecord, Ledger, Segments, TcpCounters, TcpSocket, connection_end as end,
    connection_state::{ACTIVE, COUNTED, EXPIRED, RTT_ASKED},
    slot_generation, slot_index,
};
use galileo_ebpf_core::{
    socket::Socket,
    tcp::{ending, state},
};

use crate::{
    clock::now_ns,
    ledger::{MMAPABLE, add, count, count_duration, count_for, field},
    net,
    records::AVAILABLE,
    slots::{SLOTS, slot_of},
};

/// What is counted of all connections, by slot.
#[map]
static TCP: Array<TcpCounters> = Array::with_max_entries(SLOTS, MMAPABLE);

/// The single connections that ended.
#[map]
static CONNECTIONS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Whether somebody reads `CONNECTIONS`; user space sets it.
#[map]
static CONNECTIONS_READ: Array<u32> = Array::with_max_entries(1, 0);

/// A reader that sleeps is woken when so many bytes lie in the ring; otherwise it comes by itself. User space sets it as it sets the
/// ring's size, before the object is loaded.
#[unsafe(no_mangle)]
static CONNECTIONS_WAKE_AT: u64 = 256 << 10;

/// Called for the life of a connection, as long as these flags stand on its socket.
const FLAGS: u32 =
    BPF_SOCK_OPS_RTO_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG;

/// Hook: `sock_ops` at the cgroup2 root. Context: process or softirq, socket locked. Kernel: 5.10. Maps: `SOCKETS`,
/// `TCP`, `CONNECTIONS`, `CONNECTIONS_READ`. Cost: some 140 ns a run, nine runs at each end of a connection (docs/measurements.md,
/// "Each program").
#[sock_ops]
pub fn connections(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => begin(&ctx, ACTIVE),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => begin(&ctx, 0),
        BPF_SOCK_OPS_RTO_CB => timer(&ctx, ctx.arg(2) != 0),
        BPF_SOCK_OPS_RETRANS_CB | BPF_SOCK_OPS_RTT_CB => goes_on(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == state::CLOSE => ends(&ctx, ctx.arg(0)),
        _ => {}
    }
    1
}

/// Begins to follow a connection. One that is opened from both ends at once comes here a second
/// time when it is established.
#[inline(always)]
fn begin(ctx: &SockOpsContext, origin: u32) {
    let Some(socket) = sk(ctx).and_then(|sk| net::socket_of(sk, true)) else {
        return count(Ledger::ConnectionUnfollowed);
    };
    let connection = &mut socket.tcp;
    if connection.begin_ns != 0 {
        // Opened from both ends at once.
        if origin != ACTIVE {
            connection.established_ns = now_ns();
        }
        return;
    }
    let flags = ctx.cb_flags();
    let mut asked = FLAGS;
    connection.state = origin;
    if origin != ACTIVE && flags & BPF_SOCK_OPS_RTT_CB_FLAG == 0 {
        asked |= BPF_SOCK_OPS_RTT_CB_FLAG;
        connection.state |= RTT_ASKED;
    }
    if ctx.set_cb_flags((flags | asked) as i32).is_err() {
        return count(Ledger::ConnectionUnfollowed);
    }
    connection.begin_ns = now_ns();
    // A connection from outside is established when it comes here first.
    connection.established_ns = if origin == ACTIVE {
        0
    } else {
        connection.begin_ns
    };
    connection.retransmits = 0;
    connection.data_segments = 0;
    connection.timeouts = 0;
}

/// An own attempt was answered.
#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let Some(socket) = followed(ctx) else {
        return;
    };
    socket.tcp.established_ns = now_ns();
    if let Some(counters) = counters(socket) {
        settle(ctx, &mut socket.tcp, counters);
    }
}

/// A retransmission timer ran out. `expired` tells that it was the last time.
#[inline(always)]
fn timer(ctx: &SockOpsContext, expired: bool) {
    let Some(socket) = followed(ctx) else {
        return;
    };
    if expired {
        socket.tcp.state |= EXPIRED;
        return;
    }
    socket.tcp.timeouts += 1;
    if let Some(counters) = counters(socket) {
        add(field!(counters.timeouts), 1);
        settle(ctx, &mut socket.tcp, counters);
    }
}

/// Something was retransmitted, or a connection from outside has measured its first round trip.
#[inline(always)]
fn goes_on(ctx: &SockOpsContext) {
    let Some(socket) = followed(ctx) else {
        return;
    };
    let Some(counters) = counters(socket) else {
        return;
    };
    let connection = &mut socket.tcp;
    settle(ctx, connection, counters);
    if connection.state & RTT_ASKED != 0 {
        connection.state &= !RTT_ASKED;
        let flags = ctx.cb_flags() & !BPF_SOCK_OPS_RTT_CB_FLAG;
        // It can only fail for flags that the kernel does not know, and these stood on the socket before.
        let _ = ctx.set_cb_flags(flags as i32);
    }
}

/// The connection, or the attempt at one, is over.
#[inline(always)]
fn ends(ctx: &SockOpsContext, before: u32) {
    let Some(socket) = followed(ctx) else {
        return;
    };
    let counters = counters(socket);
    let (cgroup_id, slot) = (socket.record.cgroup_id, socket.slot);
    let connection = &mut socket.tcp;
    let Some(counters) = counters else {
        connection.begin_ns = 0;
        return count(Ledger::ConnectionUnassigned);
    };
    settle(ctx, connection, counters);
    let seen = *connection;
    // A socket may be connected anew.
    connection.begin_ns = 0;
    let segments_in = read::<{ offset_of!(bpf_sock_ops, segs_in) }>(ctx);
    let end = ending(before, seen.state & EXPIRED != 0, segments_in);
    let now_ns = now_ns();
    if seen.established_ns == 0 {
        let failed = match end {
            end::REFUSED => field!(counters.refused),
            end::TIMED_OUT => field!(counters.timed_out),
            _ => field!(counters.abandoned),
        };
        add(failed, 1);
    } else {
        add(field!(counters.closed), 1);
        if end != end::CLOSED {
            add(field!(counters.aborted), 1);
        }
        let established_ns = now_ns.saturating_sub(seen.established_ns);
        add(field!(counters.established_ns), established_ns);
        // In eighths of a microsecond.
        let rtt_ns = u64::from(read::<{ offset_of!(bpf_sock_ops, srtt_us) }>(ctx)) * 125;
        if rtt_ns != 0 {
            add(field!(counters.rtt_ns), rtt_ns);
            count_duration(field!(counters.rtt_buckets), rtt_ns);
        }
    }
    if CONNECTIONS_READ.get(0).is_some_and(|read| *read != 0) {
        tell(ctx, &seen, cgroup_id, slot, end, now_ns);
    }
}

/// Hands a connection that ended to user space.
#[inline(always)]
fn tell(ctx: &SockOpsContext, seen: &TcpSocket, cgroup_id: u64, slot: u32, end: u8, now_ns: u64) {
    count_for(slot, Ledger::ConnectionsAttempted, 1);
    // SAFETY: a word that nobody writes once the object is loaded; volatile, as the compiler takes it for what stands here.
    let wake_at = unsafe { (&raw const CONNECTIONS_WAKE_AT).read_volatile() };
    let wake = if CONNECTIONS.query(AVAILABLE) > wake_at {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    let Some(mut entry) = CONNECTIONS.reserve::<ConnectionRecord>(0) else {
        return count_for(slot, Ledger::ConnectionRingFull, 1);
    };
    // SAFETY: memory of the ring, which is this run's until it is handed over. It holds some bytes or other, and all bytes are
    // values of integers. Every field is written below, and there is no padding, see the record's size.
    let record = unsafe { entry.assume_init_mut() };
    // SAFETY: the context is valid for the run, and the kernel translates each read of a field.
    let ops = unsafe { &*ctx.ops };
    record.cgroup_id = cgroup_id;
    record.begin_ns = seen.begin_ns;
    record.established_ns = seen.established_ns;
    record.end_ns = now_ns;
    record.bytes_received = ops.bytes_received;
    record.bytes_acked = ops.bytes_acked;
    addresses(ctx, record);
    record.local_port = ops.local_port as u16;
    // In network order, as a number of 32 bits.
    record.remote_port = u32::from_be(ops.remote_port) as u16;
    record.active = u8::from(seen.state & ACTIVE != 0);
    record.end = end;
    record.reserved = 0;
    record.srtt_8us = ops.srtt_us;
    record.min_rtt_us = ops.rtt_min;
    record.segments = Segments {
        retransmits: ops.total_retrans,
        timeouts: seen.timeouts,
        received: ops.segs_in,
        sent: ops.segs_out,
        data_received: ops.data_segs_in,
        data_sent: ops.data_segs_out,
    };
    entry.submit(u64::from(wake));
    count_for(slot, Ledger::ConnectionsSeen, 1);
}

/// `AF_INET6`.
const INET6: u32 = 10;
/// The second half of the prefix of IPv4-mapped addresses, as a word of memory.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// Copies the addresses word by word.
#[inline(always)]
fn addresses(ctx: &SockOpsContext, record: &mut ConnectionRecord) {
    const LOCAL6: usize = offset_of!(bpf_sock_ops, local_ip6);
    const REMOTE6: usize = offset_of!(bpf_sock_ops, remote_ip6);
    let (local, remote) = if ctx.family() == INET6 {
        (
            [
                read::<LOCAL6>(ctx),
                read::<{ LOCAL6 + 4 }>(ctx),
                read::<{ LOCAL6 + 8 }>(ctx),
                read::<{ LOCAL6 + 12 }>(ctx),
            ],
            [
                read::<REMOTE6>(ctx),
                read::<{ REMOTE6 + 4 }>(ctx),
                read::<{ REMOTE6 + 8 }>(ctx),
                read::<{ REMOTE6 + 12 }>(ctx),
            ],
        )
    } else {
        let local = read::<{ offset_of!(bpf_sock_ops, local_ip4) }>(ctx);
        let remote = read::<{ offset_of!(bpf_sock_ops, remote_ip4) }>(ctx);
        ([0, 0, MAPPED, local], [0, 0, MAPPED, remote])
    };
    put(&mut record.local_addr, local);
    put(&mut record.remote_addr, remote);
}

/// Writes an address of a record, each of which stands at a multiple of four.
#[inline(always)]
fn put(place: &mut [u8; 16], words: [u32; 4]) {
    let place = core::ptr::from_mut(place).cast::<[u32; 4]>();
    // SAFETY: an exclusive reference to as many bytes, aligned to four as asserted next to `ConnectionRecord`.
    unsafe { place.write(words) };
}

/// Reads a word of the context at a fixed place. Written out because the compiler makes one read at a place that it
/// computes of two in the branches of a condition, and the kernel translates reads at fixed places only.
#[inline(always)]
fn read<const OFFSET: usize>(ctx: &SockOpsContext) -> u32 {
    let value: u64;
    // SAFETY: the context is valid for the run, and the verifier checks the place.
    unsafe {
        asm!("{value} = *(u32 *)({ops} + {offset})", value = out(reg) value, ops = in(reg) ctx.ops,
            offset = const OFFSET, options(pure, readonly, nostack));
    }
    value as u32
}

/// Enters what the kernel has counted of the connection since the last time.
#[inline(always)]
fn settle(ctx: &SockOpsContext, connection: &mut TcpSocket, counters: *mut TcpCounters) {
    let retransmits = read::<{ offset_of!(bpf_sock_ops, total_retrans) }>(ctx);
    let data_segments = read::<{ offset_of!(bpf_sock_ops, data_segs_out) }>(ctx);
    if connection.state & COUNTED == 0 && connection.established_ns != 0 {
        connection.state |= COUNTED;
        let opened = if connection.state & ACTIVE != 0 {
            field!(counters.connected)
        } else {
            field!(counters.accepted)
        };
        add(opened, 1);
    }
    if retransmits != connection.retransmits {
        let more = retransmits.wrapping_sub(connection.retransmits);
        add(field!(counters.retransmits), u64::from(more));
        connection.retransmits = retransmits;
    }
    if data_segments != connection.data_segments {
        let more = data_segments.wrapping_sub(connection.data_segments);
        add(field!(counters.data_segments), u64::from(more));
        connection.data_segments = data_segments;
    }
}

/// The socket's storage, if its connection is followed.
#[inline(always)]
fn followed(ctx: &SockOpsContext) -> Option<&'static mut Socket> {
    net::socket_of(sk(ctx)?, false).filter(|socket| socket.tcp.begin_ns != 0)
}

/// Where the connections of the socket's cgroup are counted, if the packet hooks have found out whose it is.
#[inline(always)]
fn counters(socket: &mut Socket) -> Option<*mut TcpCounters> {
    if socket.cookie == 0 {
        return None;
    }
    of_slot(socket.slot).or_else(|| {
        socket.slot = slot_of(socket.record.cgroup_id);
        of_slot(socket.slot)
    })
}

/// What is counted of a slot, if it is still its cgroup's.
#[inline(always)]
fn of_slot(slot: u32) -> Option<*mut TcpCounters> {
    let counters = TCP.get_ptr_mut(slot_index(slot))?;
    // SAFETY: an aligned word of a map value; user space writes it with one store.
    (unsafe { (*counters).generation } == slot_generation(slot)).then_some(counters)
}

/// Null while the kernel handles a connection that is no full socket yet.
#[inline(always)]
fn sk(ctx: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context is valid for the run, and all members of the union are this pointer or its 64 bits; the verifier checks
    // the access and wants the null check below.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    (!sk.is_null()).then_some(sk)
}
