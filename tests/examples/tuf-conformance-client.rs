//! The client under test of TUF's public conformance suite: `dkms_tests::conformance`.

use std::process::ExitCode;

use dkms_tests::conformance;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = conformance::verify_rsa_too().and_then(|()| conformance::run(arguments.iter().map(String::as_str)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
