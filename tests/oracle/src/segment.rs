//! TCP segments, as far as the byte stream they carry is concerned.

/// Which way a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the client, which asks.
    Up,
    /// From the server, which answers.
    Down,
}

impl Way {
    /// The other way.
    #[must_use]
    pub const fn back(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// 0 for up, 1 for down.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What a segment does besides carrying bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// Nothing.
    #[default]
    Plain,
    /// It opens its way. Its number is the one before the first byte's.
    Syn,
    /// Behind its bytes there are no more.
    Fin,
    /// The connection is no more.
    Rst,
}

/// One segment at the moment the hook sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Which way it goes.
    pub way: Way,
    /// When, in nanoseconds of any clock that does not go backwards.
    pub time_ns: u64,
    /// TCP sequence number.
    pub sequence: u32,
    /// What else it does.
    pub mark: Mark,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl Segment {
    /// The sequence number of its first byte: a SYN takes a number of its own.
    #[must_use]
    pub fn first_byte(&self) -> u32 {
        self.sequence
            .wrapping_add(u32::from(self.mark == Mark::Syn))
    }
}
