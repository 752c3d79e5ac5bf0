//! What packages, kernels, shells and people have besides the program: hooks, completions, the manual page, `make install`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use dkms_engine::hooks::FILES;
use dkms_engine::sandbox::{Confinement, Layers};
use dkms_tests::dkms::{Hello, Machine, Program, ours};
use dkms_tests::{inputs, sources};

const HELLO: Hello = Hello::quick("hello", "1");

fn run(command: &mut Command) -> Output {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        done.status.success(),
        "{command:?}: {}\n{}",
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    done
}

/// A machine with the scripts of dkms where they belong, and what they call each other by.
fn machine() -> Machine {
    let machine = Machine::with_kernels(Program::Ours);
    HELLO.put(&machine);
    for file in FILES.iter().filter(|file| file.mode == 0o755) {
        // /etc/kernel is not the machine's own; scripts are run from, and call each other at, a place that is.
        let text = file.text.replace("/etc/kernel/", "/etc/dkms/kernel/");
        let path = match file.path.strip_prefix("usr/lib/dkms/") {
            Some(name) => format!("hooks/{name}"),
            None => file.path.replace("usr/lib/", "etc/"),
        };
        machine.write_program(&path, &text);
    }
    machine
}

#[test]
fn kernels_come_and_go_by_their_hooks() {
    let machine = machine();
    let [k1, k2] = inputs::kernels();
    let state = || machine.dkms(&["status"]).stdout;
    let call = |words: &[&str]| {
        let outcome = machine.run(words);
        assert_eq!(outcome.code, 0, "{words:?}\n{}{}", outcome.stdout, outcome.stderr);
        outcome.stderr
    };
    let installed = |kernel: &str| format!("hello/1, {kernel}, {}: installed\n", std::env::consts::ARCH);
    call(&["dkms", "add", "hello/1"]);
    call(&["/etc/dkms/kernel/header_postinst.d/dkms", &k1]);
    assert_eq!(state(), installed(&k1));
    let plugin = "/etc/dkms/kernel/install.d/40-dkms.install";
    call(&[plugin, "add", &k2, "/boot/entry", "/boot/vmlinuz"]);
    assert_eq!(state(), installed(&k1) + &installed(&k2));
    call(&[plugin, "remove", &k2, "/boot/entry"]);
    call(&[plugin, "inspect"]);
    assert_eq!(state(), installed(&k1));
    // The same release is replaced: what was built for its old headers goes before it, and is built again after it.
    call(&["/etc/dkms/kernel/preinst.d/dkms", &k1]);
    assert_eq!(state(), "hello/1: added\n");
    call(&["/etc/dkms/kernel/postinst.d/dkms", &k1]);
    call(&["/etc/dkms/kernel/prerm.d/dkms", &k1]);
    assert_eq!(state(), "hello/1: added\n");
    // No headers, and a module that does not build: both are told, and the kernel's installation goes on.
    let said = call(&["/etc/dkms/kernel/postinst.d/dkms", "9.9.9-none"]);
    assert!(said.contains("its headers are not installed"), "{said}");
    HELLO.with("MAKE[0]=false").put(&machine);
    let said = call(&["/etc/dkms/kernel/postinst.d/dkms", &k1]);
    assert!(said.contains(&format!("dkms status -k {k1} --json")), "{said}");
    // The administrator's word counts for every hook.
    machine.write("etc/no-autoinstall", "");
    let said = call(&["/etc/dkms/kernel/postinst.d/dkms", &k1]);
    assert!(said.contains("/etc/dkms/no-autoinstall is there"), "{said}");
}

#[test]
fn building_as_root_where_nobody_cannot_go_is_told() {
    let machine = Machine::new(Program::Ours);
    let [k1, k2] = inputs::kernels();
    machine.add_kernel(&k1);
    machine.add_kernel(&k2);
    HELLO.put(&machine);
    let home = machine.path("home");
    machine.write("home/file", "");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    let tree = home.join("tree").display().to_string();
    let outcome = machine.dkms(&["build", "hello/1", "-k", &k1, "-k", &k2, "--dkmstree", &tree]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let told = "make runs as root";
    // Above it there may be other closed directories, of the test run itself.
    let closed = dkms_engine::command::closed_to_others(&home, Path::new("/")).expect("it is closed");
    if Layers::here().confinement == Confinement::MountNamespace {
        // Its bind mounts do not depend on what is above them.
        assert!(!outcome.stderr.contains(told), "{}", outcome.stderr);
        return;
    }
    let hint = format!("hint: chmod o+rx {}", closed.display());
    assert!(
        outcome.stderr.matches(told).count() == 1 && outcome.stderr.contains(&hint),
        "{}",
        outcome.stderr
    );
    // In the usual place nothing is in the way, unless the headers of the inputs lie in somebody's home.
    let may_drop = dkms_engine::command::readable_by_all(&inputs::headers(&k1));
    let outcome = machine.dkms(&["build", "hello/1", "-k", &k1]);
    assert_eq!(outcome.stderr.contains(told), !may_drop, "{}", outcome.stderr);
}

/// Installs this build below `to` as `make install` does.
fn install(to: &Path, prefix: &str) {
    run(Command::new("make")
        .current_dir(inputs::workspace())
        .args(["--no-print-directory", "install"])
        .arg(format!("DESTDIR={}", to.display()))
        .arg(format!("PREFIX={prefix}"))
        .arg(format!("PROGRAMS={}", ours().parent().expect("a directory").display())));
}

#[test]
fn make_install_puts_everything_where_it_is_looked_for() {
    let to = sources::open_tempdir();
    install(to.path(), "/opt/drivers");
    let there = |path: &str| to.path().join(path).is_file();
    for file in FILES {
        assert!(there(file.path), "{}", file.path);
    }
    for path in [
        "bin/dkms-fetch",
        "bin/dkms-repo",
        "sbin/dkms",
        "share/man/man8/dkms.8",
        "share/man/man8/dkms-fetch.8",
        "share/man/man1/dkms-repo.1",
        "share/man/man5/dkms-fetch.toml.5",
        "share/man/man5/dkms-fetch-repos.5",
        "share/man/man5/dkms-repo.toml.5",
        "share/doc/dkms-fetch/examples/config.toml",
        "share/doc/dkms-fetch/examples/signers/pkcs11",
        "share/dkms-repo/recipes/xone.toml",
        "share/doc/dkms-fetch/examples/repos.d/drivers.toml",
        "share/bash-completion/completions/dkms",
        "share/bash-completion/completions/dkms-fetch",
        "share/bash-completion/completions/dkms-repo",
        "share/fish/vendor_completions.d/dkms.fish",
        "share/fish/vendor_completions.d/dkms-fetch.fish",
        "share/fish/vendor_completions.d/dkms-repo.fish",
        "share/zsh/site-functions/_dkms",
        "share/zsh/site-functions/_dkms-fetch",
        "share/zsh/site-functions/_dkms-repo",
    ] {
        assert!(there(&format!("opt/drivers/{path}")), "{path}");
    }
    // The link is the program, and it is dkms.
    let said = run(Command::new(to.path().join("opt/drivers/sbin/dkms")).arg("--version"));
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("dkms-3."));
    // The installed program finds its recipes by their names, and says where it looked.
    let repository = to.path().join("repository");
    let program = to.path().join("opt/drivers/bin/dkms-repo");
    run(Command::new(&program).args(["init"]).arg(&repository));
    let outcome = Command::new(&program)
        .arg("-C")
        .arg(&repository)
        .args(["import", "recipes", "no-such-driver"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let place = to.path().join("opt/drivers/share/dkms-repo/recipes");
    assert!(
        said.contains("no recipe of that name is in") && said.contains(&place.display().to_string()),
        "{said}"
    );
    // One that nobody tried is passed over, so that nothing is fetched here.
    std::fs::write(
        place.join("local.toml"),
        "summary = \"x\"\ngit = \"https://example.org/x\"\nrevision = \"v1\"\nunchecked = \"new\"\n",
    )
    .expect("write");
    let outcome = run(Command::new(&program)
        .arg("-C")
        .arg(&repository)
        .args(["import", "recipes", "local"]));
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("local.toml: it is unchecked"));
    // A second time nothing is in the way, and what the administrator wrote stays.
    std::fs::write(to.path().join("etc/dkms/framework.conf"), "mine\n").expect("write");
    install(to.path(), "/opt/drivers");
    let kept = std::fs::read_to_string(to.path().join("etc/dkms/framework.conf")).expect("read");
    assert_eq!(kept, "mine\n");
}

#[test]
fn bash_completes_verbs_options_and_kernels() {
    let check = |program: &str, script: Output, words: &str, expected: &[&str]| {
        let dir = sources::open_tempdir();
        let file = dir.path().join("completions");
        std::fs::write(&file, script.stdout).expect("write");
        // As bash does when TAB is pressed behind the last word.
        let line = format!(
            "set -u; . {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
             function=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
             $function {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
            file.display()
        );
        let said = run(Command::new("bash").args(["--norc", "-c", &line]));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let offered: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(offered, expected, "{words}");
    };
    let dkms = || run(Command::new(ours()).args(["dkms", "hooks", "completions", "bash"]));
    check("dkms", dkms(), "dkms autoi", &["autoinstall"]);
    check("dkms", dkms(), "dkms un", &["unbuild", "uninstall"]);
    check("dkms", dkms(), "dkms status --js", &["--json"]);
    // After -k come the kernels of this machine, not the files of this directory.
    let mut kernels: Vec<String> = std::fs::read_dir("/lib/modules")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    kernels.sort();
    let kernels: Vec<&str> = kernels.iter().map(String::as_str).collect();
    check("dkms", dkms(), "dkms build -k \"\"", &kernels);
    let fetch = run(Command::new(ours()).args(["completions", "bash"]));
    check("dkms-fetch", fetch, "dkms-fetch his", &["history"]);
}
