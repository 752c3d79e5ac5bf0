//! What the program says of itself and of its decisions.

use std::fs;

use dkms_index::document::record::BuildOutcome;
use dkms_tests::story::{EDU, Source, Story};
use snapbox::str;

#[test]
fn losers_are_explained() {
    let story = Story::new();
    story.add("edu", "2.0", 0x11e8, Source::Good);
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.fact("edu", "1.0", BuildOutcome::Built);
    story.publish();
    assert_eq!(story.run(&["sync"]).code, 0);
    let run = story.run(&["explain", EDU, "--kernel", &story.kernel]);
    story.assert_shows(
        &run.stdout,
        str![[r#"
pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00
  path      imagined
  modalias  pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00
  kernel    [KERNEL]
  bound     not known
  in-tree   no module of the kernel claims it
  verdict   driver available: edu 1.0
  not       edu 2.0: edu 1.0 ranks before it: proven to build on this kernel

"#]],
    );
}

#[test]
fn manual_and_completions_are_complete() {
    let story = Story::new();
    let man = story.run(&["man"]);
    assert_eq!(man.code, 0, "{}", man.stderr);
    for word in ["--detailed-exitcode", "EXIT CODES", "partly done", "repos.d"] {
        assert!(
            man.stdout.contains(word) || man.stdout.contains(&word.replace('-', "\\-")),
            "{word}"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            story.run(&["completions", shell]).stdout.contains("detailed-exitcode"),
            "{shell}"
        );
    }
}

#[test]
fn an_installed_module_is_not_called_the_kernels() {
    let story = Story::with_driver();
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    let devices = story.device_list().display().to_string();
    let explain = ["explain", EDU, "--kernel", &story.kernel, "--devices", &devices];
    let said = [
        "in-tree no module of the kernel claims it",
        "installed edu by pci:v00001234d000011E8sv",
    ];
    story.run(&explain).assert(0, &said);

    // A module of the name of one of the kernel's is in its place.
    let list = story.path(&format!("lib/modules/{}/modules.order", story.kernel));
    let order = fs::read_to_string(&list).expect("a list") + "kernel/drivers/misc/edu.ko\n";
    fs::remove_file(&list).expect("a link");
    fs::write(&list, order).expect("a list");
    story.run(&explain).assert(0, &said);
    // No repository offers it any more.
    let other = [
        "--offline",
        "--json",
        "explain",
        EDU,
        "--kernel",
        &story.kernel,
        "--devices",
        &devices,
    ];
    fs::remove_dir_all(story.path("var/cache/dkms-fetch/index")).expect("an index");
    let document = story.run(&other).document();
    assert_eq!(document["explanations"][0]["verdict"], "installed", "{document}");
}
