//! Cells that are known not to be perfect, each with the reason and a bound. They are printed into the page, and only they
//! may fail, and only in their recall.

use super::client::Client;
use super::judge::Score;
use super::server::Server;
use super::watcher::Role;

/// One or several cells.
pub(super) struct Exception {
    /// None: every server.
    pub server: Option<Server>,
    /// None: every client.
    pub client: Option<Client>,
    pub case: &'static str,
    /// What must be found in either role nevertheless.
    pub least_recall: f64,
    pub reason: &'static str,
}

/// Every exception.
pub(super) const EXCEPTIONS: &[Exception] = &[Exception {
    server: None,
    client: None,
    case: "reordered-heads",
    least_recall: 0.97,
    reason: "Of what overtakes a missing part of a head, four runs of 1,536 bytes are kept (`ebpf/core/src/order.rs`), and a run of the \
             programs makes 33 tail calls at most. The largest of forty heads has 7 kB: if its first segment comes last, the others do not \
             fit, and it is given up and counted.",
}];

impl Exception {
    fn is_for(&self, server: Server, client: Client, case: &str) -> bool {
        self.case == case
            && self.server.is_none_or(|one| one == server)
            && self.client.is_none_or(|one| one == client)
    }

    fn excuses(&self, score: &Score) -> bool {
        score.is_precise()
            && [Role::Server, Role::Client]
                .into_iter()
                .all(|role| score.recall(role) >= self.least_recall)
    }
}

/// Whether what came out of a cell is a known exception.
pub(super) fn excuse(server: Server, client: Client, case: &str, score: &Score) -> bool {
    EXCEPTIONS
        .iter()
        .any(|exception| exception.is_for(server, client, case) && exception.excuses(score))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excused(case: &str, found: u64, right: u64) -> bool {
        let score = Score {
            wanted: 1000,
            found: [found; 2],
            seen: [found; 2],
            right: [right; 2],
            ..Score::default()
        };
        excuse(Server::Go, Client::Curl, case, &score)
    }

    #[test]
    fn only_little_of_the_recall_is_excused_and_only_where_it_is_known() {
        assert!(excused("reordered-heads", 995, 995));
        assert!(!excused("reordered-heads", 965, 965));
        assert!(!excused("reordered-heads", 995, 994));
        assert!(!excused("keep-alive", 995, 995));
    }
}
