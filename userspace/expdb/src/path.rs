//! Where the database is if nobody says otherwise.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::{Error, Result};

/// `$XDG_DATA_HOME/galileo/galileo.db`, by default `~/.local/share/galileo/galileo.db`.
///
/// # Errors
/// [`Error::NoDataFolder`] if neither `XDG_DATA_HOME` nor `HOME` is an absolute path.
pub fn default_path() -> Result<PathBuf> {
    path_below(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"))
}

/// The XDG base directory specification tells to ignore a relative `XDG_DATA_HOME`.
fn path_below(data_home: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let absolute =
        |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute(data_home)
        .or_else(|| absolute(home).map(|home| home.join(".local/share")))
        .ok_or(Error::NoDataFolder)?;
    Ok(data.join("galileo/galileo.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(data_home: Option<&str>, home: Option<&str>) -> Result<PathBuf> {
        path_below(data_home.map(OsString::from), home.map(OsString::from))
    }

    #[test]
    fn the_data_folder_wins_over_the_home_folder() {
        assert_eq!(
            path(Some("/data"), Some("/home/u")).unwrap(),
            PathBuf::from("/data/galileo/galileo.db")
        );
        assert_eq!(
            path(None, Some("/home/u")).unwrap(),
            PathBuf::from("/home/u/.local/share/galileo/galileo.db")
        );
    }

    #[test]
    fn a_data_folder_that_is_empty_or_relative_is_ignored() {
        for ignored in ["", "data"] {
            assert_eq!(
                path(Some(ignored), Some("/home/u")).unwrap(),
                PathBuf::from("/home/u/.local/share/galileo/galileo.db")
            );
        }
    }

    #[test]
    fn without_a_home_the_error_says_what_to_set() {
        for home in [None, Some("")] {
            let error = path(None, home).unwrap_err();
            assert!(matches!(error, Error::NoDataFolder));
            assert!(error.to_string().contains("HOME"), "{error}");
        }
    }
}
