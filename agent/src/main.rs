//! The `dkms-fetch` program; called by the name `dkms`, or as `dkms-fetch dkms`, it is dkms.

use std::process::ExitCode;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DKMS_FETCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    dkms_fetch::cli::main(std::env::args_os().collect())
}
