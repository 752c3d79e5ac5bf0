//! What clap says of a wrong command line, safe on a terminal: it repeats arguments as they are.

use std::ffi::OsString;

use clap::Command;
use clap::builder::Styles;
use dkms_support::terminal::printable;

/// The text of `error`, which is about `arguments` (the program's name first). clap's own colours are left out, because in its output they
/// cannot be told from escape sequences of the arguments.
pub fn text(command: Command, arguments: Vec<OsString>, error: &clap::Error) -> String {
    let again = command.styles(Styles::plain()).try_get_matches_from(arguments);
    let rendered = match again {
        Err(plain) => plain.render().ansi().to_string(),
        // The matches were refused later. This way of rendering drops whatever looks like an escape sequence.
        Ok(_) => error.render().to_string(),
    };
    printable(&rendered).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_repeated_with_escapes_and_colours_are_left_out() {
        let command = || Command::new("x").arg(clap::Arg::new("all").long("all").num_args(0));
        let check = |argument: &str, expected: &str| {
            let arguments: Vec<OsString> = vec!["x".into(), argument.into()];
            let error = command().try_get_matches_from(arguments.clone()).expect_err("unknown");
            let text = text(command(), arguments, &error);
            assert!(text.contains(expected) && !text.contains('\x1b'), "{text:?}");
        };
        check(
            "--\x1b]52;c;AAAA\x07b",
            "unexpected argument '--\\u{1b}]52;c;AAAA\\u{7}b' found",
        );
        check("\u{9b}8mE\u{202e}F", "'\\u{9b}8mE\\u{202e}F'");
        check("--al", "a similar argument exists: '--all'");
    }
}
