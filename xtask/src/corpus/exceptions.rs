//! Cells that are known not to be perfect, each with the reason. They are printed into the page, and only they may fail.

use super::client::Client;
use super::server::Server;

/// One or several cells.
pub(super) struct Exception {
    /// None: every server.
    pub server: Option<Server>,
    /// None: every client.
    pub client: Option<Client>,
    pub case: &'static str,
    pub reason: &'static str,
}

/// Every exception.
pub(super) const EXCEPTIONS: &[Exception] = &[];

/// The exception that a cell is.
pub(super) fn find(server: Server, client: Client, case: &str) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|exception| {
        exception.case == case
            && exception.server.is_none_or(|one| one == server)
            && exception.client.is_none_or(|one| one == client)
    })
}
