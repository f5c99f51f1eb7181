//! The experiment database of Galileo: one SQLite file that holds experiments and their records.
//!
//! ```
//! # async fn example() -> galileo_expdb::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("galileo.db");
//! use galileo_expdb::{Database, Event, Limits, New, Record, Status, new_id};
//! use galileo_wire::{WallClock, clock::boot_ns};
//!
//! let database = Database::open(path).await?; // or galileo_expdb::default_path()?
//! let (id, clock) = (new_id(), WallClock::now());
//! let (name, creator) = ("quickstart".to_owned(), "me".to_owned());
//! database.create_experiment(&New { id: id.clone(), name, creator, created_ns: boot_ns(), clock }).await?;
//! database.set_running(&id, boot_ns()).await?;
//!
//! let recorder = database.recorder(&id, clock, Limits::default()).await?;
//! recorder.sender().record(Record::Event(Event { at_ns: boot_ns(), name: "begin".to_owned(), value: None }));
//! let written = recorder.finish().await;
//! assert_eq!((written.events, written.dropped()), (1, 0));
//!
//! database.finish(&id, Status::Finished, boot_ns()).await?;
//! assert_eq!(database.resolve("last").await?, id);
//! assert_eq!(database.events(&id).await?[0].name, "begin");
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
//!
//! Tables and columns in upper case are those of the original galileo-db; `migrations/` tells what each means.
//!
//! Reading order: [`path`](default_path), `schema`, `database`, `experiment`, `metadata`, `record`, `recorder`, `writer`,
//! `tables`, `records`, `export`.

#![forbid(unsafe_code)]

mod database;
mod error;
mod experiment;
mod export;
mod id;
mod ledger;
mod metadata;
mod path;
mod record;
mod recorder;
mod records;
mod schema;
mod tables;
mod writer;

pub use database::Database;
pub use error::{Error, Result};
pub use experiment::{Counts, Experiment, New, Status};
pub use export::{Exported, ExportedFile, Format};
pub use id::new_id;
pub use path::default_path;
pub use record::{Event, Kind, Limits, Record};
pub use recorder::{RecordSender, Recorder, Written};
