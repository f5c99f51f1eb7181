//! The file system that a kernel starts with: a cpio archive of the format "newc" (Documentation/driver-api/early-userspace/
//! buffer-format.rst).

use std::io::Write;

/// File types and permissions, `st_mode`.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

/// An archive with `init` as the first process, and these files in folders of their own.
pub(crate) fn with<'a>(
    init: &[u8],
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.add("dev", FOLDER, (0, 0), &[]);
    // The kernel opens it as the first process' input and output, before anything is mounted.
    archive.add("dev/console", DEVICE, (5, 1), &[]);
    archive.add("init", PROGRAM, (0, 0), init);
    for (path, content) in files {
        let path = path.trim_start_matches('/');
        // A folder that is there already stays as it is.
        for (end, _) in path.match_indices('/') {
            archive.add(&path[..end], FOLDER, (0, 0), &[]);
        }
        archive.add(path, PROGRAM, (0, 0), content);
    }
    archive.add("TRAILER!!!", 0, (0, 0), &[]);
    archive.bytes
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            write!(self.bytes, "{field:08x}").expect("memory takes every byte");
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn what_is_packed_is_what_cpio_unpacks() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("/object", &b"12345"[..]), ("/a/b/library", b"678")];
        let archive = with(b"program", files);
        let mut cpio = Command::new("cpio")
            .args(["--extract", "--quiet", "--nonmatching", "dev/console"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(cpio.wait().unwrap().success());

        let read = |name: &str| {
            let mut text = String::new();
            let mut file = std::fs::File::open(folder.path().join(name)).unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        let unpacked = ["init", "object", "a/b/library"].map(read);
        assert_eq!(unpacked, ["program", "12345", "678"]);
    }
}
