//! A server that misbehaves in every way a mirror can, for tests.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use url::Url;

/// Answers its connections, one request each, with these bytes in turn; then stops listening.
pub(crate) struct Server {
    pub(crate) url: Url,
    requests: Receiver<String>,
}

impl Server {
    pub(crate) fn new(answers: Vec<Vec<u8>>) -> Self {
        Self::with(
            answers
                .into_iter()
                .map(|bytes| -> Reply { Box::new(move |s| s.write_all(&bytes)) })
                .collect(),
        )
    }

    pub(crate) fn with(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for reply in replies {
                let Ok((mut stream, _)) = listener.accept() else { return };
                if sender.send(read_request(&mut stream)).is_err() {
                    return;
                }
                // The client may hang up on an answer that it has had enough of.
                let _ = reply(&mut stream);
            }
        });
        Self {
            url: Url::parse(&url).expect("a good address"),
            requests,
        }
    }

    /// The requests that came, in lower case.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }
}

pub(crate) type Reply = Box<dyn FnOnce(&mut TcpStream) -> std::io::Result<()> + Send>;

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    String::from_utf8_lossy(&request).to_lowercase()
}

/// An HTTP answer that closes the connection.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    answer("200 OK", "", body)
}

/// An answer that promises `length` bytes and ends after `body`.
pub(crate) fn short(length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Waits for `future`.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
