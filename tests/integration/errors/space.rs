//! A full disk, at every place that is written to: exit code 75, a hint, nothing half done, and the next run goes on.

use std::fs;
use std::path::PathBuf;

use dkms_tests::story::{Run, Source, Story, in_namespace};

/// A machine with one small file system in it.
struct Small {
    story: Story,
    /// What was left on the small file system after the run that met its end.
    left: PathBuf,
    first: Run,
    second: Run,
}

/// Runs `--auto` with the directory `place` on a file system that has so many KiB left, and once more when it has grown.
fn on_a_small_disk(source: Source, place: &str, kib: u32) -> Small {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, source);
    story.publish();
    let place = place.replace("KERNEL", &story.kernel);
    let directory = story.path(&place);
    fs::create_dir_all(&directory).expect("a directory");
    let out = |name: &str| story.repo.scratch().join(name);
    let (directory_text, base) = (directory.display(), story.repo.scratch().display().to_string());
    // Less than a page of a file system cannot be had, so what is over is filled.
    let (size, filler) = if kib < 64 { (2048, 2048 - kib) } else { (kib, 0) };
    let script = format!(
        "mount -t tmpfs -o size={size}k small '{directory_text}'; cd '{base}'\n\
         head -c {filler}k /dev/zero >'{directory_text}/filler'\n\
         code=0; \"$@\" >first.out 2>first.err || code=$?; echo $code >first.code\n\
         find '{directory_text}' -mindepth 1 >left\n\
         rm -f '{directory_text}/filler'; mount -o remount,size=256m '{directory_text}'\n\
         code=0; \"$@\" >second.out 2>second.err || code=$?; echo $code >second.code"
    );
    let both = Run::of(&mut in_namespace(&script, &story.auto_arguments(&[])));
    both.assert(0, &[]);
    let read = |name: &str| {
        let text = |kind: &str| fs::read_to_string(out(&format!("{name}.{kind}"))).expect("a file");
        Run {
            code: text("code").trim().parse().expect("a number"),
            stdout: text("out"),
            stderr: text("err"),
        }
    };
    Small {
        left: out("left"),
        first: read("first"),
        second: read("second"),
        story,
    }
}

/// Asserts that a disk of `kib` at `place` is too small, is said to be, and is all that was in the way.
fn check(source: Source, place: &str, kib: u32, said: &str) {
    let small = on_a_small_disk(source, place, kib);
    small.first.assert(75, &[said, "hint:", "df -h"]);
    let left = fs::read_to_string(&small.left).expect("a list");
    let half = [
        "/.new-",
        "/source-",
        "/.work/b",
        "staging.json",
        ".dkms-",
        "edu.ko",
        "edu-1.0",
    ];
    assert!(!half.iter().any(|part| left.contains(part)), "{place}: {left}");
    small.second.assert(0, &["installed edu 1.0"]);
    drop(small.story);
}

#[test]
fn for_the_index() {
    check(Source::Good, "var/cache/dkms-fetch/index", 8, "the database");
}

#[test]
fn for_the_segments_of_the_index() {
    check(Source::Good, "var/cache/dkms-fetch/segments", 0, "segments");
}

#[test]
fn for_the_records() {
    check(Source::Good, "var/lib/dkms-fetch", 8, "database");
}

#[test]
fn for_the_trusted_metadata() {
    check(Source::Good, "var/lib/dkms-fetch/trust", 4, "the verified file");
}

#[test]
fn for_the_bundle() {
    check(
        Source::Big,
        "var/cache/dkms-fetch/bundles",
        256,
        "the source of edu-1.0 cannot be fetched",
    );
}

#[test]
fn for_the_unpacked_source() {
    check(
        Source::Big,
        "var/cache/dkms-fetch/unpacked",
        256,
        "the source of edu-1.0 cannot be stored",
    );
}

#[test]
fn for_the_build() {
    check(Source::Good, "var/lib/dkms", 512, "no space");
}

#[test]
fn for_the_source_in_the_build() {
    check(Source::Big, "var/lib/dkms", 512, "No space left on device");
}

#[test]
fn for_the_module() {
    check(
        Source::Good,
        "lib/modules/KERNEL/updates/dkms",
        4,
        "No space left on device",
    );
}
