use super::*;
use crate::dkms_cli::request::{Filter, Hook, KernelName, Kernels, Package, Subject};

/// A disk with /src/dkms.conf, /src and a.tar.gz on it.
fn disk(word: &str) -> WordKind {
    match word {
        "/src/dkms.conf" | "dkms.conf" => WordKind::ConfFile,
        "/src" => WordKind::SourceDirectory,
        "a.tar.gz" => WordKind::File,
        _ => WordKind::Plain,
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace()
        .map(|word| word.trim_matches('"').to_owned())
        .collect()
}

fn check(line: &str, expected: Action) {
    assert_eq!(parse(&words(line), &disk).expect(line).action, expected, "{line}");
}

fn check_code(line: &str, code: u8) {
    let error = parse(&words(line), &disk).expect_err(line);
    assert_eq!(error.code(), code, "{line}: {error}");
}

fn package() -> Package {
    Package {
        module: "m".into(),
        version: "1".into(),
    }
}

fn kernels(names: &[(&str, Option<&str>)]) -> Kernels {
    let name = |(release, arch): &(&str, Option<&str>)| KernelName {
        release: (*release).into(),
        arch: arch.map(Into::into),
    };
    Kernels::Named(names.iter().map(name).collect())
}

#[test]
fn verbs_stand_anywhere_and_packages_are_written_four_ways() {
    let running = Kernels::Running { arch: None };
    for line in [
        "build m/1",
        "m/1 build",
        "build -m m -v 1",
        "-m m/1 build",
        "--module=m -v 1 build",
        "-v 1 build m",
        "-m=m -v=1 build",
    ] {
        check(line, Action::Build(Subject::Package(package()), running.clone()));
    }
    check("add /src", Action::Add(Subject::Directory("/src".into())));
    check("add /src/dkms.conf", Action::Add(Subject::Directory("/src".into())));
    check("add dkms.conf", Action::Add(Subject::Directory(".".into())));
    check(
        "install a.tar.gz",
        Action::Install(Subject::Archive("a.tar.gz".into()), running),
    );
    check("ldtarball --archive=x.gz", Action::Ldtarball("x.gz".into()));
}

#[test]
fn kernels_pair_with_architectures() {
    check("remove m/1 --all", Action::Remove(package(), Kernels::EveryBuilt));
    check(
        "remove m/1 -k a -k b/x",
        Action::Remove(package(), kernels(&[("a", Some("x")), ("b", Some("x"))])),
    );
    check(
        "remove m/1 -k a -k b",
        Action::Remove(package(), kernels(&[("a", None), ("b", None)])),
    );
    check(
        "remove m/1 -k a/x -k b/y",
        Action::Remove(package(), kernels(&[("a", Some("x")), ("b", Some("y"))])),
    );
    check(
        "remove m/1 -a x --kernelver=a",
        Action::Remove(package(), kernels(&[("a", Some("x"))])),
    );
    check("autoinstall -k all", Action::Autoinstall(Kernels::EveryKernel));
    check("autoinstall", Action::Autoinstall(Kernels::Running { arch: None }));
    check(
        "kernel_prerm -k a",
        Action::KernelHook(Hook::Prerm, kernels(&[("a", None)])),
    );
}

#[test]
fn status_filters() {
    let all = Filter::default();
    check("status", Action::Status(all.clone()));
    check(
        "status -m m",
        Action::Status(Filter {
            module: Some("m".into()),
            ..all.clone()
        }),
    );
    check(
        "status m/1",
        Action::Status(Filter {
            module: Some("m".into()),
            version: Some("1".into()),
            ..all
        }),
    );
    assert_eq!(parse(&words("status m b c"), &disk).expect("status").notices.len(), 2);
}

#[test]
fn exit_codes_of_bad_usage_are_upstreams() {
    for (line, code) in [
        ("frob", 1),
        ("add", 1),
        ("add -m x", 1),
        ("build --all m/1", 5),
        ("status --bogus", 2),
        ("add build", 4),
        ("build m/1 -k \"\"", 16),
        ("match", 1),
        ("match --templatekernel=a -k a", 2),
        ("match --templatekernel=a -k b -k c", 4),
        ("mktarball -m x", 1),
        ("ldtarball nosuch.tar.gz", 2),
        ("uninstall m/1 -k x --all", 2),
        ("uninstall m/1 -a x --all", 3),
        ("status -a x -a y -k z", 1),
        ("mktarball --binaries-only --source-only", 8),
        ("kernel_postinst", 4),
        ("add m/..", 1),
        ("build m/1 -k ../..", 1),
        ("build m/1 -j many", 2),
        ("build m/1 --directive nothing", 1),
    ] {
        check_code(line, code);
    }
}

#[test]
fn every_refusal_but_clap_s_own_says_the_way_out() {
    let error = parse(&words("add build"), &disk).expect_err("two actions");
    assert_eq!(
        error.hint().as_deref(),
        Some("run them one after the other: dkms add … && dkms build …")
    );
}
