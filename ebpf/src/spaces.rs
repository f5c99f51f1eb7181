//! Work spaces of a CPU, one for each segment that is looked at there.
//!
//! A run never changes its CPU, but it may be interrupted: a process that sends by a softirq that receives, which ends first; and
//! where the kernel is fully preemptible, a task that sends by another one that sends, and these may end in any order. So
//! each space has a word of its own that says whether it is free, see [`busy`]. That stands in front of the window, which
//! every segment writes anyway.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use galileo_ebpf_core::socket::Segment;

use crate::{busy, ledger::field};

/// How many a CPU has.
const SPACES: u32 = 4;

#[map]
static SEGMENTS: PerCpuArray<Segment> = PerCpuArray::with_max_entries(SPACES, 0);

/// The space of this number, which [`acquire`] gave to this run. None if there is no such number.
#[inline(always)]
pub fn segment(number: u32) -> Option<&'static mut Segment> {
    let segment = SEGMENTS.get_ptr_mut(number)?;
    // SAFETY: a map value of this CPU. The program before this one took its word `busy` for this run, and nobody else takes it
    // before `release`; who tries meanwhile touches that word only, which is not looked at through this reference.
    Some(unsafe { &mut *segment })
}

/// Takes a free space: its number, and it. None if there is none.
#[inline(always)]
pub fn acquire() -> Option<(u32, &'static mut Segment)> {
    for number in 0..SPACES {
        let segment = SEGMENTS.get_ptr_mut(number)?;
        if busy::take(field!(segment.busy)) {
            // SAFETY: as in `segment`: its word `busy` is this run's now.
            return Some((number, unsafe { &mut *segment }));
        }
    }
    None
}

/// Gives a space back.
#[inline(always)]
pub fn release(segment: &mut Segment) {
    busy::give_back(&raw mut segment.busy);
}
