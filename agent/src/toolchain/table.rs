//! The tables that dnf 4 and dnf 5 print before they ask whether to go on.
//!
//! Both have sections (`Installing:`), rows of six words (name, architecture, version, repository, size and its unit) and a summary. Version
//! 4 breaks rows where a word is too long for its column.

use super::error::Change;
use super::package::{Package, Transaction};

/// What a section of the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Installs,
    Removals,
    Changes(Change),
    /// Streams of modules, from which packages come; no packages.
    Streams,
}

impl Section {
    fn of(title: &str) -> Option<Self> {
        Some(match title {
            "Installing" | "Installing dependencies" | "Installing weak dependencies" => Self::Installs,
            "Removing" | "Removing dependent packages" | "Removing unused dependencies" => Self::Removals,
            "Upgrading" => Self::Changes(Change::Upgrade),
            "Downgrading" => Self::Changes(Change::Downgrade),
            "Reinstalling" => Self::Changes(Change::Reinstall),
            "Enabling module streams" => Self::Streams,
            _ => return None,
        })
    }
}

/// What dnf says that it would do; none where it prints no table.
pub(super) fn parse(text: &str) -> Result<Option<Transaction>, String> {
    let mut lines = text.lines().skip_while(|line| !is_header(line));
    if lines.next().is_none() {
        return Ok(None);
    }
    let mut table = Table::default();
    for line in lines.by_ref() {
        if line.trim_end_matches(':') == "Transaction Summary" {
            table.end_row()?;
            return table.checked(lines).map(Some);
        }
        table.line(line)?;
    }
    Err("its table has no end".to_owned())
}

/// Whether the table begins: `Package Arch Version Repository Size`.
fn is_header(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("Package") && words.next().is_some_and(|word| word.starts_with("Arch"))
}

/// The title of a section: it begins at the left and ends with a colon.
fn section_of(line: &str) -> Option<&str> {
    let title = line.strip_suffix(':')?;
    (title.starts_with(char::is_alphabetic) && title != "Transaction Summary").then_some(title)
}

/// A table that is being read.
#[derive(Default)]
struct Table {
    transaction: Transaction,
    section: Option<Section>,
    /// The words of the row.
    row: Vec<String>,
}

impl Table {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(title) = section_of(line) {
            self.end_row()?;
            let section = Section::of(title).ok_or_else(|| format!("its table has a section \"{title}\""))?;
            self.section = Some(section);
            return Ok(());
        }
        // What is left of the header.
        if self.section.is_none() {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let depth = line.len() - line.trim_start_matches(' ').len();
        match words[..] {
            // Version 4 has the architecture at the end of the name.
            ["replacing", name, _version] if depth > 1 => {
                self.end_row()?;
                self.replaced(name.rsplit_once('.').map_or(name, |(name, _)| name));
                return Ok(());
            }
            ["replacing", name, _arch, _version, _repository, _size, _unit] if depth > 1 => {
                self.end_row()?;
                self.replaced(name);
                return Ok(());
            }
            _ => {}
        }
        match depth {
            // A row begins, or an empty line is there.
            0 | 1 => self.end_row()?,
            _ => {}
        }
        self.row.extend(words.into_iter().map(str::to_owned));
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), String> {
        let row = std::mem::take(&mut self.row);
        if row.is_empty() || self.section == Some(Section::Streams) {
            return Ok(());
        }
        let package = match &row[..] {
            [name, arch, version, _repository, _size, _unit] => Package::rpm(name, version, arch),
            _ => None,
        };
        let package = package.ok_or_else(|| format!("its table has a row \"{}\"", row.join(" ")))?;
        match self.section {
            Some(Section::Installs) => self.transaction.installs.push(package),
            Some(Section::Removals) => self.transaction.removals.push(package),
            Some(Section::Changes(change)) => self.transaction.changes.push((change, package.name)),
            Some(Section::Streams) | None => {}
        }
        Ok(())
    }

    /// A package that goes because another one comes. Version 5 says so of every upgrade, too.
    fn replaced(&mut self, name: &str) {
        let of_upgrade = matches!(self.section, Some(Section::Changes(_)))
            && self.transaction.changes.last().is_some_and(|(_, last)| last == name);
        if !of_upgrade {
            self.transaction.removals.push(Package::named(name));
        }
    }

    /// The transaction, if the numbers of the summary are those of the table.
    fn checked<'a>(self, summary: impl Iterator<Item = &'a str>) -> Result<Transaction, String> {
        let (mut installs, mut removals) = (0, 0);
        // `Install  3 Packages`, ` Installing:  3 packages`
        for line in summary {
            let mut words = line.split_whitespace();
            let (Some(what), Some(number)) = (words.next(), words.next().and_then(|word| word.parse::<usize>().ok()))
            else {
                continue;
            };
            match what.trim_end_matches(':') {
                "Install" | "Installing" => installs += number,
                "Remove" | "Removing" => removals += number,
                _ if self.transaction.changes.is_empty() && self.transaction.removals.is_empty() => {
                    return Err(format!("its summary has \"{}\" and its table has not", line.trim()));
                }
                _ => {}
            }
        }
        let of_table = &self.transaction;
        if installs != of_table.installs.len() || removals > of_table.removals.len() {
            return Err("the numbers of its summary are not those of its table".to_owned());
        }
        Ok(self.transaction)
    }
}

/// Whether it says that nothing has to be done.
pub(super) fn is_nothing(stdout: &str, stderr: &str) -> bool {
    stdout
        .lines()
        .chain(stderr.lines())
        .any(|line| line == "Nothing to do.")
}

/// The packages that dnf does not know.
pub(super) fn not_found(stdout: &str, stderr: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in stdout.lines().chain(stderr.lines()) {
        let one = ["No match for argument: ", "filtering for argument: "]
            .into_iter()
            .find_map(|before| line.split_once(before));
        let many = line.split_once("Unable to find a match: ");
        names.extend(one.map(|(_, name)| name.trim().to_owned()));
        names.extend(
            many.into_iter()
                .flat_map(|(_, names)| names.split_whitespace().map(str::to_owned)),
        );
    }
    names.sort();
    names.dedup();
    names
}

/// Why it finds no way to do what it was asked for: the line `Problem …` and the one after it.
pub(super) fn problem(stderr: &str) -> Option<String> {
    let mut lines = stderr
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("Problem"));
    let first = lines.next()?.trim();
    let more = lines
        .next()
        .map(|line| line.trim().trim_start_matches("- "))
        .unwrap_or_default();
    Some(format!("{first}; {more}").chars().take(300).collect())
}

/// The line that says why it failed.
pub(super) fn error(stderr: &str) -> &str {
    let is_error =
        |line: &&str| line.starts_with("Error: ") || line.starts_with("Failed to ") || line.starts_with("Cannot ");
    let last = || stderr.lines().rev().find(|line| !line.trim().is_empty());
    stderr.lines().find(is_error).or_else(last).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What dnf 4.14 prints; the rows are shorter than they were.
    const DNF4: &str = "\
t                                               254 kB/s | 2.4 kB     00:00    
Dependencies resolved.
================================================================================
 Package                Architecture     Version              Repo
                                                                    Size
================================================================================
Installing:
 kernel-devel           noarch           6.1.0-9              t           7.9 k
 a-package-with-quite-a-long-name
                        noarch           2:5.14.0-362.8.1.el9_3.with.a.long.release
                                                              t           7.8 k
Installing dependencies:
 tiny-kbuild            noarch           1.0-1                t           7.8 k

Transaction Summary
================================================================================
Install  3 Packages

Total size: 23 k
Installed size: 5.7 M
";

    /// What dnf 5.4 prints.
    const DNF5: &str = "\
Package       Arch   Version   Repository      Size
Installing:
 kernel-devel noarch 0:6.1.0-9 t            1.9 MiB
 a-package-with-quite-a-long-name noarch 2:5.14.0-362.8.1.el9_3.with.a.long.release t            1.9 MiB
Installing dependencies:
 tiny-kbuild  noarch 0:1.0-1   t            1.9 MiB

Transaction Summary:
 Installing:         3 packages

";

    fn rpm(name: &str, version: &str) -> Package {
        Package::rpm(name, version, "noarch").unwrap()
    }

    #[test]
    fn both_versions_would_install_the_same() {
        let expected = Transaction {
            installs: vec![
                rpm("kernel-devel", "6.1.0-9"),
                rpm(
                    "a-package-with-quite-a-long-name",
                    "2:5.14.0-362.8.1.el9_3.with.a.long.release",
                ),
                rpm("tiny-kbuild", "1.0-1"),
            ],
            ..Transaction::default()
        };
        assert_eq!(parse(DNF4).unwrap().unwrap(), expected);
        assert_eq!(parse(DNF5).unwrap().unwrap(), expected);
        assert_eq!(parse("Dependencies resolved.\nNothing to do.\nComplete!\n"), Ok(None));
    }

    /// A table with these sections, as dnf 4 and as dnf 5 print it.
    fn table(header: &str, body: &str, summary: &str) -> Result<Option<Transaction>, String> {
        parse(&format!("{header}\n{body}\n\n{summary}\n"))
    }

    #[test]
    fn other_changes() {
        let dnf4 = " Package    Architecture   Version    Repository    Size\n====";
        let dnf5 = "Package    Arch   Version    Repository    Size";
        let upgrade = Ok(Some(Transaction {
            installs: vec![rpm("wants-new", "1-1")],
            removals: vec![],
            changes: vec![(Change::Upgrade, "precious".to_owned())],
        }));
        assert_eq!(
            table(
                dnf4,
                "Installing:\n wants-new   noarch  1-1   t   7.8 k\nUpgrading:\n precious   noarch  2.0-1   t  7.8 k",
                "Transaction Summary\n====\nInstall  1 Package\nUpgrade  1 Package"
            ),
            upgrade
        );
        assert_eq!(
            table(
                dnf5,
                "Upgrading:\n precious             noarch 0:2.0-1 t            1.9 MiB\n   \
                 replacing precious noarch 0:1.0-1 t            1.9 MiB\n\
                 Installing:\n wants-new            noarch 0:1-1   t            1.9 MiB",
                "Transaction Summary:\n Installing:         1 package\n Upgrading:          1 package\n Replacing:  1 package"
            ),
            upgrade
        );
        let obsoletes = table(
            dnf4,
            "Installing:\n obsoletes   noarch  1-1   t   7.8 k\n     replacing  pre.cious.noarch 1.0-1",
            "Transaction Summary\n====\nInstall  1 Package",
        );
        assert_eq!(obsoletes.unwrap().unwrap().removals, [Package::named("pre.cious")]);
        let obsoletes = table(
            dnf5,
            "Installing:\n obsoletes   noarch  0:1-1   t   7.8 KiB\n   replacing pre.cious noarch 0:1.0-1 t 1.9 MiB",
            "Transaction Summary:\n Installing:   1 package\n Replacing:   1 package",
        );
        assert_eq!(obsoletes.unwrap().unwrap().removals, [Package::named("pre.cious")]);
        let removal = table(
            dnf4,
            "Removing:\n a   noarch  1-1   @t   1.9 M\nRemoving dependent packages:\n b   noarch  1-1   @t   1.9 M",
            "Transaction Summary\n====\nRemove  2 Packages",
        );
        assert_eq!(removal.unwrap().unwrap().removals, [rpm("a", "1-1"), rpm("b", "1-1")]);
        // RHEL 8 takes some packages from streams of modules.
        let streams = table(
            dnf4,
            "Installing:\n perl   noarch  4:5.26-1   t   1.9 M\nEnabling module streams:\n perl        5.26",
            "Transaction Summary\n====\nInstall  1 Package",
        );
        assert_eq!(streams.unwrap().unwrap().installs, [rpm("perl", "4:5.26-1")]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let header = " Package    Architecture   Version    Repository    Size\n====";
        let summary = "Transaction Summary\n====\nInstall  1 Package";
        for (body, summary) in [
            ("Switching module streams:\n perl   5.26 -> 5.30", summary),
            ("Installing:\n a   noarch  1-1   t", summary),
            ("Installing:\n a   noarch  1-1   t   1.9 M more", summary),
            ("Installing:\n --root=/   noarch  1-1   t   1.9 M", summary),
            (
                "Installing:\n a   noarch  1-1   t   1.9 M\n b   noarch  1-1   t   1.9 M",
                summary,
            ),
            ("Installing:", summary),
            ("Installing:\n a   noarch  1-1   t   1.9 M", "Install  1 Package"),
            (
                "Installing:\n a   noarch  1-1   t   1.9 M",
                "Transaction Summary\n====\nInstall  1 Package\nSkip     1 Package",
            ),
        ] {
            assert!(table(header, body, summary).is_err(), "{body}");
        }
        for end in (DNF5.find("Installing").unwrap()..DNF5.find("Transaction").unwrap()).step_by(7) {
            assert!(parse(&DNF5[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn why_dnf_does_nothing() {
        assert_eq!(
            not_found(
                "No match for argument: nothere\n",
                "Error: Unable to find a match: nothere gone\n"
            ),
            ["gone", "nothere"]
        );
        assert_eq!(
            not_found(
                "All matches were filtered out by exclude filtering for argument: make\n",
                ""
            ),
            ["make"]
        );
        let stderr = "Error: \n Problem: problem with installed package precious-1.0-1.noarch\n  \
                      - package conflicts-1-1.noarch conflicts with precious provided by precious-1.0-1.noarch\n";
        assert_eq!(
            problem(stderr).as_deref(),
            Some(
                "Problem: problem with installed package precious-1.0-1.noarch; package conflicts-1-1.noarch conflicts \
                 with precious provided by precious-1.0-1.noarch"
            )
        );
        let stderr = "Errors during downloading metadata for repository 't':\n  - Curl error (37)\n\
                      Error: Failed to download metadata for repo 't': Cannot download repomd.xml\n";
        assert_eq!(problem(stderr), None);
        assert_eq!(
            error(stderr),
            "Error: Failed to download metadata for repo 't': Cannot download repomd.xml"
        );
    }

    proptest::proptest! {
        /// Lines of the tables in any order, and anything between: it ends, and what is installed was in the table.
        #[test]
        fn anything_else_is_read_without_harm(picks in proptest::collection::vec((0usize..40, "\\PC{0,30}"), 0..40)) {
            let known: Vec<&str> = DNF4.lines().chain(DNF5.lines()).collect();
            let lines: Vec<&str> = picks.iter().map(|(at, other)| *known.get(*at).unwrap_or(&other.as_str())).collect();
            if let Ok(Some(transaction)) = parse(&lines.join("\n")) {
                proptest::prop_assert!(transaction.installs.len() <= lines.len());
            }
            let _ = (not_found(&lines.join("\n"), ""), problem(&lines.join("\n")));
        }
    }
}
