//! What the probes could not see, or not rightly.

use std::ops::Range;

use galileo_ebpf_abi::flags;

use super::{Doubt, Reader, Reading};
use crate::{
    segment::{Segment, Way},
    stream::Stream,
};

/// Steps that looking at a segment may take: a program of the kernel's goes on in another one 33 times at the most
/// (`MAX_TAIL_CALL_CNT`; 32 times in some versions).
const STEPS: usize = 32;
/// Bytes that are looked at together.
const TOGETHER: usize = 512;
/// Exchanges, of a connection that was not seen from its begin on, after which it may be believed that none was missed.
const DOUBT: usize = 8;

/// What there is to look at in a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// Messages, and lines that stand by themselves.
    parts: usize,
    /// Bytes of these, and of bodies those before the end is near.
    bytes: usize,
}

impl Work {
    /// How many steps it takes at most. For each part two, to find its end and to act on it; for what is looked at together
    /// three more, and as it ends amid lines that are then looked at again, twice as often as it fits into the bytes.
    pub(super) fn steps(&self) -> usize {
        3 + 2 * self.parts + 6 * self.bytes.div_ceil(TOGETHER)
    }
}

impl Reader<'_> {
    /// Notes that these bytes are looked at: as lines that end with the last one, or as a body.
    pub(super) fn work_on(&mut self, way: Way, bytes: Range<usize>, lines: bool) {
        let stream = match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        };
        let bytes = bytes.start..bytes.end.min(stream.bytes.len());
        if bytes.is_empty() {
            return;
        }
        for carried in stream.seen[bytes].chunk_by(|one, other| one == other) {
            let most = if lines { carried.len() } else { TOGETHER };
            let work = &mut self.work[carried[0]];
            work.bytes += carried.len().min(most);
            work.parts += usize::from(lines);
        }
    }

    /// All flags if anything of the connection came out of order up to this segment.
    pub(super) fn marks_of_gaps(&self, segment: usize) -> u32 {
        let mut gaps = self.up.gaps.iter().chain(&self.down.gaps);
        if gaps.any(|gap| gap.segment <= segment) {
            u32::MAX
        } else {
            0
        }
    }

    /// Finds the first segment before which bytes that delimit messages were missing.
    pub(super) fn disturbances(&mut self) {
        let mut first: Option<usize> = None;
        for (stream, framing) in [&self.up, &self.down].into_iter().zip(&self.framing) {
            for gap in &stream.gaps {
                let meets = |bytes: &Range<usize>| {
                    bytes.start < gap.bytes.end && gap.bytes.start < bytes.end
                };
                if framing.iter().any(meets) {
                    first = Some(first.map_or(gap.segment, |first| first.min(gap.segment)));
                }
            }
        }
        self.reading.disturbed = first;
    }
}

impl Reading {
    /// Doubts the exchanges that end with this segment or behind it.
    pub(super) fn doubt(&mut self, from: usize, why: Doubt) {
        for truth in &mut self.exchanges {
            if truth.ended >= from {
                truth.doubt = truth.doubt.or(Some(why));
                truth.may |= flags::REORDERED | flags::RESUMED | flags::PIPELINED;
                // Of a request within which the place was lost it is not known whether it had ended.
                truth.may |= truth.must & flags::EARLY_ANSWER;
                truth.must &= !flags::EARLY_ANSWER;
            }
        }
    }

    /// The same of who says that bytes did not come, or not soon enough, to be put into their order. Which ones these were is not said: at
    /// the first place where bytes that delimit messages were missing, or at any behind it.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        if let Some(first) = self.disturbed {
            self.doubt(first, Doubt::OutOfOrder);
            self.lossy = true;
        }
        self
    }

    /// The same of who says that a segment held more than he looks at. None if no segment holds so much.
    #[must_use]
    pub fn crowded(mut self) -> Option<Self> {
        if self.partial {
            // What is taken for lines then need not be any.
            return Some(self);
        }
        // With what fills a hole, all that was kept behind it is looked at.
        let crowd = self.steps.iter().position(|steps| *steps > STEPS);
        let first = crowd.into_iter().chain(self.disturbed).min()?;
        self.doubt(first, Doubt::Crowded);
        self.partial = true;
        Some(self)
    }

    /// As [`Reading::crowded`], of who saw only the segments from this one on. Nothing but what begins then can be seen whole, and of that it is
    /// not known whether it is the answer to what was asked then, unless nothing was said before.
    #[must_use]
    pub fn joined(mut self, segments: &[Segment], from: usize) -> Self {
        let before = &segments[..from];
        if [Way::Up, Way::Down]
            .iter()
            .all(|way| Stream::of(before, *way).seen.is_empty())
        {
            return self;
        }
        self.exchanges.retain(|truth| truth.begun >= from);
        self.doubt(0, Doubt::Older);
        for truth in self.exchanges.iter_mut().take(DOUBT) {
            truth.must |= flags::RESUMED;
        }
        self.partial = true;
        self
    }
}
