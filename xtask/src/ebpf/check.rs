//! Whether the committed object is what its sources compile to.

use std::fs;

use anyhow::{Context, Result, bail};

use super::compile::{self, Kind};
use super::compilers::Compilers;
use super::manifest::Manifest;
use super::{Strictness, source, write};
use crate::process;
use crate::repository::Repository;

const REBUILD: &str = "run `cargo xtask ebpf` and commit ebpf/prebuilt";

/// Compares the committed object with its manifest, its sources and, where the compilers allow it, a new build.
///
/// # Errors
///
/// If they differ, or with [`Strictness::Strict`] if they could not be compared in full.
pub(crate) fn run(repository: &Repository, strictness: Strictness) -> Result<()> {
    let path = repository.prebuilt_object();
    let committed =
        fs::read(&path).with_context(|| format!("cannot read {}; {REBUILD}", path.display()))?;
    let manifest = Manifest::read(&repository.prebuilt_manifest()).context(REBUILD)?;
    matches_manifest(&manifest, &committed, &source::hash(&repository.ebpf())?)?;

    let found = match Compilers::find() {
        Ok(found) if found == manifest.compilers => return rebuild(repository, &committed),
        Ok(found) => format!("here is {found}"),
        Err(error) => format!("{error:#}"),
    };
    let unchecked = format!("not rebuilt: needs {}; {found}", manifest.compilers);
    if strictness == Strictness::Strict {
        bail!(unchecked);
    }
    eprintln!("the object's sources are unchanged since it was built\n{unchecked}");
    Ok(())
}

fn matches_manifest(manifest: &Manifest, object: &[u8], source_sha256: &str) -> Result<()> {
    if manifest.object_sha256 != source::hash_bytes(object) {
        bail!("the object is not the one that its manifest describes; {REBUILD}");
    }
    if manifest.source_sha256 != source_sha256 {
        bail!("the sources in ebpf/ changed after the object was built; {REBUILD}");
    }
    Ok(())
}

fn rebuild(repository: &Repository, committed: &[u8]) -> Result<()> {
    process::announce("compiling the eBPF object again");
    let object = compile::compile(repository, Kind::Release)?;
    if object == committed {
        eprintln!("the rebuilt object is the committed one, byte for byte");
        return Ok(());
    }
    let kept = Kind::Release.target(repository).join("rebuilt.bpf.o");
    write(&kept, &object)?;
    bail!(
        "the rebuilt object differs from the committed one (it is kept as {}); {REBUILD}",
        kept.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(object: &[u8]) -> Manifest {
        let compilers = Compilers {
            rustc: "rustc 0.0.0".into(),
            bpf_linker: "bpf-linker 0.0.0".into(),
        };
        Manifest::new("source".into(), compilers, object)
    }

    #[test]
    fn an_object_with_unchanged_sources_matches() {
        matches_manifest(&manifest(b"object"), b"object", "source").unwrap();
    }

    #[test]
    fn an_object_that_was_exchanged_is_told_from_changed_sources() {
        let exchanged = matches_manifest(&manifest(b"object"), b"other", "source").unwrap_err();
        let changed = matches_manifest(&manifest(b"object"), b"object", "other").unwrap_err();

        assert!(
            exchanged
                .to_string()
                .contains("not the one that its manifest"),
            "{exchanged}"
        );
        assert!(
            changed.to_string().contains("sources in ebpf/ changed"),
            "{changed}"
        );
    }
}
