//! A dkms.conf, by the parser of plain ones.

use std::path::Path;

use crate::bounded;
use dkms_engine::conf::{self, ConfContext};

/// Tries one input.
pub fn run(input: &[u8]) {
    let context = ConfContext::without_kernel("6.1.0-1-amd64", "x86_64");
    bounded(input, || {
        if let Some(conf) = conf::read_plain(input, &context) {
            conf.modules_for("6.1.0-1-amd64", None);
            conf.make_command(Path::new("/usr/src/linux"), Path::new("/var/lib/dkms/x/1/build"));
        }
    });
}
