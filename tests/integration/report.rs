//! `report`: one value, written as JSON, as a page and as metrics, each read by a parser that is not ours.

use std::fs;

use dkms_tests::peer::script;
use dkms_tests::story::{EDU, EDU2, Run, Source, Story};
use serde_json::Value;

/// What a device may call itself, to be taken for markup, for a label or for the end of a line.
const HOSTILE: &str = "<script>alert(1)</script>\" onload=\"x' } 1\n# EOF\\\u{202e}&amp;\u{1b}[2J";

/// A machine with a driver that works, one that does not compile, a device with a hostile name, and a name in the network.
fn story() -> Story {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.add("broken", "2.0", 0x11e9, Source::Broken);
    story.publish();
    story.write("etc/hostname", "janes-laptop\n");
    story.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    let device = |path: &str, modalias: &str, name: &str| serde_json::json!({"path": path, "subsystem": "pci", "modaliases": [modalias], "vendor": "Maker", "model": name});
    let report = serde_json::json!({"devices": [
        device("/devices/SN0815", EDU, HOSTILE),
        device("/devices/SN4711", EDU2, "Card"),
        device("/devices/x", "pci:v0000DEADd0000BEEFsv00000000sd00000000bc02sc80i00", "Wi-Fi card"),
    ]});
    fs::write(story.device_list(), report.to_string()).expect("a file");
    let run = story.auto(&[]);
    assert_eq!(run.code, 6, "{}\n{}", run.stdout, run.stderr);
    story
}

fn report(story: &Story, words: &[&str]) -> Run {
    let devices = story.device_list().display().to_string();
    let target = ["--kernel", &story.kernel, "--devices", &devices, "report"];
    story.run(&[&target, words].concat())
}

#[test]
fn a_report_is_a_page_and_metrics_and_hides_who_the_machine_is() {
    let story = story();
    let page = story.repo.scratch().join("report.html");
    let metrics = story.repo.scratch().join("dkms-fetch.prom");
    let (page_name, metrics_name) = (page.display().to_string(), metrics.display().to_string());
    report(&story, &["--html", &page_name, "--openmetrics", &metrics_name]).assert(0, &[]);
    // In the words of the table of devices.
    let sum = "3 devices: 1 installed, 1 refused, 1 no driver known";
    report(&story, &[]).assert(0, &[&format!("kernel {}, {sum}", story.kernel)]);
    let devices = story.device_list().display().to_string();
    story
        .run(&["--kernel", &story.kernel, "--devices", &devices])
        .assert(0, &[sum]);

    let read: Value = serde_json::from_str(&script("page.py", std::slice::from_ref(&page_name))).expect("JSON");
    assert_eq!(read["problems"], serde_json::json!([]), "{read}");
    let text = read["text"].as_str().expect("text");
    assert!(!read["tags"].to_string().contains("script"), "{read}");
    for said in [
        "<script>alert(1)</script>",
        "installed",
        "broken 2.0",
        "error this does not compile",
        "Wi-Fi card",
    ] {
        assert!(text.contains(said), "no {said:?} in {text}");
    }

    let samples: Value = serde_json::from_str(&script("metrics.py", &[metrics_name])).expect("JSON");
    let value = |name: &str, labels: &[(&str, &str)]| -> Option<f64> {
        let is_it = |sample: &&Value| {
            sample["name"] == name && labels.iter().all(|(name, value)| sample["labels"][*name] == *value)
        };
        samples.as_array()?.iter().find(is_it)?["value"].as_f64()
    };
    let kernel = story.kernel.as_str();
    let devices = |verdict| value("dkms_fetch_devices", &[("kernel", kernel), ("verdict", verdict)]);
    assert_eq!(devices("installed"), Some(1.0), "{samples}");
    assert_eq!(devices("refused"), Some(1.0), "{samples}");
    assert_eq!(devices("unknown"), Some(1.0), "{samples}");
    assert_eq!(value("dkms_fetch_failed", &[]), Some(1.0), "{samples}");
    let installed = [("package", "edu"), ("version", "1.0"), ("state", "installed")];
    assert_eq!(value("dkms_fetch_package", &installed), Some(1.0), "{samples}");
    assert!(
        value(
            "dkms_fetch_repository_expires_timestamp_seconds",
            &[("repository", "test")]
        ) > Some(1.7e9)
    );

    let secrets = ["janes-laptop", "0123456789abcdef0123456789abcdef", "SN0815", "SN4711"];
    let document = report(&story, &["--json"]).stdout;
    for text in [
        &fs::read_to_string(&page).expect("a page"),
        &fs::read_to_string(&metrics).expect("metrics"),
        &document,
    ] {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    let document = report(&story, &["--json", "--identify"]).stdout;
    for secret in secrets {
        assert!(document.contains(secret), "{secret} is not in {document}");
    }
    report(&story, &["--html", &page_name, "--identify"]).assert(0, &[]);
    assert!(
        fs::read_to_string(&page)
            .expect("a page")
            .contains("<h1>Drivers of janes-laptop</h1>")
    );
}

#[test]
fn a_report_goes_where_it_was_asked_to() {
    let story = Story::new();
    report(&story, &[]).assert(0, &["--html FILE", "0 packages in the DKMS tree"]);
    let run = report(&story, &["--openmetrics", "-"]);
    assert!(run.stdout.ends_with("# EOF\n"), "{}", run.stdout);
    let run = report(&story, &["--html", "-"]);
    assert!(run.stdout.starts_with("<!DOCTYPE html>"), "{}", run.stdout);
    // It has no os-release.
    assert!(run.stdout.contains(", distribution unknown, "), "{}", run.stdout);
    // Where a stick is not mounted, its mount point is not there or is empty; nothing is made for it.
    let media = story.repo.scratch().join("media/stick");
    let devices = story.device_list().display().to_string();
    let name = |file: &str| media.join(file).display().to_string();
    for words in [
        &["report", "--html", &name("report.html")][..],
        &["report", "--openmetrics", &name("report.prom")],
        &["devices", "--export", &name("devices.txt")],
        &["devices", "--export", &name("devices.txt"), "--check"],
        &["media", "make", "--out", &name("stick.iso")],
        &["media", "make", "--out", &name("drivers")],
    ] {
        let run = story.run(&[&["--kernel", &story.kernel, "--devices", &devices], words].concat());
        let hint = format!("mount that first; else `mkdir -p {}`", media.display());
        run.assert(
            1,
            &[
                "cannot be written: there is no directory",
                "hint: if it is on a medium",
                &hint,
            ],
        );
        assert!(!media.exists(), "{words:?}");
    }
    let run = report(&story, &["--html", "/proc/report.html"]);
    run.assert(
        1,
        &[
            "error: /proc/report.html cannot be written: No such file",
            "hint: name a file",
        ],
    );
    assert!(!run.stderr.contains(".new-"), "{}", run.stderr);
    // A pipe or a device is written to, and stays what it is.
    let run = report(&story, &["--openmetrics", "/dev/stdout"]);
    assert!(run.code == 0 && run.stdout.ends_with("# EOF\n"), "{}", run.stderr);
}
