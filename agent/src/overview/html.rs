//! The overview as one page: no script, nothing from elsewhere, readable in the light and the dark and on paper.

use std::fmt::{self, Write as _};

use super::{KernelOverview, Overview};
use crate::report::{DeviceReport, needs_no_driver};
use crate::verdict::Verdict;

/// Only the page itself: no script and no request, whatever a device is called.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c1c1e;--back:#fff;--soft:#f1f1f4;--line:#c9c9d0;--quiet:#55555c;\
--good:#0b6b2e;--warn:#7a4b00;--bad:#a3161d;--link:#0b57a4}\
@media(prefers-color-scheme:dark){:root{--text:#ececf0;--back:#17171a;--soft:#232328;--line:#47474f;--quiet:#b3b3bd;\
--good:#7ad69a;--warn:#f0c069;--bad:#ff9c9c;--link:#8ec5ff}}\
body{font:1rem/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:72rem;margin:0 auto;padding:1rem}\
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}\
h3{font-size:1.05rem;margin:1.25rem 0 .25rem}.quiet{color:var(--quiet)}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}\
caption{text-align:left;color:var(--quiet);padding:.25rem 0}\
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere}\
thead th{background:var(--soft)}tbody th{font-weight:600}\
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.word{font-weight:600;white-space:nowrap}\
td code{white-space:nowrap}code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
pre{background:var(--soft);padding:.6rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}\
a{color:var(--link)}nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:0;list-style:none}\
@media(max-width:40rem){th,td{padding:.35rem .3rem}tbody th{min-width:6rem}td:last-child{min-width:9rem}.word{white-space:normal;overflow-wrap:normal}}\
@media print{:root{--text:#000;--back:#fff;--soft:#fff;--line:#888;--quiet:#333;--good:#000;--warn:#000;--bad:#000;--link:#000}\
body{max-width:none;padding:0;font-size:10pt}nav{display:none}.scroll{overflow:visible}tr{break-inside:avoid}h2,h3{break-after:avoid}}";

/// The page.
pub fn page(overview: &Overview) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, overview);
    out
}

fn write_page(out: &mut String, overview: &Overview) -> fmt::Result {
    let title = match &overview.identity {
        Some(identity) => format!("Drivers of {}", identity.hostname),
        None => "Drivers of this machine".to_owned(),
    };
    let title = Text(&title);
    let distribution = match overview.distribution.as_str() {
        "unknown" => "distribution unknown",
        name => name,
    };
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n<p class=\"quiet\">\
         dkms-fetch {}, {}, {}</p>\n",
        crate::report::VERSION,
        Text(distribution),
        time(&overview.time.to_string())
    )?;
    if let Some(id) = overview
        .identity
        .as_ref()
        .and_then(|identity| identity.machine_id.as_ref())
    {
        writeln!(out, "<p class=\"quiet\">Machine <code>{}</code></p>", Text(id))?;
    }
    out.push_str("</header>\n<nav aria-label=\"Sections\"><ul>");
    for (id, name) in [
        ("attention", "Attention"),
        ("devices", "Devices"),
        ("packages", "Packages"),
        ("failures", "Failures"),
        ("repositories", "Repositories"),
        ("history", "History"),
    ] {
        write!(out, "<li><a href=\"#{id}\">{name}</a></li>")?;
    }
    out.push_str("</ul></nav>\n<main>\n");
    attention(out, overview)?;
    out.push_str("<section aria-labelledby=\"devices\">\n<h2 id=\"devices\">Devices</h2>\n");
    for kernel in &overview.kernels {
        devices(out, kernel)?;
    }
    out.push_str("</section>\n");
    packages(out, overview)?;
    failures(out, overview)?;
    repositories(out, overview)?;
    history(out, overview)?;
    out.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn attention(out: &mut String, overview: &Overview) -> fmt::Result {
    out.push_str("<section aria-labelledby=\"attention\">\n<h2 id=\"attention\">Attention</h2>\n<ul>\n");
    for kernel in &overview.kernels {
        let open = |one: &&DeviceReport| !one.verdict.is_served() && one.verdict != Verdict::Unknown;
        let open = kernel.devices.iter().filter(open).count();
        let (class, what) = match open {
            0 => ("good", "no device waits for a driver that is known".to_owned()),
            1 => ("warn", "1 device waits for a driver".to_owned()),
            n => ("warn", format!("{n} devices wait for a driver")),
        };
        writeln!(
            out,
            "<li>Kernel <code>{}</code>: <span class=\"{class}\">{what}</span></li>",
            Text(&kernel.release)
        )?;
    }
    for warning in &overview.warnings {
        write!(out, "<li class=\"warn\">{}", Text(&warning.text))?;
        if let Some(hint) = &warning.hint {
            write!(out, " <span class=\"quiet\">({})</span>", Text(hint))?;
        }
        out.push_str("</li>\n");
    }
    if overview.signatures_required {
        out.push_str("<li>Modules have to be signed by a key that this machine knows.</li>\n");
    }
    out.push_str("</ul>\n</section>\n");
    Ok(())
}

fn devices(out: &mut String, kernel: &KernelOverview) -> fmt::Result {
    let running = if kernel.running { ", running now" } else { "" };
    let mut shown: Vec<&DeviceReport> = kernel
        .devices
        .iter()
        .filter(|one| one.verdict != Verdict::Unknown || (one.device.is_on_id_bus() && !needs_no_driver(one)))
        .collect();
    shown.sort_by_key(|one| one.verdict.urgency());
    let release = format!("{} ({}{running})", kernel.release, kernel.arch);
    writeln!(out, "<h3>Kernel <code>{}</code></h3>", Text(&release))?;
    let hidden = kernel.devices.len() - shown.len();
    let caption = format!(
        "{} of {} devices; {hidden} of firmware and platform buses, or in need of no driver, are left out",
        shown.len(),
        kernel.devices.len()
    );
    table(out, &caption, &["Device", "Id", "Verdict", "Driver, package or reason"])?;
    for one in shown {
        // The verdict says it.
        let detail = match &one.verdict {
            Verdict::Unknown => String::new(),
            verdict => verdict.detail(),
        };
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td class=\"word {}\">{}</td><td>{}</td></tr>",
            Text(&one.title),
            Text(one.id.as_deref().unwrap_or_default()),
            class(&one.verdict),
            one.verdict.words(),
            Text(&detail)
        )?;
    }
    end_of_table(out);
    Ok(())
}

fn packages(out: &mut String, overview: &Overview) -> fmt::Result {
    out.push_str("<section aria-labelledby=\"packages\">\n<h2 id=\"packages\">Packages</h2>\n");
    if overview.installed.is_empty() {
        out.push_str("<p>Nothing is installed.</p>\n");
    } else {
        let heads = ["Package", "Version", "Kernel", "State", "From", "Problems"];
        table(out, "Packages in the DKMS tree", &heads)?;
        for one in &overview.installed {
            let class = if one.problems.is_empty() { "good" } else { "bad" };
            writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td><code>{}</code></td><td class=\"word {class}\">{}</td><td>{}</td>\
                 <td>{}</td></tr>",
                Text(&one.package),
                Text(&one.version),
                Text(&one.kernel),
                Text(&one.state),
                Text(one.repository.as_deref().unwrap_or("elsewhere")),
                Text(&one.problems.join("; "))
            )?;
        }
        end_of_table(out);
    }
    if !overview.held.is_empty() {
        let names: Vec<&str> = overview.held.iter().map(|hold| hold.package.as_str()).collect();
        writeln!(out, "<p>Held: {}</p>", Text(&names.join(", ")))?;
    }
    out.push_str("</section>\n");
    Ok(())
}

fn failures(out: &mut String, overview: &Overview) -> fmt::Result {
    out.push_str("<section aria-labelledby=\"failures\">\n<h2 id=\"failures\">Failures</h2>\n");
    if overview.failed.is_empty() {
        out.push_str("<p>Nothing failed.</p>\n");
    }
    for one in &overview.failed {
        let entry = &one.entry;
        let name = format!("{} {}, kernel {}", entry.package, entry.version, entry.kernel);
        writeln!(
            out,
            "<h3>{}</h3>\n<p><span class=\"bad\">{}</span> <span class=\"quiet\">{}</span></p>",
            Text(&name),
            Text(&entry.reason),
            time(&entry.at.to_string())
        )?;
        if let Some(log) = &one.log_end {
            let label = format!("End of the log of {name}");
            // A region that scrolls has to be reachable by keyboard.
            writeln!(
                out,
                "<pre tabindex=\"0\" role=\"region\" aria-label=\"{}\">{}</pre>",
                Text(&label),
                Text(log)
            )?;
        }
    }
    out.push_str("</section>\n");
    Ok(())
}

fn repositories(out: &mut String, overview: &Overview) -> fmt::Result {
    out.push_str("<section aria-labelledby=\"repositories\">\n<h2 id=\"repositories\">Repositories</h2>\n");
    if overview.repositories.is_empty() {
        out.push_str("<p>None is configured.</p>\n</section>\n");
        return Ok(());
    }
    table(
        out,
        "Where packages come from",
        &["Repository", "Package versions", "Fresh until"],
    )?;
    for one in &overview.repositories {
        let expires = one
            .expires
            .as_ref()
            .map_or_else(|| "nothing is cached".to_owned(), |at| time(at));
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{expires}</td></tr>",
            Text(&one.name),
            one.packages
        )?;
    }
    end_of_table(out);
    out.push_str("</section>\n");
    Ok(())
}

fn history(out: &mut String, overview: &Overview) -> fmt::Result {
    out.push_str("<section aria-labelledby=\"history\">\n<h2 id=\"history\">History</h2>\n");
    if overview.history.is_empty() {
        out.push_str("<p>Nothing was done yet.</p>\n</section>\n");
        return Ok(());
    }
    let heads = ["When", "What", "Package", "Kernel", "Outcome", "Detail"];
    table(out, "What was done, the newest first", &heads)?;
    for entry in overview.history.iter().rev() {
        let package = format!("{} {}", entry.package, entry.version);
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            time(&entry.at.to_string()),
            Text(&entry.action),
            Text(package.trim()),
            Text(&entry.kernel),
            Text(&entry.outcome),
            Text(&entry.detail)
        )?;
    }
    end_of_table(out);
    out.push_str("</section>\n");
    Ok(())
}

fn table(out: &mut String, caption: &str, heads: &[&str]) -> fmt::Result {
    let caption = Text(caption);
    write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\n<table>\n<caption>{caption}</caption>\n\
         <thead><tr>"
    )?;
    for head in heads {
        write!(out, "<th scope=\"col\">{head}</th>")?;
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    Ok(())
}

fn end_of_table(out: &mut String) {
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn time(at: &str) -> String {
    let short: String = at.chars().take(16).collect();
    format!(
        "<time datetime=\"{}\">{} UTC</time>",
        Text(at),
        Text(&short.replace('T', " "))
    )
}

/// The color; the words say the same.
fn class(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Works { .. } | Verdict::WorksInTree { .. } | Verdict::Installed { .. } => "good",
        Verdict::Installable { .. } | Verdict::Unbound { .. } | Verdict::Refused { .. } => "warn",
        Verdict::Unknown => "quiet",
    }
}

/// Text of devices, packages and compilers, as content or in a quoted attribute: nothing in it is markup, and no control turns what
/// follows around.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(letter)?,
                letter if letter.is_control() || is_bidirectional(letter) => f.write_char('\u{fffd}')?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// The controls of Unicode that change the order in which text is shown.
fn is_bidirectional(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let hostile = "<script>alert('1')</script>\" onload=\"x\u{202e}&\u{1b}[2J\0";
        assert_eq!(
            Text(hostile).to_string(),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; onload=&quot;x\u{fffd}&amp;\u{fffd}[2J\u{fffd}"
        );
    }
}
