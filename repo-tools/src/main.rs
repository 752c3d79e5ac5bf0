//! The `dkms-repo` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    dkms_repo::cli::main()
}
