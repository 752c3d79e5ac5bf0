//! A package that tries everything, in each of the programs that it may bring: it reaches nothing but its own build.

mod neighbours;
mod start;
mod user;
mod verbs;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dkms_engine::conf::{ConfContext, evaluate};
use dkms_engine::sandbox::{Confinement, Layers};
use dkms_tests::dkms::{Hello, Machine, Program};
use dkms_tests::inputs;

const ATTEMPTS: &str = include_str!("attempts.sh");

/// What of the attempts may be reached where there is no mount namespace: Landlock hides contents, not names or processes.
const WITHOUT_NAMESPACE: &[&str] = &["environment-of-init", "see-processes", "signal-others"];

/// The outside: a secret that everybody may read, and a listener.
struct Outside {
    dir: tempfile::TempDir,
    listener: TcpListener,
}

impl Outside {
    fn new() -> Outside {
        let dir = dkms_tests::sources::open_tempdir();
        fs::write(dir.path().join("secret"), "secret").expect("write");
        Outside {
            dir,
            listener: TcpListener::bind("127.0.0.1:0").expect("a port"),
        }
    }

    /// The arguments of the script behind the phase.
    fn arguments(&self) -> String {
        let secret = self.dir.path().join("secret");
        let port = self.listener.local_addr().expect("an address").port();
        format!("{} {port} {}", secret.display(), std::process::id())
    }
}

/// The outcome of each attempt of `phase` in `text`.
fn outcomes(text: &str, phase: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim_start_matches("# ").strip_prefix(&format!("ATTEMPT {phase} ")))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect()
}

fn names() -> Vec<&'static str> {
    ATTEMPTS
        .lines()
        .filter_map(|line| line.strip_prefix("attempt "))
        .filter_map(|line| line.split(' ').next())
        .collect()
}

/// All were tried, and none was reached.
fn nothing_reached(found: &BTreeMap<String, String>, phase: &str) {
    let spared =
        |name: &str| Layers::here().confinement != Confinement::MountNamespace && WITHOUT_NAMESPACE.contains(&name);
    for name in names().into_iter().filter(|name| !spared(name)) {
        let outcome = found.get(name).map(String::as_str);
        assert_eq!(outcome, Some("refused"), "{name} in {phase}: {found:?}");
    }
}

#[test]
fn attempts_reach_something_outside_the_sandbox() {
    // Else the attempts below would prove nothing. The others could change this machine.
    let harmless = [
        "read-secret",
        "connect-loopback",
        "unix-socket",
        "see-processes",
        "signal-others",
    ];
    let outside = Outside::new();
    let is_tried = |line: &&str| {
        let name = line.strip_prefix("attempt ").and_then(|line| line.split(' ').next());
        name.is_none_or(|name| harmless.contains(&name))
    };
    let lines: Vec<&str> = ATTEMPTS.lines().filter(is_tried).collect();
    let script = outside.dir.path().join("attempts.sh");
    fs::write(&script, lines.join("\n")).expect("write");
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            &format!("bash {} outside {}", script.display(), outside.arguments()),
        ])
        .output()
        .expect("sh runs");
    let found = outcomes(&String::from_utf8_lossy(&output.stdout), "outside");
    for name in harmless {
        assert_eq!(
            found.get(name).map(String::as_str),
            Some("reached"),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn a_conf_reaches_nothing() {
    let (outside, dir) = (Outside::new(), dkms_tests::sources::open_tempdir());
    fs::write(dir.path().join("attempts.sh"), ATTEMPTS).expect("write");
    let conf = format!(
        "PACKAGE_NAME=evil\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=evil\nDEST_MODULE_LOCATION=/updates\n\
         while read -r line; do BUILD_DEPENDS+=(\"${{line// /:}}\"); done < <(bash \"${{BASH_SOURCE%/*}}/attempts.sh\" conf {})\n",
        outside.arguments()
    );
    fs::write(dir.path().join("dkms.conf"), conf).expect("write");
    let [release, _] = inputs::kernels();
    let conf = evaluate(dir.path(), &ConfContext::without_kernel(&release, "x86_64")).expect("a conf");
    let text = conf.build_depends.join("\n").replace(':', " ");
    nothing_reached(&outcomes(&text, "conf"), "dkms.conf");
}

/// Builds a package that makes all attempts, by the `verb` of `dkms` behind the words `before`. Returns the machine, the log and what was
/// printed.
fn build_with_attempts(before: &[&str], verb: &str) -> (Machine, String, String) {
    let outside = Outside::new();
    let machine = Machine::new(Program::Ours);
    let [release, _] = inputs::kernels();
    machine.add_kernel(&release);
    let arguments = outside.arguments();
    let conf = format!(
        "PRE_BUILD='attempts.sh pre-build {arguments}'\nPOST_BUILD='attempts.sh post-build {arguments}'\n\
         MAKE[0]=\"'bash' attempts.sh make {arguments}; 'cp' prebuilt/$kernelver hello.ko\"\n"
    );
    Hello::quick("hello", "1")
        .with(Box::leak(conf.into_boxed_str()))
        .put(&machine);
    machine.write("src/hello-1/attempts.sh", format!("#!/bin/bash\n{ATTEMPTS}"));
    machine.make_executable("src/hello-1/attempts.sh");
    machine.write("dkms/mok.key", "a key");
    let mut words = before.to_vec();
    words.extend(["dkms", verb, "-k", &release]);
    if verb == "build" {
        words.push("hello/1");
    } else {
        let outcome = machine.dkms(&["add", "hello/1"]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    }
    let output = machine
        .command(&words)
        .env("SECRET_OF_THE_CALLER", "1")
        .output()
        .expect("dkms runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let log = machine.path(&format!("dkms/hello/1/{release}/x86_64/log/make.log"));
    let log = fs::read_to_string(log).expect("a log");
    (machine, log, stderr)
}

#[test]
fn programs_of_a_build_reach_nothing() {
    let (_machine, log, _) = build_with_attempts(&[], "build");
    for phase in ["pre-build", "make", "post-build"] {
        nothing_reached(&outcomes(&log, phase), phase);
    }
}

/// Builds a package whose MAKE is `make`, which is to end well or not. Answers the machine and what was printed.
fn build(make: &str, ends_well: bool) -> (Machine, String) {
    let machine = Machine::new(Program::Ours);
    let [release, _] = inputs::kernels();
    machine.add_kernel(&release);
    machine.write("dkms/secret", "0x1\tsecret_symbol\tm\tEXPORT_SYMBOL\t\n");
    const CONF: &str = "MAKE[0]=\"'bash' evil.sh; 'cp' -f prebuilt/$kernelver hello.ko; 'bash' late.sh\"\n";
    Hello::quick("hello", "1").with(CONF).put(&machine);
    let (early, late) = make.split_once("#late\n").unwrap_or((make, ""));
    machine.write("src/hello-1/evil.sh", early);
    machine.write("src/hello-1/late.sh", late);
    let outcome = machine.dkms(&["build", "hello/1", "-k", &release]);
    assert_eq!(outcome.code == 0, ends_well, "{make}\n{}", outcome.stderr);
    (machine, outcome.stderr)
}

#[test]
fn what_make_plants_is_not_followed() {
    let [release, _] = inputs::kernels();
    let stored = format!("dkms/hello/1/{release}/x86_64");
    let symvers = |machine: &Machine| fs::read_to_string(machine.path(&format!("{stored}/module/Module.symvers")));
    for plant in [
        "ln -s /var/lib/dkms/secret Module.symvers",
        "mkfifo Module.symvers",
        "ln -s /dev/zero Module.symvers",
        "truncate -s 4G Module.symvers || truncate -s 3G Module.symvers",
        "truncate -s 1T Module.symvers || truncate -s 4095M Module.symvers",
        "mkdir Module.symvers",
        "ln /var/lib/dkms/secret Module.symvers || ln /usr/bin/true Module.symvers || true",
        // Names that no list and no terminal likes, with what is looked for in them.
        "mkdir $'odd\\n\\e]0;x\\a' $'\\377\\376'; cd $'\\377\\376'; touch ./-rf \"$(printf 'a%.0s' {1..255})\"; ln -s /var/lib/dkms/secret Module.symvers",
        "mkdir many; cd many; perl -e 'for (1..100000) { open F, \">\", $_ }'; ln -s /var/lib/dkms/secret Module.symvers",
        // A directory that is a link at every other moment, also when make has ended.
        "mkdir d; (setsid bash -c 'while :; do mv d e; ln -s /var/lib/dkms d; rm d; mv e d; done' &) >/dev/null 2>&1; \
         ln -s secret d/Module.symvers; sleep 1",
    ] {
        let (machine, _) = build(&format!("{plant}\n"), true);
        let found = symvers(&machine).unwrap_or_default();
        assert!(!found.contains("secret"), "{plant}: {found}");
        let left: Vec<_> = fs::read_dir(machine.path("dkms/.work")).into_iter().flatten().collect();
        assert!(left.is_empty(), "{plant}: {left:?}");
    }
    for (plant, reason) in [
        ("#late\nrm hello.ko; ln -s /var/lib/dkms/secret hello.ko", "link"),
        ("#late\nrm hello.ko; mkfifo hello.ko", "not a regular file"),
        ("#late\nrm hello.ko; mkdir hello.ko", "not a regular file"),
        (
            "#late\nrm hello.ko; truncate -s 1T hello.ko || truncate -s 4095M hello.ko",
            "more than 268435456",
        ),
        (
            "for i in {1..300}; do mkdir d && cd d; done",
            "directories too deep in one another",
        ),
    ] {
        let (_, stderr) = build(&format!("{plant}\n"), false);
        assert!(
            stderr.contains(reason) && stderr.contains("hint: "),
            "{plant}: {stderr}"
        );
    }
}

#[test]
fn what_post_build_adds_is_plain_files() {
    let machine = Machine::new(Program::Ours);
    let [release, _] = inputs::kernels();
    machine.add_kernel(&release);
    let stage = "$dkms_tree/hello/1/$kernelver/$arch";
    let conf = format!(
        "POST_BUILD=\"post.sh {stage}\"\nMAKE[0]=\"'cp' prebuilt/$kernelver hello.ko; 'mkdir' -p {stage}; 'ln' -s /etc/motd-attempt {stage}/log || 'true'\"\n"
    );
    Hello::quick("hello", "1")
        .with(Box::leak(conf.into_boxed_str()))
        .put(&machine);
    machine.write(
        "src/hello-1/post.sh",
        "#!/bin/bash\ncd \"$1\" || exit 3\necho fine >extra; chmod 4755 extra; ln -s /etc/passwd link; mkfifo fifo; ln -s /etc log/link\n",
    );
    machine.make_executable("src/hello-1/post.sh");
    let outcome = machine.dkms(&["build", "hello/1", "-k", &release]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let dir = machine.path(&format!("dkms/hello/1/{release}/x86_64"));
    let extra = fs::metadata(dir.join("extra")).expect("what it added");
    assert_eq!(extra.permissions().mode() & 0o7777, 0o644);
    for absent in ["link", "fifo", "log/link"] {
        assert!(fs::symlink_metadata(dir.join(absent)).is_err(), "{absent}");
    }
    assert!(dir.join("log/make.log").is_file());
    assert!(!Path::new("/etc/motd-attempt").exists());
}

#[test]
fn every_attempt_is_a_row_of_the_threat_model() {
    let page = fs::read_to_string(inputs::workspace().join("docs/threat-model.md")).expect("a page");
    for name in names() {
        assert!(page.contains(&format!("| `{name}` |")), "{name} has no row");
    }
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    for row in rows {
        assert!(names().contains(&row), "{row} is not tried");
    }
}
