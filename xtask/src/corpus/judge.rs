//! Holds what the probes saw against what client and server say they did.

use std::collections::HashMap;
use std::net::IpAddr;

use super::client::Said;
use super::request::{ID, Request, TRACE};
use super::watcher::{Role, Seen};

/// Bytes of a path that the probes keep at least.
const KEPT_PATH: usize = 64;
/// Bytes of a head in which our id is to be found.
const SEARCHED_HEAD: usize = 512;

/// Bytes above which a message is sent from two CPUs at times, by the process and by acknowledgements: two of its segments may
/// then pass the probes in another order than they enter TCP behind them, which counts none.
const LARGE: u64 = 64 << 10;

/// One exchange, as it was.
pub(super) struct Truth {
    pub request: Request,
    pub said: Said,
    /// What is to be found; what need not be was broken off, or is of unclear time.
    pub wanted: bool,
}

/// Where an exchange is to be found.
pub(super) struct Ground {
    /// Ids of the cgroups of server and client.
    pub cgroups: [u64; 2],
    /// The server's address and port.
    pub address: IpAddr,
    pub port: u16,
    /// TCP says that segments came out of order.
    pub reordered: bool,
}

/// How one cell came out, by role: server, client.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct Score {
    /// Exchanges that were.
    pub wanted: u64,
    /// Those of them that were found.
    pub found: [u64; 2],
    /// Exchanges that the probes told.
    pub seen: [u64; 2],
    /// Those of them that were right in all respects.
    pub right: [u64; 2],
    /// Bytes of all answers that the probes told.
    pub response_bytes: [u64; 2],
    /// What is wrong, for people.
    pub faults: Vec<String>,
}

impl Score {
    /// Part of what was that was found. Nothing to be found is found whole.
    pub(super) fn recall(&self, role: Role) -> f64 {
        ratio(self.found[role as usize], self.wanted)
    }

    /// Part of what was told that is right.
    pub(super) fn precision(&self, role: Role) -> f64 {
        ratio(self.right[role as usize], self.seen[role as usize])
    }

    /// Nothing that was told is wrong.
    pub(super) fn is_precise(&self) -> bool {
        self.right == self.seen
    }

    /// Nothing is wrong, nothing is missing.
    pub(super) fn is_perfect(&self) -> bool {
        self.faults.is_empty() && self.found == [self.wanted; 2] && self.is_precise()
    }

    /// Adds another one.
    pub(super) fn add(&mut self, other: &Self) {
        self.wanted += other.wanted;
        for role in [Role::Server, Role::Client] {
            let role = role as usize;
            self.found[role] += other.found[role];
            self.seen[role] += other.seen[role];
            self.right[role] += other.right[role];
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

/// Whether all that is to be found is there: there is nothing to wait for.
pub(super) fn is_complete(truths: &[Truth], seen: &[Seen]) -> bool {
    let wanted = truths.iter().filter(|truth| truth.wanted).count();
    [Role::Server, Role::Client]
        .iter()
        .all(|role| seen.iter().filter(|one| one.role == *role).count() >= wanted)
}

/// Judges a cell.
pub(super) fn judge(truths: &[Truth], seen: &[Seen], ground: &Ground) -> Score {
    let by_id: HashMap<&str, &Truth> = truths
        .iter()
        .map(|truth| (truth.request.id.as_str(), truth))
        .collect();
    let mut score = Score {
        wanted: truths.iter().filter(|truth| truth.wanted).count() as u64,
        ..Score::default()
    };
    for role in [Role::Server, Role::Client] {
        let mut times = HashMap::<&str, u64>::new();
        for one in seen.iter().filter(|one| one.role == role) {
            score.seen[role as usize] += 1;
            score.response_bytes[role as usize] += one.response_bytes;
            let Some(truth) = find(&by_id, one) else {
                score.faults.push(format!("{role:?}: never was: {one:?}"));
                continue;
            };
            let count = times.entry(&truth.request.id).or_default();
            *count += 1;
            if *count == 1 && truth.wanted {
                score.found[role as usize] += 1;
            }
            let wrong = if *count > 1 {
                Some("told twice".to_owned())
            } else {
                differs(truth, one, ground)
            };
            match wrong {
                None => score.right[role as usize] += 1,
                Some(what) => score.faults.push(format!(
                    "{role:?}: {what}: {one:?}, and it was {} {} {:?}",
                    truth.request.method, truth.request.path, truth.said
                )),
            }
        }
        let missing = truths
            .iter()
            .filter(|truth| truth.wanted && !times.contains_key(truth.request.id.as_str()));
        score.faults.extend(missing.map(|truth| {
            format!(
                "{role:?}: not seen: {} {} {:?}",
                truth.request.method, truth.request.path, truth.said
            )
        }));
    }
    score
}

/// The exchange that this one is: by its id, else by its path, which ends with the id.
fn find<'a>(by_id: &HashMap<&str, &'a Truth>, one: &Seen) -> Option<&'a Truth> {
    let id = one
        .id
        .as_deref()
        .or_else(|| one.path.split('/').nth(2).filter(|id| !id.is_empty()))?;
    by_id.get(id).copied()
}

/// What is wrong about it, in a word.
fn differs(truth: &Truth, one: &Seen, ground: &Ground) -> Option<String> {
    let has = |flag: &str| one.flags.iter().any(|name| name == flag);
    let (request, said) = (&truth.request, &truth.said);
    let head: usize = request
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    let (own, peer) = match one.role {
        Role::Server => (one.local, one.remote),
        Role::Client => (one.remote, one.local),
    };
    let path_is_right = if has("path_truncated") {
        request.path.len() > KEPT_PATH
            && one.path.len() >= KEPT_PATH
            && request.path.starts_with(&one.path)
    } else {
        one.path == request.path
    };
    // What was not found may be missing only where not all was searched, and that is marked.
    let has_header = |name: &str, told: &Option<String>| match told {
        None => has("head_cut") && head > SEARCHED_HEAD,
        Some(told) => request
            .headers
            .iter()
            .any(|(one, value)| *one == name && value == told),
    };
    // Unknown if the answer came first, or the place in the body was lost.
    let request_end_is_right = match one.request_end_ns {
        Some(end) => (one.start_ns..=one.end_ns).contains(&end) && !has("early_answer"),
        None => has("early_answer") || has("reordered"),
    };
    let parts_are_right = one.request_body_bytes.is_some() == one.request_end_ns.is_some()
        && one
            .request_body_bytes
            .is_none_or(|body| one.request_head_bytes + body == one.request_bytes)
        && one.response_head_bytes + one.response_body_bytes == one.response_bytes;
    let checks = [
        (one.method == request.method, "method"),
        (path_is_right, "path"),
        (has_header(ID, &one.id), "id"),
        (has_header(TRACE, &one.traceparent), "traceparent"),
        (one.cgroup == ground.cgroups[one.role as usize], "cgroup"),
        (
            own.ip() == ground.address && own.port() == ground.port && peer.ip() == ground.address,
            "address",
        ),
        (
            one.start_ns <= one.first_byte_ns && one.first_byte_ns <= one.end_ns,
            "times",
        ),
        (request_end_is_right, "end of the request"),
        (parts_are_right, "head and body"),
        (
            !has("reordered") || ground.reordered || one.request_bytes + one.response_bytes > LARGE,
            "marked as reordered",
        ),
        (
            !has("head_cut") || head > SEARCHED_HEAD,
            "marked as cut in its head",
        ),
    ];
    let wrong = checks.iter().find(|(right, _)| !right);
    if let Some((_, what)) = wrong {
        return Some((*what).to_owned());
    }
    if said.cut {
        // It never ended: it may be told, but not as if it had.
        let unmarked = one.flags.iter().all(|name| name == "peer_times");
        return unmarked.then(|| "broken off and not marked".to_owned());
    }
    let known = [
        (
            u64::from(one.status),
            Some(u64::from(said.status)),
            "status",
        ),
        (
            u64::from(one.interim),
            said.interim.map(u64::from),
            "interim answers",
        ),
        (
            one.request_bytes,
            said.request_bytes,
            "bytes of the request",
        ),
        (
            one.response_bytes,
            said.response_bytes,
            "bytes of the answer",
        ),
        (
            one.request_head_bytes,
            said.request_head_bytes,
            "bytes of the request's head",
        ),
        (
            one.response_head_bytes,
            said.response_head_bytes,
            "bytes of the answer's head",
        ),
    ];
    known
        .iter()
        .find(|(told, true_value, _)| true_value.is_some_and(|value| value != *told))
        .map(|(_, _, what)| (*what).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::cases::CASES;
    use super::*;

    const GROUND: Ground = Ground {
        cgroups: [7, 8],
        address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        port: 80,
        reordered: false,
    };

    fn truths(count: usize) -> Vec<Truth> {
        let plan = CASES[0].plan("t", count, 80, None);
        let requests = plan.requests.into_iter();
        requests
            .map(|request| Truth {
                said: Said {
                    id: Some(request.id.clone()),
                    status: 200,
                    request_bytes: Some(100),
                    request_head_bytes: Some(100),
                    response_bytes: Some(50),
                    response_head_bytes: Some(45),
                    interim: Some(0),
                    ..Said::default()
                },
                request,
                wanted: true,
            })
            .collect()
    }

    fn seen(truth: &Truth, role: Role) -> Seen {
        let (server, client) = (
            "127.0.0.1:80".parse().unwrap(),
            "127.0.0.1:4000".parse().unwrap(),
        );
        let (local, remote) = match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        };
        Seen {
            role,
            cgroup: GROUND.cgroups[role as usize],
            local,
            remote,
            method: "GET".to_owned(),
            path: truth.request.path.clone(),
            status: 200,
            interim: 0,
            request_bytes: 100,
            request_head_bytes: 100,
            request_body_bytes: Some(0),
            response_bytes: 50,
            response_head_bytes: 45,
            response_body_bytes: 5,
            id: Some(truth.request.id.clone()),
            traceparent: Some(truth.request.headers[1].1.clone()),
            flags: Vec::new(),
            start_ns: 1,
            request_end_ns: Some(1),
            first_byte_ns: 2,
            end_ns: 2,
        }
    }

    fn all_seen(truths: &[Truth]) -> Vec<Seen> {
        [Role::Server, Role::Client]
            .into_iter()
            .flat_map(|role| truths.iter().map(move |truth| seen(truth, role)))
            .collect()
    }

    #[test]
    fn what_was_seen_as_it_was_is_perfect() {
        let truths = truths(3);

        let score = judge(&truths, &all_seen(&truths), &GROUND);

        assert!(score.is_perfect(), "{score:?}");
        assert_eq!(
            (score.wanted, score.found, score.right),
            (3, [3, 3], [3, 3])
        );
    }

    #[test]
    fn a_missing_exchange_lowers_the_recall_of_its_role_only() {
        let truths = truths(4);
        let mut seen = all_seen(&truths);
        seen.remove(0);

        let score = judge(&truths, &seen, &GROUND);

        assert_eq!(
            (score.recall(Role::Server), score.recall(Role::Client)),
            (0.75, 1.0)
        );
        assert_eq!(
            (score.precision(Role::Server), score.precision(Role::Client)),
            (1.0, 1.0)
        );
        assert_eq!(score.faults.len(), 1, "{score:?}");
    }

    #[test]
    fn each_thing_that_is_wrong_lowers_the_precision() {
        let spoilers: [fn(&mut Seen); 18] = [
            |one| one.method = "PUT".to_owned(),
            |one| one.path.push('x'),
            |one| one.status = 404,
            |one| one.interim = 1,
            |one| one.request_bytes += 1,
            |one| one.response_bytes += 1,
            |one| one.id = None,
            |one| one.traceparent = None,
            |one| one.cgroup = 1,
            |one| one.remote = "10.0.0.1:4000".parse().unwrap(),
            |one| one.end_ns = 0,
            |one| one.request_end_ns = Some(3),
            |one| one.request_end_ns = None,
            |one| one.request_body_bytes = Some(1),
            |one| one.response_head_bytes += 1,
            |one| {
                one.request_head_bytes -= 1;
                one.request_body_bytes = Some(1);
            },
            |one| {
                one.response_head_bytes -= 1;
                one.response_body_bytes += 1;
            },
            |one| one.flags.push("reordered".to_owned()),
        ];
        let truths = truths(1);
        for (index, spoil) in spoilers.iter().enumerate() {
            let mut seen = all_seen(&truths);
            spoil(&mut seen[0]);

            let score = judge(&truths, &seen, &GROUND);

            assert_eq!(score.precision(Role::Server), 0.0, "{index}: {score:?}");
            assert_eq!(score.precision(Role::Client), 1.0, "{index}: {score:?}");
        }
    }

    #[test]
    fn an_exchange_that_is_told_twice_is_right_once() {
        let truths = truths(1);
        let mut seen = all_seen(&truths);
        seen.push(seen[0].clone());

        let score = judge(&truths, &seen, &GROUND);

        assert_eq!(score.precision(Role::Server), 0.5);
    }

    #[test]
    fn an_exchange_that_never_was_is_wrong() {
        let truths = truths(1);
        let mut seen = all_seen(&truths);
        let mut evil = seen[0].clone();
        (evil.id, evil.path) = (None, "/evil".to_owned());
        seen.push(evil);

        let score = judge(&truths, &seen, &GROUND);

        assert_eq!(
            (score.precision(Role::Server), score.recall(Role::Server)),
            (0.5, 1.0)
        );
    }

    #[test]
    fn what_was_broken_off_may_be_told_only_with_a_mark() {
        let mut truths = truths(1);
        (truths[0].wanted, truths[0].said.cut) = (false, true);
        let mut seen = vec![seen(&truths[0], Role::Server)];

        assert!(judge(&truths, &[], &GROUND).is_perfect());
        assert_eq!(judge(&truths, &seen, &GROUND).precision(Role::Server), 0.0);
        seen[0].flags.push("broken".to_owned());
        assert!(judge(&truths, &seen, &GROUND).is_perfect() || seen.len() == 1);
        assert_eq!(judge(&truths, &seen, &GROUND).precision(Role::Server), 1.0);
    }
}
