use std::io::Write;
use std::net::TcpStream;

use url::Url;

use super::fake::{Reply, Server, answer, ok, run, short};
use super::*;

fn transport() -> Transport {
    Transport::new(Options {
        backoff: Duration::from_millis(5),
        idle_timeout: Duration::from_millis(500),
        ..Options::default()
    })
}

fn mirrors(servers: &[&Server]) -> Mirrors {
    Mirrors::new(servers.iter().map(|s| s.url.clone()).collect())
}

/// Gets `a` (at most 100 bytes) from servers with these answers.
fn get(servers: &[&Server], request: Request<'_>) -> Result<(Answer, String), TransportError> {
    let (answer, bytes) = run(transport().get_bytes(&mirrors(servers), request))?;
    Ok((answer, String::from_utf8(bytes).expect("text")))
}

const SMALL: Request<'static> = Request {
    path: "a",
    max_bytes: 100,
    resume: false,
    etag: None,
    limit: Limit::BySize,
    may_be_absent: false,
};

fn body(text: &str) -> (Answer, String) {
    (Answer::Body { etag: None }, text.to_owned())
}

#[test]
fn a_plain_answer_arrives() {
    let server = Server::new(vec![ok("hello")]);
    assert_eq!(get(&[&server], SMALL).expect("hello"), body("hello"));
    assert!(server.seen()[0].starts_with("get /a http/1.1\r\n"));
}

#[test]
fn a_connection_that_drops_is_tried_again_from_the_start() {
    let server = Server::new(vec![vec![], short(10, "half"), ok("whole body")]);
    assert_eq!(get(&[&server], SMALL).expect("the third try"), body("whole body"));
}

#[test]
fn an_error_of_the_server_passes_or_does_not() {
    let busy = || answer("503 Busy", "Retry-After: 0\r\n", "");
    let server = Server::new(vec![busy(), busy(), ok("up")]);
    assert_eq!(get(&[&server], SMALL).expect("the third try"), body("up"));

    let server = Server::new(vec![busy(), busy(), busy(), busy(), ok("too late")]);
    let error = get(&[&server], SMALL).expect_err("tries are bounded");
    assert!(matches!(error, TransportError::Status { status: 503, .. }), "{error}");

    let server = Server::new(vec![answer("403 No", "", ""), ok("not asked again")]);
    let error = get(&[&server], SMALL).expect_err("no is no");
    assert!(error.to_string().contains("the server answered 403"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_server_that_asks_to_wait_an_hour_is_not_tried_again() {
    let server = Server::new(vec![answer("429 Slow", "Retry-After: 3600\r\n", ""), ok("x")]);
    let error = get(&[&server], SMALL).expect_err("an hour is too long");
    assert_eq!(error.hint().as_deref(), Some("try again in 3600 s"));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn an_endless_body_ends_at_the_limit() {
    let announced = Server::new(vec![short(1 << 40, "x")]);
    let error = get(&[&announced], SMALL).expect_err("too big");
    assert!(
        matches!(error, TransportError::TooBig { max_bytes: 100, .. }),
        "{error}"
    );

    let endless = Server::with(vec![Box::new(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"10\r\n0123456789abcdef\r\n")?;
        }
    })]);
    let error = get(&[&endless], SMALL).expect_err("too big");
    assert!(
        matches!(error, TransportError::TooBig { max_bytes: 100, .. }),
        "{error}"
    );
}

#[test]
fn a_silent_server_is_given_up() {
    let silent = || -> Reply {
        Box::new(|stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
            std::thread::sleep(Duration::from_secs(2));
            Ok(())
        })
    };
    let silent = Server::with(vec![silent()]);
    let good = Server::new(vec![ok("here")]);
    assert_eq!(get(&[&silent, &good], SMALL).expect("the second mirror"), body("here"));
}

#[test]
fn mirrors_are_asked_in_order_and_the_good_one_is_remembered() {
    let dead = Url::parse("http://127.0.0.1:1/").expect("a good address");
    let good = Server::new(vec![ok("one"), ok("two")]);
    let mirrors = Mirrors::new(vec![dead, good.url.clone()]);
    run(async {
        let transport = transport();
        for expected in ["one", "two"] {
            let (_, bytes) = transport.get_bytes(&mirrors, SMALL).await.expect("the second mirror");
            assert_eq!(bytes, expected.as_bytes());
        }
    });
    assert_eq!(good.seen().len(), 2);
}

#[test]
fn not_found_is_an_answer_only_when_nobody_has_it() {
    let none = || Server::new(vec![answer("404 Not Found", "", "")]);
    assert_eq!(get(&[&none(), &none()], SMALL).expect("an answer").0, Answer::NotFound);
    let has = Server::new(vec![ok("here")]);
    assert_eq!(get(&[&none(), &has], SMALL).expect("the second"), body("here"));
}

#[test]
fn an_unchanged_file_is_not_sent_again() {
    let server = Server::new(vec![
        answer("200 OK", "ETag: \"v1\"\r\n", "text"),
        b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec(),
    ]);
    let (first, _) = get(&[&server], SMALL).expect("the text");
    let Answer::Body { etag: Some(etag) } = first else {
        panic!("no ETag in {first:?}")
    };
    let again = Request {
        etag: Some(&etag),
        ..SMALL
    };
    assert_eq!(get(&[&server], again).expect("no change").0, Answer::NotModified);
    assert!(server.seen()[1].contains("if-none-match: \"v1\""));
}

#[test]
fn a_download_goes_on_where_it_stopped() {
    let check = |held: &str, answers: Vec<Vec<u8>>, expected: &str| {
        let server = Server::new(answers);
        let mut bytes = held.as_bytes().to_vec();
        let request = Request { resume: true, ..SMALL };
        run(transport().get(&mirrors(&[&server]), request, &mut bytes)).expect("a whole body");
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        server.seen()
    };
    let rest = |from: usize, text: &str| {
        answer(
            "206 Partial Content",
            &format!("Content-Range: bytes {from}-9/10\r\n"),
            text,
        )
    };
    let seen = check("01234", vec![rest(5, "56789")], "0123456789");
    assert!(seen[0].contains("range: bytes=5-"));
    // The connection drops twice; each try asks for less.
    let seen = check("", vec![short(10, "012"), rest(3, "3456789")], "0123456789");
    assert!(seen[1].contains("range: bytes=3-"));
    // A server that knows no ranges sends the whole.
    check("01234", vec![ok("0123456789")], "0123456789");
    // What is held is longer than the file.
    check(
        "0123456789abc",
        vec![answer("416 Range Not Satisfiable", "", ""), ok("0123456789")],
        "0123456789",
    );
}

#[test]
fn a_range_that_was_not_asked_for_is_refused() {
    let wrong = answer("206 Partial Content", "Content-Range: bytes 0-4/10\r\n", "01234");
    let server = Server::new(vec![wrong]);
    let mut bytes = b"01234".to_vec();
    let request = Request { resume: true, ..SMALL };
    let error = run(transport().get(&mirrors(&[&server]), request, &mut bytes)).expect_err("the wrong range");
    assert!(matches!(error, TransportError::Protocol { .. }), "{error}");
    assert_eq!(bytes, b"01234");
}

#[test]
fn a_redirect_may_not_leave_for_plain_http() {
    let check = |target: &str, why: &str| {
        let redirect = answer("302 Found", &format!("Location: {target}\r\n"), "");
        let server = Server::new(vec![redirect; 4]);
        let error = get(&[&server], SMALL).expect_err(target);
        assert!(error.to_string().contains(why), "{error}");
    };
    check("http://192.0.2.1/a", "redirected to plain http");
    let there = Server::new(vec![ok("moved here")]);
    let here = Server::new(vec![answer("302 Found", &format!("Location: {}a\r\n", there.url), "")]);
    assert_eq!(get(&[&here], SMALL).expect("loopback may"), body("moved here"));
}

#[test]
fn an_unreachable_server_counts_as_offline() {
    let nobody = Mirrors::new(vec![Url::parse("http://127.0.0.1:1/").expect("a good address")]);
    let error = run(transport().get_bytes(&nobody, SMALL)).expect_err("nobody listens");
    assert!(error.is_offline() && error.hint().is_some(), "{error}");
    let plain = Mirrors::new(vec![
        Url::parse("http://user:secret@x.example/").expect("a good address"),
    ]);
    let error = run(transport().get_bytes(&plain, SMALL)).expect_err("plain http");
    assert_eq!(error.to_string(), "plain http is not allowed for http://x.example/a");
}

#[test]
fn a_full_disk_is_our_own_fault_and_not_retried() {
    struct Full;
    impl Sink for Full {
        fn held(&self) -> u64 {
            0
        }
        fn start(&mut self, _: u64) -> std::io::Result<()> {
            Ok(())
        }
        fn write(&mut self, _: &[u8]) -> std::io::Result<()> {
            // The operating system's own error for a full device.
            std::fs::File::options().write(true).open("/dev/full")?.write_all(b"x")
        }
    }
    let server = Server::new(vec![ok("x"), ok("x")]);
    let error = run(transport().get(&mirrors(&[&server]), SMALL, &mut Full)).expect_err("no room");
    assert!(error.is_ours(), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("df -h")), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_file_repository_is_read_the_same_way() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("a"), "on the stick").expect("a file");
    std::fs::write(dir.path().join("big"), "x".repeat(101)).expect("a file");
    std::fs::create_dir(dir.path().join("directory")).expect("a directory");
    let at = |path: &std::path::Path| Mirrors::new(vec![Url::from_directory_path(path).expect("an absolute path")]);
    let get = |path: &str| run(transport().get_bytes(&at(dir.path()), Request { path, ..SMALL }));
    assert_eq!(get("a").expect("a file").1, b"on the stick");
    assert_eq!(get("none").expect("an answer").0, Answer::NotFound);
    assert!(matches!(get("big"), Err(TransportError::TooBig { .. })));
    assert!(matches!(get("directory"), Err(TransportError::File { .. })));
    let unplugged = at(&dir.path().join("unplugged"));
    let error = run(transport().get_bytes(&unplugged, SMALL)).expect_err("no medium");
    assert!(
        error.is_offline() && error.hint().is_some_and(|h| h.contains("mounted")),
        "{error}"
    );
}

/// A server that takes requests and never ends an answer.
fn endless(go_on: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Copy + 'static) -> Server {
    let reply = || -> Reply {
        Box::new(move |stream| {
            loop {
                go_on(stream)?;
            }
        })
    };
    Server::with(std::iter::repeat_with(reply).take(8).collect())
}

/// Not as fast as loopback can: the client would be busy with nothing else.
fn slowly(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    std::thread::sleep(Duration::from_millis(1));
    stream.write_all(bytes)
}

/// The ways of a server to keep a client waiting for ever.
fn tarpits() -> Vec<(&'static str, Server)> {
    let pause = || std::thread::sleep(Duration::from_millis(40));
    vec![
        (
            "no answer",
            endless(move |_| {
                pause();
                Ok(())
            }),
        ),
        (
            "a byte of the head now and then",
            endless(move |stream| {
                pause();
                stream.write_all(b"H")
            }),
        ),
        (
            "100 without end",
            endless(|stream| slowly(stream, b"HTTP/1.1 100 Continue\r\n\r\n")),
        ),
        (
            "103 without end",
            endless(|stream| slowly(stream, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")),
        ),
    ]
}

fn impatient(options: Options) -> Transport {
    Transport::new(Options {
        backoff: Duration::from_millis(5),
        ..options
    })
}

#[test]
fn a_server_that_never_answers_is_given_up_and_not_asked_again() {
    let flood = endless(|stream| stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"));
    for (what, server) in tarpits().into_iter().chain([("a flood of 100", flood)]) {
        let transport = impatient(Options {
            idle_timeout: Duration::from_millis(300),
            ..Options::default()
        });
        let error = run(transport.get_bytes(&mirrors(&[&server]), SMALL)).expect_err(what);
        assert!(error.is_offline() && error.hint().is_some(), "{what}: {error}");
        assert_eq!(server.seen().len(), 1, "{what}");
    }
}

#[test]
fn a_body_of_a_byte_now_and_then_is_no_progress() {
    let crawl = Server::with(vec![Box::new(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")?;
        loop {
            stream.write_all(b"x")?;
            std::thread::sleep(Duration::from_millis(40));
        }
    })]);
    let transport = impatient(Options {
        idle_timeout: Duration::from_millis(300),
        ..Options::default()
    });
    let error = run(transport.get_bytes(&mirrors(&[&crawl]), SMALL)).expect_err("too slow");
    assert!(error.to_string().contains("bytes arrived within 0.3 s"), "{error}");
    assert_eq!(crawl.seen().len(), 1);
}

#[test]
fn the_next_mirror_is_asked_beside_one_that_is_slow_and_the_quicker_one_is_preferred() {
    for (what, slow) in tarpits() {
        let good = Server::new(vec![ok("one"), ok("two")]);
        let mirrors = mirrors(&[&slow, &good]);
        // No time limit could end the wait for the first one.
        let hour = Duration::from_secs(3600);
        let transport = impatient(Options {
            idle_timeout: hour,
            metadata_budget: hour,
            head_start: Duration::from_millis(50),
            ..Options::default()
        });
        run(async {
            for expected in ["one", "two"] {
                let (_, bytes) = transport.get_bytes(&mirrors, SMALL).await.expect("the second mirror");
                assert_eq!(bytes, expected.as_bytes(), "{what}");
            }
        });
        assert_eq!((slow.seen().len(), good.seen().len()), (1, 2), "{what}");
    }
}

#[test]
fn a_silent_mirror_does_not_delay_the_answer_that_there_is_no_newer_root() {
    let [(_, slow), ..] = &tarpits()[..] else {
        panic!("there are some")
    };
    let good = Server::new(vec![answer("404 Not Found", "", ""), ok("next")]);
    let mirrors = mirrors(&[slow, &good]);
    let transport = impatient(Options {
        idle_timeout: Duration::from_secs(3600),
        head_start: Duration::from_millis(50),
        ..Options::default()
    });
    let root = Request {
        may_be_absent: true,
        ..SMALL
    };
    run(async {
        let (answer, _) = transport.get_bytes(&mirrors, root).await.expect("an answer");
        assert_eq!(answer, Answer::NotFound);
        let (_, bytes) = transport
            .get_bytes(&mirrors, SMALL)
            .await
            .expect("the mirror that answered");
        assert_eq!(bytes, b"next");
    });
    assert_eq!(slow.seen().len(), 1, "the one that answered is asked first");
}

#[test]
fn a_mirror_that_stops_in_the_middle_is_replaced_by_the_next() {
    let text = "0123456789abcdef".repeat(1024);
    let half = short(text.len(), &text[..text.len() / 2]);
    let stops = Server::with(vec![Box::new(move |stream| {
        stream.write_all(&half)?;
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    })]);
    let rest = answer(
        "206 Partial Content",
        &format!("Content-Range: bytes 8192-{}/{}\r\n", text.len() - 1, text.len()),
        &text[text.len() / 2..],
    );
    let good = Server::new(vec![rest]);
    let request = Request {
        resume: true,
        max_bytes: text.len() as u64,
        ..SMALL
    };
    let transport = impatient(Options {
        idle_timeout: Duration::from_millis(300),
        ..Options::default()
    });
    let (_, bytes) = run(transport.get_bytes(&mirrors(&[&stops, &good]), request)).expect("the second mirror");
    assert_eq!(bytes, text.as_bytes());
}

#[test]
fn all_metadata_of_a_run_has_one_budget() {
    let metadata = Request {
        limit: Limit::Metadata,
        ..SMALL
    };
    for (what, slow) in tarpits() {
        let good = Server::new(vec![ok("not asked"), ok("a bundle")]);
        let transport = impatient(Options {
            metadata_budget: Duration::from_millis(300),
            ..Options::default()
        });
        let error = run(transport.get_bytes(&mirrors(&[&slow]), metadata)).expect_err(what);
        assert!(
            matches!(error, TransportError::OutOfTime { is_metadata: true, .. }),
            "{what}: {error}"
        );
        assert!(
            error.is_offline() && error.hint().is_some_and(|hint| hint.contains("metadata_s")),
            "{what}: {error}"
        );
        let error = run(transport.get_bytes(&mirrors(&[&good]), metadata)).expect_err("it is spent");
        assert!(matches!(error, TransportError::OutOfTime { .. }), "{what}: {error}");
        let (_, bytes) = run(transport.get_bytes(&mirrors(&[&good]), SMALL)).expect("no metadata");
        assert!(!bytes.is_empty(), "{what}");
    }
}

#[test]
fn a_server_that_asks_to_wait_longer_than_the_budget_is_not_waited_for() {
    let server = Server::new(vec![answer("503 Busy", "Retry-After: 20\r\n", ""); 2]);
    let transport = impatient(Options {
        metadata_budget: Duration::from_secs(10),
        ..Options::default()
    });
    let metadata = Request {
        limit: Limit::Metadata,
        ..SMALL
    };
    let error = run(transport.get_bytes(&mirrors(&[&server]), metadata)).expect_err("busy");
    assert!(matches!(error, TransportError::Status { status: 503, .. }), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn mirrors_that_failed_are_asked_once_for_the_next_file() {
    let server = Server::new(vec![answer("503 Busy", "", ""); 9]);
    let mirrors = mirrors(&[&server]);
    let transport = transport();
    run(async {
        for expected in [4, 1] {
            transport.get_bytes(&mirrors, SMALL).await.expect_err("busy");
            assert_eq!(server.seen().len(), expected);
        }
    });
}
