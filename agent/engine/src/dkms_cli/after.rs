//! What happens once when a run has changed what kernels can load.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::session::Session;
use crate::command::Confined;
use crate::package::{DkmsId, KernelId};
use crate::script::with_variables;

/// How long the administrator's own command may take.
const POST_TRANSACTION_LIMIT: Duration = Duration::from_secs(600);

/// Loads modules for this machine's devices and runs `post_transaction`, where the settings say so. Failures are only
/// reported: the modules are installed. `changed` are the packages and kernels of the run.
pub(super) fn run(session: &Session, changed: &[(DkmsId, KernelId)]) {
    if session.framework.modprobe_on_install && session.root.is_host() {
        modprobe(session);
    }
    if let Some(command) = &session.framework.post_transaction {
        post_transaction(session, command, changed);
    }
}

/// Passes the modalias of every device to modprobe, which ignores those that no module matches.
fn modprobe(session: &Session) {
    let aliases = modaliases(Path::new("/sys/devices"));
    if aliases.is_empty() {
        return;
    }
    let output = Confined::new("modprobe")
        .args(["-a", "-b", "-q"])
        .args(&aliases)
        .time_limit(Duration::from_secs(120))
        .output(4096);
    // The exit status is ignored: modprobe fails when one device of many has no module.
    if let Err(error) = output {
        session
            .screen
            .warning(&format!("modprobe could not be run: {error}"), None);
    }
}

fn modaliases(devices: &Path) -> BTreeSet<String> {
    let files = walkdir::WalkDir::new(devices).into_iter().flatten();
    let files = files.filter(|entry| entry.file_name() == "modalias" && entry.file_type().is_file());
    let texts = files.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty() && !text.starts_with('-'))
        .collect()
}

/// post_transaction is a line of shell by definition, from a file that only root can write. Its environment has the last package and the
/// kernel in upstream's variables, and its output goes to a log. Where it names `kernelver` it runs once for each kernel.
fn post_transaction(session: &Session, command: &str, changed: &[(DkmsId, KernelId)]) {
    if !session.root.is_host() {
        session
            .screen
            .say(&format!("post_transaction is not run for another root: {command}"));
        return;
    }
    let mut kernels: Vec<&KernelId> = changed.iter().map(|(_, kernel)| kernel).collect();
    kernels.sort();
    kernels.dedup();
    if !command.contains("kernelver") {
        kernels.truncate(1);
    }
    let path = session.tree.path().join("post_transaction.log");
    let log = File::create(&path);
    for kernel in kernels {
        let package = changed.iter().rev().find(|(_, changed)| changed == kernel);
        let result = match (&log, package) {
            (Ok(log), Some((package, _))) => run_line(session, command, package, kernel, log),
            (Err(error), _) => Err(format!("{} cannot be written: {error}", path.display())),
            (Ok(_), None) => Ok(()),
        };
        if let Err(why) = result {
            let text = format!("post_transaction failed: {why}");
            session.screen.warning(&text, Some(format!("less {}", path.display())));
        }
    }
}

/// Runs the line once; Err says why it failed.
fn run_line(
    session: &Session,
    command: &str,
    package: &DkmsId,
    kernel: &KernelId,
    mut log: &File,
) -> Result<(), String> {
    let shell = Confined::new("/bin/bash")
        .args(["-c", command])
        .inherits_environment()
        .time_limit(POST_TRANSACTION_LIMIT);
    let shell = with_variables(shell, &session.tree, package, Some(kernel));
    let said =
        writeln!(log, "Executing post-transaction command\n# command: {command}").and_then(|()| shell.run_logged(log));
    let ended = said.map_err(|error| error.to_string())?;
    writeln!(log, "\n# {}", ended.status).map_err(|error| error.to_string())?;
    if ended.status.success() {
        Ok(())
    } else {
        Err(format!("{command} ended with {}", ended.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_modalias_once_and_none_that_looks_like_an_option() {
        let dir = tempfile::tempdir().expect("temp dir");
        for (device, alias) in [
            ("a", "pci:v1"),
            ("a/b", "pci:v1"),
            ("c", "usb:v2\n"),
            ("d", "-r"),
            ("e", ""),
        ] {
            fs::create_dir_all(dir.path().join(device)).expect("dir");
            fs::write(dir.path().join(device).join("modalias"), alias).expect("file");
        }
        assert_eq!(
            modaliases(dir.path()),
            BTreeSet::from(["pci:v1".to_owned(), "usb:v2".to_owned()])
        );
    }
}
