//! Hand-made records with known answers.

mod insight;
mod records;
mod results;
