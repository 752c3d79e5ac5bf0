//! The JSON Schema files describe what the real programs print, all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use dkms_tests::inputs;
use dkms_tests::schemas::{COMMON, Schemas};
use dkms_tests::story::{EDU, Source, Story};
use serde_json::Value;
use sha2::{Digest, Sha256};

#[test]
fn every_document_fits_its_schema() {
    let mut schemas = Schemas::default();
    fetch(&mut schemas);
    repo(&mut schemas);
    let unused = schemas.unused();
    assert!(unused.is_empty(), "no document was checked with {unused:?}");
}

/// A field without a description helps nobody, and an object that allows unknown fields hides new ones.
#[test]
fn every_field_is_described() {
    let mut problems = Vec::new();
    for name in Schemas::names() {
        let schema = Schemas::read(&name);
        if name != COMMON {
            assert!(
                schema["title"].is_string() && schema["description"].is_string(),
                "{name}"
            );
        }
        undescribed(&name, &schema, &mut problems);
    }
    assert!(problems.is_empty(), "without a description:\n{}", problems.join("\n"));
}

/// The table of documents for scripts has all of them with their fields, and the page on schemas has each file.
#[test]
fn every_document_is_in_the_tables() {
    let read = |path: &str| std::fs::read_to_string(inputs::workspace().join(path)).expect("readable");
    let names = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let page = read("docs/scripting.md");
    let table = page.split("| Document | Of |").nth(1).expect("a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let [_, documents, _, fields, _] = cells[..] else {
            panic!("{row}")
        };
        for document in names(documents) {
            listed.entry(document).or_default().extend(names(fields));
        }
    }
    let readme = read("docs/schemas/README.md");
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in Schemas::names() {
        assert!(
            readme.contains(&format!("({name}.json)")),
            "docs/schemas/README.md has no {name}"
        );
        if name.starts_with("fetch-") {
            documents(&Schemas::read(&name), &mut described);
        }
    }
    let keys = |map: &BTreeMap<String, BTreeSet<String>>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&listed), keys(&described), "docs/scripting.md and docs/schemas");
    for (document, fields) in &listed {
        let unknown: Vec<_> = fields.difference(&described[document]).collect();
        assert!(unknown.is_empty(), "docs/scripting.md: {document} has no {unknown:?}");
    }
}

/// The documents that a schema describes, with the names of their fields.
fn documents(schema: &Value, found: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(alternatives) = schema["oneOf"].as_array() {
        alternatives.iter().for_each(|one| documents(one, found));
    }
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let document = &properties.get("document").unwrap_or(&Value::Null);
    let names = document["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .chain([&document["const"]]);
    for name in names.filter_map(Value::as_str) {
        found
            .entry(name.to_owned())
            .or_default()
            .extend(properties.keys().cloned());
    }
}

fn undescribed(place: &str, schema: &Value, problems: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            if property["description"].as_str().is_none_or(str::is_empty) {
                problems.push(format!("{place}.{name}"));
            }
        }
    }
    match schema {
        Value::Object(members) => {
            let inner = members.iter();
            inner.for_each(|(name, inner)| undescribed(&format!("{place}/{name}"), inner, problems));
        }
        Value::Array(items) => items.iter().for_each(|item| undescribed(place, item, problems)),
        _ => {}
    }
}

/// Every command of dkms-fetch, on a machine with a driver that builds and a newer one that does not.
fn fetch(schemas: &mut Schemas) {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.add("edu", "2.0", 0x11e8, Source::Broken);
    story.publish();
    let devices = story.device_list().display().to_string();
    let kernel = story.kernel.clone();
    let target = ["--kernel", &kernel, "--devices", &devices, "--verbose", "--json"];
    let mut check = |schema: &str, words: &[&str]| {
        let run = story.run(&[words, &target].concat());
        schemas.check_lines(schema, &run.stdout);
        run
    };
    check("fetch-failure", &["search", "edu"]);
    check("fetch-sync", &["sync"]);
    check("fetch-report", &["devices"]);
    check("fetch-report", &["plan"]);
    check("fetch-report", &["--auto", "--check"]);
    check("fetch-explain", &["explain", EDU]);
    check("fetch-search", &["search", "edu"]);
    check("fetch-fetch", &["fetch", "edu", "--check"]);
    check("fetch-fetch", &["fetch", "edu"]);
    check("fetch-doctor", &["doctor"]);
    let auto = check("fetch-report", &["--auto"]);
    assert!(
        auto.stdout.contains("\"outcome\":\"installed\"") && auto.stdout.contains("\"outcome\":\"failed\""),
        "{}",
        auto.stdout
    );
    let status = check("fetch-status", &["status"]);
    assert!(status.stdout.contains("bundle_sha256"), "{}", status.stdout);
    check("fetch-explain", &["explain", EDU]);
    let report = check("fetch-overview", &["report"]);
    assert!(report.stdout.contains("\"log_end\":\""), "{}", report.stdout);
    check("fetch-overview", &["report", "--identify"]);
    check("fetch-mok", &["mok", "status"]);
    check("fetch-export", &["devices", "--export"]);
    let stick = story.repo.scratch().join("stick").display().to_string();
    check("fetch-media", &["media", "make", "--out", &stick, "--check"]);
    check("fetch-media", &["media", "make", "--out", &stick]);
    check("fetch-hold", &["hold", "edu"]);
    check("fetch-status", &["status"]);
    check("fetch-hold", &["unhold", "edu"]);
    check("fetch-history", &["history"]);
    check("fetch-recover", &["recover"]);
    let newer = story.second_kernel("6.1.0-99-amd64");
    let lost = check("fetch-check-kernel", &["check-kernel", &newer]);
    assert!(lost.stdout.contains("\"available\""), "{}", lost.stdout);
    let planned = check("fetch-rollback", &["rollback", "0", "--check"]);
    assert!(planned.stdout.contains("\"means\":\"remove\""), "{}", planned.stdout);
    check("fetch-remove", &["remove", "edu", "--check"]);
    check("fetch-remove", &["remove", "edu"]);
    check("fetch-report", &["install", "edu/1.0"]);
    check("fetch-repo", &["repo", "list"]);
    check("fetch-repo", &["repo", "info", "test"]);
    let public = story.own_mirror();
    let root = hex::encode(Sha256::digest(story.repo.pinned().expect("a root")));
    check(
        "fetch-repo",
        &["repo", "add", &public, "--fingerprint", &root, "--name", "again"],
    );
    check("fetch-repo", &["repo", "remove", "again"]);
    let listed = story.run(&["dkms", "status", "--json"]);
    assert!(listed.stdout.contains("edu"), "{}", listed.stdout);
    schemas.check("dkms-status", &listed.stdout);
    for words in [["--json", "dkms", "status"], ["dkms", "--json", "status"]] {
        assert_eq!(story.run(&words).stdout, listed.stdout, "{words:?}");
    }
    story.write("etc/dkms-fetch/config.toml", "deny = [\"edu\"]\n");
    let denied = Story::run(&story, &[&["explain", EDU], &target[..]].concat());
    assert!(denied.stdout.contains("\"why\":\"denied\""), "{}", denied.stdout);
    schemas.check_lines("fetch-explain", &denied.stdout);
}

/// Every command of dkms-repo, from an empty directory to a verified tree.
fn repo(schemas: &mut Schemas) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let program = assert_cmd::cargo::cargo_bin("dkms-repo");
    let command = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("-C").arg(dir.path()).arg("--json").args(words);
        command
    };
    let mut check = |schema: &str, words: &[&str]| {
        let output = command(words).output().expect("dkms-repo runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}\n{stderr}");
        schemas.check(schema, &String::from_utf8_lossy(&output.stdout));
    };
    let [kernel, _] = inputs::kernels();
    let edu = inputs::workspace().join("fixtures/sources/edu");
    let machine = inputs::kernel_root(&kernel);
    check("repo-init", &["init", "--root", "1/2"]);
    check("repo-add", &["add", text(&edu)]);
    let without_conf = inputs::workspace().join("fixtures/sources/edu");
    let bare = dir.path().join("bare");
    std::fs::create_dir(&bare).expect("created");
    std::fs::copy(without_conf.join("Makefile"), bare.join("Makefile")).expect("copied");
    check("repo-propose", &["propose", text(&bare)]);
    check("repo-lint", &["lint"]);
    check("repo-scan", &["scan", "--root", text(&machine), "--kernel", &kernel]);
    check("repo-list", &["list"]);
    check("repo-show", &["show", "qemu-edu"]);
    check("repo-show", &["rollout", "qemu-edu@1.0", "50", "--ring", "lab"]);
    check("repo-show", &["oem-sets", "qemu-edu@1.0", "dmi:*:svnQEMU:*"]);
    let out = dir.path().join("packages");
    check("repo-package", &["mkdeb", "qemu-edu", "--out", text(&out)]);
    check("repo-package", &["mkrpm", "qemu-edu@1.0", "--out", text(&out)]);
    check(
        "repo-package",
        &["release-package", "https://drivers.example.org", "--out", text(&out)],
    );
    let for_kernel = ["--root", text(&machine), "--kernel", &kernel];
    let kmp = ["mkkmp", "qemu-edu", "--out", text(&out)];
    check("repo-package", &[&kmp[..], &for_kernel].concat());
    let disk = dir.path().join("disk");
    let driver_disk = ["mkdriverdisk", "qemu-edu", "--out", text(&disk)];
    check("repo-driver-disk", &[&driver_disk[..], &for_kernel].concat());
    let there = dir.path().join("there").display().to_string();
    check("repo-publish", &["publish", "--delegate", "--to", &there]);
    check("repo-publish", &["publish", "--dry-run", "--delete", "--to", &there]);
    check("repo-diff", &["diff"]);
    let mirror = dir.path().join("mirror").display().to_string();
    check("repo-mirror", &["mirror", &there, &mirror]);
    check("repo-publish", &["timestamp"]);
    check("repo-expiry", &["expiry"]);
    check("repo-publish", &["rotate", "timestamp"]);
    check("repo-publish", &["renew", "targets"]);
    let safe = dir.path().join("curated-1.pem");
    std::fs::rename(dir.path().join("keys/curated-1.pem"), &safe).expect("moved");
    check("repo-prepare", &["renew", "curated", "--prepare"]);
    check("repo-merge", &["merge"]);
    let prepared = std::fs::read_dir(dir.path().join("prepared/1")).expect("readable");
    let names = prepared.map(|entry| entry.expect("readable").path());
    let file = names
        .into_iter()
        .find(|path| text(path).ends_with(".curated.json"))
        .expect("it is prepared");
    check("repo-sign", &["sign", text(&file), "--key", text(&safe), "--yes"]);
    check("repo-merge", &["merge"]);
    check(
        "repo-publish",
        &[
            "delegate",
            "pci-10ec",
            "--public-key",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ],
    );
    check("repo-roles", &["roles"]);
    check("repo-gc", &["gc", "--dry-run"]);
    check("repo-verify", &["verify"]);
    check("repo-publish", &["revoke", "qemu-edu", "--reason", "it hangs"]);
    check("repo-diff", &["diff", &there]);
    check("repo-publish", &["unrevoke", "qemu-edu"]);
    check("repo-show", &["unstage", "qemu-edu@1.0"]);

    schemas.check("repo-import-debian", &crate::import::what_would_be_added());

    let mut server = command(&["serve", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("dkms-repo runs");
    let mut line = String::new();
    let read = BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line);
    server.kill().expect("it runs until it is stopped");
    server.wait().expect("it ended");
    read.expect("readable");
    schemas.check("repo-serve", &line);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
