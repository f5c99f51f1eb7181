//! A hash over all that the object is compiled from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, over the sorted relative paths and the contents of every Rust source, manifest and lock file
/// below `folder`.
///
/// # Errors
///
/// If a folder or file cannot be read.
pub(crate) fn hash(folder: &Path) -> Result<String> {
    let mut paths = Vec::new();
    collect(folder, Path::new(""), &mut paths)?;
    paths.sort();
    let mut hash = Sha256::new();
    for path in &paths {
        let name = path.to_string_lossy();
        let file = folder.join(path);
        let contents =
            fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // Lengths first, so that no two sets of files give the same stream.
        for part in [name.as_bytes(), &contents] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// SHA-256 of `bytes` in hexadecimal.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn collect(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let here = root.join(folder);
    let list = || format!("cannot list {}", here.display());
    for entry in fs::read_dir(&here).with_context(list)? {
        let entry = entry.with_context(list)?;
        let name = entry.file_name();
        let path = folder.join(&name);
        let kind = entry.file_type().with_context(list)?;
        if kind.is_dir() {
            // Build products, wherever a direct call of cargo put them.
            if name != "target" && name != "prebuilt" {
                collect(root, &path, paths)?;
            }
        } else if name == "Cargo.toml"
            || name == "Cargo.lock"
            || path.extension().is_some_and(|end| end == "rs")
        {
            paths.push(path);
        }
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        folder
    }

    fn hash_of(files: &[(&str, &str)]) -> String {
        hash(folder(files).path()).unwrap()
    }

    #[test]
    fn the_same_files_in_another_folder_have_the_same_hash() {
        let files = [
            ("src/main.rs", "fn"),
            ("abi/src/lib.rs", ""),
            ("Cargo.lock", "1"),
        ];
        let mut written_in_another_order = files;
        written_in_another_order.reverse();

        assert_eq!(hash_of(&files), hash_of(&written_in_another_order));
    }

    #[test]
    fn contents_names_and_the_border_between_them_count() {
        let base = hash_of(&[("a.rs", "x")]);

        assert_ne!(base, hash_of(&[("a.rs", "y")]));
        assert_ne!(base, hash_of(&[("b.rs", "x")]));
        assert_ne!(
            hash_of(&[("a.rs", "xb.rs"), ("b.rs", "")]),
            hash_of(&[("a.rs", "x"), ("b.rs", "b.rs")])
        );
    }

    #[test]
    fn build_products_and_texts_do_not_count() {
        let base = hash_of(&[("a.rs", "x")]);

        assert_eq!(
            base,
            hash_of(&[
                ("a.rs", "x"),
                ("target/b.rs", ""),
                ("prebuilt/manifest.json", "{}"),
                ("LICENSE", "")
            ])
        );
    }

    #[test]
    fn a_hash_is_sha_256_in_hexadecimal() {
        // The empty message's digest, FIPS 180-4.
        assert_eq!(
            hash_bytes(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
