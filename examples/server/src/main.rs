//! A small HTTP server with a known amount of work per request, for the examples.

fn main() {}
