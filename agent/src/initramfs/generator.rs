//! The program that makes the initramfs of a kernel.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dkms_engine::command::{Confined, find_program};
use dkms_engine::root::Root;

/// How long a generator may take.
const LIMIT: Duration = Duration::from_secs(900);
/// What is kept of its output.
const OUTPUT_MAX_BYTES: u64 = 1 << 20;

/// A command that makes an image again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generator {
    command: Vec<String>,
    /// The image, as the machine calls it; none where the command makes several.
    image: Option<PathBuf>,
}

impl Generator {
    /// That of a kernel's image; none where there is no image of a usual name, or no program that made it.
    pub fn of(root: &Root, release: &str) -> Option<Self> {
        let image = |name: &str| {
            let path = Path::new("/boot").join(format!("{name}-{release}"));
            root.join(&path).exists().then_some(path)
        };
        let has = |program: &str| find_program(root, program).is_some();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let of_debian = image("initrd.img");
        if of_debian.is_some() && has("update-initramfs") {
            return Some(Self {
                command: words(&["update-initramfs", "-u", "-k", release]),
                image: of_debian,
            });
        }
        let of_fedora = Path::new("/boot").join(format!("initramfs-{release}.img"));
        let of_fedora = root.join(&of_fedora).exists().then_some(of_fedora);
        // The last one is SUSE's.
        if let Some(image) = of_debian.or(of_fedora).or_else(|| image("initrd"))
            && has("dracut")
        {
            return Some(Self {
                command: words(&["dracut", "--force", &image.to_string_lossy(), release]),
                image: Some(image),
            });
        }
        (root.join("/etc/mkinitcpio.d").is_dir() && has("mkinitcpio")).then(|| Self {
            command: words(&["mkinitcpio", "-P"]),
            image: None,
        })
    }

    /// The command, to be shown.
    pub fn shown(&self) -> String {
        self.command.join(" ")
    }

    /// Runs it. It is not ended in the middle of its work: some generators write the image in its place.
    ///
    /// # Errors
    /// What it says where it fails, or that it did not write the image.
    pub fn run(&self, root: &Root) -> Result<(), String> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(());
        };
        let before = self.state(root);
        let output = Confined::new(program)
            .args(arguments)
            .chroot((!root.is_host()).then(|| root.path()))
            .time_limit(LIMIT)
            .uninterruptible()
            .output(OUTPUT_MAX_BYTES)
            .map_err(|error| error.to_string())?;
        if output.ended.timed_out {
            return Err(format!("it did not end within {} s", LIMIT.as_secs()));
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let said = || last.unwrap_or("it says nothing").chars().take(300).collect::<String>();
        if !output.ended.status.success() {
            return Err(said());
        }
        // update-initramfs ends well where /boot is read-only.
        if before.is_some() && before == self.state(root) {
            return Err(format!("it ended well, and the image is not a new one: {}", said()));
        }
        Ok(())
    }

    /// What tells one image from the next.
    fn state(&self, root: &Root) -> Option<(u64, u64, i64, i64)> {
        let about = fs::metadata(root.join(self.image.as_ref()?)).ok()?;
        Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::put_program;

    #[test]
    fn the_program_is_the_one_that_made_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let put = |path: &str| put_program(dir.path(), path);
        let remove = |path: &str| fs::remove_file(dir.path().join(path)).unwrap();
        let check = |expected: Option<&str>| {
            let found = Generator::of(&root, "6.1.0").map(|generator| generator.shown());
            assert_eq!(found.as_deref(), expected);
        };
        check(None);
        put("usr/sbin/update-initramfs");
        put("usr/bin/dracut");
        check(None);
        put("boot/initrd-6.1.0");
        check(Some("dracut --force /boot/initrd-6.1.0 6.1.0"));
        put("boot/initramfs-6.1.0.img");
        check(Some("dracut --force /boot/initramfs-6.1.0.img 6.1.0"));
        put("boot/initrd.img-6.1.0");
        check(Some("update-initramfs -u -k 6.1.0"));
        put("etc/mkinitcpio.d/linux.preset");
        put("usr/bin/mkinitcpio");
        check(Some("update-initramfs -u -k 6.1.0"));
        remove("usr/sbin/update-initramfs");
        check(Some("dracut --force /boot/initrd.img-6.1.0 6.1.0"));
        for gone in ["boot/initrd.img-6.1.0", "boot/initramfs-6.1.0.img", "boot/initrd-6.1.0"] {
            remove(gone);
        }
        check(Some("mkinitcpio -P"));
    }

    #[test]
    fn a_program_that_writes_no_image_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::write(&image, "old").unwrap();
        let run = |script: &str| {
            let generator = Generator {
                command: ["sh", "-c", script, "sh", &image.to_string_lossy()]
                    .map(str::to_owned)
                    .to_vec(),
                image: Some(image.clone()),
            };
            generator.run(&Root::host())
        };
        let said = run("echo /boot is ro mounted >&2").unwrap_err();
        assert_eq!(
            said,
            "it ended well, and the image is not a new one: /boot is ro mounted"
        );
        assert_eq!(run("echo no space >&2; exit 1").unwrap_err(), "no space");
        run("echo new >$1.new; mv $1.new $1").unwrap();
    }
}
