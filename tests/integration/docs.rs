//! The documentation does not lie: its links lead somewhere, and its examples run as they stand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_tests::inputs;

/// Every page: those of the top directory, and all below docs.
fn pages() -> Vec<PathBuf> {
    let top = inputs::workspace();
    let markdown = |dir: &Path, depth| -> Vec<PathBuf> {
        let entries = walkdir::WalkDir::new(dir).min_depth(1).max_depth(depth).into_iter();
        let paths = entries.map(|entry| entry.expect("readable").into_path());
        paths
            .filter(|path| path.extension().is_some_and(|e| e == "md"))
            .collect()
    };
    [markdown(&top, 1), markdown(&top.join("docs"), usize::MAX)].concat()
}

/// The parts of a page between backticks, outside of code blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
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

/// A page that names a file of this workspace names one that is there, so that a rename is followed by the documentation.
#[test]
fn files_that_are_named_exist() {
    const TOP: [&str; 8] = [
        "agent/",
        "index-format/",
        "repo-tools/",
        "support/",
        "tests/",
        "fixtures/",
        "scripts/",
        "docs/",
    ];
    let mut missing = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("readable");
        for name in quoted(&text) {
            let is_path = TOP.iter().any(|top| name.starts_with(top)) && !name.contains([' ', '*', '<', '…']);
            if is_path && !inputs::workspace().join(name).exists() {
                missing.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}

/// The page on libraries is complete, and so is each library's reason.
#[test]
fn every_library_is_on_its_page() {
    let top = inputs::workspace();
    let read = |path: &str| fs::read_to_string(top.join(path)).expect("readable");
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let used: BTreeSet<String> = manifest["workspace"]["dependencies"]
        .as_table()
        .expect("a table")
        .iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(name, _)| name.clone())
        .collect();
    let page = read("docs/decisions/crates.md");
    let table = page.split("## Written here").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let listed: BTreeSet<String> = rows.flat_map(quoted).map(str::to_owned).collect();
    let unlisted: Vec<_> = used.difference(&listed).collect();
    let unused: Vec<_> = listed.difference(&used).filter(|name| !name.contains(' ')).collect();
    assert!(
        unlisted.is_empty() && unused.is_empty(),
        "docs/decisions/crates.md: without a row {unlisted:?}; with a row and not used {unused:?}"
    );
}

/// Runs all commands of a page in a directory with the driver `edu` and the image `machine`. Gives each with its output.
fn run_page(page: &str, kernel: &str) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let source = inputs::workspace().join("fixtures/sources/edu");
    run(
        dir.path(),
        &format!(
            "cp -r '{}' edu && cp -al '{}' machine",
            source.display(),
            inputs::kernel_root(kernel).display()
        ),
    );
    let text = fs::read_to_string(inputs::workspace().join(page)).expect("readable");
    let commands = commands(&text);
    assert!(commands.len() > 10, "{page} has its commands in console blocks");
    let run = |command: &str| run(dir.path(), &command.replace("6.1.0-56-amd64", kernel));
    commands
        .into_iter()
        .map(|command| (command.to_owned(), run(command)))
        .collect()
}

#[test]
fn the_guide_to_publishing_runs() {
    let [kernel, _] = inputs::kernels();
    let outputs = run_page("docs/publishing.md", &kernel);
    let of = |end: &str| -> Vec<&str> {
        let fits = outputs.iter().filter(|(command, _)| command.ends_with(end));
        fits.map(|(_, out)| out.as_str()).collect()
    };
    let one = "1 records, 1 manifests, 1 bundles verified\n";
    assert_eq!(of("verify"), [one; 3]);
    assert_eq!(of("1.root.json"), [one; 2]);
    let roles = of("roles");
    assert!(
        roles[0].contains("root\tversion 1\t") && roles[0].contains("\t2 of 3 keys\n"),
        "{roles:?}"
    );
    assert!(of("rotate root")[0].contains("root\tversion 3\n"), "{outputs:?}");
    assert!(
        of("merge stick/4.root.json")[0].contains("root\tversion 4\n"),
        "{outputs:?}"
    );
    assert!(of("gc --dry-run")[0].is_empty(), "all of it is young");
}

#[test]
fn the_tutorial_runs() {
    let [kernel, _] = inputs::kernels();
    let outputs = run_page("docs/tutorial.md", &kernel);
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
        programs.parent().expect("a directory").display(),
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
