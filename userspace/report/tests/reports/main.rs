//! Both reports of a made-up run.

mod fixture;
mod page;
mod summary;
