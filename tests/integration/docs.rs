//! The documentation does not lie: its links lead somewhere, and its examples run as they stand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_tests::inputs;

/// Every page: README, CHANGELOG and docs/*.md.
fn pages() -> Vec<PathBuf> {
    let top = inputs::workspace();
    let docs = fs::read_dir(top.join("docs"))
        .expect("docs")
        .filter_map(|entry| Some(entry.ok()?.path()));
    let mut pages: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    pages.extend([top.join("README.md"), top.join("CHANGELOG.md")]);
    pages
}

/// The commands of a page's `console` blocks, without their `$ `.
fn commands(text: &str) -> Vec<&str> {
    text.split("```console\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("$ "))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let target = page.parent().unwrap_or(Path::new(".")).join(file);
            assert!(
                target.exists(),
                "{}: a link to {link}, which is not there",
                page.display()
            );
        }
    }
}

#[test]
fn the_tutorial_runs() {
    let [kernel, _] = inputs::kernels();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let source = inputs::workspace().join("fixtures/sources/edu");
    run(
        dir.path(),
        &format!(
            "cp -r '{}' edu && cp -al '{}' machine",
            source.display(),
            inputs::kernel_root(&kernel).display()
        ),
    );
    let text = fs::read_to_string(inputs::workspace().join("docs/tutorial.md")).expect("readable");
    let commands = commands(&text);
    assert!(commands.len() > 10, "the tutorial has its commands in console blocks");
    let mut outputs = Vec::new();
    for command in commands {
        outputs.push((command, run(dir.path(), &command.replace("6.1.0-56-amd64", &kernel))));
    }
    let said: Vec<&str> = outputs
        .iter()
        .filter(|(command, _)| command.ends_with("dkms status"))
        .map(|(_, out)| out.as_str())
        .collect();
    assert_eq!(
        said,
        [format!("qemu-edu/1.0, {kernel}, x86_64: installed\n").as_str(), ""],
        "installed, then removed"
    );
}

/// Runs one line of a page as a person would, with our programs on PATH. Gives its standard output.
fn run(dir: &Path, line: &str) -> String {
    let programs = assert_cmd::cargo::cargo_bin("dkms-fetch");
    let path = format!(
        "{}:{}",
        programs.parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bash")
        .args(["-ec", line])
        .current_dir(dir)
        .env("PATH", path)
        .output()
        .expect("bash runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "$ {line}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
