//! Random conversations one after the other, for as long as one likes, until one does not agree.
//!
//! `GALILEO_FUZZ_SECONDS` lets a campaign run that long, `GALILEO_FUZZ_SEED` sets where its seeds begin, and `GALILEO_FUZZ_KEEP`
//! names a folder for the inputs that do not agree: then it goes on behind them.

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    agreement::Recall,
    case,
    delivery::Delivery,
    dice::Dice,
    generate::{Conversation, Oddities},
    segment::{Segment, Way},
    shrink::{Input, shrink},
};

/// Inputs that are kept at the most.
const KEPT: usize = 20;

/// How conversations are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In order.
    Orderly,
    /// With segments late, lost and twice.
    Rough,
    /// In order, with bodies of up to 150 kB in segments of up to 64 kB.
    Large,
    /// In order, and seen only from a segment in their midst on.
    Older,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Tells its inputs from those of others, in the names of their files.
    pub name: String,
    /// How conversations are carried.
    pub kind: Kind,
    /// On which ways [`Kind::Rough`] is rough.
    pub rough: Vec<Way>,
    /// Conversations, if no time is given.
    pub cases: u64,
}

impl Campaign {
    /// Lets `check` play each conversation to what is to be held against the reader: its segments, of which those from the number
    /// given on are to be seen.
    ///
    /// # Panics
    ///
    /// With a small input and what is wrong about it, if one does not agree and there is no folder for it.
    pub fn run(
        &self,
        mut check: impl FnMut(&[Segment], usize) -> Result<Recall, String>,
    ) -> Recall {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let seconds = number("GALILEO_FUZZ_SECONDS");
        let first = number("GALILEO_FUZZ_SEED").unwrap_or(0);
        let keep = env::var_os("GALILEO_FUZZ_KEEP").map(PathBuf::from);
        let begin = Instant::now();
        let mut recall = Recall::default();
        let mut kept = 0;
        let mut seed = first;
        while kept < KEPT
            && seconds.map_or(seed < first + self.cases, |seconds| {
                begin.elapsed() < Duration::from_secs(seconds)
            })
        {
            let (input, seen) = self.input(seed);
            // Counted from the end, as shrinking takes from the begin as well.
            let mut again = |input: &Input| {
                let segments = input.segments();
                check(&segments, segments.len().saturating_sub(seen))
            };
            match again(&input) {
                Ok(one) => recall.add(one),
                Err(why) => {
                    let what = what(&why);
                    let small = shrink(input, |input| {
                        again(input).is_err_and(|why| what == self::what(&why))
                    });
                    let why = again(&small).err().unwrap_or(why);
                    let text = told(&small, seed, seen, &why);
                    let Some(keep) = &keep else { panic!("{text}") };
                    let file = keep.join(format!("{}-{:?}-{seed}.txt", self.name, self.kind));
                    fs::write(file, text).expect("the folder can be written to");
                    kept += 1;
                }
            }
            seed += 1;
        }
        println!("{} conversations: {recall:?}", seed - first);
        recall
    }

    /// The conversation of this seed, and how many of its last segments are seen.
    fn input(&self, seed: u64) -> (Input, usize) {
        let odd = Oddities::ALL;
        let mut dice = Dice::new(seed);
        let mut conversation = Conversation::random(&mut dice, odd);
        if self.kind == Kind::Large {
            conversation.enlarge(&mut dice);
        }
        let script = conversation.script();
        let ways = match self.kind {
            Kind::Rough => &self.rough[..],
            Kind::Orderly | Kind::Large | Kind::Older => &[],
        };
        let delivery = Delivery::random(&mut dice, &script, ways, odd);
        let input = Input {
            conversation,
            delivery,
        };
        let seen = match self.kind {
            Kind::Older => dice.between(1, input.segments().len() - 2),
            Kind::Orderly | Kind::Rough | Kind::Large => usize::MAX,
        };
        (input, seen)
    }
}

/// What kind of disagreement it is, so that a smaller input shows the same one.
fn what(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    let word = line.split_once(':').map(|(word, _)| word.to_owned());
    word.unwrap_or_else(|| line.rsplit(' ').take(2).collect())
}

/// The input as a case, with what is wrong about it.
fn told(input: &Input, seed: u64, seen: usize, why: &str) -> String {
    let segments = input.segments();
    let from = segments.len().saturating_sub(seen);
    let why = why.replace('\n', "\n# ");
    let segments = case::write(&segments, from);
    format!("# seed {seed}: {why}\n{segments}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "seed 0: status: wrong")]
    fn what_does_not_agree_is_told_with_its_seed_and_segments() {
        let campaign = Campaign {
            name: "test".to_owned(),
            kind: Kind::Orderly,
            rough: Vec::new(),
            cases: 1,
        };
        campaign.run(|_, _| Err("status: wrong".to_owned()));
    }

    #[test]
    fn each_kind_is_what_it_says() {
        let seen = |kind, expected: fn(&[Segment], usize) -> bool| {
            let campaign = Campaign {
                name: String::new(),
                kind,
                rough: vec![Way::Up],
                cases: 200,
            };
            let mut met = 0;
            campaign.run(|segments, from| {
                met += usize::from(expected(segments, from));
                Ok(Recall::default())
            });
            met
        };
        let gaps = |segments: &[Segment], from: usize| {
            from == 0 && !crate::stream::Stream::of(segments, Way::Up).gaps.is_empty()
        };
        let large = |segments: &[Segment], _: usize| {
            segments
                .iter()
                .any(|segment| segment.payload.len() > 20_000)
        };
        assert_eq!(seen(Kind::Orderly, gaps), 0);
        assert!(seen(Kind::Rough, gaps) > 20);
        assert_eq!(seen(Kind::Orderly, large), 0);
        assert!(seen(Kind::Large, large) > 20);
        assert_eq!(seen(Kind::Older, |_, from| from > 1), 200);
    }
}
