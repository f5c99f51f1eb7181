//! What machine this is.

use std::{fs, path::Path};

use rustix::{param::page_size, system::uname};
use serde_json::json;

use crate::report::Report;

/// Tells the kernel's version and what matters to eBPF on it.
pub(crate) fn report() {
    let name = uname();
    let number = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    Report::line(&json!({
        "finding": "machine",
        "release": name.release().to_string_lossy(),
        "machine": name.machine().to_string_lossy(),
        "page_bytes": page_size(),
        "kernel_btf": Path::new("/sys/kernel/btf/vmlinux").exists(),
        "jit": number("/proc/sys/net/core/bpf_jit_enable"),
    }));
}
