//! Patches of source packages, applied by the program `patch` in the sandbox: it reads what others wrote, and sees nothing but the source.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use dkms_engine::command::Confined;
use dkms_engine::sandbox::{Account, Limits as SandboxLimits, View};
use walkdir::WalkDir;

use super::directory;
use super::error::{IngestError, Problem};
use super::tree::{Limits, RawTree};

/// A patch with the name that it has in its package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) name: String,
    pub(super) text: Vec<u8>,
    /// How many directories are stripped from the names in it.
    pub(super) strip: u8,
}

/// The source after all patches, in their order.
///
/// # Errors
/// The first patch that does not apply, or what it made that is refused.
pub(super) fn apply(raw: RawTree, patches: &[Patch], limits: Limits) -> Result<RawTree, Problem> {
    if patches.is_empty() {
        return Ok(raw);
    }
    let failed =
        |error: io::Error| Problem::Unprepared(format!("the source cannot be written for its patches: {error}"));
    let scratch = tempfile::Builder::new()
        .prefix("dkms-patch-")
        .tempdir()
        .map_err(failed)?;
    let dir = scratch.path().join("source");
    fs::create_dir(&dir).map_err(failed)?;
    // Only its owner, who is another user in the sandbox, has to pass.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).map_err(failed)?;
    raw.source_at("")?.write_to(&dir).map_err(failed)?;
    let account = Account::reserve();
    if let Some(user) = account.id() {
        for entry in WalkDir::new(&dir) {
            let entry = entry.map_err(|error| failed(error.into()))?;
            lchown(entry.path(), Some(user), Some(user)).map_err(failed)?;
        }
    }
    for patch in patches {
        run(&dir, patch, &account)?;
    }
    directory::read(&dir, limits).map_err(|error| match error {
        IngestError::Refused { problem, .. } => problem,
        other => Problem::Unprepared(format!("the patched source cannot be read: {other}")),
    })
}

fn run(dir: &Path, patch: &Patch, account: &Account) -> Result<(), Problem> {
    let does_not_apply = |why: String| Problem::Patch {
        name: patch.name.clone(),
        why,
    };
    let limits = SandboxLimits {
        written_bytes: 1 << 30,
        written_files: 100_000,
        file_bytes: 256 << 20,
        ..SandboxLimits::evaluation()
    };
    let view = View::new(Path::new("/"), account.clone(), limits).write(dir);
    let output = Confined::new("patch")
        .args(["--batch", "--forward", "--fuzz=0", "--remove-empty-files", "--unified"])
        .args(["--no-backup-if-mismatch", "--reject-file=-", "--version-control=never"])
        .arg(format!("--strip={}", patch.strip))
        .stdin(patch.text.clone())
        .dir(dir)
        .sandbox(view)
        .output(limits.output_bytes)
        .map_err(|error| does_not_apply(format!("the program patch cannot be run: {error}")))?;
    if output.ended.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let why = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(does_not_apply(why.unwrap_or("patch says nothing").to_owned()))
}
