//! `scan --kernel debian:SUITE`: a small signed archive with a real kernel's headers and a real compiler, and archives that are not what they
//! should be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_repo::kernels::debian_arch;
use dkms_tests::apt::AptArchive;
use dkms_tests::process::{run, said};
use dkms_tests::published::Mirror;
use dkms_tests::repo::TestRepo;
use dkms_tests::{inputs, sources};

/// What a build calls, beside the compiler.
const PROGRAMS: [&str; 52] = [
    "[", "ar", "as", "basename", "bash", "cat", "chmod", "cmp", "cp", "cut", "date", "dirname", "echo", "env", "expr",
    "false", "find", "grep", "head", "id", "install", "ld", "ln", "ls", "mawk", "mkdir", "mktemp", "mv", "nm",
    "objcopy", "objdump", "perl", "printf", "pwd", "readelf", "readlink", "realpath", "rm", "sed", "seq", "setpriv",
    "sh", "sort", "strip", "tail", "test", "touch", "tr", "true", "uname", "wc", "xargs",
];
/// What the compiler of the suite calls itself; it calls the real one.
const COMPILER: &str = "gcc-12 (Suite 12.9.9-1) 12.9.9";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a directory")).expect("created");
    fs::copy(from, to).expect("copied");
}

/// Copies the libraries that a program is linked with into `tree`, by the names that they have here.
fn copy_libraries(program: &Path, tree: &Path) {
    let linked = Command::new("ldd").arg(program).output().expect("ldd runs").stdout;
    for line in String::from_utf8(linked).expect("UTF-8").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(library) = words.iter().find(|word| word.starts_with('/')) {
            copy(Path::new(library), &tree.join(library.trim_start_matches('/')));
        }
    }
}

/// Copies a program as `name` of `tree`, and its libraries.
fn copy_program(program: &Path, tree: &Path, name: &str) {
    copy(program, &tree.join(name));
    copy_libraries(program, tree);
}

/// Puts the directory `from` into `to`. Hard links would not do: those that other tests make meanwhile change the files for tar.
fn copy_tree(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// The files of a kernel's headers that a build of `source` reads, from the root of the kernel on: those that make's record of a build says,
/// and what kbuild itself is made of. All of them would be ten times as many.
fn headers_read(source: &Path, release: &str) -> BTreeSet<PathBuf> {
    let scratch = tempfile::tempdir().expect("a directory");
    copy_tree(source, scratch.path());
    let build = scratch.path().join(source.file_name().expect("a name"));
    let headers = inputs::headers(release).canonicalize().expect("it is there");
    run(Command::new("make")
        .args(["-s", "-C"])
        .arg(&headers)
        .arg(format!("M={}", build.display()))
        .arg("modules"));
    let root = inputs::kernel_root(release).canonicalize().expect("it is there");
    let mut read = BTreeSet::new();
    let mut add = |path: PathBuf| {
        // Some names have `..` in them.
        let path = path.canonicalize().unwrap_or(path);
        if let Ok(inside) = path.strip_prefix(&root)
            && path.is_file()
        {
            read.insert(inside.to_owned());
        }
    };
    for entry in fs::read_dir(&build).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "cmd") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            text.split_whitespace().for_each(|word| add(headers.join(word)));
        }
    }
    let beside = headers.parent().expect("a directory");
    let common = beside.join(format!(
        "{}-common",
        headers
            .to_str()
            .and_then(|name| name.rsplit_once('-'))
            .expect("a flavour")
            .0
    ));
    let is_kbuild = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_make = name.starts_with("Makefile") || name.starts_with("Kbuild") || name.starts_with('.');
        is_make
            || [
                "Module.symvers",
                "auto.conf",
                "autoconf.h",
                "kernel.release",
                "utsrelease.h",
                "compile.h",
            ]
            .contains(&&*name)
    };
    for top in [&headers, &common] {
        for entry in walkdir::WalkDir::new(top) {
            let path = entry.expect("readable").into_path();
            if is_kbuild(&path) {
                add(path);
            }
        }
    }
    read
}

fn which(name: &str) -> PathBuf {
    let path = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
    path.into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no {name}"))
}

/// Puts the packages of a kernel and of a compiler into the archive. The compiler leaves a mark wherever it can write one.
fn put_kernel(archive: &AptArchive, release: &str, mark: &Path) {
    let (arch, meta) = debian_arch().expect("a known machine");
    let put = |name: &str, fields: &str| {
        let tree = archive.path("trees").join(name);
        fs::create_dir_all(&tree).expect("created");
        archive.put_made(
            &tree,
            &format!("Package: {name}\nVersion: 1\nArchitecture: {arch}\n{fields}"),
        );
    };
    let tree = |name: &str| archive.path("trees").join(name);
    let headers = format!("linux-headers-{release}");
    let input = inputs::kernel_root(release);
    for file in headers_read(&sources::own("edu"), release) {
        copy(&input.join(&file), &tree(&headers).join(&file));
    }
    copy_tree(&input.join("usr/lib"), &tree(&headers).join("usr"));
    for entry in walkdir::WalkDir::new(input.join("usr/src")).max_depth(2) {
        // Links to kbuild's programs.
        let path = entry.expect("readable").into_path();
        if path.is_symlink() {
            copy_tree(
                &path,
                tree(&headers)
                    .join(path.strip_prefix(&input).expect("below"))
                    .parent()
                    .expect("a directory"),
            );
        }
    }
    let modules = tree(&headers).join("lib/modules").join(release);
    fs::create_dir_all(&modules).expect("created");
    // As Debian's: absolute names.
    std::os::unix::fs::symlink(format!("/usr/src/{headers}"), modules.join("build")).expect("linked");
    put(
        &headers,
        &format!("Depends: gcc-12 (>= 1), linux-image-{release} (= 1) | linux-image-{release}-unsigned (= 1)\n"),
    );
    put(meta, &format!("Depends: {headers} (= 1)\n"));

    for program in PROGRAMS {
        copy_program(&which(program), &tree("base"), &format!("bin/{program}"));
    }
    for entry in walkdir::WalkDir::new(input.join("usr/lib")) {
        let entry = entry.expect("readable");
        if entry.file_name() == "objtool" && entry.file_type().is_file() {
            copy_libraries(entry.path(), &tree("base"));
        }
    }
    put("base", "Essential: yes\n");
    copy_program(&which("make"), &tree("make"), "usr/bin/make");
    put("make", "Provides: patch\n");

    let gcc = which("gcc-12");
    let asked = |word: &str| {
        let path = run(Command::new(&gcc).arg(word));
        PathBuf::from(path.trim())
    };
    let own = asked("-print-file-name=include");
    let own = own.parent().expect("a directory");
    let compiler = tree("gcc-12");
    for program in ["cc1", "collect2"] {
        let path = own.join(program);
        copy_program(&path, &compiler, path.to_str().expect("UTF-8").trim_start_matches('/'));
    }
    let inside = compiler.join(own.strip_prefix("/").expect("absolute"));
    copy_tree(&own.join("include"), &inside);
    copy_program(&gcc, &compiler, "usr/lib/real/bin/gcc-12");
    let script = format!(
        "#!/bin/bash\n(echo x >{}) 2>/dev/null\n[ \"$*\" = --version ] && exec echo '{COMPILER}'\nexec -a /usr/bin/gcc-12 /usr/lib/real/bin/gcc-12 \"$@\"\n",
        mark.display()
    );
    fs::create_dir_all(compiler.join("usr/bin")).expect("created");
    fs::write(compiler.join("usr/bin/gcc-12"), script).expect("written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(compiler.join("usr/bin/gcc-12"), executable).expect("chmod");
    put("gcc-12", "Provides: gcc, libc6-dev\nPre-Depends: base\n");
}

fn scan(archive: &AptArchive, repo: &TestRepo, mirror: &str, more: &[&str]) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    let kernel = ["--kernel", "debian:stable"];
    command
        .arg("-C")
        .arg(repo.repository.path())
        .args(["scan", "--json", "--mirror", mirror, "--keyring"])
        .arg(archive.path("keyring.gpg"))
        .args(kernel.iter().filter(|_| !more.contains(&"--kernel")))
        .args(more);
    command.output().expect("it runs")
}

fn repository() -> TestRepo {
    let repo = TestRepo::new().expect("a repository");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("dkms-repo"));
    run(command
        .arg("-C")
        .arg(repo.repository.path())
        .arg("add")
        .arg(sources::own("edu")));
    repo
}

/// The systems that are unpacked.
fn systems(repo: &TestRepo) -> Vec<PathBuf> {
    let entries = fs::read_dir(repo.repository.path().join("kernels"))
        .into_iter()
        .flatten();
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.is_dir()).collect()
}

#[test]
fn a_suite_brings_its_kernel_and_its_compiler() {
    let [release, _] = inputs::kernels();
    let (archive, repo) = (AptArchive::new(), repository());
    let outside = sources::open_tempdir();
    let mark = outside.path().join("mark");
    put_kernel(&archive, &release, &mark);
    archive.index(&[]);
    let server = Mirror::of(archive.dir());
    let mirror = server.url();
    let fact = |output: &Output| -> serde_json::Value {
        assert!(output.status.success(), "{}", said(output));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        rows[0]["builds"][0].clone()
    };

    let first = scan(&archive, &repo, &mirror, &[]);
    let found = fact(&first);
    let expected = serde_json::json!({ "outcome": "built", "kernel": release, "compiler": COMPILER });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&found["fact"][key], value, "{key}: {}", said(&first));
    }
    let fetching = format!("debian:stable: fetching kernel {release} and its compiler, 5 packages of ");
    assert!(said(&first).contains(&fetching), "{}", said(&first));
    // The oracle: the module is for this kernel, and claims what make without us would have it claim.
    let rows: serde_json::Value = serde_json::from_slice(&first.stdout).expect("JSON");
    assert_eq!(
        rows[0]["patterns"],
        serde_json::json!(["pci:v00001234d000011E8sv*sd*bc*sc*i*"])
    );
    assert!(
        !mark.exists(),
        "the compiler of the suite was run outside of the sandbox"
    );
    let before = systems(&repo);
    assert_eq!(before.len(), 1);

    // Again: only the signed index is asked for.
    let _ = server.asked();
    let again = scan(&archive, &repo, &mirror, &["--force"]);
    assert_eq!(fact(&again)["new"], true);
    assert_eq!(server.asked(), ["/dists/stable/InRelease"]);
    // A package that a build does not need changes nothing.
    let other = archive.path("other");
    fs::create_dir_all(&other).expect("created");
    archive.put_made(&other, "Package: other\nVersion: 1\nArchitecture: all\n");
    archive.index(&[]);
    fact(&scan(&archive, &repo, &mirror, &[]));
    assert!(!server.asked().iter().any(|path| path.contains("/pool/")));
    assert_eq!(systems(&repo), before);

    // Without the archive what is there is taken, and that is said.
    drop(server);
    let offline = scan(&archive, &repo, &mirror, &["--force"]);
    assert_eq!(fact(&offline)["new"], true);
    assert!(
        said(&offline).contains("; debian:stable is taken as it was on "),
        "{}",
        said(&offline)
    );

    // A new version of one package: a new system in the place of the old one.
    let make = archive.path("trees/make");
    let (arch, _) = debian_arch().expect("a known machine");
    archive.put_made(
        &make,
        &format!("Package: make\nVersion: 2\nArchitecture: {arch}\nProvides: patch\n"),
    );
    archive.index(&[]);
    let directory = format!("file://{}", archive.dir().display());
    fact(&scan(&archive, &repo, &directory, &["--force"]));
    let now = systems(&repo);
    assert!(now.iter().any(|path| !before.contains(path)), "{now:?}");
    fact(&scan(&archive, &repo, &directory, &[]));
    assert_eq!(systems(&repo).len(), 1, "the old one goes");
}

#[test]
fn an_archive_without_a_sound_kernel_is_refused() {
    let (archive, repo) = (AptArchive::new(), repository());
    let (arch, meta) = debian_arch().expect("a known machine");
    let tree = archive.path("tree");
    fs::create_dir_all(&tree).expect("created");
    let put = |name: &str, more: &str| {
        let fields = format!("Package: {name}\nVersion: 1\nArchitecture: {arch}\n{more}");
        archive.put_made(&tree, &fields);
    };
    let mirror = format!("file://{}", archive.dir().display());
    let check = |more: &[&str], code: i32, expected: &str, hint: &str| {
        let output = scan(&archive, &repo, &mirror, more);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{expected}: {said}");
        assert!(
            said.contains(expected) && said.contains(&format!("hint: {hint}")),
            "{expected}: {said}"
        );
        assert!(systems(&repo).is_empty(), "{expected}: nothing is kept");
    };
    put("make", "Provides: gcc, libc6-dev, patch\n");
    archive.index(&[]);
    check(
        &[],
        1,
        &format!("debian:stable has no package {meta}"),
        "name a suite that has kernels",
    );
    put(meta, "Depends: linux-headers-6.1.0-1-x (= 1)\n");
    archive.index(&[]);
    let missing = format!("debian:stable has no package linux-headers-6.1.0-1-x (= 1), which {meta} needs");
    check(&[], 1, &missing, "the mirror may be in the middle of an update");
    put("linux-headers-6.1.0-1-x", "");
    archive.index(&[]);
    check(
        &[],
        1,
        "debian:stable have no headers of the kernel 6.1.0-1-x",
        "name another suite",
    );
    check(
        &["--kernel", "debian:sid"],
        1,
        "the kernel of debian:sid cannot be fetched",
        "is it the address",
    );
    check(
        &["--kernel", "suse:leap"],
        1,
        "\"suse:leap\" names no kernel",
        "--kernel debian:",
    );

    // A package of another content than the one that was signed for.
    let deb = archive.path("pool/main/make.deb");
    let whole = fs::read(&deb).expect("readable");
    let mut changed = whole.clone();
    changed[200] ^= 1;
    fs::write(&deb, changed).expect("written");
    check(
        &[],
        4,
        "make.deb is not what the signed index says",
        "the mirror may be",
    );
    fs::write(&deb, whole).expect("written");
    // An index that nobody signed, and one that has expired.
    let (signed, plain) = (
        archive.path("dists/stable/InRelease"),
        archive.path("dists/stable/Release"),
    );
    fs::copy(&plain, &signed).expect("copied");
    check(&[], 4, "is not signed by a key of", "is it the keyring");
    let text = fs::read_to_string(&plain).expect("readable");
    let text = text.replacen("Suite: ", "Valid-Until: Sat, 01 Jan 2000 00:00:00 UTC\nSuite: ", 1);
    fs::write(&plain, text).expect("written");
    let words = ["--batch", "--yes", "--clearsign", "--output"];
    archive.gpg(
        &[
            &words[..],
            &[
                &archive.text("dists/stable/InRelease"),
                &archive.text("dists/stable/Release"),
            ],
        ]
        .concat(),
    );
    check(
        &[],
        4,
        "was good until",
        "take another mirror by --mirror; --allow-expired-index",
    );
    check(
        &["--allow-expired-index"],
        1,
        "have no headers of the kernel",
        "name another suite",
    );
}
