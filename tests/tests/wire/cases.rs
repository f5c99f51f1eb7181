//! Faults that other programs had (D-01 to D-07), each as a kind: cut at every byte, in both roles, through the kernel's hook.
//!
//! D-08, the loss that is not counted, is in the tests of the probes, `losses.rs`.

use galileo_oracle::{
    reading::Reading,
    segment::{Mark, Segment, Way},
};
use galileo_probes::Role;
use galileo_tests::{
    segments::{
        place::{Family, Size},
        play::Stage,
    },
    turn,
};

use Way::{Down, Up};

type Said<'a> = (Way, &'a [u8]);

/// The segments in which this is said, one each, but for number `at`, which is cut behind `cut` bytes.
fn segments(said: &[Said<'_>], at: usize, cut: usize) -> Vec<Segment> {
    let mut next = [1_u32, 1];
    let mut segments = Vec::new();
    let mut add = |way: Way, mark, payload: &[u8]| {
        let sequence = match mark {
            Mark::Syn => 0,
            _ => next[way.index()],
        };
        next[way.index()] += payload.len() as u32;
        segments.push(Segment {
            way,
            time_ns: 0,
            sequence,
            mark,
            payload: payload.to_vec(),
        });
    };
    add(Up, Mark::Syn, b"");
    add(Down, Mark::Syn, b"");
    for (number, (way, bytes)) in said.iter().enumerate() {
        let (first, rest) = bytes.split_at(if number == at { cut } else { bytes.len() });
        add(*way, Mark::Plain, first);
        if !rest.is_empty() {
            add(*way, Mark::Plain, rest);
        }
    }
    segments
}

/// Says this with every cut there is, and in both roles; of what is seen the reader must say `expected`.
fn everywhere(said: &[Said<'_>], expected: &[(&str, &str, u16)]) {
    let reading = Reading::of(&segments(said, usize::MAX, 0));
    let read: Vec<_> = reading
        .exchanges
        .iter()
        .map(|truth| (truth.method.as_str(), truth.path.as_str(), truth.status))
        .collect();
    assert_eq!(read, expected);
    for (family, role) in [(Family::V4, Role::Server), (Family::V6, Role::Client)] {
        let Some(mut stage) = Stage::new(family, role, Size::Whole) else {
            return;
        };
        for (at, (_, bytes)) in said.iter().enumerate() {
            for cut in 1..=bytes.len() {
                let recall = stage
                    .check(&segments(said, at, cut))
                    .unwrap_or_else(|why| panic!("{role:?}, message {at} cut at {cut}: {why}"));
                assert_eq!(recall.sure, expected.len());
            }
        }
    }
}

const POST: &[u8] =
    b"POST /u HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn the_final_answer_behind_interim_ones_is_the_exchanges_wherever_they_are_cut() {
    // D-01
    let _turn = turn();
    let twice = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n";
    let all = [&twice[..], CREATED].concat();
    everywhere(
        &[
            (Up, POST),
            (Down, b"HTTP/1.1 100 Continue\r\n\r\n"),
            (Up, b"abc"),
            (Down, CREATED),
            (Up, b"GET /next HTTP/1.1\r\n\r\n"),
            (Down, &all),
        ],
        &[("POST", "/u", 201), ("GET", "/next", 201)],
    );
}

#[test]
fn three_hundred_interim_answers_are_counted_as_255() {
    // D-01
    let _turn = turn();
    let mut said: Vec<Said<'_>> = vec![(Up, POST)];
    said.extend([(Down, &b"HTTP/1.1 102 Processing\r\n\r\n"[..]); 300]);
    said.extend([
        (Up, &b"abc"[..]),
        (Down, CREATED),
        (Up, b"GET /a HTTP/1.1\r\n\r\n"),
        (Down, EMPTY),
    ]);
    for role in [Role::Server, Role::Client] {
        let Some(mut stage) = Stage::new(Family::V4, role, Size::Whole) else {
            return;
        };
        let recall = stage.check(&segments(&said, usize::MAX, 0));
        assert_eq!(recall.unwrap().sure, 2);
    }
}

#[test]
fn bodies_that_look_like_heads_are_no_heads_wherever_they_are_cut() {
    // D-02
    let _turn = turn();
    everywhere(
        &[
            (Up, b"POST /real HTTP/1.1\r\nContent-Length: 20\r\n\r\n"),
            (Up, b"GET /evil HTTP/1.1\r\n"),
            (Down, b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n"),
            (Down, b"HTTP/1.1 4770 not a status"),
            (Up, b"GET /a HTTP/1.1\r\n\r\n"),
            (Down, EMPTY),
        ],
        &[("POST", "/real", 200), ("GET", "/a", 200)],
    );
}

#[test]
fn a_status_that_cannot_be_never_leaves_the_kernel() {
    // D-02
    let _turn = turn();
    let Some(mut stage) = Stage::new(Family::V4, Role::Server, Size::Whole) else {
        return;
    };
    for status in [
        "099", "600", "999", "4770", "20", "2x0", "000", "-00", "1e2",
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let said: [Said<'_>; 2] = [(Up, b"GET /a HTTP/1.1\r\n\r\n"), (Down, answer.as_bytes())];
        let recall = stage.check(&segments(&said, usize::MAX, 0));
        assert_eq!(recall.unwrap().sure, 0, "{status}");
    }
}

#[test]
fn a_control_character_in_a_target_never_leaves_the_kernel() {
    let _turn = turn();
    let Some(mut stage) = Stage::new(Family::V6, Role::Server, Size::Whole) else {
        return;
    };
    for target in ["/a\0b", "/\0", "/a\u{7f}", "/seven..\u{1}", "/a\tb"] {
        let request = format!("GET {target} HTTP/1.1\r\n\r\n");
        let said: [Said<'_>; 2] = [(Up, request.as_bytes()), (Down, EMPTY)];
        let recall = stage.check(&segments(&said, usize::MAX, 0));
        assert_eq!(recall.unwrap().sure, 0, "{target:?}");
    }
}

#[test]
fn a_first_write_of_every_size_is_read_whole() {
    // D-03: all sizes around those of what is looked at together and of what is carried over.
    let _turn = turn();
    for role in [Role::Server, Role::Client] {
        let Some(mut stage) = Stage::new(Family::V6, role, Size::Whole) else {
            return;
        };
        for size in (500..530)
            .chain(1010..1040)
            .chain([1536, 2047, 2048, 2049, 3072])
        {
            let fixed =
                "GET /path HTTP/1.1\r\nHost: x\r\nX-Pad: \r\nx-galileo-request-id: 7\r\n\r\n";
            let pad = "p".repeat(size - fixed.len());
            let head = format!(
                "GET /path HTTP/1.1\r\nHost: x\r\nX-Pad: {pad}\r\nx-galileo-request-id: 7\r\n\r\n"
            );
            let said: [Said<'_>; 2] = [(Up, head.as_bytes()), (Down, EMPTY)];
            let segments = segments(&said, usize::MAX, 0);
            assert_eq!(segments[2].payload.len(), size);
            let recall = stage.check(&segments);
            assert_eq!(recall.unwrap().sure, 1, "{size}");
        }
    }
}

#[test]
fn an_answer_without_body_ends_with_its_head_wherever_it_is_cut() {
    // D-05
    let _turn = turn();
    everywhere(
        &[
            (Up, b"HEAD /a HTTP/1.1\r\n\r\n"),
            (Down, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
            (Up, b"GET /b HTTP/1.1\r\n\r\n"),
            (Down, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            (Up, b"HEAD /c HTTP/1.1\r\n\r\n"),
            (
                Down,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            (Up, b"GET /d HTTP/1.1\r\n\r\n"),
            (
                Down,
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n",
            ),
            (Up, b"GET /e HTTP/1.1\r\n\r\n"),
            (Down, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ],
        &[
            ("HEAD", "/a", 200),
            ("GET", "/b", 404),
            ("HEAD", "/c", 200),
            ("GET", "/d", 304),
            ("GET", "/e", 204),
        ],
    );
}

#[test]
fn nothing_is_read_behind_an_upgrade_or_connect_wherever_they_are_cut() {
    // D-06
    let _turn = turn();
    let (get, answer) = (
        &b"GET /fake HTTP/1.1\r\n\r\n"[..],
        &b"HTTP/1.1 500 X\r\n\r\n"[..],
    );
    everywhere(
        &[
            (Up, b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
            (
                Down,
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            ),
            (Up, get),
            (Down, answer),
        ],
        &[("GET", "/chat", 101)],
    );
    everywhere(
        &[
            (Up, b"CONNECT no:443 HTTP/1.1\r\n\r\n"),
            (Down, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"),
            (Up, b"CONNECT h:443 HTTP/1.1\r\n\r\n"),
            (Down, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
            (Up, get),
            (Down, answer),
        ],
        &[("CONNECT", "no:443", 403), ("CONNECT", "h:443", 200)],
    );
}

#[test]
fn trailers_belong_to_the_message_before_them_wherever_they_are_cut() {
    // D-07, and the same in a request.
    let _turn = turn();
    everywhere(
        &[
            (
                Up,
                b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                  4\r\nWiki\r\n0;last\r\nX-T: GET /no HTTP/1.1\r\n\r\n",
            ),
            (
                Down,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n\
                  4;ext=1\r\nWiki\r\n0\r\nX-T: HTTP/1.1 500\r\n\r\n",
            ),
            (Up, b"DELETE /b HTTP/1.1\r\n\r\n"),
            (Down, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ],
        &[("PUT", "/a", 200), ("DELETE", "/b", 204)],
    );
}
