//! The recorder's ledger: every record given is stored, not stored or dropped, and counted as that.

use galileo_expdb::{Counts, Error, Event, Kind, Limits, Record};

use crate::fixture::{
    CLOCK, assert_sound, database_with_run, eventually, exchange, foreign_exchange, hop, sample,
    trace,
};

#[tokio::test]
async fn records_of_all_kinds_are_stored_and_counted() {
    let (_folder, database) = database_with_run().await;
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    let sender = recorder.sender();

    for number in 0..50 {
        assert!(sender.record(Record::Trace(trace(number))));
    }
    for number in 0..40 {
        assert!(sender.record(Record::Hop(hop(number))));
    }
    for number in 0..30 {
        assert!(sender.record(Record::Exchange(exchange(number))));
    }
    for number in 0..20 {
        assert!(sender.record(Record::Sample(sample(number))));
    }
    for number in 0..10 {
        assert!(sender.record(Record::Event(Event {
            at_ns: number,
            name: "tick".to_owned(),
            value: None
        })));
    }
    let written = recorder.finish().await;

    assert!(written.error.is_none(), "{:?}", written.error);
    assert_eq!(
        (
            written.traces,
            written.hops,
            written.exchanges,
            written.samples,
            written.events
        ),
        (50, 40, 30, 20, 10)
    );
    assert_eq!(
        written.dropped_by_kind.keys().copied().collect::<Vec<_>>(),
        Kind::ALL,
        "all kinds are listed"
    );
    assert_eq!((written.dropped(), written.not_stored), (0, 0));
    let counts = Counts {
        traces: 50,
        hops: 40,
        exchanges: 30,
        samples: 20,
        events: 10,
    };
    assert_eq!(database.counts("run").await.unwrap(), counts);
}

#[tokio::test]
async fn records_are_written_while_the_recorder_runs() {
    let (_folder, database) = database_with_run().await;
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();

    recorder.sender().record(Record::Trace(trace(1)));

    eventually(async || (database.counts("run").await.unwrap().traces == 1).then_some(())).await;
    assert_eq!(recorder.finish().await.traces, 1);
}

/// One thread: the recorder's task does not run before this one waits, so that it is known what the queue holds.
#[tokio::test(flavor = "current_thread")]
async fn a_queue_that_is_too_small_drops_the_newest_and_counts_them() {
    let (_folder, database) = database_with_run().await;
    let limits = Limits {
        queue: 100,
        ..Limits::default()
    };
    let recorder = database.recorder("run", CLOCK, limits).await.unwrap();
    let sender = recorder.sender();

    let taken = (0..150)
        .filter(|number| sender.record(Record::Trace(trace(*number))))
        .count();
    let hop_taken = sender.record(Record::Hop(hop(1)));
    let written = recorder.finish().await;

    assert_eq!((taken, hop_taken), (100, false));
    assert_eq!((written.traces, written.hops), (100, 0));
    assert_eq!(
        (
            written.dropped_by_kind[&Kind::Trace],
            written.dropped_by_kind[&Kind::Hop]
        ),
        (50, 1)
    );
    assert_eq!(written.dropped(), 51);
    assert!(written.error.is_none());
    let stored = database.traces("run").await.unwrap();
    assert!(
        stored.into_iter().eq((0..100).map(trace)),
        "the first hundred"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_adds_up_when_many_hands_overfill_the_queue() {
    const HANDS: u64 = 4;
    const EACH: u64 = 20_000;
    let (_folder, database) = database_with_run().await;
    let limits = Limits {
        queue: 512,
        exchanges: 1_000,
    };
    let recorder = database.recorder("run", CLOCK, limits).await.unwrap();

    let hands: Vec<_> = (0..HANDS)
        .map(|hand| {
            let sender = recorder.sender();
            std::thread::spawn(move || {
                for number in hand * EACH..(hand + 1) * EACH {
                    sender.record(match number % 4 {
                        0 => Record::Trace(trace(number)),
                        1 => Record::Hop(hop(number)),
                        2 => Record::Exchange(exchange(number)),
                        _ => Record::Exchange(foreign_exchange(number)),
                    });
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(|| hands.into_iter().for_each(|hand| hand.join().unwrap()))
        .await
        .unwrap();
    let written = recorder.finish().await;

    let given = HANDS * EACH / 4;
    assert_eq!(
        written.traces + written.dropped_by_kind[&Kind::Trace],
        given
    );
    assert_eq!(written.hops + written.dropped_by_kind[&Kind::Hop], given);
    let exchanges =
        written.exchanges + written.dropped_by_kind[&Kind::Exchange] + written.not_stored;
    assert_eq!(exchanges, 2 * given);
    assert!(
        written.dropped() > 0,
        "four threads fill 512 places faster than a file is written"
    );
    let counts = database.counts("run").await.unwrap();
    assert_eq!(
        (counts.traces, counts.hops, counts.exchanges),
        (written.traces, written.hops, written.exchanges)
    );
    assert_sound(&database).await;
}

#[tokio::test]
async fn exchanges_of_our_requests_are_always_stored_and_others_up_to_the_limit() {
    let (_folder, database) = database_with_run().await;
    let limits = Limits {
        exchanges: 10,
        ..Limits::default()
    };
    let recorder = database.recorder("run", CLOCK, limits).await.unwrap();
    let sender = recorder.sender();

    for number in 0..25 {
        assert!(
            sender.record(Record::Exchange(foreign_exchange(number))),
            "what is beyond the limit is no loss"
        );
        assert!(sender.record(Record::Exchange(exchange(number))));
    }
    let written = recorder.finish().await;

    assert_eq!(
        (written.exchanges, written.not_stored, written.dropped()),
        (35, 15, 0)
    );
    let stored = database.exchanges("run").await.unwrap();
    assert_eq!(
        stored
            .iter()
            .filter(|exchange| exchange.request_id.is_some())
            .count(),
        25
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_foreign_exchanges_leaves_room_for_our_records() {
    let (_folder, database) = database_with_run().await;
    let limits = Limits {
        queue: 100,
        exchanges: 1_000,
    };
    let recorder = database.recorder("run", CLOCK, limits).await.unwrap();
    let sender = recorder.sender();

    let foreign = (0..500)
        .filter(|number| sender.record(Record::Exchange(foreign_exchange(*number))))
        .count();
    let ours = (0..30)
        .filter(|number| sender.record(Record::Trace(trace(*number))))
        .count();
    let written = recorder.finish().await;

    assert_eq!((foreign, ours), (75, 25));
    assert_eq!((written.exchanges, written.traces), (75, 25));
    assert_eq!(
        (
            written.dropped_by_kind[&Kind::Exchange],
            written.dropped_by_kind[&Kind::Trace]
        ),
        (425, 5)
    );
    assert_eq!(written.not_stored, 0, "the limit was not reached");
}

#[tokio::test]
async fn a_record_given_after_the_end_is_refused() {
    let (_folder, database) = database_with_run().await;
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    let sender = recorder.sender();

    recorder.finish().await;

    assert!(!sender.record(Record::Trace(trace(1))));
    assert_eq!(database.counts("run").await.unwrap(), Counts::default());
}

#[tokio::test]
async fn a_recorder_that_is_dropped_writes_what_it_has() {
    let (_folder, database) = database_with_run().await;
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    for number in 0..2_500 {
        recorder.sender().record(Record::Trace(trace(number)));
    }

    drop(recorder);

    eventually(async || (database.counts("run").await.unwrap().traces == 2_500).then_some(()))
        .await;
}

#[tokio::test]
async fn a_run_that_is_deleted_while_it_is_recorded_is_an_error_and_its_records_are_dropped() {
    let (_folder, database) = database_with_run().await;
    let recorder = database
        .recorder("run", CLOCK, Limits::default())
        .await
        .unwrap();
    database.delete("run").await.unwrap();

    recorder.sender().record(Record::Trace(trace(1)));
    let written = recorder.finish().await;

    assert!(
        matches!(&written.error, Some(Error::NotFound(id)) if id == "run"),
        "{:?}",
        written.error
    );
    assert_eq!((written.traces, written.dropped()), (0, 1));
}
