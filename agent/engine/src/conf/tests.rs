//! Evaluation of whole confs by bash.

use std::path::Path;

use super::*;
use crate::distribution::Distribution;

/// A source directory with `text` as its dkms.conf, in a directory that only its owner may enter.
fn source(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    std::fs::write(dir.path().join("dkms.conf"), text).expect("write");
    dir
}

fn context(dir: &Path) -> ConfContext {
    let headers = dir.join("headers");
    std::fs::create_dir_all(&headers).expect("dir");
    std::fs::write(headers.join(".config"), "CONFIG_USB_HID=m\n").expect("write");
    ConfContext {
        kernel_config: headers.join(".config"),
        kernel_source_dir: headers,
        overrides_dir: dir.join("etc"),
        distribution: Distribution::parse("ID=gentoo"),
        parallel_jobs: 3,
        ..ConfContext::without_kernel("6.1.0-56-amd64", "x86_64")
    }
    .of_package("m", "1")
}

fn conf(text: &str) -> Result<DkmsConf, ConfError> {
    let dir = source(text);
    evaluate(dir.path(), &context(dir.path()))
}

const MINIMAL: &str = "PACKAGE_NAME=m\nPACKAGE_VERSION=1\nDEST_MODULE_LOCATION[0]=/extra\n";

#[test]
fn defaults() {
    let conf = conf(MINIMAL).expect("a conf");
    let module = &conf.modules[0];
    assert_eq!((module.built_name.as_str(), module.dest_name.as_str()), ("m", "m"));
    assert_eq!(
        (module.built_location.as_str(), module.dest_location.as_str()),
        ("", "/extra")
    );
    assert!(module.strip && !conf.autoinstall && conf.warnings.is_empty());
    assert_eq!(conf.make_command(Path::new("/k"), Path::new("/b")), "make -C /k M=/b");
}

#[test]
fn arrays_and_second_expansion() {
    let conf = conf(&format!(
        "{MINIMAL}BUILT_MODULE_NAME=(a b)\nBUILT_MODULE_LOCATION[1]=sub\nDEST_MODULE_LOCATION[1]=/kernel/x\nSTRIP[0]=no\nSTRIP[1]=yes\n\
         MAKE[0]='make KVER=$kernelver  -j$parallel_jobs'\nMAKE[1]=\"other\"\nMAKE_MATCH[1]='^5'\nMAKE[2]=newer\nMAKE_MATCH[2]='^6\\.1'\n\
         PATCH=(one two three)\nPATCH_MATCH[1]='^5'\nBUILD_DEPENDS=(x \"y z\")\nAUTOINSTALL=YES\nPRE_BUILD=\"$(echo a\necho b)\"\n"
    ))
    .expect("a conf");
    let names: Vec<_> = conf
        .modules
        .iter()
        .map(|m| (m.built_name.as_str(), m.built_location.as_str(), m.strip))
        .collect();
    assert_eq!(names, [("a", "", false), ("b", "sub/", true)]);
    assert_eq!(conf.make.as_deref(), Some("newer"));
    assert_eq!(conf.patches, ["one", "three"]);
    assert_eq!(conf.build_depends, ["x", "y", "z"]);
    assert!(conf.autoinstall);
    assert_eq!(
        conf.scripts.pre_build.as_deref(),
        Some("a b"),
        "words are joined by single spaces"
    );
}

#[test]
fn single_quotes_expand() {
    let conf = conf(&format!(
        "{MINIMAL}MAKE='make KVER=$kernelver  -j$parallel_jobs M=$dkms_tree/$PACKAGE_NAME'\n"
    ))
    .expect("a conf");
    assert_eq!(
        conf.make.as_deref(),
        Some("make KVER=6.1.0-56-amd64 -j3 M=/var/lib/dkms/m")
    );
}

#[test]
fn confs_may_look_at_the_kernel() {
    let text =
        format!("{MINIMAL}. $kernel_source_dir/.config\nMAKE=\"make HID=$CONFIG_USB_HID K=$kernel_source_dir\"\n");
    let dir = source(&text);
    let ctx = context(dir.path());
    let conf = evaluate(dir.path(), &ctx).expect("a conf");
    assert_eq!(
        conf.make,
        Some(format!("make HID=m K={}", ctx.kernel_source_dir.display()))
    );
}

#[test]
fn overrides_and_directives_in_order() {
    let dir = source(&format!(
        "{MINIMAL}MAKE=source\nCLEAN=source\nPRE_BUILD=source\nPOST_BUILD=source\n"
    ));
    let mut ctx = context(dir.path());
    std::fs::create_dir(&ctx.overrides_dir).expect("dir");
    let write = |name: &str, text: &str| std::fs::write(ctx.overrides_dir.join(name), text).expect("write");
    write("m.conf", "MAKE=m\nCLEAN=m\nPRE_BUILD=m\n");
    write("m-1.conf", "MAKE=v\nCLEAN=v\n");
    write("m-1-6.1.0-56-amd64.conf", "MAKE=k\n");
    write("other.conf", "MAKE=other\n");
    write("m--6.1.0-56-amd64.conf", "PRE_INSTALL=any\nPOST_INSTALL=any\n");
    write("m--6.1.0-56-amd64-x86_64.conf", "POST_INSTALL=arch\n");
    write("m--6.12.conf", "PRE_INSTALL=other\n");
    ctx.directives = vec![Directive::parse("POST_BUILD=cli a=b").expect("a directive")];
    let conf = evaluate(dir.path(), &ctx).expect("a conf");
    let scripts = &conf.scripts;
    assert_eq!((conf.make.as_deref(), conf.clean.as_deref()), (Some("k"), Some("v")));
    assert_eq!(
        (scripts.pre_build.as_deref(), scripts.post_build.as_deref()),
        (Some("m"), Some("cli a=b"))
    );
    assert_eq!(
        (scripts.pre_install.as_deref(), scripts.post_install.as_deref()),
        (Some("any"), Some("arch"))
    );
    assert!(Directive::parse("a b=c").is_err() && Directive::parse("$(x)=c").is_err());
}

#[test]
fn exclusive_conditions_are_bash_regexes() {
    let check = |line: &str, excluded: bool| {
        let conf = conf(&format!("{MINIMAL}{line}\n")).expect("a conf");
        assert_eq!(conf.excluded("6.1.0-56-amd64", None).is_some(), excluded, "{line}");
    };
    check("BUILD_EXCLUSIVE_KERNEL='^3\\.1[4-9].*|^[4-9].*'", false);
    check("BUILD_EXCLUSIVE_KERNEL='REQUIRES CONFIG_X'", true);
    check("BUILD_EXCLUSIVE_ARCH='x86.*'", false);
    check("BUILD_EXCLUSIVE_ARCH='^do_not_build$'", true);
    check("BUILD_EXCLUSIVE_KERNEL_MIN=6.2", true);
    // What 3.2.2 does with each of these on 6.1.0-56-amd64.
    check("BUILD_EXCLUSIVE_KERNEL=''", false);
    check("BUILD_EXCLUSIVE_KERNEL=' '", true);
    check("BUILD_EXCLUSIVE_KERNEL='^6.1 '", true);
    check("BUILD_EXCLUSIVE_KERNEL=' 6'", true);
    check("BUILD_EXCLUSIVE_ARCH=' '", true);
    check("BUILD_EXCLUSIVE_ARCH='(i386|amd64)'", true);
    check("BUILD_EXCLUSIVE_KERNEL_MIN=' '", false);
    check("BUILD_EXCLUSIVE_KERNEL_MIN=abc", true);
    check("BUILD_EXCLUSIVE_KERNEL_MAX=6.1", true);
    check("BUILD_EXCLUSIVE_KERNEL_MAX=6.1.0", true);
    check("BUILD_EXCLUSIVE_KERNEL_MAX=6.1.0-56-amd64", false);
    check("BUILD_EXCLUSIVE_KERNEL_MAX=6.12", false);
    check("OBSOLETE_BY=6.1.0-56", true);
    // But here: upstream spares the one kernel that is named, which has the driver itself.
    check("OBSOLETE_BY=6.1.0-56-amd64", true);
    check("OBSOLETE_BY=6.12", false);
    check("BUILD_EXCLUSIVE_KERNEL='*('", true);
    check("BUILD_EXCLUSIVE_ARCH='['", true);
    check("OBSOLETE_BY=6.1", true);
    check("OBSOLETE_BY=6.1.0-57", false);
    check("OBSOLETE_BY=6.1\nBUILD_EXCLUSIVE_KERNEL_MAX=6.2", false);
    // Only the first of two modules, and none of them.
    let two = "BUILT_MODULE_NAME=(m n)\nDEST_MODULE_LOCATION[1]=/extra\n";
    check(&format!("{two}BUILD_EXCLUSIVE_KERNEL[1]=^5"), false);
    check(
        &format!("{two}OBSOLETE_BY=6.1\nBUILD_EXCLUSIVE_KERNEL_MAX[1]=6.2"),
        false,
    );
    check(
        &format!("{two}OBSOLETE_BY=6.1\nBUILD_EXCLUSIVE_KERNEL_MIN[1]=6.0"),
        true,
    );
    check(&format!("{two}BUILD_EXCLUSIVE_KERNEL[0]=^5"), true);
}

#[test]
fn problems_are_all_told() {
    let dir = source("PACKAGE_NAME=../x\nAUTOINSTALL=maybe\nBUILT_MODULE_NAME=a.ko\nDEST_MODULE_LOCATION=/etc\n");
    let error = evaluate(dir.path(), &context(dir.path()).of_package("", "")).expect_err("a bad conf");
    let ConfError::Invalid { problems, .. } = &error else {
        panic!("{error}");
    };
    let kinds: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 6, "{kinds:#?}");
    assert!(conf("").is_err());
}

#[test]
fn broken_confs_are_named() {
    let dir = source(&format!("{MINIMAL}if true\nfi\n"));
    let error = evaluate(dir.path(), &context(dir.path())).expect_err("a syntax error");
    let ConfError::Syntax(span) = &error else {
        panic!("{error}");
    };
    assert_eq!((span.line, span.column, span.text.as_str()), (5, 1, "fi"));
    assert_eq!(span.path, dir.path().join("dkms.conf"));
    assert!(matches!(
        conf(&format!("{MINIMAL}MAKE=\"a\n")),
        Err(ConfError::Syntax(_))
    ));
    assert!(matches!(
        conf(&format!("{MINIMAL}exit 0\n")),
        Err(ConfError::Exits { .. })
    ));
    assert!(matches!(
        conf(&format!("{MINIMAL}MAKE='a \"b'\n")),
        Err(ConfError::Invalid { .. })
    ));
    let error = evaluate(Path::new("/nonexistent"), &context(dir.path())).expect_err("no conf");
    assert!(
        error.hint().is_some() && error.to_string().contains("/nonexistent/dkms.conf"),
        "{error}"
    );
}

#[test]
fn a_conf_has_no_power() {
    let dir = source(&format!(
        "{MINIMAL}touch \"${{BASH_SOURCE%/*}}/pwned\" /usr/src/pwned\nMAKE=\"uid $(id -u) $HOME $CARGO_TARGET_DIR\"\n"
    ));
    let conf = evaluate(dir.path(), &context(dir.path())).expect("a conf");
    assert!(!dir.path().join("pwned").exists());
    assert!(
        !conf.make.as_deref().unwrap_or_default().starts_with("uid 0 "),
        "{:?}",
        conf.make
    );
    assert!(
        conf.warnings.iter().any(|w| matches!(w, ConfWarning::Says(_))),
        "{:?}",
        conf.warnings
    );
}

#[test]
fn dos_line_ends_are_no_part_of_values() {
    let text = format!(
        "{MINIMAL}BUILT_MODULE_NAME=(a \\\n b)\nDEST_MODULE_LOCATION[1]=/extra\nif [[ $arch ]]; then\n  PRE_BUILD=\"x y\"\nfi\n"
    );
    let dos = conf(&text.replace('\n', "\r\n")).expect("a conf");
    assert_eq!(dos, conf(&text).expect("a conf"));
    assert_eq!((dos.modules.len(), dos.scripts.pre_build.as_deref()), (2, Some("x y")));
    // A CR within a line is the conf's own.
    let inside = conf(&format!("{MINIMAL}PRE_BUILD=$'x\\ry'\n")).expect("a conf");
    assert_eq!(inside.scripts.pre_build.as_deref(), Some("x\ry"));
}

#[test]
fn files_beside_the_conf_are_read_by_any_path() {
    for line in [
        "PRE_BUILD=$(cat VERSION)",
        "PRE_BUILD=$(cat ./VERSION)",
        "PRE_BUILD=$(cat \"${BASH_SOURCE%/*}/VERSION\")",
        "PRE_BUILD=$(cat \"$(dirname \"$(readlink -f \"${BASH_SOURCE[0]}\")\")/VERSION\")",
        ". ./VERSION.sh; PRE_BUILD=$VERSION",
    ] {
        // The directory is closed to others; so is a file of it, in the second round.
        for mode in [0o644, 0o600] {
            let dir = source(&format!("{MINIMAL}{line}\n"));
            for (name, text) in [("VERSION", "3.1\n"), ("VERSION.sh", "VERSION=3.1\n")] {
                let path = dir.path().join(name);
                std::fs::write(&path, text).expect("write");
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
            }
            let conf = evaluate_first(dir.path(), &context(dir.path())).expect("a conf").conf;
            assert_eq!(conf.scripts.pre_build.as_deref(), Some("3.1"), "{line} {mode:o}");
        }
    }
}

#[test]
fn a_conf_may_write_in_a_copy_of_its_source() {
    let dir = source(
        "PACKAGE_NAME=m\nDEST_MODULE_LOCATION=/extra\nHERE=${BASH_SOURCE%/dkms.conf}\n\
         [ -e \"$HERE/sub/version\" ] || { mkdir -p \"$HERE/sub\"; echo PACKAGE_VERSION=4 >\"$HERE/sub/version\"; }\n\
         echo new >changed\n. \"$HERE/sub/version\"\n",
    );
    std::fs::write(dir.path().join("changed"), "old").expect("write");
    let ctx = context(dir.path()).of_package("", "");
    assert!(evaluate(dir.path(), &ctx).is_err(), "nothing may be written");
    let FirstEvaluation { conf, written } = evaluate_first(dir.path(), &ctx).expect("a conf");
    assert_eq!(conf.package_version, "4");
    let names: Vec<_> = written.iter().map(|file| file.path.display().to_string()).collect();
    assert_eq!(names, ["changed", "sub/version"]);
    assert_eq!(std::fs::read(dir.path().join("changed")).expect("read"), b"old");
    assert!(!dir.path().join("sub").exists(), "the original stays as it is");
    written.iter().try_for_each(|file| file.put(dir.path())).expect("put");
    assert_eq!(evaluate(dir.path(), &ctx).expect("a conf").package_version, "4");
}

#[test]
fn names_count_where_none_was_given() {
    let text = "PACKAGE_NAME=m\nPACKAGE_VERSION='#MODULE_VERSION#'\nDEST_MODULE_LOCATION=/extra\n";
    assert_eq!(
        conf(text).expect("it is m/1, whatever it says").package_version,
        "#MODULE_VERSION#"
    );
    // Upstream takes a placeholder for a name like any other, where it can be one.
    for (version, is_taken) in [
        ("#MODULE_VERSION#", true),
        ("@VERSION@", true),
        ("__VERSION__", true),
        ("DKMS_VERSION", true),
        ("{VERSION}", false),
        ("<VERSION>", false),
    ] {
        let dir = source(&text.replace("#MODULE_VERSION#", version));
        match evaluate(dir.path(), &context(dir.path()).of_package("", "")) {
            Ok(conf) => {
                assert!(is_taken && conf.package_version == version, "{version}");
                let warned = |w: &ConfWarning| w.to_string().contains("placeholder");
                assert!(conf.warnings.iter().any(warned), "{version}: {:?}", conf.warnings);
            }
            Err(error) => assert!(!is_taken && error.to_string().contains("placeholder"), "{error}"),
        }
    }
}

#[test]
fn modules_by_their_highest_index() {
    let check = |lines: &str, expected: Result<usize, &str>| {
        let found = conf(&format!("PACKAGE_NAME=m\nPACKAGE_VERSION=1\n{lines}\n"));
        match (found, expected) {
            (Ok(conf), Ok(count)) => assert_eq!(conf.modules.len(), count, "{lines}"),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{lines}: {error}"),
            (found, _) => panic!("{lines}: {found:?}"),
        }
    };
    check("", Ok(0));
    check("DEST_MODULE_LOCATION=/extra", Ok(1));
    check(
        "DEST_MODULE_LOCATION[1]=/extra\nBUILT_MODULE_NAME[1]=a",
        Err("does not set BUILT_MODULE_NAME[0]"),
    );
    check("BUILT_MODULE_NAME=a", Err("does not set DEST_MODULE_LOCATION[0]"));
    check(
        "BUILT_MODULE_NAME=(a a)\nDEST_MODULE_LOCATION=(/extra /extra)\nDEST_MODULE_NAME=(b c)",
        Err("BUILT_MODULE_NAME[1]"),
    );
    check(
        "BUILT_MODULE_NAME=(a b)\nDEST_MODULE_LOCATION=(/extra /extra)\nDEST_MODULE_NAME=(c c)",
        Err("DEST_MODULE_NAME[1]"),
    );
    check(
        "BUILT_MODULE_NAME=(a a)\nBUILT_MODULE_LOCATION[1]=x\nDEST_MODULE_LOCATION=(/extra /extra)\nDEST_MODULE_NAME=(c d)",
        Ok(2),
    );
}

#[test]
fn a_conf_that_is_a_link_out_of_the_source_is_not_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (source, secret) = (dir.path().join("source"), dir.path().join("secret"));
    std::fs::create_dir_all(source.join("debian")).expect("dir");
    std::fs::write(&secret, MINIMAL).expect("write");
    std::fs::write(source.join("debian/dkms.conf"), MINIMAL).expect("write");
    let link = source.join("dkms.conf");
    let context = context(dir.path());
    for (target, is_read) in [
        ("../secret", false),
        ("debian/../../secret", false),
        ("debian/dkms.conf", true),
    ] {
        std::os::unix::fs::symlink(target, &link).expect("link");
        let results = [
            evaluate(&source, &context).map(|_| ()),
            evaluate_first(&source, &context).map(|_| ()),
        ];
        for result in results {
            match result {
                Ok(()) => assert!(is_read, "{target}"),
                Err(error) => {
                    let error = dkms_support::chain(&error);
                    assert!(
                        !is_read && error.ends_with("it is a link to a file outside of the source"),
                        "{target}: {error}"
                    );
                }
            }
        }
        std::fs::remove_file(&link).expect("removed");
    }
    // Whoever names a file may name any.
    let context = ConfContext {
        conf_file: Some(secret),
        ..context
    };
    assert!(evaluate(&source, &context).is_ok());
}
