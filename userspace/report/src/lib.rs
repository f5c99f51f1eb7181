//! The terminal summary and the HTML report of a run.
