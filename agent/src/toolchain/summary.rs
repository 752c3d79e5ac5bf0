//! What `zypper --xmlout` prints.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::error::Change;
use super::package::{Package, Transaction};

/// The elements lie in each other no deeper than this.
const DEPTH_MAX: usize = 16;

/// What zypper says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// What it does or would do; none where it did not come to that.
    pub(super) transaction: Option<Transaction>,
    pub(super) download_bytes: u64,
    pub(super) disk_bytes: u64,
    /// What it does not know.
    pub(super) not_found: Vec<String>,
    /// Its first question about packages that cannot be there together.
    pub(super) problem: Option<String>,
    /// Other errors.
    pub(super) errors: Vec<String>,
}

/// An element that is open.
struct Open {
    name: String,
    /// Whether it is a message of the type `error`.
    is_error: bool,
    text: String,
}

impl Summary {
    /// Reads all of it; an end that is missing is an error.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut summary = Self::default();
        let mut open: Vec<Open> = Vec::new();
        let mut reader = Reader::from_str(text);
        let unreadable =
            |error: &dyn std::fmt::Display| format!("its answer is not the XML that it should be: {error}");
        loop {
            match reader.read_event().map_err(|error| unreadable(&error))? {
                Event::Start(element) => {
                    let parent = open.last().map(|one| one.name.clone()).unwrap_or_default();
                    open.push(summary.element(&element, &parent).map_err(|error| unreadable(&error))?);
                    if open.len() > DEPTH_MAX {
                        return Err(unreadable(&"elements lie too deep in each other"));
                    }
                }
                Event::Empty(element) => {
                    let parent = open.last().map(|one| one.name.clone()).unwrap_or_default();
                    summary.element(&element, &parent).map_err(|error| unreadable(&error))?;
                }
                Event::End(_) => {
                    if let Some(one) = open.pop() {
                        summary.close(one, open.last());
                    }
                }
                Event::Text(part) => {
                    if let Some(one) = open.last_mut() {
                        one.text.push_str(&part.decode().map_err(|error| unreadable(&error))?);
                    }
                }
                Event::GeneralRef(part) => {
                    let name = part.decode().map_err(|error| unreadable(&error))?;
                    let text = match part.resolve_char_ref().map_err(|error| unreadable(&error))? {
                        Some(character) => character.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(&name)
                            .ok_or_else(|| unreadable(&format!("the entity {name} is not known")))?
                            .to_owned(),
                    };
                    if let Some(one) = open.last_mut() {
                        one.text.push_str(&text);
                    }
                }
                Event::Eof if open.is_empty() => return Ok(summary),
                Event::Eof => return Err(unreadable(&"its end is missing")),
                Event::DocType(_) => return Err(unreadable(&"it has a document type")),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::CData(_) => {}
            }
        }
    }

    /// The beginning of an element in `section`.
    fn element(&mut self, element: &BytesStart<'_>, section: &str) -> Result<Open, String> {
        let attribute = |name: &str| -> Result<String, String> {
            let found = element.try_get_attribute(name).map_err(|error| error.to_string())?;
            let value = found.map(|one| one.normalized_value(quick_xml::XmlVersion::Implicit1_0));
            let value = value.transpose().map_err(|error| error.to_string())?;
            Ok(value.map(std::borrow::Cow::into_owned).unwrap_or_default())
        };
        let name = String::from_utf8_lossy(element.name().as_ref()).into_owned();
        match name.as_str() {
            "install-summary" => {
                let number = |name: &str| attribute(name).map(|text| text.parse::<i64>().unwrap_or_default());
                self.download_bytes = number("download-size")?.try_into().unwrap_or_default();
                self.disk_bytes = number("space-usage-diff")?.try_into().unwrap_or_default();
                self.transaction.get_or_insert_default();
            }
            "solvable" => {
                let kind = attribute("type")?;
                let (name, edition, arch) = (attribute("name")?, attribute("edition")?, attribute("arch")?);
                let package = Package::rpm(&name, &edition, &arch);
                let transaction = self.transaction.get_or_insert_default();
                match (section, package) {
                    ("to-install", Some(package)) if kind == "package" => transaction.installs.push(package),
                    ("to-remove", Some(package)) if kind == "package" => transaction.removals.push(package),
                    _ => transaction.changes.push((change(section), name)),
                }
            }
            _ => {}
        }
        Ok(Open {
            is_error: name == "message" && attribute("type")? == "error",
            name,
            text: String::new(),
        })
    }

    /// The end of an element.
    fn close(&mut self, element: Open, parent: Option<&Open>) {
        let text = element.text.trim();
        if element.is_error {
            match not_found(text) {
                Some(name) => self.not_found.push(name.to_owned()),
                None => self.errors.push(text.lines().collect::<Vec<_>>().join(" ")),
            }
        }
        let is_question = element.name == "description" && parent.is_some_and(|one| one.name == "prompt");
        if is_question && self.problem.is_none() {
            self.problem = text.lines().find(|line| line.contains("Problem: ")).map(str::to_owned);
        }
    }
}

/// The name in `No provider of 'NAME' found.` or `Package 'NAME' not found.`.
fn not_found(text: &str) -> Option<&str> {
    let rest = text
        .strip_prefix("No provider of '")
        .and_then(|rest| rest.strip_suffix("' found."));
    rest.or_else(|| {
        text.strip_prefix("Package '")
            .and_then(|rest| rest.strip_suffix("' not found."))
    })
}

/// What happens to the packages of a section of the summary; what we do not know is a change, too.
fn change(section: &str) -> Change {
    match section {
        "to-remove" => Change::Remove,
        "to-upgrade" => Change::Upgrade,
        "to-downgrade" => Change::Downgrade,
        "to-reinstall" => Change::Reinstall,
        _ => Change::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What zypper 1.14 prints, without its progress.
    const NEEDS_AN_UPGRADE: &str = r#"<?xml version='1.0'?>
<stream>
<message type="info">Loading repository data...</message>
<message type="info">Reading installed packages...</message>
<message type="info">Resolving package dependencies...</message>
<install-summary download-size="15956" space-usage-diff="2000000" packages-to-change="2">
<to-upgrade>
<solvable type="package" name="precious" edition="2.0-1" arch="noarch" edition-old="1.0-1" arch-old="noarch" summary="t">
<description>t</description></solvable>
</to-upgrade>
<to-install>
<solvable type="package" name="wants-new" edition="1-1" arch="noarch" summary="t">
<description>t</description></solvable>
</to-install>
</install-summary>
<prompt id="0">
<text>Continue?</text>
<option default="1" value="y" desc="Yes, accept the summary and proceed with installation/removal of packages."/>
</prompt>
<fileconflict-summary><message type="warning">2 packages had to be excluded from file conflicts check.</message>
</fileconflict-summary></stream>
"#;

    fn rpm(name: &str, version: &str) -> Package {
        Package::rpm(name, version, "noarch").unwrap()
    }

    #[test]
    fn what_zypper_would_do() {
        let expected = Summary {
            transaction: Some(Transaction {
                installs: vec![rpm("wants-new", "1-1")],
                removals: vec![],
                changes: vec![(Change::Upgrade, "precious".to_owned())],
            }),
            download_bytes: 15956,
            disk_bytes: 2_000_000,
            ..Summary::default()
        };
        assert_eq!(Summary::parse(NEEDS_AN_UPGRADE), Ok(expected));
        let removal = r#"<stream><install-summary download-size="0" space-usage-diff="-2000000" packages-to-change="1">
            <to-remove><solvable type="package" name="user" edition="1-1" arch="noarch" summary="t"/></to-remove>
            </install-summary></stream>"#;
        let removal = Summary::parse(removal).unwrap();
        assert_eq!(removal.transaction.unwrap().removals, [rpm("user", "1-1")]);
        assert_eq!(removal.disk_bytes, 0);
        let nothing = r#"<stream><install-summary download-size="0" space-usage-diff="0" packages-to-change="0">
            </install-summary><message type="info">Nothing to do.</message></stream>"#;
        assert_eq!(
            Summary::parse(nothing).unwrap().transaction,
            Some(Transaction::default())
        );
    }

    #[test]
    fn what_is_no_plain_package_is_a_change() {
        for (section, kind, name, expected) in [
            ("to-downgrade", "package", "a", Change::Downgrade),
            ("to-reinstall", "package", "a", Change::Reinstall),
            ("to-change-vendor", "package", "a", Change::Replace),
            ("to-install", "pattern", "a", Change::Replace),
            ("to-install", "package", "-r", Change::Replace),
            ("unheard-of", "package", "a", Change::Replace),
        ] {
            let text = format!(
                r#"<stream><install-summary><{section}><solvable type="{kind}" name="{name}" edition="1-1" arch="noarch"/></{section}></install-summary></stream>"#
            );
            let transaction = Summary::parse(&text).unwrap().transaction.unwrap();
            assert_eq!(transaction.changes, [(expected, name.to_owned())], "{section}");
            assert!(transaction.installs.is_empty() && transaction.removals.is_empty());
        }
    }

    #[test]
    fn why_zypper_does_nothing() {
        let missing = r#"<stream><message type="info">&apos;nothere&apos; not found in package names. Trying capabilities.</message>
            <message type="error">No provider of &apos;nothere&apos; found.</message></stream>"#;
        assert_eq!(Summary::parse(missing).unwrap().not_found, ["nothere"]);
        let missing = r#"<stream><message type="error">Package &apos;user=1-2&apos; not found.</message></stream>"#;
        assert_eq!(Summary::parse(missing).unwrap().not_found, ["user=1-2"]);
        let problem = r#"<stream><prompt id="1">
<description>Problem: conflicts-1-1.noarch conflicts with precious provided by precious-1.0-1.noarch
 Solution 1: deinstallation of precious-1.0-1.noarch
 Solution 2: do not install conflicts-1-1.noarch
</description>
<text>Choose from above solutions by number or cancel</text>
<option default="1" value="c" desc="Choose no solution and cancel."/>
</prompt></stream>"#;
        let problem = Summary::parse(problem).unwrap();
        assert_eq!(
            problem.problem.as_deref(),
            Some("Problem: conflicts-1-1.noarch conflicts with precious provided by precious-1.0-1.noarch")
        );
        assert_eq!(problem.transaction, None);
        let locked = r#"<stream><message type="error">System management is locked by the application with pid 24422 (sleep).
Close this application before trying again.</message></stream>"#;
        assert_eq!(
            Summary::parse(locked).unwrap().errors,
            [
                "System management is locked by the application with pid 24422 (sleep). Close this application before trying again."
            ]
        );
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for end in (20..NEEDS_AN_UPGRADE.len() - 10).step_by(7) {
            assert!(Summary::parse(&NEEDS_AN_UPGRADE[..end]).is_err(), "{end}");
        }
        for text in [
            "<stream><a></b></stream>",
            "<!DOCTYPE x [<!ENTITY a 'b'>]><stream/>",
            "<stream>&unknown;</stream>",
            &format!("{}{}", "<a>".repeat(40), "</a>".repeat(40)),
        ] {
            assert!(Summary::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_else_is_read_without_harm(picks in proptest::collection::vec((0usize..30, "[<>&;/a-z\"' =!?-]{0,20}"), 0..40)) {
            let known: Vec<&str> = NEEDS_AN_UPGRADE.lines().collect();
            let lines: Vec<&str> = picks.iter().map(|(at, other)| *known.get(*at).unwrap_or(&other.as_str())).collect();
            let _ = Summary::parse(&lines.join("\n"));
        }
    }
}
