//! The experiment file, its plan, the platforms and the runner.
