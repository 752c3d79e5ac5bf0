//! A real S3 server on loopback: moto's, which can hold a write so that a test can end the program in the middle of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::inputs;
use crate::repo::Mirror;

/// The bucket that the server has.
pub const BUCKET: &str = "drivers";

/// The server; it ends with the value.
pub struct S3 {
    server: Child,
    address: String,
}

impl S3 {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let mut server = Command::new(inputs::python())
            .arg(inputs::workspace().join("tests/support/s3_server.py"))
            .arg(BUCKET)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut line = String::new();
        let read = BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line);
        let address = line.trim().strip_prefix("http://").map(str::to_owned);
        let server = Self {
            server,
            address: address.unwrap_or_default(),
        };
        read.expect("readable");
        assert!(!server.address.is_empty(), "the S3 server said {line:?}");
        server
    }

    /// Where machines read what is below a prefix.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("http://{}/{BUCKET}/{prefix}/", self.address)
    }

    /// Sets the environment of a program that writes there.
    pub fn set_credentials(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "wordless-secret")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true");
    }

    /// Holds the `write`th write from now on, before or after it is done; 0 only counts.
    pub fn hold(&self, write: usize, when: &str) {
        self.control("POST", &format!("hold?write={write}&when={when}"));
    }

    /// Lets go of the write that is held.
    pub fn release(&self) {
        self.control("POST", "release");
    }

    /// Whether a write is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.control("GET", "held")["held"] == true
    }

    /// The writes since the last hold, in the order in which they came.
    ///
    /// # Panics
    /// When the server does not answer with a list.
    #[must_use]
    pub fn writes(&self) -> Vec<Value> {
        self.control("GET", "writes").as_array().expect("a list").clone()
    }

    /// What machines can read below a prefix.
    ///
    /// # Panics
    /// When an object cannot be read by everybody.
    #[must_use]
    pub fn mirror(&self, prefix: &str) -> Mirror {
        let keys = self.control("GET", "keys");
        let keys = keys.as_array().expect("a list").iter().filter_map(Value::as_str);
        let below = keys.filter_map(|key| Some((key, key.strip_prefix(&format!("{prefix}/"))?)));
        let read = |key: &str| {
            let (status, body) = request(&self.address, "GET", &format!("/{BUCKET}/{key}"));
            assert_eq!(status, 200, "{key}");
            body
        };
        Mirror {
            files: below.map(|(key, path)| (path.to_owned(), read(key))).collect(),
        }
    }

    /// Removes an object.
    pub fn remove(&self, key: &str) {
        self.control("POST", &format!("remove?key={key}"));
    }

    fn control(&self, method: &str, what: &str) -> Value {
        let (status, body) = request(&self.address, method, &format!("/-/{what}"));
        assert_eq!(status, 200, "{what}");
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// One request without a body on a connection of its own: status and body of the answer.
fn request(address: &str, method: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("received");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a header");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), answer[end + 4..].to_vec())
}
