//! The maps of the object, as large as these are, and the bytes of a packet.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use galileo_ebpf_abi::{CarryKey, Ledger, PendingKey, Request, flags};
use galileo_ebpf_core::{
    order::{Early, KEPT},
    socket::{Carry, Outside, PIPELINED, Pipeline, Socket},
    window::Window,
};

use super::Seen;

/// What a kernel may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// To copy bytes of a packet.
    Bytes,
    /// Memory for heads between two segments.
    Carries,
    /// To have kept a head, which others pushed out.
    Carried,
    /// Memory for pipelined requests.
    Pipelines,
}

#[derive(Default)]
pub struct Maps {
    pub ledger: RefCell<HashMap<Ledger, u64>>,
    carries: RefCell<HashMap<u64, Carry>>,
    pipeline: RefCell<Option<Box<Pipeline>>>,
    pub seen: RefCell<Vec<(u8, Seen)>>,
    pub packet: RefCell<Vec<u8>>,
    pub loads: Cell<u32>,
    pub early: RefCell<Option<Box<Early>>>,
    /// Where TCP stands, if it has received bytes that were not seen here.
    pub received: Cell<Option<u32>>,
    /// What the kernel refuses at the moment.
    pub refused: Cell<Option<Refused>>,
}

impl Maps {
    fn refuses(&self, what: Refused) -> bool {
        self.refused.get() == Some(what)
    }
}

impl Outside for Maps {
    fn count(&self, _: &Socket, kind: Ledger, events: u32) {
        *self.ledger.borrow_mut().entry(kind).or_default() += u64::from(events);
    }

    fn load(&self, window: &mut Window, at: u32, offset: u32, length: u32) -> bool {
        if self.refuses(Refused::Bytes) {
            return false;
        }
        self.loads.set(self.loads.get() + 1);
        let packet = self.packet.borrow();
        let (at, offset, length) = (at as usize, offset as usize, length as usize);
        window.bytes[at..at + length].copy_from_slice(&packet[offset..offset + length]);
        true
    }

    fn copy_early(&self, window: &mut Window, run: u32, at: u32, offset: u32, length: u32) -> bool {
        let early = self.early.borrow();
        let early = early.as_ref().expect("something was kept");
        early.copy(run, window, at, offset, length)
    }

    fn load_early(&self, target: &mut [u8; KEPT], offset: u32, length: u32) -> bool {
        if self.refuses(Refused::Bytes) {
            return false;
        }
        let (offset, length) = (offset as usize, length as usize);
        target[..length].copy_from_slice(&self.packet.borrow()[offset..offset + length]);
        true
    }

    fn keep_carry(&self, key: CarryKey, carry: &Carry) -> bool {
        if self.refuses(Refused::Carries) {
            return false;
        }
        self.carries.borrow_mut().insert(key.direction, *carry);
        true
    }

    fn take_carry(&self, key: CarryKey, request: &mut Request, window: &mut Window) -> Option<u32> {
        let carry = self.carries.borrow_mut().remove(&key.direction)?;
        if self.refuses(Refused::Carried) {
            return None;
        }
        Some(carry.restore(request, window))
    }

    fn keep_request(&self, key: PendingKey, request: &Request) {
        if self.refuses(Refused::Pipelines) {
            return;
        }
        let mut pipeline = self.pipeline.borrow_mut();
        // SAFETY: it consists of integers only, for which zero is a value.
        let kept = pipeline.get_or_insert_with(|| unsafe { Box::new_zeroed().assume_init() });
        kept.requests[key.sequence as usize % PIPELINED] = *request;
    }

    fn take_request(&self, key: PendingKey, request: &mut Request) -> bool {
        let mut found = false;
        self.change_request(key, |kept| {
            *request = *kept;
            found = true;
        });
        found
    }

    fn change_request(&self, key: PendingKey, change: impl FnOnce(&mut Request)) {
        let mut pipeline = self.pipeline.borrow_mut();
        let place = pipeline
            .as_mut()
            .map(|kept| &mut kept.requests[key.sequence as usize % PIPELINED]);
        // A later one may lie there.
        if let Some(kept) = place.filter(|kept| u64::from(kept.sequence) == key.sequence) {
            change(kept);
        }
    }

    fn exchange(&self, socket: &Socket) {
        let record = &socket.record;
        let request = &record.request;
        let text = |bytes: &[u8], length: u8| {
            String::from_utf8_lossy(&bytes[..length.into()]).into_owned()
        };
        self.seen.borrow_mut().push((
            record.role,
            Seen {
                method: text(&request.method, request.method_len),
                path: text(&request.path, request.path_len as u8),
                id: text(&request.id, request.id_len),
                trace: text(&request.trace, request.trace_len),
                status: record.status,
                interim: record.interim,
                request_bytes: request.bytes,
                request_head_bytes: request.head_bytes.into(),
                response_bytes: record.response_bytes,
                response_head_bytes: record.response_head_bytes.into(),
                start_ns: request.start_ns,
                // As the record's reader has it.
                request_end_ns: (request.end_ns != 0
                    && request.end_ns <= record.end_ns
                    && record.flags & flags::EARLY_ANSWER == 0)
                    .then_some(request.end_ns),
                first_byte_ns: record.first_byte_ns,
                end_ns: record.end_ns,
                flags: u32::from(request.flags) | record.flags,
            },
        ));
    }
}
