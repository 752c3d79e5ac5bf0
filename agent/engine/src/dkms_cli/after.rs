//! What happens once when a run has changed what kernels can load.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::session::Session;
use crate::command::Confined;

/// How long the administrator's own command may take.
const POST_TRANSACTION_LIMIT: Duration = Duration::from_secs(600);

/// Loads modules for this machine's devices and runs `post_transaction`, where the settings say so. Failures are told, no more:
/// the modules are in place.
pub(super) fn run(session: &Session) {
    if session.framework.modprobe_on_install && session.root.is_host() {
        modprobe(session);
    }
    if let Some(command) = &session.framework.post_transaction {
        post_transaction(session, command);
    }
}

/// Offers every device's modalias to modprobe, which passes over what it does not know.
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
    // modprobe's status says nothing: it fails when one device of many has no module.
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

/// post_transaction is a shell line by definition, from a file that only root can write.
fn post_transaction(session: &Session, command: &str) {
    if !session.root.is_host() {
        session
            .screen
            .say(&format!("post_transaction is not run for another root: {command}"));
        return;
    }
    let output = Confined::new("/bin/bash")
        .args(["-c", command])
        .time_limit(POST_TRANSACTION_LIMIT)
        .output(64 << 10);
    match output {
        Ok(output) if output.ended.status.success() => {}
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().last().unwrap_or("no output");
            let text = format!("post_transaction ended with {}: {last}", output.ended.status);
            session.screen.warning(&text, Some(command.to_owned()));
        }
        Err(error) => session
            .screen
            .warning(&format!("post_transaction could not be run: {error}"), None),
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
