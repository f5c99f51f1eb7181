//! The window of a segment: how it is filled, and what is carried over to the next.

use galileo_ebpf_abi::{CarryKey, Ledger};

use super::{lost::lose, stream};
use crate::{
    http::mark,
    socket::{Outside, Segment, Socket},
    window::FRESH,
};

/// Fills the window: what was carried over first, then the next bytes of the segment. False if that fails.
#[inline(always)]
pub(super) fn load(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
) -> bool {
    let key = CarryKey {
        cookie: socket.cookie,
        direction: u64::from(direction),
    };
    let this = stream(socket, direction);
    let available = segment.end.wrapping_sub(segment.offset);
    if available == 0 {
        return false;
    }
    let mut carried = 0_u32;
    if this.flags & mark::CARRY != 0 {
        this.flags &= !mark::CARRY;
        let request = &mut segment.carry.request;
        let Some(length) = outside.take_carry(key, request, &mut segment.window) else {
            outside.count(socket, Ledger::CarryLost, 1);
            lose(outside, socket, direction);
            return false;
        };
        carried = length;
    }
    let fresh = if available > FRESH as u32 {
        FRESH as u32
    } else {
        available
    };
    if !fill(outside, segment, carried, segment.offset, fresh) {
        let kind = if segment.run == 0 {
            Ledger::LoadFailed
        } else {
            Ledger::Reordered
        };
        outside.count(socket, kind, 1);
        lose(outside, socket, direction);
        return false;
    }
    segment.carried = carried;
    segment.window.rewind(carried + fresh);
    true
}

/// Copies bytes of the segment to the place `at` of the window.
#[inline(always)]
pub(super) fn fill(
    outside: &impl Outside,
    segment: &mut Segment,
    at: u32,
    offset: u32,
    length: u32,
) -> bool {
    let window = &mut segment.window;
    if segment.run == 0 {
        outside.load(window, at, offset, length)
    } else {
        outside.copy_early(window, segment.run - 1, at, offset, length)
    }
}

/// Keeps the unfinished line, and the request as far as it was read, for the next segment.
#[inline(always)]
pub(super) fn save(
    outside: &impl Outside,
    segment: &mut Segment,
    socket: &mut Socket,
    direction: u32,
    rest: u32,
) {
    segment
        .carry
        .keep_line(&segment.window, segment.window.line, rest);
    let key = CarryKey {
        cookie: socket.cookie,
        direction: u64::from(direction),
    };
    let this = stream(socket, direction);
    if outside.keep_carry(key, &segment.carry) {
        this.flags |= mark::CARRY;
    } else {
        outside.count(socket, Ledger::CarryLost, 1);
        lose(outside, socket, direction);
    }
}
