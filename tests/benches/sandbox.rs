//! What the sandbox costs: the programs of one build, make and strip, which run in one, in the sandbox and without it.
//!
//! `cargo bench --bench sandbox`, as root (or where users may have namespaces). Each round is a process of its own, as each call of dkms
//! is. A build takes so long that its own differences hide the sandbox; so what it consists of is measured apart: a start, system
//! calls, processes. The first call after a boot tries whether bubblewrap works; those after it find the answer. The least of the rounds counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dkms_engine::command::Confined;
use dkms_engine::sandbox::{Account, Layers, Limits, View, remember_in};
use dkms_native::{Cost, Meter};
use dkms_tests::inputs;

const ROUNDS: usize = 15;

const SOURCE: &str = "#include <linux/module.h>\n\
    static int __init start(void) { return 0; }\nstatic void __exit stop(void) { }\n\
    module_init(start); module_exit(stop);\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"does nothing\");\n";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", mode, step, dir, answers] => run(mode, step, Path::new(dir), Path::new(answers)),
        _ => compare(),
    }
}

/// Runs the programs of `step` on the source in `dir`. The answer to the first trial is in `answers`.
fn run(mode: &str, step: &str, dir: &Path, answers: &Path) {
    if step != "first start" {
        remember_in(answers);
    }
    let [release, _] = inputs::kernels();
    let headers = inputs::headers(&release);
    let headers = headers.canonicalize().unwrap_or(headers);
    let line = format!(
        "make -s -C {} M={} modules && strip -g one.ko",
        headers.display(),
        dir.display()
    );
    let bash = |line: &str| Confined::new("/bin/bash").args(["-c", line]).dir(dir);
    let command = match step {
        "build" => bash(&line),
        "processes" => bash("for i in {1..300}; do /bin/true; done"),
        // One call of read(2) and one of write(2) for each byte.
        "calls" => Confined::new("dd").args(["if=/dev/zero", "of=/dev/null", "bs=1", "count=32000", "status=none"]),
        _ => Confined::new("true"),
    };
    let account = Account::reserve();
    let user = account.id();
    let view = View::new(Path::new("/"), account, Limits::build(Duration::from_secs(600), 1));
    let view = view.kernel(&release, &headers, None).write(dir);
    if mode == "sandbox" {
        for entry in walkdir::WalkDir::new(dir).into_iter().flatten() {
            std::os::unix::fs::chown(entry.path(), user, user).unwrap_or_else(|e| panic!("chown: {e}"));
        }
    }
    let command = match mode {
        "sandbox" => command.sandbox(view),
        _ => command,
    };
    let output = command.output(1 << 20).unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.ended.status.success(), "{command:?}: {stderr}");
}

fn compare() {
    println!("{}; {} rounds, seconds", Layers::here(), ROUNDS);
    println!(
        "| Work | sandbox wall | sandbox CPU | without wall | without CPU | CPU of the sandbox |\n|---|---|---|---|---|---|"
    );
    let meter = Meter::new();
    let answers = tempfile::tempdir().unwrap_or_else(|e| panic!("temp dir: {e}"));
    for (name, step) in [
        ("start of one program, the first after a boot", "first start"),
        ("start of one program", "start"),
        ("one program of 64,000 system calls, as many as a build makes", "calls"),
        ("300 programs, as many as a build starts", "processes"),
        ("make of one file, and strip", "build"),
    ] {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            with.push(cost(&meter, "sandbox", step, answers.path()));
            without.push(cost(&meter, "plain", step, answers.path()));
        }
        let least = |costs| Cost::least(costs).unwrap_or_else(|| panic!("nothing was run"));
        let (with, without) = (least(with), least(without));
        println!(
            "| {name} | {:.3} | {:.4} | {:.3} | {:.4} | {:+.1} ms |",
            with.wall.as_secs_f64(),
            with.cpu.as_secs_f64(),
            without.wall.as_secs_f64(),
            without.cpu.as_secs_f64(),
            (with.cpu.as_secs_f64() - without.cpu.as_secs_f64()) * 1e3
        );
    }
}

/// One run in a process of its own, on a fresh source.
fn cost(meter: &Meter, mode: &str, step: &str, answers: &Path) -> Cost {
    let dir = dkms_tests::sources::open_tempdir();
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap_or_else(|e| panic!("write {name}: {e}"));
    };
    write("one.c", SOURCE);
    write("Makefile", "obj-m := one.o\n");
    let results = tempfile::tempdir().unwrap_or_else(|e| panic!("temp dir: {e}"));
    let result: PathBuf = results.path().join("cost");
    let this = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
    let (this, dir) = (this.display().to_string(), dir.path().display().to_string());
    let words = meter.wrap(
        &result,
        &[&this, "run", mode, step, &dir, &answers.display().to_string()],
    );
    let status = std::process::Command::new(&words[0]).args(&words[1..]).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{words:?}: {status:?}"
    );
    Meter::read(&result)
}
