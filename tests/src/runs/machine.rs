//! One run at a time: runs load the CPUs, and what is measured there.

use std::fs::File;

/// Keeps other tests of this kind waiting while it lives, those of other programs included.
#[derive(Debug)]
pub struct Alone {
    // The lock goes with the file, also if the test fails.
    _file: File,
}

/// Waits until no other test has the machine.
///
/// # Panics
///
/// If the folder of the test programs cannot be written to.
#[must_use]
pub fn alone() -> Alone {
    let path = super::program::folder().join("machine.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
    file.lock()
        .unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    Alone { _file: file }
}
