//! End-to-end tests with real probes and real servers, and their harness.
