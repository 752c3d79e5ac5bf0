//! A build beside another one that runs at the same time: neither can take what the other needs, nor end it.

use dkms_tests::dkms::{Hello, Machine, Outcome, Program};
use dkms_tests::inputs;

/// Installs the package `good`, whose MAKE runs the makefile `steps`, beside `evil`, whose MAKE runs `script`, with four jobs.
fn beside(script: &str, steps: &str) -> (Machine, Outcome) {
    let machine = Machine::new(Program::Ours);
    let [release, _] = inputs::kernels();
    machine.add_kernel(&release);
    const EVIL: &str = "MAKE[0]=\"'bash' evil.sh; 'cp' prebuilt/$kernelver hello.ko\"\n";
    const GOOD: &str = "MAKE[0]=\"'make' -f steps.mk && 'cp' prebuilt/$kernelver hello.ko\"\n";
    Hello::quick("evil", "1").with(EVIL).put(&machine);
    Hello::quick("good", "1").with(GOOD).put(&machine);
    machine.write("src/evil-1/evil.sh", script);
    machine.write("src/good-1/steps.mk", steps);
    for package in ["evil/1", "good/1"] {
        let outcome = machine.dkms(&["add", package]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    }
    let outcome = machine.dkms(&["autoinstall", "-k", &release, "-j", "4"]);
    (machine, outcome)
}

fn assert_installed(machine: &Machine, package: &str, outcome: &Outcome) {
    let [release, _] = inputs::kernels();
    let status = machine.dkms(&["status"]).stdout;
    let line = format!("{package}, {release}, {}: installed\n", std::env::consts::ARCH);
    assert!(status.contains(&line), "{status}{}", outcome.stderr);
}

/// Two steps that each wait for the other, so that only two at a time succeed.
const TWO_AT_A_TIME: &str = "all: one two\none two:\n\t@touch $@.started; for i in $$(seq 100); do \
     [ -e one.started ] && [ -e two.started ] && exit 0; sleep 0.1; done; exit 1\n";

#[test]
fn who_takes_all_tokens_and_keeps_them_takes_its_own() {
    // It reads tokens from its first moment on, puts none back, and is still at it when its neighbour begins.
    let script = "
        auth=${MAKEFLAGS##*--jobserver-auth=}; auth=${auth%% *}; count=0
        for i in {1..80}; do read -r -N1 -t 0.1 -u \"${auth%,*}\" && ((count += 1)); done
        echo TOKENS $count";
    let steps = format!("$(shell sleep 2)\n{TWO_AT_A_TIME}");
    let (machine, outcome) = beside(script, &steps);
    assert_installed(&machine, "good/1", &outcome);
    assert_installed(&machine, "evil/1", &outcome);
    let [release, _] = inputs::kernels();
    let log = format!("dkms/evil/1/{release}/{}/log/make.log", std::env::consts::ARCH);
    let log = std::fs::read_to_string(machine.path(&log)).expect("a log");
    let tokens = log.lines().find_map(|line| line.strip_prefix("TOKENS "));
    let tokens: u32 = tokens.expect("it counted").parse().expect("a number");
    assert!(tokens >= 1, "it took its own share: {log}");
}

#[test]
fn who_fills_its_pipe_with_tokens_holds_nobody_up() {
    let script = "
        auth=${MAKEFLAGS##*--jobserver-auth=}; auth=${auth%% *}
        timeout 4 cat /dev/zero >&\"${auth#*,}\"; true";
    let (machine, outcome) = beside(script, TWO_AT_A_TIME);
    assert_installed(&machine, "good/1", &outcome);
    assert_installed(&machine, "evil/1", &outcome);
}

#[test]
fn signals_do_not_reach_a_neighbour() {
    // What it starts runs on when it has killed itself; the neighbour is at work for three seconds.
    let script = "
        for i in {1..40}; do setsid sh -c 'sleep 0.1; kill -KILL -1' & kill -TERM -1; sleep 0.1; done; kill -KILL -1";
    let (machine, outcome) = beside(script, &format!("{TWO_AT_A_TIME}\t@sleep 3\n"));
    assert_installed(&machine, "good/1", &outcome);
}
