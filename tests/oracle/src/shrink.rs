//! Makes a failing input smaller while it still fails.

use crate::{
    delivery::Delivery,
    generate::{Body, Conversation, Finish, Message},
    segment::Segment,
};

/// A conversation and how it is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What is said.
    pub conversation: Conversation,
    /// How it arrives.
    pub delivery: Delivery,
}

impl Input {
    /// The segments.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        self.delivery.segments(&self.conversation.script())
    }
}

/// The smallest input found on the way down from `input` for which `fails` holds, as it does for `input`.
pub fn shrink(mut input: Input, mut fails: impl FnMut(&Input) -> bool) -> Input {
    // A round that finds nothing smaller is the last; each step makes it smaller, so there is one.
    'rounds: for _ in 0..1000 {
        for candidate in smaller(&input) {
            if candidate != input && fails(&candidate) {
                input = candidate;
                continue 'rounds;
            }
        }
        return input;
    }
    input
}

/// Inputs with one part less each, the boldest first.
fn smaller(input: &Input) -> Vec<Input> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Input)| {
        let mut candidate = input.clone();
        change(&mut candidate);
        all.push(candidate);
    };
    for at in 0..input.conversation.pairs.len() {
        with(&|input| {
            input.conversation.pairs.remove(at);
        });
    }
    with(&|input| input.conversation.unanswered.clear());
    with(&|input| {
        input.conversation.unanswered.pop();
    });
    with(&|input| input.conversation.unasked = None);
    with(&|input| input.conversation.finish = Finish::Open);
    with(&|input| {
        if let Finish::Tunnel(up, down) = &mut input.conversation.finish {
            up.clear();
            down.clear();
        }
    });
    with(&|input| input.delivery.mishaps.clear());
    for at in 0..input.delivery.mishaps.len() {
        with(&|input| {
            input.delivery.mishaps.remove(at);
        });
    }
    for way in 0..2 {
        let cuts = input.delivery.cuts[way].len();
        with(&|input| input.delivery.cuts[way].clear());
        with(&|input| {
            input.delivery.cuts[way].drain(..cuts / 2);
        });
        with(&|input| input.delivery.cuts[way].truncate(cuts / 2));
        for at in 0..cuts.min(60) {
            with(&|input| {
                input.delivery.cuts[way].remove(at);
            });
        }
    }
    with(&|input| input.delivery.choices.clear());
    for at in 0..input.delivery.choices.len() {
        if input.delivery.choices[at] != 0 {
            with(&|input| input.delivery.choices[at] = 0);
        }
    }
    with(&|input| input.delivery.fin_with_data = false);
    with(&|input| input.delivery.initial = [0, 0]);
    for at in 0..input.conversation.pairs.len() {
        let pair = &input.conversation.pairs[at];
        with(&|input| input.conversation.pairs[at].early = false);
        with(&|input| input.conversation.pairs[at].pipelined = false);
        with(&|input| {
            let pair = &mut input.conversation.pairs[at];
            pair.interim.clear();
            pair.expects = false;
        });
        for smaller in messages(&pair.request) {
            with(&|input| input.conversation.pairs[at].request = smaller.clone());
        }
        for smaller in messages(&pair.answer) {
            with(&|input| input.conversation.pairs[at].answer = smaller.clone());
        }
    }
    for at in 0..input.conversation.unanswered.len() {
        for smaller in messages(&input.conversation.unanswered[at]) {
            with(&|input| input.conversation.unanswered[at] = smaller.clone());
        }
    }
    all
}

/// The same message with less in it.
fn messages(message: &Message) -> Vec<Message> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Message)| {
        let mut candidate = message.clone();
        change(&mut candidate);
        all.push(candidate);
    };
    with(&|message| message.empty_lines = 0);
    with(&|message| message.empty_lines = message.empty_lines.saturating_sub(1));
    with(&|message| message.bare = false);
    with(&|message| message.fields.clear());
    for at in 0..message.fields.len() {
        with(&|message| {
            message.fields.remove(at);
        });
        let name = message.fields[at].find(':').unwrap_or(0) + 2;
        if message.fields[at].len() > name {
            with(&|message| {
                let length = name + (message.fields[at].len() - name) / 2;
                message.fields[at].truncate(length);
            });
        }
    }
    if let Some((method, _)) = message.line.split_once(" /")
        && let Some((_, version)) = message.line.rsplit_once(' ')
    {
        with(&|message| message.line = format!("{method} /a {version}"));
    }
    match &message.body {
        Body::None => {}
        Body::Plain(bytes) => {
            for length in [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                with(&|message| {
                    if let Body::Plain(bytes) = &mut message.body {
                        bytes.truncate(length);
                    }
                });
            }
        }
        Body::Chunked(chunks, _, trailers) => {
            for at in 0..chunks.len() {
                with(&|message| {
                    if let Body::Chunked(chunks, _, _) = &mut message.body {
                        chunks.remove(at);
                    }
                });
            }
            if !trailers.is_empty() {
                with(&|message| {
                    if let Body::Chunked(_, _, trailers) = &mut message.body {
                        trailers.clear();
                    }
                });
            }
        }
    }
    all
}
