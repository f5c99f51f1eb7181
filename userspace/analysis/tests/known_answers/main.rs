//! Hand-made records with known answers.

mod insight;
mod ledgers;
mod records;
mod results;
