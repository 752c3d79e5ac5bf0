//! python-tuf, the reference implementation of The Update Framework, as a peer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use dkms_repo::serve::Server;
use serde_json::Value;

use crate::inputs;

/// Refreshes from a published tree, served on loopback, and downloads these targets into `work`. The answer has `versions`
/// of the roles, and `targets`: the SHA-256 of each.
///
/// # Panics
/// When python-tuf does not accept all of it.
pub fn python_tuf(public: &Path, work: &Path, targets: &[String]) -> Value {
    let mut arguments = vec![
        public.join("metadata/1.root.json").display().to_string(),
        work.display().to_string(),
    ];
    arguments.extend(targets.iter().cloned());
    serving(public, |url| {
        arguments.insert(0, url.to_owned());
        serde_json::from_str(&script("tuf_client.py", &arguments)).expect("JSON")
    })
}

/// Does something with the address at which a published tree is served on loopback.
///
/// # Panics
/// When it cannot be served.
pub fn serving<T>(public: &Path, work: impl FnOnce(&str) -> T) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime
        .block_on(Server::bind(public, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
        .expect("a port");
    let url = format!("http://{}/", server.address().expect("an address"));
    runtime.spawn(server.run());
    work(&url)
}

/// Runs a script of `tests/support` and returns what it printed.
///
/// # Panics
/// When it fails.
pub fn script(name: &str, arguments: &[String]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("support").join(name);
    let output = Command::new(inputs::python())
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("run {}: {e}\nhint: make setup", inputs::python().display()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}
