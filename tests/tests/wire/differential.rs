//! Random conversations through the kernel's hook, held against a slow reader that shares no code with the probes. For how long,
//! see [`galileo_oracle::campaign`].

use std::fs;

use galileo_oracle::{
    agreement::Recall,
    campaign::{Campaign, Kind},
    case,
    segment::{Segment, Way},
};
use galileo_probes::Role;
use galileo_tests::{
    segments::{
        place::{Family, Size},
        play::Stage,
    },
    turn,
};

/// What was seen of them; none if probes may not be loaded here.
fn run(family: Family, role: Role, kind: Kind) -> Option<Recall> {
    let _turn = turn();
    let size = match kind {
        Kind::Large => Size::Cut,
        Kind::Orderly | Kind::Rough | Kind::Older => Size::Whole,
    };
    let mut stage = Stage::new(family, role, size)?;
    let campaign = Campaign {
        name: format!("{family:?}-{role:?}"),
        kind,
        rough: vec![stage.ours()],
        cases: match kind {
            Kind::Orderly | Kind::Rough => 250,
            Kind::Large => 80,
            Kind::Older => 60,
        },
    };
    let recall = campaign.run(|segments, from| stage.check_from(segments, from));
    if kind == Kind::Large {
        // Many times what goes into a frame: as GSO and GRO make them.
        assert!(
            stage.largest.iter().all(|bytes| *bytes > 30_000),
            "{:?}",
            stage.largest
        );
    }
    Some(recall)
}

/// Of conversations in order nearly everything must be seen: what may be missing lies behind more in one segment than is looked at.
fn whole(family: Family, role: Role, kind: Kind) {
    if let Some(recall) = run(family, role, kind) {
        assert!(recall.doubtful * 10 < recall.sure, "{recall:?}");
    }
}

#[test]
fn a_server_on_ipv4_is_seen_as_the_slow_reader_sees_it() {
    whole(Family::V4, Role::Server, Kind::Orderly);
}

#[test]
fn a_client_on_ipv6_is_seen_as_the_slow_reader_sees_it() {
    whole(Family::V6, Role::Client, Kind::Orderly);
}

#[test]
fn a_server_on_ipv6_whose_client_sends_out_of_order_is_seen_right_or_not_at_all() {
    run(Family::V6, Role::Server, Kind::Rough);
}

#[test]
fn a_client_on_ipv4_whose_server_sends_out_of_order_is_seen_right_or_not_at_all() {
    run(Family::V4, Role::Client, Kind::Rough);
}

#[test]
fn a_server_on_ipv4_is_seen_in_segments_that_the_device_cuts() {
    whole(Family::V4, Role::Server, Kind::Large);
}

#[test]
fn a_client_on_ipv6_is_seen_in_segments_that_the_device_cuts() {
    whole(Family::V6, Role::Client, Kind::Large);
}

/// What may be wrong must be marked; but much of it must be seen.
fn joined(family: Family, role: Role) {
    if let Some(recall) = run(family, role, Kind::Older) {
        assert!(recall.doubtful_seen * 2 > recall.doubtful, "{recall:?}");
    }
}

#[test]
fn of_a_server_whose_connections_had_begun_what_may_be_wrong_is_marked() {
    joined(Family::V4, Role::Server);
}

#[test]
fn of_a_client_whose_connections_had_begun_what_may_be_wrong_is_marked() {
    joined(Family::V6, Role::Client);
}

/// Whether each byte of this way comes once, and behind the one before it: so the kernel sends.
fn in_order(segments: &[Segment], way: Way) -> bool {
    let mut sent = segments.iter().filter(|segment| segment.way == way);
    let Some(mut next) = sent.clone().next().map(Segment::first_byte) else {
        return true;
    };
    sent.all(|segment| {
        let follows = segment.first_byte() == next;
        next = next.wrapping_add(segment.payload.len() as u32);
        follows
    })
}

#[test]
fn inputs_that_once_failed_agree_in_the_kernel() {
    let _turn = turn();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/cases");
    for (family, role) in [(Family::V4, Role::Server), (Family::V6, Role::Client)] {
        let Some(mut stage) = Stage::new(family, role, Size::Whole) else {
            return;
        };
        let kernels = stage.ours().back();
        let mut older = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let segments = case::read(&text).unwrap();
            if !in_order(&segments, kernels) {
                continue;
            }
            let from = case::seen_from(&text).unwrap();
            match stage.check_from(&segments, from) {
                // Of what had begun before the probes came nothing is certain.
                Ok(recall) => assert!(from == 0 || recall.sure == 0, "{}", path.display()),
                Err(why) => panic!("{}, {role:?}: {why}", path.display()),
            }
            older += usize::from(from > 0);
        }
        assert!(older > 0, "a connection that had begun is among them");
    }
}
