//! The manual pages: sound roff, every key of every settings file on its page, and examples that the programs accept.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use dkms_engine::root::Root;
use dkms_fetch::config::{Config, Network};
use dkms_repo::repository;
use dkms_tests::dkms::ours;
use dkms_tests::{inputs, sources};

/// A key that no settings file has.
const NO_KEY: &str = "zzz";

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
    output
}

fn man(page: &str) -> String {
    let path = inputs::workspace().join("docs/man").join(page);
    fs::read_to_string(path).expect("readable").replace("\\-", "-")
}

fn example(name: &str) -> String {
    fs::read_to_string(inputs::workspace().join("docs/examples").join(name)).expect("readable")
}

/// Reads `text` as the settings file `name` of a machine.
fn read_machine(name: &str, text: &str) -> Result<Config, String> {
    let root = tempfile::tempdir().expect("a temporary directory");
    let file = root.path().join("etc/dkms-fetch").join(name);
    fs::create_dir_all(file.parent().expect("a directory")).expect("created");
    fs::write(file, text).expect("written");
    Config::read(&Root::at(root.path())).map_err(|error| error.to_string())
}

fn read_repository(text: &str) -> Result<repository::Config, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

/// The keys that serde would have accepted in the place of [`NO_KEY`], by its own error.
fn keys(error: &str) -> BTreeSet<String> {
    let (_, expected) = error.split_once("expected ").expect("serde names the keys");
    let expected = expected.lines().next().unwrap_or_default();
    let keys = expected.split('`').skip(1).step_by(2);
    keys.map(str::to_owned).collect()
}

#[test]
fn pages_are_sound_roff() {
    let repo = assert_cmd::cargo::cargo_bin("dkms-repo");
    let printed = |program: &Path, words: &[&str]| run(Command::new(program).args(words)).stdout;
    let pages = [
        ("dkms.8", printed(ours(), &["dkms", "hooks", "man"]), "--kernel"),
        ("dkms-fetch.8", printed(ours(), &["man"]), "--detailed-exitcode"),
        ("dkms-repo.1", printed(&repo, &["man"]), "--modules-dir"),
        (
            "dkms-fetch.toml.5",
            man("dkms-fetch.toml.5").into_bytes(),
            "allow_stale",
        ),
        ("dkms-fetch-repos.5", man("dkms-fetch-repos.5").into_bytes(), "priority"),
        (
            "dkms-repo.toml.5",
            man("dkms-repo.toml.5").into_bytes(),
            "segment_bytes",
        ),
    ];
    for (name, page, word) in pages {
        let dir = sources::open_tempdir();
        let file = dir.path().join(name);
        fs::write(&file, page).expect("written");
        let output = run(Command::new("groff")
            .args(["-man", "-ww", "-Tutf8", "-P-cbou"])
            .arg(&file));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("NAME") && text.contains(word), "{name}\n{text}");
    }
}

#[test]
fn help_is_a_command_too() {
    for program in [ours().to_owned(), assert_cmd::cargo::cargo_bin("dkms-repo")] {
        let help = run(Command::new(&program).arg("help"));
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(text.contains("Usage:") && text.contains("man"), "{text}");
        run(Command::new(&program).args(["help", "completions"]));
    }
}

#[test]
fn every_key_is_on_its_page_with_its_default() {
    let check = |page: &str, refused: Result<(), String>| {
        let error = refused.expect_err(page);
        let text = man(page);
        for key in keys(&error) {
            let entry = text.split(&format!(".TP\n.B {key}\n")).nth(1);
            let entry = entry.unwrap_or_else(|| panic!("{page} has no entry for the key {key}"));
            let entry = entry.split("\n.TP\n").next().unwrap_or_default();
            assert!(
                entry.contains("Default: ") || entry.contains("Required."),
                "{page}, {key}: neither a default nor that it is required"
            );
        }
    };
    let no_key = format!("{NO_KEY} = 1\n");
    let machine = |name: &str, text: &str| read_machine(name, text).map(drop);
    let publisher = |text: &str| read_repository(text).map(drop);
    check("dkms-fetch.toml.5", machine("config.toml", &no_key));
    check(
        "dkms-fetch.toml.5",
        machine("config.toml", &format!("[[pin]]\n{no_key}")),
    );
    check(
        "dkms-fetch.toml.5",
        machine("config.toml", &format!("[network]\n{no_key}")),
    );
    check("dkms-fetch-repos.5", machine("repos.d/a.toml", &no_key));
    check("dkms-repo.toml.5", publisher(&no_key));
    check(
        "dkms-repo.toml.5",
        publisher(&format!("name = \"a\"\n[expires_days]\n{no_key}")),
    );
}

#[test]
fn the_examples_are_accepted_and_complete() {
    let has_keys = |text: &str, error: Result<(), String>| {
        for key in keys(&error.expect_err("an unknown key")) {
            assert!(text.contains(&key), "the example lacks the key {key}:\n{text}");
        }
    };
    let policy = example("config.toml");
    let config = read_machine("config.toml", &policy).expect("accepted");
    assert_eq!(config.policy.pin.len(), 2);
    has_keys(
        &policy,
        read_machine("config.toml", &format!("{NO_KEY} = 1\n")).map(drop),
    );
    let network = format!("[network]\n{NO_KEY} = 1\n");
    has_keys(&policy, read_machine("config.toml", &network).map(drop));
    assert_eq!(
        config.policy.network,
        Network::default(),
        "the example has the defaults"
    );

    let drivers = example("repos.d/drivers.toml");
    let config = read_machine("repos.d/drivers.toml", &drivers).expect("accepted");
    assert_eq!(config.repositories.len(), 1);
    has_keys(
        &drivers,
        read_machine("repos.d/drivers.toml", &format!("{NO_KEY} = 1\n")).map(drop),
    );

    let repo = read_repository(&example("repo.toml")).expect("accepted");
    let defaults = read_repository("name = \"drivers\"\n").expect("accepted");
    assert_eq!(repo, defaults, "the example has every default");
}

#[test]
fn the_examples_of_the_pages_are_accepted() {
    let of = |page: &str| {
        let text = man(page);
        let (_, rest) = text.split_once(".EX\n").expect("an example");
        rest.split(".EE").next().unwrap_or_default().to_owned()
    };
    read_machine("config.toml", &of("dkms-fetch.toml.5")).expect("accepted");
    let repositories = read_machine("repos.d/a.toml", &of("dkms-fetch-repos.5")).expect("accepted");
    assert_eq!(repositories.repositories[0].priority, 10);
    read_repository(&of("dkms-repo.toml.5")).expect("accepted");
}
