//! No network, a mirror that is busy or behind, and what the cache is then good for.

use std::io::{Read, Write};
use std::net::TcpListener;

use dkms_repo::repository::Expiry;
use dkms_tests::story::{Source, Story};
use jiff::{Timestamp, ToSpan};

#[test]
fn without_a_network_the_cache_serves_and_without_a_cache_it_is_3() {
    let story = Story::with_driver();
    // Nobody listens there.
    story.use_mirror("http://127.0.0.1:9/");
    let run = story.auto(&[]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(
        run.stderr.contains("error: repository test: http://127.0.0.1:9/"),
        "{}",
        run.stderr
    );

    story.use_mirror(&story.own_mirror());
    assert_eq!(story.run(&["fetch", "edu"]).code, 0);
    story.use_mirror("http://127.0.0.1:9/");
    let offline = story.auto(&["--offline"]);
    assert_eq!(offline.code, 0, "{}\n{}", offline.stdout, offline.stderr);
    assert!(story.module("edu").is_file());
}

#[test]
fn plain_http_beyond_this_machine_is_a_mistake_of_the_configuration() {
    let story = Story::with_driver();
    // An address that is given to nobody: it is not asked.
    story.use_mirror("http://192.0.2.1/");
    let said = [
        "plain http is not allowed for http://192.0.2.1/",
        "hint: use https://, or set `allow_plain_http",
    ];
    story.auto(&[]).assert(2, &said);
    story.run(&["sync"]).assert(2, &said);
    story.assert_nothing_half_done("edu");

    // What is cached still serves, with a warning.
    story.use_mirror(&story.own_mirror());
    assert_eq!(story.run(&["fetch", "edu"]).code, 0);
    story.use_mirror("http://192.0.2.1/");
    story
        .auto(&[])
        .assert(0, &["warning:", "plain http", "installed edu 1.0"]);
}

#[test]
fn a_mirror_that_is_busy_is_asked_again_later() {
    let story = Story::with_driver();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // It answers for as long as the test lives.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    story.use_mirror(&format!("http://{address}/"));
    let run = story.auto(&[]);
    run.assert(75, &["the server answered 503", "hint: try again later"]);
    story.assert_nothing_half_done("edu");
    story.use_mirror(&story.own_mirror());
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}

#[test]
fn metadata_that_is_too_old_is_not_believed_until_it_is_renewed() {
    let long_ago = Timestamp::now().checked_sub((24 * 30).hours()).expect("a time");
    let story = Story::published_at(long_ago, Expiry::default());
    story.add("edu", "1.0", 0x11e8, Source::Good);
    story.publish();
    let run = story.auto(&[]);
    run.assert(75, &["expired", "hint:"]);
    story.assert_nothing_half_done("edu");
    story.repo.publish(30).expect("published anew");
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
}
