//! The terminal summary and the HTML report of a run: the four questions, each answered in a sentence with numbers
//! first, then the figures behind it.
//!
//! Measures and computes nothing: all figures come from `galileo-analysis`. Does no I/O: both give a string.
//!
//! ```
//! use galileo_report::{html, terminal};
//! # use galileo_analysis::{Insight, RunResult};
//! # fn both(result: &RunResult, insight: &Insight, capture: &galileo_wire::Capture) -> (String, String) {
//! let summary = terminal::summary(result, insight, capture, 80, false);
//! let page = html::page(result, insight, capture, &[]);
//! # (summary, page)
//! # }
//! ```
//!
//! Reading order: [`numbers`] (how figures are written), `answers` (the sentences), `measuring` (what is told of the
//! measuring itself), `tables` (what both outputs
//! tabulate), [`terminal`], [`html`].

#![forbid(unsafe_code)]

mod answers;
pub mod html;
mod measuring;
pub mod numbers;
mod sentences;
mod tables;
pub mod terminal;
