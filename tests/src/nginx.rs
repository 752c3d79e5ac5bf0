//! nginx on loopback: serves a directory, and takes PUT and DELETE into it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::inputs;
use crate::story::patiently;

/// The server; it ends with the value.
pub struct Nginx {
    server: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Nginx {
    /// Serves an empty directory.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let at = dir.path().display();
        fs::create_dir(dir.path().join("www")).expect("a directory");
        let user = if is_root() { "user root;" } else { "" };
        let conf = format!(
            "{user} daemon off; pid {at}/pid; error_log {at}/error.log; events {{}}\n\
             http {{ access_log {at}/access.log; client_body_temp_path {at}/body; proxy_temp_path {at}/t1; fastcgi_temp_path {at}/t2;\n\
             uwsgi_temp_path {at}/t3; scgi_temp_path {at}/t4; client_max_body_size 0;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/www;\n\
             location / {{ dav_methods PUT DELETE MKCOL; create_full_put_path on; }} }} }}\n"
        );
        fs::write(dir.path().join("nginx.conf"), conf).expect("a file");
        let server = Command::new(inputs::nginx())
            .arg("-c")
            .arg(dir.path().join("nginx.conf"))
            .arg("-p")
            .arg(dir.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx runs");
        let server = Self { server, dir, port };
        patiently("nginx", || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }

    /// Where its directory is seen.
    #[must_use]
    pub fn url(&self, below: &str) -> String {
        format!("http://127.0.0.1:{}/{below}", self.port)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.dir.path().join("www")
    }

    /// The requests so far, a line each.
    ///
    /// # Panics
    /// When its log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("access.log")).expect("readable")
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(Path::new("/proc/self")).is_ok_and(|meta| meta.uid() == 0)
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A signal that it can take, so that its workers end, too.
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}
