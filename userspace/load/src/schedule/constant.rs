//! Evenly spaced requests, dealt to the clients in turn.

use super::Due;
use crate::rate::Rate;

#[derive(Debug)]
pub(super) struct Constant {
    rate: Rate,
    clients: u32,
    k: u64,
}

impl Constant {
    pub(super) fn new(rate: Rate, clients: u32) -> Self {
        Self {
            rate,
            clients,
            k: 0,
        }
    }

    pub(super) fn next(&mut self) -> Due {
        let k = self.k;
        self.k += 1;
        let clients = u64::from(self.clients);
        // The remainder of a division by a u32 fits into one.
        Due {
            offset_ns: self.rate.offset_ns(k),
            client: (k % clients) as u32,
            nth: k / clients,
        }
    }
}
