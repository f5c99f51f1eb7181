//! Independent Poisson streams, one per client, merged in time order.
//!
//! The derivation is part of the format: a seed written into an experiment file gives the same requests in years to come
//! and on every machine.
//!
//! * The generator of a client is `ChaCha8` with a 32-byte key of the 16 bytes `galileo arrivals`, the seed as 8 bytes little
//!   endian, and the phase as 8 bytes little endian (1 for the warm-up, 0 for every other phase); the stream number (nonce)
//!   is the client index, the block counter starts at 0.
//! * Each gap takes one `next_u64`: u = (its upper 53 bits + 1) / 2⁵³, which lies in (0, 1]; the gap is −ln(u) × mean gap of
//!   the client, rounded to a whole nanosecond. The logarithm is that of the `libm` crate, whose result does not depend on
//!   the platform's C library.
//! * A client's first request comes after one gap, as the process has no memory of what was before.

use std::{cmp::Reverse, collections::BinaryHeap};

use galileo_wire::Phase;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::Due;
use crate::rate::Rate;

#[derive(Debug)]
pub(super) struct Poisson {
    /// The next request of each client; the earliest first, ties by client index.
    upcoming: BinaryHeap<Reverse<Due>>,
    generators: Vec<ChaCha8Rng>,
    mean_gap_ns: f64,
}

impl Poisson {
    pub(super) fn new(rate: Rate, clients: u32, seed: u64, phase: Phase) -> Self {
        let mean_gap_ns = rate.client_gap_ns(clients);
        let mut generators: Vec<_> = (0..clients)
            .map(|client| generator(seed, client, phase))
            .collect();
        let upcoming = generators
            .iter_mut()
            .zip(0..)
            .map(|(generator, client)| {
                Reverse(Due {
                    offset_ns: gap_ns(generator, mean_gap_ns),
                    client,
                    nth: 0,
                })
            })
            .collect();
        Self {
            upcoming,
            generators,
            mean_gap_ns,
        }
    }

    pub(super) fn next(&mut self) -> Due {
        let mut earliest = self
            .upcoming
            .peek_mut()
            .expect("there is at least one client and each always has a next request");
        let due = earliest.0;
        let generator = &mut self.generators[due.client as usize];
        earliest.0.offset_ns = due
            .offset_ns
            .saturating_add(gap_ns(generator, self.mean_gap_ns));
        earliest.0.nth += 1;
        due
    }
}

fn generator(seed: u64, client: u32, phase: Phase) -> ChaCha8Rng {
    let mut key = *b"galileo arrivals................";
    key[16..24].copy_from_slice(&seed.to_le_bytes());
    key[24..32].copy_from_slice(&u64::from(phase == Phase::Warmup).to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(client.into());
    generator
}

fn gap_ns(generator: &mut ChaCha8Rng, mean_gap_ns: f64) -> u64 {
    let uniform = ((generator.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    // Never negative; the cast saturates.
    libm::round(-libm::log(uniform) * mean_gap_ns) as u64
}
