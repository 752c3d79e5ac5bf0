//! `import debian`: a small archive, made and signed by Debian's own tools, served from a directory and over HTTP.

use std::fs;
use std::process::{Command, Output};

use dkms_tests::apt::AptArchive;
use dkms_tests::process::{run, said};
use dkms_tests::published::Mirror;
use dkms_tests::repo::TestRepo;
use dkms_tests::{inputs, sources};

/// A package with a name like that of a driver and nothing in it.
fn put_empty(archive: &AptArchive) {
    let tree = archive.path("empty");
    fs::create_dir_all(&tree).expect("created");
    archive.put_made(&tree, "Package: old-dkms\nVersion: 1\nArchitecture: all\n");
}

fn import(archive: &AptArchive, repo: &TestRepo, mirror: &str, more: &[&str]) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    command
        .arg("-C")
        .arg(repo.repository.path())
        .args(["import", "debian", "--mirror", mirror, "--keyring"]);
    command
        .arg(archive.path("keyring.gpg"))
        .args(more)
        .output()
        .expect("it runs")
}

/// What `import debian --dry-run --json` prints for an archive with one package.
pub(crate) fn what_would_be_added() -> String {
    let (archive, repo) = (AptArchive::new(), TestRepo::new().expect("a repository"));
    archive.put(&inputs::deb("ddcci-dkms_0.4.2"));
    archive.index(&[]);
    let mirror = format!("file://{}", archive.dir().display());
    let output = import(&archive, &repo, &mirror, &["--dry-run", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_dry_run_lists_what_would_be_added() {
    let list: serde_json::Value = serde_json::from_str(&what_would_be_added()).expect("JSON");
    assert_eq!(list[0]["package"], "ddcci-dkms", "{list}");
    assert_eq!(list[0]["version"], "0.4.2-4", "{list}");
}

fn listed(repo: &TestRepo) -> Vec<String> {
    let packages = dkms_repo::stage::Stage::of(&repo.repository).list().expect("readable");
    packages
        .iter()
        .map(|p| format!("{} {}", p.manifest.name, p.manifest.version))
        .collect()
}

#[test]
fn a_signed_archive_is_taken_whole_and_again() {
    let archive = AptArchive::new();
    let repo = TestRepo::new().expect("a repository");
    archive.put(&inputs::deb("ddcci-dkms_0.4.2"));
    archive.put(&inputs::deb("ddcci-dkms_0.4.5"));
    put_empty(&archive);
    archive.index(&["-o", "APT::FTPArchive::Release::ValidTime=86400"]);
    let server = Mirror::of(archive.dir());
    let mirror = server.url();
    let dry = import(&archive, &repo, &mirror, &["--dry-run"]);
    assert!(
        dry.status.success() && said(&dry).contains("3 packages in the archive, 3 of them new"),
        "{}",
        said(&dry)
    );
    assert_eq!(listed(&repo), [""; 0]);
    let first = import(&archive, &repo, &mirror, &[]);
    assert!(first.status.success(), "{}", said(&first));
    assert!(
        said(&first).contains("passed over old-dkms 1: it has no source"),
        "{}",
        said(&first)
    );
    assert_eq!(listed(&repo), ["ddcci 0.4.2-4", "ddcci 0.4.5-1~bpo12+1"]);

    // Again: what is there is not even fetched. Something new is.
    archive.put(&inputs::deb("langford-dkms_0.0.20130228-6.3"));
    archive.index(&[]);
    let _ = server.asked();
    let again = import(&archive, &repo, &mirror, &["--json"]);
    assert!(again.status.success(), "{}", said(&again));
    let asked = server.asked();
    assert!(!asked.iter().any(|path| path.contains("ddcci")), "{asked:?}");
    let rows: serde_json::Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!(rows[0]["name"], "langford");
    // The same from a directory.
    let other = TestRepo::new().expect("a repository");
    let output = import(&archive, &other, &format!("file://{}", archive.dir().display()), &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(listed(&other), listed(&repo));
}

#[test]
fn an_archive_that_is_not_what_was_signed_is_refused() {
    let archive = AptArchive::new();
    let repo = TestRepo::new().expect("a repository");
    archive.put(&inputs::deb("ddcci-dkms_0.4.2"));
    archive.index(&[]);
    let mirror = format!("file://{}", archive.dir().display());
    let check = |more: &[&str], code: i32, expected: &str| {
        let output = import(&archive, &repo, &mirror, more);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{expected}: {said}");
        assert!(said.contains(expected) && said.contains("hint: "), "{expected}: {said}");
        assert_eq!(listed(&repo), [""; 0], "{expected}");
    };
    check(
        &["--component", "contrib"],
        1,
        "has no packages of the component contrib for amd64",
    );
    check(&["--suite", "sid"], 1, "dists/sid/InRelease cannot be fetched: ");
    let change = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let whole = fs::read(archive.path(name)).expect("readable");
        fs::write(archive.path(name), change(whole.clone())).expect("written");
        whole
    };
    let put_back = |name: &str, bytes: Vec<u8>| fs::write(archive.path(name), bytes).expect("written");

    // A package of another content, and one of another length.
    let deb = "pool/main/ddcci-dkms_0.4.2-4_all.deb";
    let whole = change(deb, &|mut bytes| {
        bytes[200] ^= 1;
        bytes
    });
    check(&[], 1, "is not what the signed index says");
    put_back(deb, [whole.clone(), b"more".to_vec()].concat());
    check(&[], 1, "is larger than");
    put_back(deb, whole);
    // The list of packages.
    let index = "dists/stable/main/binary-amd64/Packages.xz";
    let whole = change(index, &|mut bytes| {
        bytes[20] ^= 1;
        bytes
    });
    check(&[], 4, "is not what the signed index says");
    put_back(index, whole);
    // The signed index: changed, not signed, signed by somebody else, expired.
    let release = "dists/stable/InRelease";
    let whole = change(release, &|bytes| {
        String::from_utf8_lossy(&bytes)
            .replace("Suite: stable", "Suite: stab1e")
            .into_bytes()
    });
    check(&[], 4, "is not signed by a key of");
    put_back(
        release,
        fs::read(archive.path("dists/stable/Release")).expect("readable"),
    );
    check(&[], 4, "is not signed by a key of");
    let other = AptArchive::new();
    other.put(&inputs::deb("ddcci-dkms_0.4.2"));
    other.index(&[]);
    put_back(release, fs::read(other.path(release)).expect("readable"));
    check(&[], 4, "is not signed by a key of");
    // What stands before or behind the signed text does not count.
    let mut around = b"Suite: evil\nSHA256:\n 00 0 main/binary-amd64/Packages.xz\n\n".to_vec();
    around.extend(&whole);
    put_back(release, around);
    let output = import(&archive, &repo, &mirror, &["--dry-run"]);
    assert!(
        said(&output).contains("1 packages in the archive") || output.status.code() == Some(4),
        "{}",
        said(&output)
    );
    archive.index(&[]);
    let text = fs::read_to_string(archive.path("dists/stable/Release")).expect("readable");
    let text = text.replacen("Suite: ", "Valid-Until: Sat, 01 Jan 2000 00:00:00 UTC\nSuite: ", 1);
    fs::write(archive.path("dists/stable/Release"), text).expect("written");
    let signed = archive.text(release);
    archive.gpg(&[
        "--batch",
        "--yes",
        "--clearsign",
        "--output",
        &signed,
        &archive.text("dists/stable/Release"),
    ]);
    check(&[], 4, "was good until");
}

/// A commit of a driver without dkms.conf, one with a placeholder in it, and recipes for both.
#[test]
fn recipes_make_packages_of_what_upstream_has() {
    let dir = sources::open_tempdir();
    let repo = TestRepo::new().expect("a repository");
    let upstream = dir.path().join("upstream");
    run(Command::new("cp").arg("-r").arg(sources::own("edu")).arg(&upstream));
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(&upstream)
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"]);
        run(command.args(words).env("GIT_CONFIG_GLOBAL", "/dev/null"))
    };
    git(&["init", "--quiet"]);
    fs::remove_file(upstream.join("dkms.conf")).expect("removed");
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "bare"]);
    git(&["tag", "bare"]);
    let conf = "PACKAGE_NAME=with\nPACKAGE_VERSION=#MODULE_VERSION#\nBUILT_MODULE_NAME=qemu_edu\nDEST_MODULE_LOCATION=/updates\n";
    fs::write(upstream.join("dkms.conf"), conf).expect("written");
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "with"]);
    let with = git(&["rev-parse", "HEAD"]);
    let recipes = dir.path().join("recipes");
    fs::create_dir(&recipes).expect("created");
    let write = |name: &str, text: &str| fs::write(recipes.join(name), text).expect("written");
    let head = format!(
        "summary = \"teaching device\"\ngit = \"file://{}\"\n",
        upstream.display()
    );
    write(
        "bare.toml",
        &format!(
            "{head}revision = \"bare\"\nlicense = \"MIT\"\nchecked = \"here\"\npatches = [\"a.patch\"]\ndkms_conf = \"\"\"\n{}\"\"\"\n",
            conf.replace("=with", "=bare").replace("#MODULE_VERSION#", "1"),
        ),
    );
    write("a.patch", "--- /dev/null\n+++ b/added.c\n@@ -0,0 +1 @@\n+int x;\n");
    write(
        "with.toml",
        &format!(
            "{head}revision = \"{}\"\nversion = \"2.5\"\nchecked = \"here\"\n",
            with.trim()
        ),
    );
    write(
        "untried.toml",
        &format!("{head}revision = \"none\"\nunchecked = \"no\"\n"),
    );
    let import = |more: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
        command
            .arg("-C")
            .arg(repo.repository.path())
            .args(["import", "recipes"])
            .arg(&recipes)
            .args(more);
        command.output().expect("it runs")
    };
    let first = import(&[]);
    assert!(first.status.success(), "{}", said(&first));
    assert!(
        said(&first).contains("untried.toml: it is unchecked"),
        "{}",
        said(&first)
    );
    assert_eq!(listed(&repo), ["bare 1", "with 2.5"]);
    let packages = dkms_repo::stage::Stage::of(&repo.repository).list().expect("readable");
    assert_eq!(packages[0].manifest.license, "MIT");
    assert_eq!(packages[0].manifest.summary, "teaching device");
    let again = import(&["--json"]);
    let rows: serde_json::Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(
        (&rows[0]["outcome"], &rows[1]["outcome"]),
        (&"unchanged".into(), &"unchanged".into())
    );
    // The newest version by its tag, also where the tag is an object of its own; pre-releases do not count.
    for (version, tag) in [("2.9", "v2.9"), ("2.10", "v2.10"), ("3.0", "v3.0-rc1")] {
        fs::write(upstream.join("version"), version).expect("written");
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", version]);
        git(&["tag", "-a", "-m", version, tag]);
    }
    let with_tags = |tags: &str| {
        let text = format!(
            "{head}revision = \"{}\"\nversion = \"2.5\"\nchecked = \"here\"\ntags = \"{tags}\"\n",
            with.trim()
        );
        write("with.toml", &text);
    };
    with_tags("v*");
    let newest = import(&["--newest"]);
    assert!(newest.status.success(), "{}", said(&newest));
    let commit = git(&["rev-parse", "v2.10^{commit}"]);
    for expected in [
        &format!("with.toml: version 2.10, commit {}", commit.trim()),
        "bare.toml: it does not say how versions are tagged",
    ] {
        assert!(said(&newest).contains(expected), "{expected}: {}", said(&newest));
    }
    assert_eq!(listed(&repo), ["bare 1", "with 2.10", "with 2.5"]);
    for (tags, expected) in [
        ("release-*", "no tag of file://"),
        ("v", "`tags` is \"v\", and has not one star for the version"),
    ] {
        with_tags(tags);
        let output = import(&["--newest"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(expected), "{expected}: {}", said(&output));
    }
    with_tags("v*");
    // What is wrong with one stops no other one.
    write("wrong.toml", &format!("{head}revision = \"x\"\n"));
    write(
        "patched.toml",
        &format!("{head}revision = \"bare\"\nchecked = \"x\"\npatches = [\"../a.patch\"]\n"),
    );
    let output = import(&["--unchecked"]);
    assert_eq!(output.status.code(), Some(1));
    for expected in [
        "it has to say either `checked` or `unchecked`",
        "the patch \"../a.patch\" does not lie beside it",
        "none cannot be fetched",
        "3 of 5 recipes were not added",
    ] {
        assert!(said(&output).contains(expected), "{expected}: {}", said(&output));
    }
}

#[test]
fn the_recipes_of_this_project_are_sound() {
    let dir = inputs::workspace().join("repo-tools/recipes");
    let recipes = dkms_repo::recipe::recipes(&dir).expect("a directory");
    assert!(recipes.len() >= 30, "{}", recipes.len());
    for path in recipes {
        let recipe = dkms_repo::recipe::Recipe::read(&path).unwrap_or_else(|error| panic!("{error}"));
        recipe.changes(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(recipe.git.starts_with("https://"), "{}", path.display());
        let is_commit = recipe.revision.len() == 40 && recipe.revision.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(is_commit, "{}: a tag can be moved", path.display());
    }
}
