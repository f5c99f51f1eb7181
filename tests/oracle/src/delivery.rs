//! How a network carries a conversation: cut anywhere, out of order, twice.

use std::collections::VecDeque;

use crate::{
    dice::Dice,
    generate::{Oddities, Script, Side},
    segment::{Mark, Segment, Way},
};

/// What happens to one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It arrives only behind so many later ones of its way.
    Late(usize),
    /// It arrives once more, at once.
    Twice,
    /// It arrives once more behind so many later ones of its way.
    Again(usize),
    /// It carries again so many of the bytes before it.
    Overlap(usize),
    /// A keep-alive probe follows: the last byte's number with another byte (RFC 9293, 3.8.4).
    Probe,
}

/// Everything that is random about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Number of the SYN of each way.
    pub initial: [u32; 2],
    /// Offsets at which each way is cut, in order.
    pub cuts: [Vec<usize>; 2],
    /// Which way goes on, while both could: the way up if odd. Used from the first on; 0 when used up.
    pub choices: Vec<u8>,
    /// Way and number of a segment, and what happens to it.
    pub mishaps: Vec<(Way, usize, Mishap)>,
    /// A FIN comes with the last bytes.
    pub fin_with_data: bool,
    /// What is late arrives before a FIN.
    pub fin_last: bool,
}

impl Delivery {
    /// A random one for this script; mishaps only on the ways given.
    #[must_use]
    pub fn random(dice: &mut Dice, script: &Script, rough: &[Way], odd: Oddities) -> Self {
        let sides = [&script.up, &script.down];
        let cuts = sides.map(|side| cuts(dice, side.bytes.len()));
        let choices = (0..dice.below(60)).map(|_| dice.below(2) as u8).collect();
        let mut mishaps = Vec::new();
        for way in rough {
            for _ in 0..dice.below(4) {
                let most = cuts[way.index()].len() + 2;
                mishaps.push((*way, dice.below(most), mishap(dice)));
            }
        }
        let initial = [(); 2].map(|()| {
            if dice.one_in(3) {
                // So that the numbers wrap within the conversation.
                u32::MAX - dice.below(3000) as u32
            } else {
                dice.word()
            }
        });
        Self {
            initial,
            cuts,
            choices,
            mishaps,
            fin_with_data: dice.one_in(2),
            fin_last: !odd.hasty_fin,
        }
    }

    /// The segments in the order in which they arrive, the opening ones included. Times are the numbers of the segments, from 1.
    #[must_use]
    pub fn segments(&self, script: &Script) -> Vec<Segment> {
        let mut road = Road {
            plan: self,
            ways: [Carrier::new(&script.up), Carrier::new(&script.down)],
            arrived: Vec::new(),
            reset: false,
        };
        for way in [Way::Up, Way::Down] {
            road.arrive(Segment {
                way,
                time_ns: 0,
                sequence: self.initial[way.index()],
                mark: Mark::Syn,
                payload: Vec::new(),
            });
        }
        road.run();
        road.arrived
    }
}

/// The most that a segment carries, with what its headers leave of the 64 kB of a packet.
const LARGEST: usize = 65_400;

fn cuts(dice: &mut Dice, length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = match dice.below(8) {
        0 => Vec::new(),
        // Every byte by itself, but of long ways only a part.
        1 => {
            let from = dice.below(length.saturating_sub(200).max(1));
            (from..length.min(from + 200)).collect()
        }
        2 => (0..length).step_by(1448).collect(),
        3 => (0..length).step_by(dice.between(20, 600)).collect(),
        _ => (0..dice.below(14))
            .map(|_| dice.below(length.max(1)))
            .collect(),
    };
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

fn mishap(dice: &mut Dice) -> Mishap {
    match dice.below(6) {
        0 | 1 => Mishap::Late(dice.between(1, 3)),
        2 => Mishap::Twice,
        3 => Mishap::Again(dice.between(1, 4)),
        4 => Mishap::Overlap(dice.between(1, 400)),
        _ => Mishap::Probe,
    }
}

/// What is on its way, one way.
struct Carrier<'a> {
    side: &'a Side,
    /// Bytes sent.
    sent: usize,
    /// Segments sent.
    number: usize,
    ended: bool,
    /// Segments that wait, with the number of the segment behind which they arrive.
    held: VecDeque<(usize, Segment)>,
    /// Which bytes have arrived.
    here: Vec<bool>,
    /// Bytes that have arrived without a gap.
    whole: usize,
}

impl<'a> Carrier<'a> {
    fn new(side: &'a Side) -> Self {
        Self {
            side,
            sent: 0,
            number: 0,
            ended: false,
            held: VecDeque::new(),
            here: vec![false; side.bytes.len()],
            whole: 0,
        }
    }
}

struct Road<'a> {
    plan: &'a Delivery,
    ways: [Carrier<'a>; 2],
    arrived: Vec<Segment>,
    reset: bool,
}

impl Road<'_> {
    fn run(&mut self) {
        let mut choices = self.plan.choices.iter();
        while !self.reset {
            let [up, down] = [Way::Up, Way::Down].map(|way| self.can_send(way));
            let way = match (up, down) {
                (true, true) if choices.next().copied().unwrap_or(0) & 1 == 1 => Way::Up,
                (_, true) => Way::Down,
                (true, false) => Way::Up,
                (false, false) => {
                    if self.let_go(usize::MAX) {
                        continue;
                    }
                    return;
                }
            };
            self.send(way);
        }
    }

    /// Up to which offset a way may be sent now.
    fn limit(&self, way: Way) -> usize {
        let (this, other) = (&self.ways[way.index()], &self.ways[way.back().index()]);
        let waits = this
            .side
            .needs
            .iter()
            .filter(|(_, needed)| *needed > other.whole);
        waits
            .map(|(from, _)| *from)
            .min()
            .unwrap_or(this.side.bytes.len())
    }

    fn can_end(&self, way: Way) -> Option<Mark> {
        let this = &self.ways[way.index()];
        let (mark, needed) = this.side.end?;
        (self.ways[way.back().index()].whole >= needed && !this.ended).then_some(mark)
    }

    fn can_send(&self, way: Way) -> bool {
        let this = &self.ways[way.index()];
        if self.limit(way) > this.sent {
            return true;
        }
        match self.can_end(way) {
            // A reset need not wait for what could still be sent.
            Some(Mark::Rst) => true,
            Some(_) => this.sent == this.side.bytes.len(),
            None => false,
        }
    }

    fn send(&mut self, way: Way) {
        let limit = self.limit(way);
        let end = self.can_end(way);
        let index = way.index();
        let this = &mut self.ways[index];
        let number = this.number;
        this.number += 1;
        let from = this.sent;
        let cut = self.plan.cuts[index]
            .iter()
            .copied()
            .find(|cut| *cut > from);
        let to = cut.unwrap_or(usize::MAX).min(limit).min(from + LARGEST);
        this.sent = to;
        let all = to == this.side.bytes.len();
        let mut mark = Mark::Plain;
        if from == to || (all && self.plan.fin_with_data && end == Some(Mark::Fin)) {
            mark = end.unwrap_or_default();
            this.ended = true;
        }
        let mishap = self
            .plan
            .mishaps
            .iter()
            .find(|(of, at, _)| *of == way && *at == number)
            .map(|(_, _, mishap)| *mishap);
        let back = match mishap {
            Some(Mishap::Overlap(back)) if mark != Mark::Rst => {
                back.min(from).min(LARGEST - (to - from))
            }
            _ => 0,
        };
        let segment = Segment {
            way,
            time_ns: 0,
            sequence: self.plan.initial[index]
                .wrapping_add(1)
                .wrapping_add((from - back) as u32),
            mark,
            payload: this.side.bytes[from - back..to].to_vec(),
        };
        if mark == Mark::Fin && self.plan.fin_last {
            self.let_go(usize::MAX);
        }
        if mark == Mark::Rst {
            // What is late would be dropped behind it.
            self.let_go(usize::MAX);
            self.reset = true;
            self.arrive(segment);
            return;
        }
        match mishap {
            Some(Mishap::Late(by)) => self.ways[index].held.push_back((number + by, segment)),
            Some(Mishap::Again(by)) => {
                self.ways[index]
                    .held
                    .push_back((number + by, segment.clone()));
                self.arrive(segment);
            }
            Some(Mishap::Twice) => {
                self.arrive(segment.clone());
                self.arrive(segment);
            }
            Some(Mishap::Probe) => {
                let probe = Segment {
                    sequence: segment
                        .sequence
                        .wrapping_add(segment.payload.len() as u32)
                        .wrapping_sub(1),
                    mark: Mark::Plain,
                    payload: vec![0],
                    ..segment.clone()
                };
                let whole = self.ways[index].whole == from;
                self.arrive(segment);
                if whole && mark == Mark::Plain {
                    self.arrive(probe);
                }
            }
            _ => self.arrive(segment),
        }
        self.let_go(number);
    }

    /// Lets what was held back arrive, as far as `number` segments of its way have been sent.
    fn let_go(&mut self, number: usize) -> bool {
        let mut any = false;
        for index in 0..2 {
            // Each way by its own count, unless nothing else can go on.
            let number = if number == usize::MAX {
                number
            } else {
                self.ways[index].number.saturating_sub(1)
            };
            while let Some(at) = self.ways[index]
                .held
                .iter()
                .position(|(until, _)| *until <= number || number == usize::MAX)
                && let Some((_, segment)) = self.ways[index].held.remove(at)
            {
                any = true;
                self.arrive(segment);
            }
        }
        any
    }

    fn arrive(&mut self, mut segment: Segment) {
        segment.time_ns = self.arrived.len() as u64 + 1;
        let index = segment.way.index();
        let this = &mut self.ways[index];
        let first = segment
            .first_byte()
            .wrapping_sub(self.plan.initial[index].wrapping_add(1)) as i32;
        for at in first..first + segment.payload.len() as i32 {
            if let Ok(at) = usize::try_from(at)
                && let Some(here) = this.here.get_mut(at)
            {
                *here = true;
            }
        }
        this.whole += this.here[this.whole..]
            .iter()
            .take_while(|here| **here)
            .count();
        self.arrived.push(segment);
    }
}
