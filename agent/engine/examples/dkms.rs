//! The `dkms` command line without the rest of dkms-fetch.

use std::process::ExitCode;

fn main() -> ExitCode {
    dkms_engine::dkms_cli::main(std::env::args().skip(1).collect())
}
