//! Plain confs are compared with bash, which is asked for each of them.

use std::path::Path;

use proptest::prelude::*;

use super::super::ConfContext;
use super::super::evaluate::{SCRIPT, values_by_bash};
use super::variables::{DIRECTIVES, is_own};
use super::*;
use crate::distribution::Distribution;

fn context(dir: &Path) -> ConfContext {
    ConfContext {
        overrides_dir: dir.join("etc"),
        distribution: Distribution::parse("ID=gentoo"),
        parallel_jobs: 3,
        ..ConfContext::without_kernel("6.1.0-56-amd64", "x86_64")
    }
    .of_package("m", "1")
}

/// What this module makes of a conf: None, or that it is as bash has it, down to each value.
fn read_as_bash_does(text: &[u8]) -> Option<RawConf> {
    let dir = tempfile::tempdir().expect("temp dir");
    fs::write(dir.path().join("dkms.conf"), text).expect("write");
    let ctx = context(dir.path());
    let raw = read(dir.path(), &ctx)?;
    let shown = String::from_utf8_lossy(text);
    let mut stderr = String::new();
    let by_bash = values_by_bash(dir.path(), &ctx, None, false, &mut stderr)
        .unwrap_or_else(|error| panic!("bash refuses it: {error}\n{shown}"));
    assert_eq!(raw.values, by_bash.values, "{shown}");
    assert_eq!(raw.matches, by_bash.matches, "{shown}");
    assert!(
        by_bash.problems.is_empty() && stderr.is_empty(),
        "{shown}: {:?} {stderr}",
        by_bash.problems
    );
    Some(raw)
}

const NAMED: &str = "PACKAGE_NAME=m\nPACKAGE_VERSION=1\n";

#[test]
fn what_is_plain() {
    let check = |lines: &str, value: Option<&str>| {
        let raw = read_as_bash_does(format!("{NAMED}{lines}\n").as_bytes());
        let found = raw.map(|raw| {
            let make = raw.values.get("MAKE").cloned().unwrap_or_default();
            make.into_iter()
                .map(|(index, value)| format!("{index}:{value}"))
                .collect::<Vec<_>>()
                .join(" | ")
        });
        assert_eq!(found.as_deref(), value, "{lines}");
    };
    check("MAKE=make # text", Some("0:make"));
    check(
        "  MAKE[1]=\"make  -C $kernel_source_dir\tM=${dkms_tree}\" ;",
        Some("1:make -C /lib/modules/6.1.0-56-amd64/build M=/var/lib/dkms"),
    );
    check(
        "MAKE='make K=$kernelver X=$PACKAGE_NAME'",
        Some("0:make K=6.1.0-56-amd64 X=m"),
    );
    check("dir=src; MAKE=make\\ $dir", Some("0:make src"));
    check("MAKE=\"make \\\n all\"", Some("0:make all"));
    check("MAKE=${kernelver}\\\nx", Some("0:6.1.0-56-amd64x"));
    check("MAKE=(a \"b c\" # text\n 'd')", Some("0:a | 1:b c | 2:d"));
    check(
        "MAKE=a\nMAKE+=b\nMAKE+=(c $kernelver)",
        Some("0:ab | 1:c | 2:6.1.0-56-amd64"),
    );
    check("MAKE[2]=x\nMAKE=y", Some("0:y | 2:x"));
    check("A=(x y)\nMAKE=\"${A[1]}$A${A[7]}\"", Some("0:yx"));
    check("BUILD_EXCLUSIVE_KERNEL='^(5\\.1[0-9]|6).*$'", Some(""));
    check("# M\u{fc}ller\nMAKE=x", Some("0:x"));
    check("MAKE=x\r\nCLEAN=y\r", Some("0:x"));
    for other in [
        "MAKE=$(uname -r)",
        "MAKE=`uname`",
        "MAKE=$((1+1))",
        "MAKE='$(uname)'",
        "MAKE='a \"b\"'",
        "MAKE=$HOME",
        "MAKE=$nothing",
        "MAKE=${kernelver%%-*}",
        "MAKE=~",
        "MAKE=(*)",
        "MAKE=({a,b})",
        "MAKE=([1]=x)",
        "MAKE[01]=x",
        "MAKE[i]=x",
        "MAKE='m\u{fc}ll'",
        "MAKE=a b",
        "MAKE=\"a",
        "MAKE=a;;",
        ";",
        "if true; then MAKE=x; fi",
        "export MAKE=x",
        "IFS=x",
        "PATH=x",
        "_x=1",
        "MAKE_MATCH='[[:alpha:]]'",
        "MAKE_MATCH='a{2}'",
        "MAKE_MATCH='*'",
        "MAKE=$kernelver\\\nx",
        "MAKE=\"$kernelver\\\nx\"",
        "MAKE=(${kernelver} $kernelver\\\n)",
        "MAKE=a&",
        "MAKE=a\u{1}",
    ] {
        check(other, None);
    }
}

#[test]
fn layers_of_plain_files() {
    let dir = tempfile::tempdir().expect("temp dir");
    let ctx = ConfContext {
        directives: vec![crate::conf::Directive::parse("CLEAN=$x \"y\"").expect("a directive")],
        ..context(dir.path())
    };
    fs::create_dir(dir.path().join("etc")).expect("dir");
    fs::write(
        dir.path().join("dkms.conf"),
        format!("{NAMED}own=1\nMAKE=(a b)\nPRE_BUILD='\\$arch'\n"),
    )
    .expect("write");
    fs::write(
        dir.path().join("etc/m.conf"),
        "MAKE=$MAKE.new\nPOST_BUILD=$PACKAGE_VERSION\n",
    )
    .expect("write");
    let raw = read(dir.path(), &ctx).expect("plain");
    let bash = values_by_bash(dir.path(), &ctx, None, false, &mut String::new()).expect("values");
    assert_eq!(raw.values, bash.values);
    fs::write(dir.path().join("etc/m-1.conf"), "MAKE=$own\n").expect("write");
    assert!(read(dir.path(), &ctx).is_none(), "a variable of another file");
}

#[test]
fn variables_of_bash_are_left_to_it() {
    let done = std::process::Command::new("bash")
        .args(["--norc", "-c", "compgen -v"])
        .env_clear()
        .envs([
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/"),
            ("SHELL", "/bin/bash"),
            ("LC_ALL", "C"),
        ])
        .output()
        .expect("bash");
    let names = String::from_utf8(done.stdout).expect("text");
    assert!(names.lines().count() > 30, "{names}");
    for name in names
        .lines()
        .chain(["COMPREPLY", "MAPFILE", "REPLY", "OLDPWD", "PS1", "LC_COLLATE", "TMOUT"])
    {
        assert!(!is_own(name), "{name}");
    }
    assert!(DIRECTIVES.into_iter().all(is_own));
    let (_, behind) = SCRIPT.split_once("__names='").expect("the names");
    let (names, _) = behind.split_once('\'').expect("their end");
    assert!(names.split_whitespace().eq(DIRECTIVES), "{names}");
}

/// A file of lines like those of confs, plain and other.
fn line() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => proptest::sample::select(DIRECTIVES.to_vec()).prop_map(str::to_owned),
        2 => proptest::sample::select(vec!["kernelver", "own", "A_b", "HOME", "IFS"]).prop_map(str::to_owned),
    ];
    let index = prop_oneof![3 => Just(""), 2 => Just("[0]"), 1 => Just("[1]"), 1 => Just("[10]"), 1 => Just("[08]")];
    let operator = prop_oneof![8 => Just("="), 1 => Just("+="), 1 => Just(" =")];
    let end = prop_oneof![8 => Just("\n"), 1 => Just(" # c\n"), 1 => Just(";\n"), 1 => Just(" "), 1 => Just(";"), 1 => Just("\r\n"), 1 => Just("#\n")];
    (name, index, operator, value(), end)
        .prop_map(|(name, index, operator, value, end)| format!("{name}{index}{operator}{value}{end}"))
}

fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9./_-]{0,4}",
        2 => proptest::sample::select(vec![
            "$kernelver", "$kernelver\\\n", "${arch}", "$PACKAGE_NAME", "${MAKE[1]}", "$own", "$A_b", "$", "$x", "${own", "\\", "\\\n", "\\.", "\\\\", "\\$",
            "\\\"", "`", "*", "?", "[0-9]", "[1]=x", "{a,b}", "~", "#", "!", "^", "|", "=", "+", "(", ")", "&", "<", "\u{fc}", "%", ",", ":",
        ]).prop_map(str::to_owned),
        1 => " {0,2}",
        1 => Just("\n".to_owned()),
    ];
    let text = proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat());
    let word = prop_oneof![
        3 => text.clone(),
        4 => text.clone().prop_map(|text| format!("\"{text}\"")),
        3 => text.clone().prop_map(|text| format!("'{text}'")),
        1 => (text.clone(), text).prop_map(|(a, b)| format!("\"{a}\"'{b}'")),
    ];
    let array = proptest::collection::vec(word.clone(), 0..4).prop_map(|words| format!("({})", words.join(" ")));
    prop_oneof![4 => word, 1 => array]
}

/// The confs of this project's fixtures and what upstream documents.
const REAL: [&str; 3] = [
    "PACKAGE_NAME=\"edu\"\n\
     PACKAGE_VERSION=\"1.0\"\n\
     CLEAN=\"make clean\"\n\
     MAKE[0]=\"make all KVERSION=$kernelver\"\n\
     BUILT_MODULE_NAME[0]=\"edu\"\n\
     DEST_MODULE_LOCATION[0]=\"/updates\"\n\
     AUTOINSTALL=\"yes\"\n",
    "PACKAGE_NAME=r8168\n\
     PACKAGE_VERSION=8.0\n\
     # one module\n\
     BUILT_MODULE_NAME[0]=$PACKAGE_NAME\n\
     BUILT_MODULE_LOCATION[0]=src/\n\
     MAKE[0]=\"'make' -C src/ KVER=${kernelver}\"\n\
     MAKE_MATCH[0]=\"^(5|6)\\.[0-9]+\"\n\
     BUILD_EXCLUSIVE_ARCH=\"(x86_64|i.86)\"\n",
    "MAKE=\"make -C ${kernel_source_dir} M=$dkms_tree/$module/$module_version/build CONFIG_X=m\"\n\
     PATCH[0]=\"a.patch\"\n\
     PATCH_MATCH[0]='^6\\.1'\n\
     BUILT_MODULE_NAME=(a b c)\n\
     STRIP[1]=\"no\"\n\
     BUILD_DEPENDS=( \"x\" 'y' )\n",
];

/// A real conf with a few characters put in, taken out or changed.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        0..400_usize,
        0..4_usize,
        proptest::sample::select(b" \t\n\"'\\$`;#()[]{}=+~*&|<>!^%a1_.".to_vec()),
    );
    (
        proptest::sample::select(REAL.to_vec()),
        proptest::collection::vec(edit, 1..5),
    )
        .prop_map(|(conf, edits)| {
            let mut bytes = conf.as_bytes().to_vec();
            for (at, kind, byte) in edits {
                let at = at % bytes.len();
                match kind {
                    0 => bytes.insert(at, byte),
                    1 => bytes[at] = byte,
                    2 => {
                        bytes.remove(at);
                    }
                    _ => bytes[at..].reverse(),
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_confs_mean_the_same_to_bash(lines in proptest::collection::vec(line(), 1..4)) {
        read_as_bash_does(lines.concat().as_bytes());
    }

    #[test]
    fn damaged_confs_mean_the_same_to_bash(text in mutated()) {
        read_as_bash_does(text.as_bytes());
    }

    #[test]
    fn expressions_mean_the_same_to_bash(pattern in "[0-9a6.^$|()*+?-]{0,6}|\\^?\\(?[4-6](\\\\\\.|\\||\\[[0-9a-]{0,4}\\]|\\.\\*)[0-9]{0,2}\\)?[$*+]?") {
        read_as_bash_does(format!("MAKE_MATCH='{pattern}'\nBUILD_EXCLUSIVE_ARCH='{pattern}'\n").as_bytes());
    }
}
