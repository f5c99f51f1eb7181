//! The compiled eBPF programs.

use std::{borrow::Cow, env, fs, path::PathBuf};

use crate::Error;

/// The object as it was committed, aligned as an ELF reader wants it.
static EMBEDDED: &[u8] = aya::include_bytes_aligned!("../../../ebpf/prebuilt/galileo.bpf.o");

/// Names another object to load, for instance one that `cargo xtask ebpf --debug` made.
const VARIABLE: &str = "GALILEO_EBPF_OBJECT";

/// The object to load.
pub(crate) fn bytes() -> Result<Cow<'static, [u8]>, Error> {
    let Some(path) = env::var_os(VARIABLE).map(PathBuf::from) else {
        return Ok(Cow::Borrowed(EMBEDDED));
    };
    match fs::read(&path) {
        Ok(bytes) => Ok(Cow::Owned(bytes)),
        Err(source) => Err(Error::Object { path, source }),
    }
}
