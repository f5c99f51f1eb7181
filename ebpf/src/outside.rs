//! What the state machines need of the kernel, for the packet that is looked at: its bytes, and what is kept of its connection
//! besides [`Socket`].

use aya_ebpf::{
    btf_maps::SkStorage,
    helpers::bpf_skb_load_bytes,
    macros::{btf_map, map},
    maps::LruHashMap,
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{CarryKey, Ledger, PendingKey, Request};
use galileo_ebpf_core::{
    connection::RECEIVED,
    order::{Early, KEPT},
    socket::{Carry, Outside, PIPELINED, Pipeline, Socket},
    window::{FRESH, Window},
    words::copy_words,
};

use crate::{
    http::FIRST,
    ledger::count_for,
    loopback::{NO_CLIENT, client_slot},
    net, records,
    verifier::opaque,
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

/// The packet that is looked at, and the maps.
pub struct Here<'a> {
    pub ctx: &'a SkBuffContext,
    /// [`RECEIVED`], [`SENT`] or [`FIRST`].
    pub way: u32,
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
    pub fn early(&self, create: bool) -> Option<&'static mut Early> {
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
    fn count(&self, socket: &Socket, kind: Ledger, events: u32) {
        count_for(socket.slot, kind, events);
        let client = client_slot(socket);
        if client != NO_CLIENT {
            count_for(client, kind, events);
        }
        #[cfg(feature = "log")]
        crate::messages::counted(self.ctx, kind);
    }

    #[inline(always)]
    fn load(&self, window: &mut Window, at: u32, offset: u32, length: u32) -> bool {
        // At least 1 and at most FRESH, in a form that the verifier follows.
        let length = (opaque(length as usize - 1) & (FRESH - 1)) as u32 + 1;
        // SAFETY: `Carry::restore` gives an `at` of less than CARRY, or it is 0 or CARRY: within `bytes`.
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
        if !records::exchange(socket) {
            self.count(socket, Ledger::RingFull, 1);
        }
    }
}
