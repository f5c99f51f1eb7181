//! Connections that have both ends on this machine: each segment goes by at the end that sends it and, some time later, at the other.
//! Random conversations through what the object does around [`galileo_ebpf_core::loopback`]: however their segments are interleaved,
//! each end has every exchange once, whoever told it.

use std::collections::VecDeque;

use galileo_ebpf_abi::role;
use galileo_ebpf_core::{
    connection::{self, RECEIVED, SENT},
    http::state,
    loopback::{self, Standing},
    socket::{last, watched},
};
use galileo_oracle::{
    agreement::{self, Counted, Recall, Seen},
    campaign::{Campaign, Kind},
    dice::Dice,
    reading::Reading,
    segment::{Mark, Segment, Way},
};

use super::{counted, how, trace};
use crate::driver::Watch;

/// Ports of the client and of the server.
const PORTS: [u16; 2] = [9000, 80];

/// One end.
struct End {
    watch: Watch,
    /// What went by here, and when.
    passed: Vec<Segment>,
    /// The exchanges told for its cgroup.
    told: Vec<Seen>,
    /// What was counted for it.
    counted: Counted,
}

impl End {
    fn new([local, remote]: [u16; 2], next_seq: [u32; 2]) -> Self {
        let mut watch = Watch::new(true, next_seq, [true; 2]);
        watch.socket.record.local_port = local;
        watch.socket.record.remote_port = remote;
        Self {
            watch,
            passed: Vec::new(),
            told: Vec::new(),
            counted: Counted::default(),
        }
    }

    /// Looks at the segment; returns what is told and counted of that.
    fn look(&mut self, direction: u32, segment: &Segment) -> (Vec<Seen>, Counted) {
        let sequence = segment.first_byte();
        let how = how(segment.mark);
        self.watch
            .pass(direction, segment.time_ns, sequence, &segment.payload, how);
        let (seen, ledger) = self.watch.take();
        let seen = seen.into_iter().map(|(_, one)| Seen {
            trace: trace(&one.trace),
            ..one
        });
        (seen.collect(), counted(&ledger))
    }

    fn has_reset(&self, sent: Way) -> bool {
        let mut sent = self.passed.iter().filter(|segment| segment.way == sent);
        sent.any(|segment| segment.mark == Mark::Rst)
    }
}

/// Both ends, and what is under way between them.
struct Ends {
    client: End,
    server: End,
    under_way: [VecDeque<Segment>; 2],
    now_ns: u64,
    /// Exchanges that were told for the client, and for the server, before the client handed over.
    told_before: Option<[usize; 2]>,
    /// Each looks for itself again.
    taken_back: bool,
}

impl Ends {
    /// Plays the segments, in the order in which they are sent.
    fn play(segments: &[Segment], dice: &mut Dice) -> Self {
        let mut first = [0; 2];
        for syn in segments.iter().filter(|segment| segment.mark == Mark::Syn) {
            first[syn.way.index()] = syn.first_byte();
        }
        let [up, down] = first;
        let mut ends = Self {
            client: End::new(PORTS, [down, up]),
            server: End::new([PORTS[1], PORTS[0]], [up, down]),
            under_way: [VecDeque::new(), VecDeque::new()],
            now_ns: 0,
            told_before: None,
            taken_back: false,
        };
        let tunnel = Reading::of(segments).tunnel;
        for segment in segments {
            // What an end sends may be what it says to that, but for the end. A client may ask on before it is answered, but not in a tunnel.
            let says = !segment.payload.is_empty();
            if says && (segment.way == Way::Down || tunnel) {
                while ends.deliver(segment.way.back()) {}
            }
            ends.send(segment);
            while dice.one_in(2) {
                ends.deliver(any_way(dice));
            }
            if segment.mark == Mark::Rst {
                break;
            }
        }
        while ends.under_way.iter().any(|queue| !queue.is_empty()) {
            ends.deliver(any_way(dice));
        }
        ends
    }

    fn send(&mut self, segment: &Segment) {
        self.pass(segment, SENT);
        self.under_way[segment.way.index()].push_back(segment.clone());
    }

    /// Delivers what has been under way for the longest time. False if there is nothing.
    fn deliver(&mut self, way: Way) -> bool {
        let Some(segment) = self.under_way[way.index()].pop_front() else {
            return false;
        };
        let to = if way == Way::Up {
            &self.server
        } else {
            &self.client
        };
        // Who has reset the connection has no socket any more.
        if !to.has_reset(way.back()) {
            self.pass(&segment, RECEIVED);
        }
        true
    }

    /// The segment goes by at the end that sends or receives it.
    fn pass(&mut self, segment: &Segment, direction: u32) {
        self.now_ns += 1;
        let segment = Segment {
            time_ns: self.now_ns,
            ..segment.clone()
        };
        if (segment.way == Way::Up) == (direction == SENT) {
            self.pass_client(&segment, direction);
            self.client.passed.push(segment);
        } else {
            self.pass_server(&segment, direction);
            self.server.passed.push(segment);
        }
    }

    fn pass_server(&mut self, segment: &Segment, direction: u32) {
        let (told, counted) = self.server.look(direction, segment);
        if self.server.watch.socket.watched == watched::HERE_FOR_BOTH {
            self.client.told.extend_from_slice(&told);
            self.client.counted.add(counted);
        }
        self.server.told.extend(told);
        self.server.counted.add(counted);
    }

    fn pass_client(&mut self, segment: &Segment, direction: u32) {
        let how = how(segment.mark);
        let socket = &mut *self.client.watch.socket;
        let server = &mut *self.server.watch.socket;
        if socket.watched == watched::AT_THE_PEER {
            if direction == SENT || how == last::NO {
                return;
            }
            let sent = self.client.passed.iter().rev();
            let mut sent = sent.filter(|segment| segment.way == Way::Up);
            let standing = Standing {
                received: behind(segment),
                sent: sent.next().map_or(0, behind),
                acknowledged: connection::stream(server, RECEIVED).next_seq,
            };
            let server = (how == last::DIRECTION).then_some(server);
            loopback::take_back(socket, server, standing);
            self.taken_back = true;
        } else if direction == SENT
            && socket.role == role::CLIENT
            && how == last::NO
            && !segment.payload.is_empty()
            && connection::stream(socket, SENT).state != state::SILENT
            && loopback::may_hand_over(socket, segment.first_byte())
            && loopback::hand_over(socket, server, 0)
        {
            self.told_before = Some([self.client.told.len(), self.server.told.len()]);
            return;
        }
        let (told, counted) = self.client.look(direction, segment);
        self.client.told.extend(told);
        self.client.counted.add(counted);
    }

    /// Holds what was told of each end against what went by there.
    fn agree(&self) -> Result<Recall, String> {
        let (client, server) = (&self.client, &self.server);
        let of_server = Reading::of(&server.passed);
        let mut recall = agreement::check(&of_server, &server.told, Some(server.counted), 0)
            .map_err(|why| format!("{why}\nserver"))?;
        let mut of_client = Reading::of(&client.passed);
        if let Some([by_client, by_server]) = self.told_before {
            let unanswered = [&of_client, &of_server].map(Reading::closed_without_answer);
            let mut told = of_client.exchanges;
            told.truncate(by_client);
            told.extend(of_server.exchanges.iter().skip(by_server).cloned());
            of_client = Reading {
                exchanges: told,
                ..of_server
            };
            if self.taken_back {
                // Of what is asked while the server's end is under way, the client may find out that it is not answered.
                let least = unanswered.iter().map(|range| *range.start()).min();
                let most = unanswered.iter().map(|range| *range.end()).max();
                of_client.ended = true;
                of_client.cut = false;
                of_client.too_late = 0;
                of_client.unanswered = most.unwrap_or(0);
                of_client.amid_end = of_client.unanswered - least.unwrap_or(0);
            }
        }
        let one = agreement::check(&of_client, &client.told, Some(client.counted), 0)
            .map_err(|why| format!("{why}\nclient, {:?}", self.told_before))?;
        recall.add(one);
        Ok(recall)
    }
}

/// Sequence number behind the segment's data.
fn behind(segment: &Segment) -> u32 {
    segment
        .first_byte()
        .wrapping_add(segment.payload.len() as u32)
}

fn any_way(dice: &mut Dice) -> Way {
    if dice.one_in(2) { Way::Up } else { Way::Down }
}

#[test]
#[cfg_attr(miri, ignore = "a conversation takes half a minute there")]
fn each_end_has_every_exchange_once_however_segments_are_interleaved() {
    let campaign = Campaign {
        name: "loopback".to_owned(),
        kind: Kind::Orderly,
        rough: Vec::new(),
        cases: 4_000,
    };
    let (mut handed_over, mut taken_back, mut all) = (0, 0, 0);
    campaign.run(|segments, _| {
        let mut recall = Recall::default();
        for order in 0..4 {
            let mut dice = Dice::new(u64::from(segments[0].sequence) << 2 | order);
            let ends = Ends::play(segments, &mut dice);
            recall.add(ends.agree()?);
            all += 1;
            handed_over += usize::from(ends.told_before.is_some());
            taken_back += usize::from(ends.taken_back);
        }
        Ok(recall)
    });
    assert!(handed_over * 10 > all, "{handed_over} of {all}");
    assert!(taken_back * 40 > all, "{taken_back} of {all}");
}
