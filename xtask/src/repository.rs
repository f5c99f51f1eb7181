//! Where the repository and what is built from it lie.

use std::env;
use std::path::{Path, PathBuf};

/// The checkout that this xtask belongs to.
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The repository whose xtask is running.
    ///
    /// `cargo run` says at run time where the package is; the path compiled in serves a direct call of the program.
    pub(crate) fn of_this_xtask() -> Self {
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().unwrap_or(&package).to_path_buf();
        Self { root }
    }

    /// The top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The kernel side: a Cargo workspace of its own.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.root.join("ebpf")
    }

    /// The committed object.
    pub(crate) fn prebuilt_object(&self) -> PathBuf {
        self.ebpf().join("prebuilt").join("galileo.bpf.o")
    }

    /// What the committed object was built from and with.
    pub(crate) fn prebuilt_manifest(&self) -> PathBuf {
        self.ebpf().join("prebuilt").join("manifest.json")
    }

    /// The folder that examples refer to for programs, whatever `CARGO_TARGET_DIR` says.
    pub(crate) fn own_target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The folder for build products: `CARGO_TARGET_DIR`, else `target/`.
    pub(crate) fn target(&self) -> PathBuf {
        match env::var_os("CARGO_TARGET_DIR") {
            // A relative path counts from the caller's folder, as cargo takes it.
            Some(folder) if !folder.is_empty() => {
                std::path::absolute(&folder).unwrap_or_else(|_| PathBuf::from(folder))
            }
            _ => self.own_target(),
        }
    }
}
