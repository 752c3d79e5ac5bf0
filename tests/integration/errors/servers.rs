//! Servers that keep a run waiting: it ends within its budget, and uses meanwhile what is cached.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use dkms_tests::story::Story;

/// The settings of a machine that waits for nobody.
const IMPATIENT: &str = "[network]\nconnect_s = 0.5\nidle_s = 0.5\nmetadata_s = 1.5\nnext_mirror_s = 0.2\n";

/// A server that does this with each connection, again and again, as long as the client stays. Returns its address.
fn server(answer: fn(&mut TcpStream) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                while answer(&mut stream).is_ok() {}
            });
        }
    });
    format!("http://{address}/")
}

/// Each with what a run says of it where nothing is cached, and its exit code.
fn hostile() -> [(&'static str, String, i32, &'static str); 6] {
    fn pause() -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    }
    let silent = server(|_| pause());
    let drip = server(|stream| pause().and_then(|()| stream.write_all(b"H")));
    let body = server(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")?;
        loop {
            pause().and_then(|()| stream.write_all(b"{"))?;
        }
    });
    let cont = server(|stream| pause().and_then(|()| stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")));
    let hints =
        server(|stream| pause().and_then(|()| stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")));
    let later = server(|stream| {
        stream.write_all(b"HTTP/1.1 503 Busy\r\nRetry-After: 29\r\nContent-Length: 0\r\n\r\n")?;
        Err(std::io::ErrorKind::ConnectionAborted.into())
    });
    [
        ("silence", silent, 3, "no answer within 0.5 s"),
        ("a head byte by byte", drip, 3, "no answer within 0.5 s"),
        ("a body byte by byte", body, 75, "bytes arrived within 0.5 s"),
        ("100 without end", cont, 3, "no answer within 0.5 s"),
        ("103 without end", hints, 3, "no answer within 0.5 s"),
        ("Retry-After", later, 75, "the server answered 503"),
    ]
}

#[test]
fn a_run_ends_within_its_budget_and_says_what_the_server_did() {
    let story = Story::with_driver();
    story.write("etc/dkms-fetch/config.toml", IMPATIENT);
    for (what, url, code, said) in hostile() {
        story.use_mirror(&url);
        println!("{what}");
        let run = story.auto(&[]);
        run.assert(code, &["error: repository test: ", said, "hint: "]);
        story.assert_nothing_half_done("edu");
    }
}

#[test]
fn a_mirror_that_answers_makes_up_for_those_that_do_not() {
    let story = Story::with_driver();
    // Only the second mirror can end the wait.
    story.write(
        "etc/dkms-fetch/config.toml",
        "[network]\nidle_s = 3600\nmetadata_s = 3600\nnext_mirror_s = 0.2\n",
    );
    let urls: Vec<String> = hostile().into_iter().map(|(_, url, ..)| url).collect();
    let urls = [&urls[..], &[story.own_mirror()]].concat();
    let text = format!("name = \"test\"\nroot = \"test.root.json\"\nurls = {urls:?}\n");
    story.write("etc/dkms-fetch/repos.d/test.toml", &text);
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}

#[test]
fn what_is_cached_is_used_while_the_server_keeps_silent() {
    let story = Story::with_driver();
    assert_eq!(story.run(&["fetch", "edu"]).code, 0);
    story.write("etc/dkms-fetch/config.toml", IMPATIENT);
    let [(_, silent, ..), .., (_, later, ..)] = hostile();
    story.use_mirror(&later);
    let said = ["warning: repository test", "the cached index is used"];
    story.run(&["sync"]).assert(0, &said);
    story.use_mirror(&silent);
    story
        .auto(&[])
        .assert(0, &[said[0], said[1], "no answer within 0.5 s", "installed edu 1.0"]);
}

#[test]
fn a_silent_repository_costs_the_others_nothing() {
    let story = Story::with_driver();
    // It would use up the budget of the whole run, if the second repository had to wait for it.
    story.write(
        "etc/dkms-fetch/config.toml",
        "[network]\nidle_s = 3600\nmetadata_s = 2\n",
    );
    let [(_, silent, ..), ..] = hostile();
    let text = format!("name = \"dead\"\nroot = \"test.root.json\"\nurls = [\"{silent}\"]\npriority = 9\n");
    story.write("etc/dkms-fetch/repos.d/dead.toml", &text);
    let run = story.run(&["sync"]);
    run.assert(
        0,
        &[
            "repository dead: metadata/",
            "that a run waits for metadata",
            "metadata_s",
        ],
    );
    assert!(run.stderr.contains("test"), "{}", run.stderr);
    story
        .run(&["--network-budget", "0.3", "sync"])
        .assert(0, &["in the 0.3 s that a run waits"]);
    story
        .run(&["--network-budget", "0", "sync"])
        .assert(2, &["a time is 0.1 to 86400 s"]);
}
