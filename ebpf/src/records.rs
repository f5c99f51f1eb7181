//! What the exchanges leave: a record each, and counts by cgroup.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, RingBuf},
};
use galileo_ebpf_abi::{ExchangeRecord, HttpCounters, Ledger, SLOT_UNKNOWN, role, slot_index};
use galileo_ebpf_core::{
    head::SHORT_PATH,
    socket::Socket,
    words::{Words, copy_words},
};

use crate::{
    ledger::{MMAPABLE, add, count_duration, count_for, field},
    loopback::{NO_CLIENT, client_slot},
    slots::SLOTS,
};

/// What is counted of all exchanges, by slot.
#[map]
static HTTP: Array<HttpCounters> = Array::with_max_entries(SLOTS, MMAPABLE);

/// The single exchanges.
#[map]
static EXCHANGES: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// A reader that sleeps is woken when so many bytes lie in the ring; otherwise it comes by itself. A wake-up for each
/// record would halve the throughput of a busy server. User space sets it as it sets the ring's size, before the object is loaded.
#[unsafe(no_mangle)]
static EXCHANGES_WAKE_AT: u64 = 512 << 10;

/// Counts the exchange that `socket.record` is, for the ends that it is told for, and puts its record into the ring. False if there
/// is no room.
#[inline(always)]
pub fn exchange(socket: &Socket) -> bool {
    let record = &socket.record;
    let client = client_slot(socket);
    let duration_ns = record.end_ns.saturating_sub(record.request.start_ns);
    count_for(socket.slot, Ledger::ExchangesAttempted, 1);
    count_exchange(socket.slot, record.role, duration_ns);
    if client != NO_CLIENT {
        count_for(client, Ledger::ExchangesAttempted, 1);
        count_exchange(client, role::CLIENT, duration_ns);
    }
    if record.bytes() <= size_of::<Short>() {
        let begin = core::ptr::from_ref(record).cast::<Short>();
        // SAFETY: a record is longer, as asserted below, aligned to eight, and has no padding, see `Words`.
        let short = unsafe { &*begin };
        give(short, socket.slot, client, wake(record))
    } else {
        give(record, socket.slot, client, wake(record))
    }
}

/// A record without id and `traceparent` whose path is short: most are. The ring is given one of two sizes, as the verifier must
/// know it where memory of the ring is asked for; that is faster than to have the kernel copy any number of bytes there.
type Short = [u64; (ExchangeRecord::BEFORE_PATH + SHORT_PATH) / 8];

const _: () = assert!(size_of::<Short>() < size_of::<ExchangeRecord>());

/// Puts a record into the ring. False if there is no room.
#[inline(always)]
fn give<T: Words + 'static>(record: &T, slot: u32, client: u32, wake: u32) -> bool {
    let Some(mut place) = EXCHANGES.reserve::<T>(0) else {
        return false;
    };
    // SAFETY: memory of the ring, which is this run's until it is handed over. It holds some bytes or other, and all bytes are
    // values of integers.
    let target = unsafe { place.assume_init_mut() };
    // All of it: there is no padding.
    copy_words(target, record);
    place.submit(u64::from(wake));
    // Behind it: an atomic addition waits until the ring's memory is written, which handing over does anyway.
    count_for(slot, Ledger::ExchangesSeen, 1);
    if client != NO_CLIENT {
        count_for(client, Ledger::ExchangesSeen, 1);
    }
    true
}

/// Whether the reader is to be woken. Records are some hundred bytes: a reader that comes every few milliseconds needs no
/// wake-up, and how full the ring is need not be asked for each.
#[inline(always)]
fn wake(record: &ExchangeRecord) -> u32 {
    // SAFETY: a word that nobody writes once the object is loaded; volatile, as the compiler takes it for what stands here.
    let wake_at = unsafe { (&raw const EXCHANGES_WAKE_AT).read_volatile() };
    if record.request.sequence.is_multiple_of(ASKED_EACH) && EXCHANGES.query(AVAILABLE) > wake_at {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }
}

/// Of how many exchanges of a connection one looks how full the ring is.
const ASKED_EACH: u32 = 16;

/// `BPF_RB_AVAIL_DATA`: bytes in the ring that are not read yet.
pub const AVAILABLE: u64 = 0;

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
