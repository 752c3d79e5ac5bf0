//! A driver disk of Anaconda, the installer of Fedora and RHEL: `rhdd3` with what a person reads, and below `rpms` a repository of packages for
//! each architecture, in a file system with the label OEMDRV.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dkms_engine::command::{Confined, find_program};
use dkms_engine::root::Root;

use super::error::ExportError;
use super::source::{Made, Settings};
use crate::files::{self, FileError};

/// The label by which the installer finds the disk by itself.
pub const LABEL: &str = "OEMDRV";
/// Of what a program says only the end is shown.
const SAID_MAX_BYTES: u64 = 64 << 10;
/// Programs that behave as mkisofs, with the words that make them do so.
const IMAGE_TOOLS: [(&str, &[&str]); 3] = [("xorriso", &["-as", "mkisofs"]), ("genisoimage", &[]), ("mkisofs", &[])];

/// What is on a driver disk.
#[derive(Debug, Clone, Copy)]
pub struct DriverDisk<'a> {
    /// The line that the installer shows.
    pub description: &'a str,
    /// The packages, each with its architecture as `uname -m` says it.
    pub packages: &'a [(String, Made)],
}

impl DriverDisk<'_> {
    /// Where a package is on the disk.
    pub fn place(arch: &str, made: &Made) -> String {
        format!("rpms/{arch}/{}", made.file_name)
    }

    /// Whether there is what a disk at `out` is made with.
    ///
    /// # Errors
    /// When a program is missing, or the directory has something in it.
    pub fn check(out: &Path) -> Result<(), ExportError> {
        metadata_tool()?;
        if is_image(out) {
            return image_tool().map(drop);
        }
        match fs::read_dir(out).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err(ExportError::Taken { path: out.to_owned() }),
            Ok(false) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(FileError::on("read", out)(error).into()),
        }
    }

    /// Writes the disk to the new or empty directory `out`, or makes the image `out` where its name ends in `.iso`. It is there when it is whole.
    ///
    /// # Errors
    /// When it cannot be written, or a program fails.
    pub fn write(&self, out: &Path, settings: &Settings) -> Result<(), ExportError> {
        Self::check(out)?;
        let parent = out.parent().filter(|dir| !dir.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        files::create_dir(parent)?;
        // The programs run in another directory.
        let parent = fs::canonicalize(parent).map_err(FileError::on("read", parent))?;
        let scratch = tempfile::Builder::new()
            .prefix(files::TEMPORARY)
            .tempdir_in(&parent)
            .map_err(FileError::on("create a directory in", &parent))?;
        let disk = scratch.path().join("disk");
        self.fill(&disk, settings)?;
        if is_image(out) {
            let image = scratch.path().join("image.iso");
            make_image(&disk, &image, settings)?;
            return fs::rename(&image, out).map_err(|error| FileError::on("write", out)(error).into());
        }
        if out.is_dir() {
            fs::remove_dir(out).map_err(FileError::on("replace", out))?;
        }
        fs::rename(&disk, out).map_err(|error| FileError::on("write", out)(error).into())
    }

    fn fill(&self, disk: &Path, settings: &Settings) -> Result<(), ExportError> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(settings.time_s));
        files::create_dir(disk)?;
        files::write_atomic(&disk.join("rhdd3"), format!("{}\n", self.description).as_bytes())?;
        for (arch, made) in self.packages {
            files::write_atomic(&disk.join(Self::place(arch, made)), &made.bytes)?;
        }
        // The metadata of the repository has the time of the packages, and the image has all times.
        set_times(disk, time)?;
        let archs: BTreeSet<&str> = self.packages.iter().map(|(arch, _)| arch.as_str()).collect();
        for arch in archs {
            make_metadata(&disk.join("rpms").join(arch), settings)?;
        }
        set_times(disk, time)
    }
}

/// Gives the directory and all that is in it this time.
fn set_times(dir: &Path, time: SystemTime) -> Result<(), ExportError> {
    for entry in fs::read_dir(dir).map_err(FileError::on("read", dir))? {
        let path = entry.map_err(FileError::on("read", dir))?.path();
        if path.is_dir() {
            set_times(&path, time)?;
        } else {
            let set = fs::File::open(&path).and_then(|file| file.set_modified(time));
            set.map_err(FileError::on("write", &path))?;
        }
    }
    let set = fs::File::open(dir).and_then(|file| file.set_modified(time));
    Ok(set.map_err(FileError::on("write", dir))?)
}

/// Whether a disk at `out` is an image.
fn is_image(out: &Path) -> bool {
    out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("iso"))
}

fn metadata_tool() -> Result<PathBuf, ExportError> {
    find_program(&Root::host(), "createrepo_c").ok_or(ExportError::NoProgram {
        what: "the metadata of the packages on a driver disk",
        program: "createrepo_c",
        package: "createrepo-c",
    })
}

fn image_tool() -> Result<(&'static str, PathBuf, &'static [&'static str]), ExportError> {
    let here = Root::host();
    let mut found = IMAGE_TOOLS
        .iter()
        .filter_map(|(name, words)| Some((*name, find_program(&here, name)?, *words)));
    found.next().ok_or(ExportError::NoProgram {
        what: "an ISO image",
        program: "xorriso, genisoimage or mkisofs",
        package: "xorriso",
    })
}

fn make_metadata(dir: &Path, settings: &Settings) -> Result<(), ExportError> {
    let time = settings.time_s.to_string();
    let command = Confined::new(metadata_tool()?)
        .args(["--quiet", "--no-database", "--simple-md-filenames", "--workers", "1"])
        .args(["--set-timestamp-to-revision", "--revision", &time])
        // Its later versions compress by zstd, which older installers do not read.
        .arg("--general-compress-type=gz")
        .arg(dir);
    run("createrepo_c", &command, dir)
}

fn make_image(disk: &Path, image: &Path, settings: &Settings) -> Result<(), ExportError> {
    let (name, tool, words) = image_tool()?;
    // Rock Ridge keeps the long names of packages, which the installer reads.
    let command = Confined::new(tool)
        .args(words)
        .args(["-quiet", "-r", "-V", LABEL, "-o"])
        .arg(image)
        .arg(disk)
        .env("SOURCE_DATE_EPOCH", settings.time_s.to_string());
    run(name, &command, image)
}

fn run(program: &'static str, command: &Confined, on: &Path) -> Result<(), ExportError> {
    let output = command
        .output(SAID_MAX_BYTES)
        .map_err(FileError::on("run a program on", on))?;
    if output.ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Err(ExportError::Program {
        program,
        on: on.to_owned(),
        said: last.map_or_else(|| output.ended.status.to_string(), str::to_owned),
    })
}
