//! The experiment database through its front door: real files, real connections, real processes.

mod concurrency;
mod experiments;
mod export;
mod fixture;
mod killed;
mod opening;
mod recording;
mod round_trip;
