//! What the committed object says about itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::compilers::Compilers;
use super::source;

/// `ebpf/prebuilt/manifest.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Hash of the sources ([`source::hash`]).
    pub(crate) source_sha256: String,
    /// What compiled them.
    #[serde(flatten)]
    pub(crate) compilers: Compilers,
    /// Hash of the object's bytes.
    pub(crate) object_sha256: String,
}

impl Manifest {
    /// The manifest of `object`, compiled from sources with the hash `source_sha256`.
    pub(crate) fn new(source_sha256: String, compilers: Compilers, object: &[u8]) -> Self {
        Self {
            source_sha256,
            compilers,
            object_sha256: source::hash_bytes(object),
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no manifest.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no manifest", path.display()))
    }

    /// The file's contents.
    ///
    /// # Errors
    ///
    /// None that these types can cause.
    pub(crate) fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("cannot write the manifest")?;
        text.push('\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let compilers = Compilers {
            rustc: "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)".into(),
            bpf_linker: "bpf-linker 0.10.3".into(),
        };
        let manifest = Manifest::new("aa".into(), compilers, b"object");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), manifest.to_json().unwrap()).unwrap();

        assert_eq!(Manifest::read(file.path()).unwrap(), manifest);
    }
}
