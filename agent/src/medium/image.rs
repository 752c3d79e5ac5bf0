//! An ISO image of a medium, made by a program of the distribution.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_engine::command::{Confined, find_program};
use dkms_engine::root::Root;

use super::{LABEL, MediumError};
use crate::files::TEMPORARY;

/// The programs, best first, and the words that make each behave as mkisofs.
const TOOLS: [(&str, &[&str]); 3] = [("xorriso", &["-as", "mkisofs"]), ("genisoimage", &[]), ("mkisofs", &[])];
/// Of what the program says only the end is shown.
const SAID_MAX_BYTES: u64 = 64 << 10;

/// Makes the image `to` of the directory `from`: the old image stays until the new one is whole.
///
/// # Errors
/// When there is no such program, or it fails.
pub fn make_image(from: &Path, to: &Path) -> Result<(), MediumError> {
    let (tool, words) = tool()?;
    let write = |source| MediumError::Write {
        path: to.to_owned(),
        source,
    };
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty());
    // The program runs in another directory.
    let dir = fs::canonicalize(dir.unwrap_or(Path::new("."))).map_err(write)?;
    let from = fs::canonicalize(from).map_err(write)?;
    // In the same directory, so that it can be renamed.
    let new = dkms_support::temporary_in(&dir, TEMPORARY, 0o644).map_err(write)?;
    // Rock Ridge keeps names of 64 digits, which Joliet would cut.
    let output = Confined::new(&tool)
        .args(words)
        .args(["-quiet", "-r", "-V", LABEL, "-o"])
        .arg(new.path())
        .arg(from)
        .output(SAID_MAX_BYTES)
        .map_err(write)?;
    if !output.ended.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        return Err(MediumError::Tool {
            tool: tool.display().to_string(),
            path: to.to_owned(),
            why: last.map_or_else(|| output.ended.status.to_string(), str::to_owned),
        });
    }
    dkms_support::persist(new, to).map_err(write)
}

/// Checks that there is a program that makes images, before anything is fetched.
///
/// # Errors
/// When there is none.
pub fn require_image_tool() -> Result<(), MediumError> {
    tool().map(drop)
}

/// The first of the programs that is there, and the words that make it behave as mkisofs.
fn tool() -> Result<(PathBuf, &'static [&'static str]), MediumError> {
    let here = Root::host();
    let mut found = TOOLS
        .iter()
        .filter_map(|(name, words)| Some((find_program(&here, name)?, *words)));
    found.next().ok_or(MediumError::NoTool)
}
