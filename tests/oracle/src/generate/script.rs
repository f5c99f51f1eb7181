//! The two byte streams of a conversation.

use super::conversation::{Conversation, Finish};
use crate::segment::Mark;

/// One way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Side {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// From which of its offsets on how many bytes of the other way must have arrived.
    pub needs: Vec<(usize, usize)>,
    /// How it ends, and how many bytes of the other way must have arrived before.
    pub end: Option<(Mark, usize)>,
}

/// Both ways: up, down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// From the client.
    pub up: Side,
    /// From the server.
    pub down: Side,
}

impl Side {
    fn add(&mut self, bytes: &[u8], needs: usize) {
        if needs > 0 {
            self.needs.push((self.bytes.len(), needs));
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn cut(&mut self, at: usize) {
        self.bytes.truncate(at);
        self.needs.retain(|(from, _)| *from < at);
    }
}

impl Conversation {
    /// The byte streams.
    #[must_use]
    pub fn script(&self) -> Script {
        let (mut up, mut down) = (Side::default(), Side::default());
        // How many bytes the request of each pair, and its head, end behind.
        let mut asked = 0;
        for pair in &self.pairs {
            let waits = if pair.pipelined { 0 } else { down.bytes.len() };
            up.add(&pair.request.head(), waits);
            let head = up.bytes.len();
            let mut hints = pair.interim.iter();
            if pair.expects
                && let Some(hint) = hints.next()
            {
                down.add(&hint.head(), head);
                up.add(&pair.request.tail(), down.bytes.len());
            } else {
                up.add(&pair.request.tail(), 0);
            }
            for hint in hints {
                down.add(&hint.head(), head);
            }
            asked = up.bytes.len();
            down.add(
                &[pair.answer.head(), pair.answer.tail()].concat(),
                if pair.early { head } else { asked },
            );
        }
        for message in &self.unanswered {
            let waits = if matches!(self.finish, Finish::ServerCloses) {
                0
            } else {
                down.bytes.len()
            };
            up.add(&[message.head(), message.tail()].concat(), waits);
        }
        if let Some(message) = &self.unasked {
            down.add(&[message.head(), message.tail()].concat(), asked);
        }
        let (sent, answered) = (up.bytes.len(), down.bytes.len());
        match &self.finish {
            Finish::Open => {}
            Finish::ServerCloses => down.end = Some((Mark::Fin, sent)),
            Finish::ClientCloses => up.end = Some((Mark::Fin, answered)),
            Finish::HalfClose => {
                up.end = Some((Mark::Fin, 0));
                down.end = Some((Mark::Fin, sent));
            }
            Finish::ClientResets(at) => up.end = Some((Mark::Rst, answered.min(*at))),
            Finish::ServerResets(at) => {
                down.cut(*at);
                down.end = Some((Mark::Rst, 0));
            }
            Finish::ServerCuts(at) => {
                down.cut(*at);
                down.end = Some((Mark::Fin, 0));
            }
            Finish::Tunnel(there, back) => {
                up.add(there, answered);
                down.add(back, 0);
            }
        }
        Script { up, down }
    }
}
