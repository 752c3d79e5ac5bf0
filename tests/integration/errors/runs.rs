//! Runs that meet another one, are interrupted, or are killed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dkms_tests::story::{EDU, EDU2, Run, Source, Story, patiently, program};

/// Starts `--auto`.
fn start(story: &Story) -> Child {
    program(&story.auto_arguments(&[]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

fn end(child: Child) -> Run {
    child.wait_with_output().expect("the program ends").into()
}

fn send(signal: &str, child: &Child) {
    // The shell's own: a small system has no program of that name.
    let command = format!("kill {signal} {}", child.id());
    let sent = Command::new("sh").args(["-c", &command]).status();
    assert!(sent.expect("a shell runs").success());
}

/// A machine whose driver's build waits.
fn waiting() -> Story {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Waits);
    story.publish();
    story
}

/// Waits until no process of the machine's root is left.
fn assert_all_ended(story: &Story) {
    let root = story.path("").display().to_string();
    let lives = || {
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let command = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
        processes
            .filter_map(command)
            .any(|line| String::from_utf8_lossy(&line).contains(&root))
    };
    patiently("the children to end", || (!lives()).then_some(()));
}

#[test]
fn a_second_run_is_told_of_the_first() {
    let story = waiting();
    let first = start(&story);
    let building = story.building("edu");
    for second in [story.auto(&[]), story.run(&["sync"]), story.run(&["remove", "edu"])] {
        second.assert(75, &["another dkms-fetch is running", "hint: wait for it to end"]);
    }
    story.go_on(&building);
    end(first).assert(0, &["installed edu 1.0"]);
}

#[test]
fn a_build_that_is_interrupted_leaves_nothing() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let story = waiting();
        let run = start(&story);
        let _ = story.building("edu");
        send(signal, &run);
        end(run).assert(code, &["error: interrupted by SIG", "hint: run it again"]);
        assert_all_ended(&story);
        story.assert_nothing_half_done("edu");
        let status = story.run(&["status", "--json"]).document();
        assert_eq!(
            status["quarantined"].as_array().map(Vec::len),
            Some(0),
            "it is nobody's fault"
        );
        if signal == "-TERM" {
            let again = start(&story);
            story.go_on(&story.building("edu"));
            end(again).assert(0, &["installed edu 1.0"]);
        }
    }
}

#[test]
fn a_build_that_is_killed_is_made_again() {
    let story = waiting();
    let mut run = start(&story);
    let left = story.building("edu");
    run.kill().expect("it lives");
    run.wait().expect("it ends");
    fs::remove_file(left.join("started")).expect("it was there");
    // As if it had been killed at other moments, too.
    let cut_off = [
        "unpacked/source-old/dkms.conf",
        "index/.new-old",
        "segments/test/.new-old",
    ];
    let cut_off = cut_off.map(|name| format!("var/cache/dkms-fetch/{name}"));
    cut_off.iter().for_each(|name| story.write(name, ""));
    let again = start(&story);
    story.go_on(&story.building("edu"));
    end(again).assert(0, &["installed edu 1.0"]);
    assert!(!left.exists(), "what was left over is gone");
    for name in cut_off {
        assert!(!story.path(&name).exists(), "{name} is left over");
    }
    assert_all_ended(&story);
}

/// A mirror that stops in the middle of a large bundle until it is told to go on, and hangs up then.
struct Stalling {
    url: String,
    asked: Arc<AtomicBool>,
    go_on: Arc<AtomicBool>,
}

impl Stalling {
    fn of(public: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let (asked, go_on) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mirror = Self {
            url,
            asked: Arc::clone(&asked),
            go_on: Arc::clone(&go_on),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (public, asked, go_on) = (public.clone(), Arc::clone(&asked), Arc::clone(&go_on));
                // A client that hangs up is none of our business.
                std::thread::spawn(move || answer(stream, &public, &asked, &go_on).ok());
            }
        });
        mirror
    }

    fn wait(&self) {
        patiently("a bundle to be asked for", || {
            self.asked.load(Ordering::SeqCst).then_some(())
        });
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        self.go_on.store(true, Ordering::SeqCst);
    }
}

fn answer(
    mut stream: TcpStream,
    public: &std::path::Path,
    asked: &AtomicBool,
    go_on: &AtomicBool,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/');
    let Ok(body) = fs::read(public.join(path)) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let (first, rest) = body.split_at(body.len() / 2);
    stream.write_all(first)?;
    let is_large = body.len() > 1 << 19;
    if path.starts_with("bundles/") && is_large && !go_on.load(Ordering::SeqCst) {
        asked.store(true, Ordering::SeqCst);
        while !go_on.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        return Ok(());
    }
    stream.write_all(rest)
}

#[test]
fn a_download_that_is_interrupted_or_killed_goes_on_later() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-KILL", -1)] {
        let story = Story::new();
        story.add("edu", "1.0", 0x11e8, Source::Big);
        story.publish();
        let mirror = Stalling::of(story.repo.public());
        story.use_mirror(&mirror.url);
        let run = start(&story);
        mirror.wait();
        send(signal, &run);
        let run = end(run);
        run.assert(code, if code > 0 { &["interrupted by SIG"] } else { &[] });
        story.assert_nothing_half_done("edu");
        mirror.go_on.store(true, Ordering::SeqCst);
        story.auto(&[]).assert(0, &["installed edu 1.0"]);
    }
}

#[test]
fn one_package_is_installed_while_another_is_fetched() {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Big);
    story.add("edu2", "1.0", 0x11e9, Source::Good);
    story.publish();
    story.devices(&[EDU, EDU2]);
    let mirror = Stalling::of(story.repo.public());
    story.use_mirror(&mirror.url);
    let run = start(&story);
    mirror.wait();
    patiently("the other package to be installed", || {
        story.module("edu2").is_file().then_some(())
    });
    assert!(!story.module("edu").exists(), "its source is on the way");
    mirror.go_on.store(true, Ordering::SeqCst);
    let said = ["installed edu 1.0", "installed edu2 1.0"];
    let run = end(run);
    run.assert(0, &said);
    assert_eq!(run.stderr.matches("running depmod").count(), 1, "{}", run.stderr);
}
