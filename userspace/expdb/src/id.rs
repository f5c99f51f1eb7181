//! Ids of experiments.

/// A new id: the minute in local time and four random hexadecimal digits, `YYYYmmddHHMM-xxxx`.
///
/// Of 65,536 ids in the same minute two may be equal: [`Database::create_experiment`](crate::Database::create_experiment)
/// then says so, and the caller asks for another.
#[must_use]
pub fn new_id() -> String {
    format!(
        "{}-{:04x}",
        jiff::ZonedDateTime::now().strftime("%Y%m%d%H%M"),
        rand::random::<u16>()
    )
}
