//! What the probes could not keep, by kind: an index into the array map `LEDGER`.

/// One counter of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Ledger {
    /// Exchanges whose answer ended: each becomes a record or a [`Ledger::RingFull`].
    ExchangesAttempted = 0,
    /// Exchanges whose record was handed to the ring buffer.
    ExchangesSeen = 1,
    /// Exchanges whose record found the ring buffer full.
    RingFull = 2,
    /// Answers whose request was not seen: the connection is older than the probes, or the request was lost.
    JoinedLate = 3,
    /// Requests that could not be kept until their answer: the table of pipelined requests was full.
    PendingLost = 4,
    /// Heads split over segments whose first part was no longer there when the rest came.
    CarryLost = 5,
    /// Gaps in the byte stream within a head, or where one may have been.
    Reordered = 6,
    /// Messages that began like HTTP/1.x and went on otherwise.
    Unparsable = 7,
    /// Segments with data that reached the hook on a listening socket (`TCP_DEFER_ACCEPT`, fast open) and were not claimed
    /// by a connection since: counted when they come, taken off when the connection goes on.
    ListenerData = 8,
    /// Requests whose connection ended before an answer began.
    ClosedWithoutAnswer = 9,
    /// Connections left alone because they do not speak HTTP/1.x.
    NotHttp = 10,
    /// Segments with more in them than one run of the programs may look at: messages, or lines of a head.
    StepsExceeded = 11,
    /// Segments not looked at because no work space was free on the CPU.
    ScratchBusy = 12,
    /// Segments not looked at because the kernel gave no socket storage.
    StorageFailed = 13,
    /// Segments whose bytes could not be loaded.
    LoadFailed = 14,
    /// Events of cgroups beyond the number of slots.
    SlotsFull = 15,
    /// Switches and wake-ups of tasks not followed because their places in the table were taken.
    TasksFull = 16,
    /// Pairs of the interference matrix that gave up their place on a CPU and found none in the shared map: how long one waited for the
    /// other until then is lost.
    MatrixFull = 17,
    /// Events whose time lies before that of the event they follow.
    TimeDisorder = 18,
    /// Waits of tasks whose cgroup was not yet known: they sleep since before the probes were loaded. After a
    /// [`Ledger::SwitchUnseen`] also those of tasks whose wake-up was not seen.
    WaitUnassigned = 19,
    /// Segments with data on a listening socket that a connection claimed: nothing is missing.
    ListenerClaimed = 20,
    /// Requests given up because the place in the answers, or in the requests behind them, was lost.
    GivenUp = 21,
    /// Packets whose interface is not told because the table of cgroups and interfaces was full; they are counted without it.
    InterfacesFull = 22,
    /// TCP connections that ended while somebody read them: each becomes a record or a [`Ledger::ConnectionRingFull`].
    ConnectionsAttempted = 23,
    /// TCP connections whose record was handed to the ring buffer.
    ConnectionsSeen = 24,
    /// TCP connections whose record found the ring buffer full; they are counted with their cgroup.
    ConnectionRingFull = 25,
    /// TCP connections that ended without a packet that would have told their cgroup, or whose cgroup found no slot.
    ConnectionUnassigned = 26,
    /// TCP connections not followed because the kernel gave no socket storage.
    ConnectionUnfollowed = 27,
    /// Segments not looked at because another CPU was looking at the same connection for too long.
    SocketBusy = 28,
    /// Switches between tasks that the kernel did not tell, at least: the time of the task that came unseen, and of the one that
    /// left so, is counted as one run of the former, and its wait is not counted.
    SwitchUnseen = 29,
}

impl Ledger {
    /// How many kinds there are.
    pub const COUNT: u32 = 30;

    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::ExchangesAttempted,
        Self::ExchangesSeen,
        Self::RingFull,
        Self::JoinedLate,
        Self::PendingLost,
        Self::CarryLost,
        Self::Reordered,
        Self::Unparsable,
        Self::ListenerData,
        Self::ClosedWithoutAnswer,
        Self::NotHttp,
        Self::StepsExceeded,
        Self::ScratchBusy,
        Self::StorageFailed,
        Self::LoadFailed,
        Self::SlotsFull,
        Self::TasksFull,
        Self::MatrixFull,
        Self::TimeDisorder,
        Self::WaitUnassigned,
        Self::ListenerClaimed,
        Self::GivenUp,
        Self::InterfacesFull,
        Self::ConnectionsAttempted,
        Self::ConnectionsSeen,
        Self::ConnectionRingFull,
        Self::ConnectionUnassigned,
        Self::ConnectionUnfollowed,
        Self::SocketBusy,
        Self::SwitchUnseen,
    ];

    /// The word used in results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExchangesAttempted => "exchanges_attempted",
            Self::ExchangesSeen => "exchanges_seen",
            Self::RingFull => "ring_full",
            Self::JoinedLate => "joined_late",
            Self::PendingLost => "pending_lost",
            Self::CarryLost => "carry_lost",
            Self::Reordered => "reordered",
            Self::Unparsable => "unparsable",
            Self::ListenerData => "listener_data",
            Self::ClosedWithoutAnswer => "closed_without_answer",
            Self::NotHttp => "not_http",
            Self::StepsExceeded => "steps_exceeded",
            Self::ScratchBusy => "scratch_busy",
            Self::StorageFailed => "storage_failed",
            Self::LoadFailed => "load_failed",
            Self::SlotsFull => "slots_full",
            Self::TasksFull => "tasks_full",
            Self::MatrixFull => "matrix_full",
            Self::TimeDisorder => "time_disorder",
            Self::WaitUnassigned => "wait_unassigned",
            Self::ListenerClaimed => "listener_claimed",
            Self::GivenUp => "given_up",
            Self::InterfacesFull => "interfaces_full",
            Self::ConnectionsAttempted => "connections_attempted",
            Self::ConnectionsSeen => "connections_seen",
            Self::ConnectionRingFull => "connection_ring_full",
            Self::ConnectionUnassigned => "connection_unassigned",
            Self::ConnectionUnfollowed => "connection_unfollowed",
            Self::SocketBusy => "socket_busy",
            Self::SwitchUnseen => "switch_unseen",
        }
    }

    /// Whether this kind means that something which should have been measured was not.
    ///
    /// The others describe traffic (what is no HTTP, what ended without an answer, what is older than the probes).
    #[must_use]
    pub const fn is_loss(self) -> bool {
        !matches!(
            self,
            Self::ExchangesAttempted
                | Self::ExchangesSeen
                | Self::JoinedLate
                | Self::ClosedWithoutAnswer
                | Self::NotHttp
                | Self::Unparsable
                | Self::WaitUnassigned
                | Self::SwitchUnseen
                | Self::ListenerClaimed
                | Self::ConnectionsAttempted
                | Self::ConnectionsSeen
        )
    }
}
