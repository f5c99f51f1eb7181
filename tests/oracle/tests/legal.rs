//! The two halves of this crate hold one another: what was generated is what is read.

use galileo_oracle::{
    delivery::Delivery,
    dice::Dice,
    generate::{Conversation, Finish, Oddities},
    reading::Reading,
    segment::Way,
};

#[test]
fn the_reader_finds_every_pair_of_a_generated_conversation_however_it_is_carried() {
    let mut exchanges = 0;
    for seed in 0..3000 {
        let mut dice = Dice::new(seed);
        let conversation = Conversation::random(&mut dice, Oddities::ALL);
        let script = conversation.script();
        let rough = if seed % 2 == 0 {
            &[Way::Up, Way::Down][..]
        } else {
            &[]
        };
        let delivery = Delivery::random(&mut dice, &script, rough, Oddities::ALL);
        let reading = Reading::of(&delivery.segments(&script));
        if seed % 2 == 1 {
            assert_eq!(reading.disturbed, None, "{seed}");
        }
        let whole = match conversation.finish {
            Finish::ServerResets(_) | Finish::ServerCuts(_) => false,
            Finish::ClientResets(at) => at == usize::MAX,
            _ => true,
        };
        if !whole {
            continue;
        }
        let found: Vec<_> = reading
            .exchanges
            .iter()
            .map(|truth| (truth.method.clone(), truth.status, truth.interim))
            .collect();
        let expected: Vec<_> = conversation
            .pairs
            .iter()
            .map(|pair| {
                let (method, _) = pair.request.line.split_once(' ').unwrap();
                let status = pair.answer.line[9..12].parse().unwrap();
                (method.to_owned(), status, pair.interim.len() as u8)
            })
            .collect();
        assert_eq!(found, expected, "{seed} {conversation:#?}");
        assert_eq!(reading.unanswered, conversation.unanswered.len(), "{seed}");
        assert_eq!(
            reading.orphans,
            usize::from(conversation.unasked.is_some()),
            "{seed}"
        );
        exchanges += found.len();
    }
    assert!(exchanges > 5000, "{exchanges}");
}
