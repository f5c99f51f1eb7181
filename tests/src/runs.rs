//! Whole runs of the program `galileo`, as its users start them.
//!
//! Reading order: [`place`] (a folder with a database, and the program that uses it), [`started`] (a program under way),
//! [`stored`] (what a run left in the database), [`excuse`] (why it need not be valid), [`left`] (what it must not leave), [`program`] (where the programs are),
//! [`machine`] (one at a time).

pub mod excuse;
pub mod left;
pub mod machine;
pub mod place;
pub mod program;
pub mod started;
pub mod stored;

pub use excuse::Excuse;
pub use machine::{Alone, alone};
pub use place::Place;
pub use started::{Said, Started};
pub use stored::Stored;
