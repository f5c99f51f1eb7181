//! Carries a conversation between the kernel and the test, and holds what the probes saw against what there was.

use std::time::{Duration, Instant};

use galileo_oracle::{
    agreement::{self, Counted, Recall, Seen},
    reading::Reading,
    segment::{Mark, Segment, Way},
};
use galileo_probes::{Config, Exchange, Feature, Ledger, Role, Snapshot, flags};

use super::{
    home::Home,
    peer::{Connection, Peer},
    place::{Family, Size},
};
use crate::watch::Watch;

/// What of the probes looks at connections.
const SEEING: [Feature; 2] = [Feature::Network, Feature::Tcp];

/// What was carried.
pub struct Carried {
    /// What went through the hook.
    pub segments: Vec<Segment>,
    /// The longest time that a segment took.
    pub late_ns: u64,
    /// The first of them that the probes saw.
    pub seen_from: usize,
}

/// Probes that see the connections of this test only, and the place these are in.
pub struct Stage {
    /// The other ends.
    pub peer: Peer,
    /// The probes.
    pub watch: Watch,
    family: Family,
    role: Role,
    /// The largest segment that went through the hook so far, up and down.
    pub largest: [usize; 2],
    // Goes last, as the probes are attached to it.
    home: Home,
}

impl Stage {
    /// Sets everything up; none where probes may not be loaded. In the role given is the kernel's end.
    #[must_use]
    pub fn new(family: Family, role: Role, size: Size) -> Option<Self> {
        let home = Home::enter();
        let watch = Watch::start(&Config {
            keep_query: true,
            cgroup_mount: Some(home.folder().to_owned()),
            ..Config::default()
        })?;
        Some(Self {
            peer: Peer::new(family, size),
            watch,
            family,
            role,
            largest: [0; 2],
            home,
        })
    }

    /// The way that the test sends, on which anything may happen.
    #[must_use]
    pub fn ours(&self) -> Way {
        match self.role {
            Role::Server => Way::Up,
            Role::Client => Way::Down,
        }
    }

    /// Carries these segments, those of the kernel's way in order. The probes see them from number `from` on.
    ///
    /// # Panics
    ///
    /// If the probes cannot be attached again.
    pub fn carry(&mut self, segments: &[Segment], from: usize) -> Carried {
        let ours = self.ours();
        let initial = segments
            .iter()
            .find(|segment| segment.way == ours && segment.mark == Mark::Syn)
            .map_or(0, |segment| segment.sequence);
        let probes = &mut self.watch.probes;
        if from > 0 {
            for feature in SEEING {
                probes.pause_feature(feature);
            }
        }
        let mut connection = match self.role {
            Role::Server => self.peer.client(initial),
            Role::Client => self.peer.server(initial),
        };
        let mut seen_from = 0;
        for (number, segment) in segments.iter().enumerate() {
            if from > 0 && number == from {
                for feature in SEEING {
                    probes
                        .resume_feature(feature)
                        .expect("they were attached before");
                }
                seen_from = connection.segments.len();
            }
            if segment.mark == Mark::Syn {
                continue;
            }
            if segment.way == ours {
                connection.send(segment);
            } else {
                connection.write(&segment.payload, segment.mark);
            }
        }
        connection.reset();
        let Connection {
            segments, late_ns, ..
        } = connection;
        Carried {
            segments,
            late_ns,
            seen_from,
        }
    }

    /// Carries these segments and checks what was seen of them.
    ///
    /// # Errors
    ///
    /// What does not agree.
    pub fn check(&mut self, segments: &[Segment]) -> Result<Recall, String> {
        self.check_from(segments, 0)
    }

    /// As [`Stage::check`], of probes that see only the segments from number `from` on.
    ///
    /// # Errors
    ///
    /// What does not agree.
    pub fn check_from(&mut self, segments: &[Segment], from: usize) -> Result<Recall, String> {
        let before = self.watch.snapshot();
        // Of earlier connections nothing is left to come: the hooks ran before their segments were read.
        self.watch.stream.drain();
        let carried = self.carry(segments, from);
        for segment in &carried.segments {
            let largest = &mut self.largest[segment.way.index()];
            *largest = segment.payload.len().max(*largest);
        }
        let reading = Reading::of(&carried.segments).joined(&carried.segments, carried.seen_from);
        let mut exchanges = Vec::new();
        let begin = Instant::now();
        loop {
            exchanges.extend(self.watch.stream.drain());
            let since = self.watch.snapshot().since(&before);
            let counted = counted(&since);
            let result = self.common(&exchanges, &reading).and_then(|()| {
                agreement::check(&reading, &seen(&exchanges), Some(counted), carried.late_ns)
            });
            // The hooks have run, so what fails now stays so; but a record may be visible a moment later.
            if result.is_ok() || begin.elapsed() > Duration::from_millis(20) {
                return result;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Checks what all exchanges have in common.
    fn common(&self, exchanges: &[Exchange], reading: &Reading) -> Result<(), String> {
        for exchange in exchanges {
            // Who asks is known from a connection's first message on. Of one that had begun, all that is known are its bytes, and those
            // in a body may be the other end's messages.
            let may_differ = reading.partial && exchange.flags & flags::RESUMED != 0;
            let fine = (exchange.role == self.role || may_differ)
                && exchange.cgroup == self.home.id
                && exchange.local.ip() == self.family.kernel()
                && exchange.remote.ip() == self.family.peer();
            if !fine {
                return Err(format!("whose is it?\n{exchange:?}"));
            }
        }
        Ok(())
    }
}

fn seen(exchanges: &[Exchange]) -> Vec<Seen> {
    exchanges
        .iter()
        .map(|exchange| Seen {
            method: exchange.method.to_string(),
            path: exchange.path.to_string(),
            id: exchange.request_id.unwrap_or_default().to_string(),
            trace: exchange.traceparent.unwrap_or_default().to_string(),
            status: exchange.status,
            interim: exchange.interim,
            request_bytes: exchange.request_bytes,
            request_head_bytes: exchange.request_head_bytes,
            response_bytes: exchange.response_bytes,
            response_head_bytes: exchange.response_head_bytes,
            start_ns: exchange.start_ns,
            request_end_ns: exchange.request_end_ns,
            first_byte_ns: exchange.first_byte_ns,
            end_ns: exchange.end_ns,
            flags: exchange.flags,
        })
        .collect()
}

/// What of the ledger is about exchanges.
fn counted(since: &Snapshot) -> Counted {
    let mut counted = Counted::default();
    for (kind, count) in &since.ledger {
        match kind {
            Ledger::ClosedWithoutAnswer => counted.closed_without_answer += count,
            Ledger::JoinedLate => counted.joined_late += count,
            Ledger::StepsExceeded => counted.crowded += count,
            Ledger::ListenerData => counted.stray += count,
            Ledger::RingFull
            | Ledger::PendingLost
            | Ledger::CarryLost
            | Ledger::GivenUp
            | Ledger::Reordered
            | Ledger::Unparsable
            | Ledger::NotHttp
            | Ledger::ScratchBusy
            | Ledger::SocketBusy
            | Ledger::StorageFailed
            | Ledger::LoadFailed => counted.other += count,
            _ => {}
        }
    }
    counted
}
