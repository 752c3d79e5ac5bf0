//! The `dkms-fetch` program. Called by the name `dkms`, or as `dkms-fetch dkms`, it is dkms.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let program = if words.is_empty() { String::new() } else { words.remove(0) };
    if Path::new(&program).file_name().is_some_and(|name| name == "dkms") {
        return dkms_engine::compat::main(words);
    }
    if words.first().is_some_and(|word| word == "dkms") {
        return dkms_engine::compat::main(words.split_off(1));
    }
    eprintln!("error: only `dkms-fetch dkms …` works so far");
    ExitCode::from(2)
}
