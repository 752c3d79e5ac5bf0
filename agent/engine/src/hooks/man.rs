//! The manual page dkms(8): the command line from its definition, and what else people look up.

use std::io::{self, Write};

use crate::dkms_cli::command::{self, VERBS};

/// Status lines, exit codes, files, dkms.conf.
const REFERENCE: &str = include_str!("../../hooks/dkms.8");

/// Writes the page in roff.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_man_page(out: &mut dyn Write) -> io::Result<()> {
    let page = clap_mangen::Man::new(command::command().version(env!("CARGO_PKG_VERSION")))
        .title("DKMS")
        .section("8")
        .source("dkms-fetch")
        .manual("System administration");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    writeln!(out, ".SH ACTIONS")?;
    for (verb, about) in VERBS {
        writeln!(out, ".TP\n\\fB{}\\fR\n{}", escaped(verb), escaped(about))?;
    }
    page.render_options_section(out)?;
    out.write_all(REFERENCE.as_bytes())
}

/// Text as roff: hyphens that can be copied, and no word that begins a request.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_option_and_exit_code_is_told() {
        let mut page = Vec::new();
        write_man_page(&mut page).expect("written");
        let page = String::from_utf8(page).expect("text").replace("\\-", "-");
        for (verb, _) in VERBS {
            assert!(page.contains(&format!("\\fB{verb}\\fR")), "{verb}");
        }
        for option in command::command()
            .get_arguments()
            .filter(|option| !option.is_hide_set())
        {
            let long = option.get_long().map(|long| format!("--{long}"));
            assert!(long.is_none_or(|long| page.contains(&long)), "{option}");
        }
        for code in ["3", "4", "5", "6", "7", "8", "10", "11", "13", "14", "21", "77", "101"] {
            assert!(page.contains(&format!(".TP\n.B {code}\n")), "exit code {code}");
        }
    }
}
