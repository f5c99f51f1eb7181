//! Kernel images out of Debian's packages, by an apt of its own that touches nothing of this machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::catalog::Kernel;
use super::is_kept;
use crate::process;

/// Debian's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The image of a kernel, from `folder` if it is there, else downloaded. Where no mirror answers, the one that was taken the
/// last time.
pub(crate) fn image(folder: &Path, mirror: Option<&str>, kernel: &Kernel) -> Result<PathBuf> {
    let taken = folder.join(format!("{}-{}.package", kernel.package, kernel.suite));
    let found = Apt::new(folder, mirror, kernel).and_then(|apt| {
        let package = apt.package_with_image(kernel.package)?;
        Ok((apt, package))
    });
    let (apt, package) = match found {
        Ok(found) => found,
        Err(error) => {
            let package = fs::read_to_string(&taken).unwrap_or_default();
            let image = folder.join("images").join(&package);
            if package.is_empty() || !is_kept(&image) {
                return Err(error);
            }
            eprintln!("{error:#}; taking {package}, which is there");
            return Ok(image);
        }
    };
    write(&taken, &package)?;
    let image = folder.join("images").join(&package);
    if is_kept(&image) {
        eprintln!("{package} is there");
        return Ok(image);
    }
    eprintln!("downloading {package}");
    let unpacked = apt.download(&package)?;
    let found = find_image(&unpacked)
        .with_context(|| format!("the package {package} has no kernel image"))?;
    fs::create_dir_all(folder.join("images"))
        .with_context(|| format!("cannot create {}/images", folder.display()))?;
    fs::rename(&found, &image).with_context(|| format!("cannot move {}", found.display()))?;
    fs::remove_dir_all(&unpacked)
        .with_context(|| format!("cannot remove {}", unpacked.display()))?;
    Ok(image)
}

/// An apt that knows one suite on one architecture.
struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    /// Writes its configuration and fetches the lists.
    fn new(folder: &Path, mirror: Option<&str>, kernel: &Kernel) -> Result<Self> {
        let mirror = match mirror {
            Some(mirror) => mirror.to_owned(),
            None => own_mirror()?,
        };
        let architecture = kernel.architecture.debian();
        let folder = folder
            .join("apt")
            .join(format!("{}-{architecture}", kernel.suite));
        for part in [
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "lib/lists/partial",
            "cache/archives/partial",
        ] {
            let part = folder.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        write(
            &folder.join("etc/apt/sources.list"),
            &format!("deb [signed-by={KEYRING}] {mirror} {} main\n", kernel.suite),
        )?;
        // What apt has installed: nothing.
        write(&folder.join("status"), "")?;
        let configuration = folder.join("apt.conf");
        let root = folder.display();
        write(
            &configuration,
            &format!(
                "Dir::Etc \"{root}/etc/apt\";\n\
                 Dir::State \"{root}/lib\";\n\
                 Dir::State::status \"{root}/status\";\n\
                 Dir::Cache \"{root}/cache\";\n\
                 APT::Architecture \"{architecture}\";\n\
                 APT::Architectures {{ \"{architecture}\"; }};\n\
                 Acquire::Languages \"none\";\n\
                 // Mirrors that are frozen at some day do not renew what is signed for a week.\n\
                 Acquire::Check-Valid-Until \"false\";\n\
                 APT::Sandbox::User \"\";\n"
            ),
        )?;
        let apt = Self {
            folder,
            configuration,
        };
        process::output(apt.command("apt-get").args(["update", "--quiet"]))?;
        Ok(apt)
    }

    /// The package that has the kernel's image: `package`, or one that it depends on.
    fn package_with_image(&self, package: &str) -> Result<String> {
        let mut package = package.to_owned();
        loop {
            let text = process::output(self.command("apt-cache").args(["depends", &package]))?;
            match needed(&text) {
                Some(needed) => package = needed.to_owned(),
                None => return Ok(package),
            }
        }
    }

    /// Downloads and unpacks a package; returns the folder in which it lies now.
    fn download(&self, package: &str) -> Result<PathBuf> {
        let folder = self.folder.join("download");
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let unpacked = folder.join("unpacked");
        fs::create_dir_all(&unpacked)
            .with_context(|| format!("cannot create {}", unpacked.display()))?;
        process::output(
            self.command("apt-get")
                .args(["download", "--quiet", package])
                .current_dir(&folder),
        )?;
        let archive = first(&folder, |name| name.ends_with(".deb"))
            .with_context(|| format!("apt-get download {package} left no package"))?;
        process::output(
            Command::new("dpkg-deb")
                .arg("--extract")
                .args([&archive, &unpacked]),
        )?;
        Ok(folder)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", &self.configuration)
            .env("LC_ALL", "C");
        command
    }
}

/// The mirror of Debian in this machine's apt sources.
fn own_mirror() -> Result<String> {
    let text = process::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let mirror = text
        .lines()
        .find_map(|line| line.strip_prefix("Debian "))
        .context("this machine's apt knows no mirror of Debian: name one with --mirror")?;
    Ok(mirror.to_owned())
}

/// In what `apt-cache depends` says: the package behind a metapackage, or the one that a package's image moved to.
fn needed(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-") || name.starts_with("linux-binary-"))
}

/// The image in an unpacked package: `/boot/vmlinuz-VERSION`, or `/usr/lib/modules/VERSION/vmlinuz`.
fn find_image(folder: &Path) -> Result<PathBuf> {
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("cannot look at {}", entry.path().display()))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with("vmlinuz") {
                return Ok(entry.path());
            }
        }
    }
    bail!("there is no file vmlinuz")
}

fn first(folder: &Path, fits: impl Fn(&str) -> bool) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .find(|entry| fits(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metapackage_leads_to_the_package_with_the_image() {
        let meta = "linux-image-cloud-amd64\n  Depends: linux-image-6.12.1-cloud-amd64\n";
        assert_eq!(needed(meta), Some("linux-image-6.12.1-cloud-amd64"));
        let split = "linux-image-7.2-cloud-amd64\n |Depends: dracut\n  Depends: initramfs-tools\n  \
                     Depends: linux-base-7.2-cloud-amd64\n  Depends: linux-binary-7.2-cloud-amd64\n";
        assert_eq!(needed(split), Some("linux-binary-7.2-cloud-amd64"));
        let whole = "linux-image-5.10.0-32-cloud-amd64\n  Depends: kmod\n  Depends: linux-base\n";
        assert_eq!(needed(whole), None);
    }

    #[test]
    fn the_image_is_found_in_either_place() {
        for place in ["boot/vmlinuz-6.1", "usr/lib/modules/7.2/vmlinuz"] {
            let folder = tempfile::tempdir().unwrap();
            let image = folder.path().join(place);
            fs::create_dir_all(image.parent().unwrap()).unwrap();
            fs::write(&image, "kernel").unwrap();

            assert_eq!(find_image(folder.path()).unwrap(), image);
        }
    }
}
