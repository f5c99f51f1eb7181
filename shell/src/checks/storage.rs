//! The experiment database and the room for it.

use std::path::{Path, PathBuf};

use galileo_expdb::Database;
use galileo_report::numbers;
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use super::{Check, State};

const NAME: &str = "database";
/// A minute at 10,000 requests a second is about this large.
const LITTLE_BYTES: u64 = 500 << 20;

pub(super) async fn database(path: &Path) -> Check {
    let blocks = |why: String| {
        Check::lacks(
            NAME,
            State::Blocks,
            format!("{} cannot be used", path.display()),
            why,
            "mend that, or name another file with --db FILE or GALILEO_DB",
        )
    };
    if path.exists() {
        return match Database::open(path).await {
            Ok(database) => {
                let size = database.size_bytes().map_or(0, |size| size);
                database.close().await;
                Check::works(
                    NAME,
                    format!("{}, {}", path.display(), numbers::bytes(size)),
                )
            }
            Err(error) => blocks(error.to_string()),
        };
    }
    let folder = existing(path);
    match accessat(
        CWD,
        &folder,
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    ) {
        Ok(()) => Check::works(NAME, format!("{} (made by the first run)", path.display())),
        Err(error) => blocks(format!("{}: {error}", folder.display())),
    }
}

pub(super) fn space(database: &Path) -> Option<Check> {
    let folder = existing(database);
    let found = statvfs(&folder).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let told = format!("{} free for it", numbers::bytes(free));
    Some(if free >= LITTLE_BYTES {
        Check::works("disk", told)
    } else {
        Check::lacks(
            "disk",
            State::Note,
            told,
            "a minute at 10,000 requests a second takes about 500 MB",
            "galileo clean --older-than 30d",
        )
    })
}

/// The nearest folder above that exists.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .ancestors()
        .skip(1)
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned()
}
