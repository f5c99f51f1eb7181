use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MEASURED: Phase = Phase::Measured;

fn constant(rate: &str) -> Arrival {
    Arrival::Constant(rate.parse().unwrap())
}

fn poisson(rate: &str) -> Arrival {
    Arrival::Poisson(rate.parse().unwrap())
}

fn seconds(seconds: u64) -> Extent {
    Extent::Duration(Duration::from_secs(seconds))
}

fn shares(schedule: Schedule) -> Vec<u64> {
    let mut shares = BTreeMap::new();
    for due in schedule {
        *shares.entry(due.client).or_default() += 1;
    }
    shares.into_values().collect()
}

/// D-34.
#[test]
fn a_constant_schedule_has_exactly_rate_times_duration_requests() {
    for (rate, duration, clients, total) in [
        ("30/s", 30, 1, 900),
        ("10/s", 60, 3, 600),
        ("100/s", 10, 7, 1_000),
        ("1/3s", 30, 4, 10),
    ] {
        let shares = shares(Schedule::new(
            constant(rate),
            clients,
            seconds(duration),
            0,
            MEASURED,
        ));
        assert_eq!(shares.iter().sum::<u64>(), total, "{rate} for {duration} s");
        assert!(
            shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1,
            "{shares:?}"
        );
    }
}

#[test]
fn a_constant_schedule_starts_at_zero_and_deals_the_clients_in_turn() {
    let start: Vec<_> = Schedule::new(constant("3/s"), 2, seconds(1), 0, MEASURED).collect();
    assert_eq!(
        start,
        [
            Due {
                offset_ns: 0,
                client: 0,
                nth: 0
            },
            Due {
                offset_ns: 333_333_333,
                client: 1,
                nth: 0
            },
            Due {
                offset_ns: 666_666_666,
                client: 0,
                nth: 1
            },
        ]
    );
}

#[test]
fn a_schedule_of_so_many_requests_ends_when_the_next_would_be_due() {
    let mut schedule = Schedule::new(constant("1/3s"), 4, Extent::Requests(10), 0, MEASURED);
    assert_eq!(schedule.end_ns(), None);
    assert_eq!(schedule.by_ref().count(), 10);
    assert_eq!(schedule.end_ns(), Some(30_000_000_000));
    assert_eq!(schedule.next(), None);
}

#[test]
fn the_phases_of_a_poisson_workload_are_independent_streams() {
    let of = |phase| Schedule::new(poisson("100/s"), 4, seconds(10), 7, phase).collect::<Vec<_>>();
    assert_ne!(of(Phase::Warmup), of(Phase::Measured));
}

/// The numbers are those of a second program (Python, with a `ChaCha8` of its own) that follows the derivation in
/// `poisson.rs`; they must never change.
#[test]
fn a_seed_gives_these_requests_forever() {
    let first: Vec<_> = Schedule::new(poisson("200/s"), 8, seconds(20), 1, MEASURED)
        .take(4)
        .map(|due| (due.offset_ns, due.client))
        .collect();
    assert_eq!(
        first,
        [
            (21_404_097, 3),
            (21_930_501, 1),
            (23_034_465, 4),
            (25_215_733, 2)
        ]
    );
}

#[test]
fn poisson_gaps_have_the_spread_of_an_exponential_distribution() {
    let mut gaps = Vec::new();
    let mut last = 0;
    for due in Schedule::new(poisson("1000/s"), 5, Extent::Requests(100_000), 3, MEASURED) {
        gaps.push((due.offset_ns - last) as f64);
        last = due.offset_ns;
    }
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let deviation =
        (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
    // The standard error of both is mean/√100,000 = 0.3 %, times about 1.4 for the deviation.
    assert!((mean / 1e6 - 1.0).abs() < 0.015, "mean {mean}");
    assert!(
        (deviation / mean - 1.0).abs() < 0.02,
        "deviation {deviation} of mean {mean}"
    );
}

fn any_arrival() -> impl Strategy<Value = Arrival> {
    (1..5_000u64, 1..20u64, any::<bool>()).prop_map(|(requests, seconds, even)| {
        let rate = Rate::new(requests, Duration::from_secs(seconds)).unwrap();
        if even {
            Arrival::Constant(rate)
        } else {
            Arrival::Poisson(rate)
        }
    })
}

proptest! {
    #[test]
    fn every_schedule_is_sorted_inside_its_interval_and_counts_each_client_up(
        arrival in any_arrival(), clients in 1..40u32, ms in 0..3_000u64, seed: u64,
    ) {
        let mut last = 0;
        let mut next = vec![0; clients as usize];
        for due in Schedule::new(arrival, clients, Extent::Duration(Duration::from_millis(ms)), seed, MEASURED) {
            prop_assert!(due.offset_ns >= last && due.offset_ns < ms * 1_000_000);
            prop_assert_eq!(due.nth, next[due.client as usize]);
            next[due.client as usize] += 1;
            last = due.offset_ns;
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_a_longer_one_begins_alike(
        arrival in any_arrival(), clients in 1..40u32, ms in 0..2_000u64, seed: u64,
    ) {
        let of = |ms| Schedule::new(arrival, clients, Extent::Duration(Duration::from_millis(ms)), seed, MEASURED);
        let once: Vec<_> = of(ms).collect();
        prop_assert_eq!(&once, &of(ms).collect::<Vec<_>>());
        prop_assert_eq!(&once, &of(ms + 500).take(once.len()).collect::<Vec<_>>());
        let counted = Schedule::new(arrival, clients, Extent::Requests(once.len() as u64), seed, MEASURED);
        prop_assert_eq!(once, counted.collect::<Vec<_>>());
    }

    /// A client's times depend on the seed, its index and its own rate only: they may be made anywhere.
    #[test]
    fn a_poisson_client_does_not_depend_on_the_other_clients(clients in 2..40u32, seed: u64) {
        // The same rate for each client in both schedules: 10/s.
        let of = |clients: u32| {
            let rate = Rate::new(10 * u64::from(clients), Duration::from_secs(1)).unwrap();
            Schedule::new(Arrival::Poisson(rate), clients, seconds(2), seed, MEASURED)
        };
        let alone: Vec<_> = of(1).collect();
        let among: Vec<_> = of(clients).filter(|due| due.client == 0).collect();
        prop_assert_eq!(alone, among);
    }

    #[test]
    fn different_seeds_give_different_poisson_schedules(seed: u64) {
        let of = |seed| Schedule::new(poisson("100/s"), 2, Extent::Requests(5), seed, MEASURED).collect::<Vec<_>>();
        prop_assert_ne!(of(seed), of(seed.wrapping_add(1)));
    }

    #[test]
    fn an_even_schedule_has_the_rounded_up_share_of_its_interval(
        requests in 1..5_000u64, per_s in 1..20u64, ms in 0..20_000u64, clients in 1..40u32,
    ) {
        let rate = Rate::new(requests, Duration::from_secs(per_s)).unwrap();
        let extent = Extent::Duration(Duration::from_millis(ms));
        let count = Schedule::new(Arrival::Constant(rate), clients, extent, 0, MEASURED).count() as u64;
        prop_assert_eq!(count, (ms * requests).div_ceil(per_s * 1_000));
    }

    #[test]
    fn a_poisson_schedule_keeps_its_rate(per_second in 200..1_000u64, clients in 1..20u32, seed: u64) {
        let rate = Rate::new(per_second, Duration::from_secs(1)).unwrap();
        let count = Schedule::new(Arrival::Poisson(rate), clients, seconds(10), seed, MEASURED).count() as f64;
        let expected = 10.0 * per_second as f64;
        // Six standard deviations: one in a thousand million draws.
        prop_assert!((count - expected).abs() < 6.0 * expected.sqrt(), "{count} instead of {expected}");
    }
}
