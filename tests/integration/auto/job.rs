//! The main job from end to end: devices in, installed modules out, and then nothing more.

use std::fs;
use std::path::PathBuf;

use dkms_tests::story::{EDU, Story};
use snapbox::str;

#[test]
fn a_machine_gets_the_driver_it_lacks_and_then_nothing_more() {
    let story = Story::with_driver();

    let before = story.files();
    let check = story.auto(&["--check", "--json", "--detailed-exitcode"]);
    assert_eq!(check.code, 10, "{}", check.stderr);
    assert_eq!(check.document()["kernels"][0]["packages"][0]["outcome"], "planned");
    story.assert_unchanged(&before);

    let first = story.auto(&["--json", "--detailed-exitcode"]);
    assert_eq!(first.code, 10, "{}\n{}", first.stdout, first.stderr);
    let report = first.document();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["kernels"][0]["devices"][0]["verdict"], "installed");
    assert_eq!(report["kernels"][0]["devices"][1]["verdict"], "works-in-tree");
    assert_eq!(report["kernels"][0]["devices"][1]["module"], "ahci");
    assert!(
        first
            .stdout
            .lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
    let module = fs::read(story.module("edu")).expect("the module is installed");
    let vermagic = format!("vermagic={} ", story.kernel);
    assert!(module.windows(vermagic.len()).any(|bytes| bytes == vermagic.as_bytes()));
    let alias = story.path(&format!("lib/modules/{}/modules.alias", story.kernel));
    assert!(
        fs::read_to_string(alias)
            .expect("depmod ran")
            .contains("v00001234d000011E8")
    );

    let after: Vec<_> = story.files();
    let second = story.auto(&["--detailed-exitcode"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    let lock = |(path, ..): &(PathBuf, u64, std::time::SystemTime)| !path.to_string_lossy().contains("state.db");
    let stable = |files: Vec<_>| files.into_iter().filter(lock).collect::<Vec<_>>();
    assert_eq!(stable(story.files()), stable(after), "a second run changes nothing");
    story.assert_shows(
        &second.stdout,
        str![[r#"
kernel [KERNEL] (x86_64)
installed      [..]  1234:11e8  edu 1.0
kernel driver  [..]  8086:2829  ahci
2 devices: 1 installed, 1 kernel driver

"#]],
    );

    let status = story.run(&["status"]);
    story.assert_shows(
        &status.stdout,
        str![[r#"
installed  edu 1.0  kernel [KERNEL]  from test

"#]],
    );
    let removed = story.run(&["remove", "edu"]);
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    assert!(!story.module("edu").exists());
    assert!(!story.path("usr/src/edu-1.0").exists(), "nothing is left behind");
}

#[test]
fn twins_both_get_a_verdict_and_one_package() {
    let story = Story::with_driver();
    story.devices(&[EDU, EDU]);
    let run = story.auto(&["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let kernel = &run.document()["kernels"][0];
    assert_eq!(kernel["packages"].as_array().map(Vec::len), Some(1));
    assert_eq!(kernel["packages"][0]["serves"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&kernel["devices"][0]["verdict"], &kernel["devices"][1]["verdict"]),
        (&"installed".into(), &"installed".into())
    );
}
