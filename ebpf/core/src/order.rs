//! Segments that come before bytes in front of them, kept until those have come.
//!
//! What is received comes by before TCP puts it into order. Where messages are delimited, nothing can be read behind a hole; so
//! what lies there is kept: of each segment that comes early its first [`KEPT`] bytes and its length, and when the hole is
//! filled it is read as if it came then, but for its time. What does not fit is known by its length alone, which is enough within
//! a body. In a body whose length is known nothing is kept: there a hole is a number.

use crate::{
    http::{Stream, mark},
    socket::{Outside, Segment, last},
    window::{CARRY, FRESH, Note, Window},
};

/// Segments that are kept at once. More of them only if they go on where one of these ends, and then by their length.
pub const RUNS: usize = 4;
/// Bytes of such a segment that are kept: those of an Ethernet frame.
pub const KEPT: usize = 1536;

/// Bytes that came early.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Run {
    /// When their first segment came.
    pub seen_ns: u64,
    /// Sequence number of the first.
    pub first: u32,
    /// How many; 0 if there are none here.
    pub len: u32,
    /// How many of them are kept.
    pub kept: u32,
    /// Always 0.
    pub reserved: u32,
    /// Those.
    pub bytes: [u8; KEPT],
}

/// What came early on one socket.
#[derive(Debug)]
#[repr(C)]
pub struct Early {
    /// A run that is free, while one is looked for.
    free: Note,
    /// One that ends where the segment begins.
    before: Note,
    /// In the order in which they came, but for reuse.
    runs: [Run; RUNS],
    /// What may be read beyond the last run, so that copies have one length.
    slack: [u8; FRESH],
}

const NONE: u32 = u32::MAX;
const _: () = assert!(RUNS.is_power_of_two() && KEPT.is_multiple_of(8));
// The most that newer kernels give a socket's storage, with what they put before it.
const _: () = assert!(size_of::<Early>() + 128 <= 8 << 10);

impl Early {
    /// Forgets what was kept.
    #[inline(always)]
    pub fn clear(&mut self) {
        for run in &mut self.runs {
            run.len = 0;
        }
    }

    /// Keeps the segment, which lies ahead of `next_seq`. False if there is no room for it.
    #[inline(always)]
    pub fn keep(&mut self, outside: &impl Outside, segment: &Segment, next_seq: u32) -> bool {
        let length = segment.end.wrapping_sub(segment.offset);
        let first = segment.next_seq.wrapping_sub(length);
        self.free.set(NONE);
        self.before.set(NONE);
        for index in 0..RUNS {
            let run = &self.runs[index];
            // What was read is not always cleared at once: a run of the programs may make so many tail calls only.
            let seen = next_seq.wrapping_sub(run.first);
            if run.len == 0 || (seen as i32 >= 0 && seen >= run.len) {
                self.free.set(index as u32);
                continue;
            }
            let ahead = first.wrapping_sub(run.first);
            if ahead as i32 >= 0 && u64::from(ahead) + u64::from(length) <= u64::from(run.len) {
                // Sent once more.
                return true;
            }
            if ahead == run.len {
                self.before.set(index as u32);
            }
        }
        let free = self.free.get() as usize;
        if free < RUNS {
            let run = &mut self.runs[free & (RUNS - 1)];
            let kept = if length > KEPT as u32 {
                KEPT as u32
            } else {
                length
            };
            if !outside.load_early(&mut run.bytes, segment.offset, kept) {
                return false;
            }
            run.seen_ns = segment.now_ns;
            run.first = first;
            run.len = length;
            run.kept = kept;
            return true;
        }
        let before = self.before.get() as usize;
        if before < RUNS {
            let run = &mut self.runs[before & (RUNS - 1)];
            run.len = run.len.wrapping_add(length);
            return true;
        }
        false
    }

    /// Makes what was kept and comes next the segment that is looked at. False if there is nothing: all of it lies behind a hole, or
    /// there is none any more, which is then marked.
    #[inline(always)]
    pub fn follow(&mut self, segment: &mut Segment, stream: &mut Stream) -> bool {
        self.free.set(0);
        for index in 0..RUNS {
            let run = &mut self.runs[index];
            if run.len == 0 {
                continue;
            }
            let seen = stream.next_seq.wrapping_sub(run.first);
            if (seen as i32) < 0 {
                self.free.set(1);
                continue;
            }
            if seen >= run.len {
                run.len = 0;
                continue;
            }
            // The bytes that are kept, then those that are not: within a body these are no more than a number.
            let end = if seen < run.kept { run.kept } else { run.len };
            segment.run = index as u32 + 1;
            segment.offset = seen;
            segment.end = end;
            segment.next_seq = run.first.wrapping_add(end);
            // Where the end has overtaken what was missing, the last byte is not the last thing that came.
            if stream.end_known == 0 {
                segment.now_ns = run.seen_ns;
            }
            segment.last = last::NO;
            return true;
        }
        if self.free.get() == 0 {
            stream.flags &= !mark::EARLY;
        }
        false
    }

    /// Whether something is kept that comes next.
    #[inline(always)]
    #[must_use]
    pub fn has_next(&self, next_seq: u32) -> bool {
        let mut any = false;
        for run in &self.runs {
            let seen = next_seq.wrapping_sub(run.first);
            any |= (seen as i32) >= 0 && seen < run.len;
        }
        any
    }

    /// Copies `length` bytes, at most [`FRESH`], from `offset` of a run to the place `at`, less than [`CARRY`], of the window. False if
    /// they are not kept.
    #[inline(always)]
    #[must_use]
    pub fn copy(&self, run: u32, window: &mut Window, at: u32, offset: u32, length: u32) -> bool {
        let run = &self.runs[run as usize & (RUNS - 1)];
        let (at, offset) = (at as usize & (CARRY - 1), offset as usize);
        if offset >= KEPT || offset + length as usize > run.kept as usize {
            return false;
        }
        let source = run.bytes.as_ptr();
        let target = window.bytes.as_mut_ptr();
        for word in 0..FRESH / 8 {
            // SAFETY: offset < KEPT, and FRESH bytes follow each run: of the next ones, or the slack. They lie in one value.
            let value = unsafe { source.add(offset).cast::<u64>().add(word).read_unaligned() };
            // SAFETY: at < CARRY, and CARRY + FRESH bytes lie in the window.
            unsafe {
                target
                    .add(at)
                    .cast::<u64>()
                    .add(word)
                    .write_unaligned(value);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use core::mem::MaybeUninit;

    use galileo_ebpf_abi::{CarryKey, Ledger, PendingKey, Request};

    use super::*;
    use crate::socket::{Carry, Socket};

    /// A packet that has every byte that is asked for; nothing else is asked of it here.
    struct Packet;

    impl Outside for Packet {
        fn count(&self, _: &Socket, _: Ledger, _: u32) {}
        fn load(&self, _: &mut Window, _: u32, _: u32, _: u32) -> bool {
            false
        }
        fn copy_early(&self, _: &mut Window, _: u32, _: u32, _: u32, _: u32) -> bool {
            false
        }
        fn load_early(&self, _: &mut [u8; KEPT], _: u32, _: u32) -> bool {
            true
        }
        fn keep_carry(&self, _: CarryKey, _: &Carry) -> bool {
            false
        }
        fn take_carry(&self, _: CarryKey, _: &mut Request, _: &mut Window) -> Option<u32> {
            None
        }
        fn keep_request(&self, _: PendingKey, _: &Request) {}
        fn take_request(&self, _: PendingKey, _: &mut Request) -> bool {
            false
        }
        fn change_request(&self, _: PendingKey, _: impl FnOnce(&mut Request)) {}
        fn exchange(&self, _: &Socket) {}
    }

    const LENGTH: u32 = 1448;

    /// Keeps a segment that begins at `first`, while the bytes from `next_seq` on are missing.
    fn keep(early: &mut Early, first: u32, next_seq: u32) -> bool {
        // SAFETY: it consists of integers only, for which zero is a value.
        let mut segment: Segment = unsafe { MaybeUninit::zeroed().assume_init() };
        segment.end = LENGTH;
        segment.next_seq = first.wrapping_add(LENGTH);
        early.keep(&Packet, &segment, next_seq)
    }

    #[test]
    fn runs_that_were_read_but_not_cleared_take_no_room() {
        // SAFETY: as above.
        let mut early: Early = unsafe { MaybeUninit::zeroed().assume_init() };
        // Around the place where the numbers begin anew.
        let begin = 0_u32.wrapping_sub(3 * LENGTH);
        let place = |nth: u32| begin.wrapping_add(nth * 2 * LENGTH);
        let missing = begin.wrapping_sub(1);
        for nth in 0..RUNS as u32 {
            assert!(keep(&mut early, place(nth), missing));
        }
        assert!(!keep(&mut early, place(4), missing));

        // The first is read whole, the second in part.
        let reached = place(1).wrapping_add(LENGTH - 1);
        assert!(keep(&mut early, place(4), reached));
        assert!(!keep(&mut early, place(5), reached));
    }
}
