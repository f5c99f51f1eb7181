//! The program as its users run it, without a run: those are in the workspace's `tests/`.

mod checking;
mod files;
mod fixture;
mod help;
mod pipes;
mod program;
mod recording;
mod stored;
