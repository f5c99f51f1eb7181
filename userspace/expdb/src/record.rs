//! What a recorder takes, and how much of it.

use galileo_wire::{Exchange, Hop, Sample, Trace};

/// Something that happened at one time, as a word and perhaps more about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at_ns: u64,
    /// What.
    pub name: String,
    /// More about it, often JSON.
    pub value: Option<String>,
}

/// One record of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A request as its client saw it.
    Trace(Trace),
    /// An attempt as the balancer saw it.
    Hop(Hop),
    /// An exchange as the kernel saw it.
    Exchange(Exchange),
    /// A figure.
    Sample(Sample),
    /// An event.
    Event(Event),
}

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`Record::Trace`].
    Trace,
    /// [`Record::Hop`].
    Hop,
    /// [`Record::Exchange`].
    Exchange,
    /// [`Record::Sample`].
    Sample,
    /// [`Record::Event`].
    Event,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Trace,
        Self::Hop,
        Self::Exchange,
        Self::Sample,
        Self::Event,
    ];

    /// The word used in ledgers: `traces`, `hops`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "traces",
            Self::Hop => "hops",
            Self::Exchange => "exchanges",
            Self::Sample => "samples",
            Self::Event => "events",
        }
    }
}

impl Record {
    /// What it is of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Trace(_) => Kind::Trace,
            Self::Hop(_) => Kind::Hop,
            Self::Exchange(_) => Kind::Exchange,
            Self::Sample(_) => Kind::Sample,
            Self::Event(_) => Kind::Event,
        }
    }
}

/// How much a recorder takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records that may wait to be written; what comes beyond that is dropped and counted. At least 1.
    pub queue: usize,
    /// Exchanges without a request id that are stored; further ones are counted as not stored, which is no loss.
    pub exchanges: u64,
}

impl Default for Limits {
    /// A queue of 65,536 records (some 40 MB if they all wait) and 1,000,000 exchanges.
    fn default() -> Self {
        Self {
            queue: 65_536,
            exchanges: 1_000_000,
        }
    }
}
