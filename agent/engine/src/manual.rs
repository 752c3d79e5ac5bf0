//! Manual pages made from a definition of the command line.

use std::io::{self, Write};

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// What a page has besides its command line.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The section, such as `8`.
    pub section: &'a str,
    /// What the section is called, in the heading.
    pub manual: &'a str,
    /// Other pages: name and section.
    pub see_also: &'a [(&'a str, &'a str)],
}

/// Writes one page about `command` and all of its subcommands, in roff.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(mut command: Command, page: &Page<'_>, out: &mut dyn Write) -> io::Result<()> {
    command.build();
    let extra = command.get_after_long_help().or(command.get_after_help());
    let extra = extra.map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone()).section(page.section).manual(page.manual);
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    let mut roff = Roff::default();
    roff.control("SH", ["COMMANDS"]);
    for subcommand in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        write_subcommand(subcommand.clone(), &mut roff);
    }
    write_extra(&extra, &mut roff);
    roff.control("SH", ["SEE ALSO"]);
    let last = page.see_also.len().saturating_sub(1);
    for (index, (name, section)) in page.see_also.iter().enumerate() {
        let end = if index == last { "" } else { "," };
        roff.text([bold(*name), roman(format!("({section}){end}"))]);
    }
    roff.to_writer(out)
}

/// Usage, description and options of a subcommand, or those of its own subcommands; options that all have are in the section on options.
fn write_subcommand(mut subcommand: Command, roff: &mut Roff) {
    let own = |sub: &&Command| !sub.is_hide_set() && sub.get_name() != "help";
    if subcommand.get_subcommands().any(|sub| own(&sub)) {
        for sub in subcommand.get_subcommands().filter(own) {
            write_subcommand(sub.clone(), roff);
        }
        return;
    }
    let usage = subcommand.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim().to_owned();
    roff.control("SS", [usage.as_str()]);
    let about = subcommand.get_long_about().or(subcommand.get_about());
    for (index, paragraph) in about
        .map(ToString::to_string)
        .unwrap_or_default()
        .split("\n\n")
        .enumerate()
    {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph)]);
    }
    let own = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help";
    for arg in subcommand.get_arguments().filter(own) {
        write_argument(arg, roff);
    }
}

fn write_argument(arg: &Arg, roff: &mut Roff) {
    roff.control("TP", []);
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let name = format!("{short}{arg}");
    let name: Inline = if arg.is_positional() { italic(name) } else { bold(name) };
    roff.text([name]);
    let help = arg.get_long_help().or(arg.get_help());
    let mut text = help.map(ToString::to_string).unwrap_or_default();
    let defaults = arg.get_default_values();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        let defaults: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
        text = format!("{text} [default: {}]", defaults.join(", "));
    }
    roff.text([roman(text)]);
}

/// Blocks between empty lines, each with a heading that ends with a colon; their lines are set as they stand.
fn write_extra(extra: &str, roff: &mut Roff) {
    for block in extra.split("\n\n").filter(|block| !block.is_empty()) {
        let (heading, lines) = block.split_once(":\n").unwrap_or(("NOTES", block));
        roff.control("SH", [heading.to_uppercase().as_str()]);
        roff.control("EX", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("EE", []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_visible_argument_is_on_the_page() {
        let show = Command::new("show")
            .about("Shows one")
            .arg(Arg::new("name").required(true).help("its name"))
            .arg(
                Arg::new("last")
                    .long("last")
                    .short('n')
                    .default_value("20")
                    .help("how many"),
            )
            .arg(Arg::new("secret").long("secret").hide(true));
        let command = Command::new("tool")
            .about("A tool")
            .subcommands([show, Command::new("hidden").hide(true)])
            .after_help("Exit codes:\n  0  done\n");
        let page = Page {
            section: "1",
            manual: "User commands",
            see_also: &[("dkms", "8"), ("make", "1")],
        };
        let mut text = Vec::new();
        write(command, &page, &mut text).expect("written");
        let text = String::from_utf8(text).expect("UTF-8").replace("\\-", "-");
        for part in [
            ".TH tool 1",
            "tool show",
            "-n, --last <last>",
            "how many [default: 20]",
            ".SH \"EXIT CODES\"",
            "  0  done",
            "\\fBdkms\\fR(8),",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
    }
}
