//! The signed index of a suite (InRelease): which files it has, with their hashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use deb822_fast::Deb822;
use dkms_engine::command::Confined;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::error::ImportError;

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// An index whose signature was right.
#[derive(Debug)]
pub(super) struct Release {
    /// SHA-256 and length by path.
    files: BTreeMap<String, (String, u64)>,
    /// Whether the indexes of each architecture have the packages for all architectures, too, as it may say.
    pub(super) has_all_everywhere: bool,
}

impl Release {
    /// Checks the signature with `gpgv` and reads what it covers, and nothing else of the file. Without a time, it may have expired.
    pub(super) fn verified(
        signed: &[u8],
        url: &str,
        keyring: &Path,
        now: Option<Timestamp>,
    ) -> Result<Self, ImportError> {
        let keyring_error = |source| ImportError::Keyring {
            path: keyring.to_owned(),
            source,
        };
        // gpgv takes a name without a slash for one in its own directory.
        let keyring = keyring.canonicalize().map_err(keyring_error)?;
        fs::File::open(&keyring).map_err(keyring_error)?;
        let no_verifier = |why: String| ImportError::NoVerifier {
            url: url.to_owned(),
            why,
        };
        let scratch = tempfile::tempdir().map_err(|error| no_verifier(error.to_string()))?;
        let (file, covered) = (scratch.path().join("InRelease"), scratch.path().join("covered"));
        fs::write(&file, signed).map_err(|error| no_verifier(error.to_string()))?;
        let output = Confined::new("gpgv")
            .arg("--homedir")
            .arg(scratch.path())
            .arg("--keyring")
            .arg(&keyring)
            .arg("--output")
            .arg(&covered)
            .arg(&file)
            .time_limit(TIME_LIMIT)
            .output(1 << 20)
            .map_err(|error| no_verifier(format!("gpgv cannot be run: {error}")))?;
        if !output.ended.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            let why = last.unwrap_or("gpgv says nothing").trim_start_matches("gpgv: ");
            return Err(ImportError::Signature {
                url: url.to_owned(),
                keyring,
                why: why.to_owned(),
            });
        }
        let text = fs::read(&covered).map_err(|error| no_verifier(format!("gpgv wrote no file: {error}")))?;
        Self::read(&String::from_utf8_lossy(&text), url, now)
    }

    fn read(text: &str, url: &str, now: Option<Timestamp>) -> Result<Self, ImportError> {
        let index = |why: &str| ImportError::Index {
            url: url.to_owned(),
            why: why.to_owned(),
        };
        let text: Deb822 = text.parse().map_err(|_| index("it is not a list of fields"))?;
        let fields = text.iter().next().ok_or_else(|| index("it is empty"))?;
        if let (Some(until), Some(now)) = (fields.get("Valid-Until"), now) {
            // Debian writes UTC, which RFC 2822 does not have.
            let date = until.trim().replace(" UTC", " +0000");
            let last = DateTimeParser::new()
                .relaxed_weekday(true)
                .parse_timestamp(&date)
                .map_err(|_| index(&format!("its Valid-Until {until:?} is no date")))?;
            if last < now {
                return Err(ImportError::Expired {
                    url: url.to_owned(),
                    until: until.trim().to_owned(),
                });
            }
        }
        let list = fields.get("SHA256").ok_or_else(|| index("it has no field SHA256"))?;
        let mut files = BTreeMap::new();
        for line in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [sha256, length, path] = words.as_slice() else {
                return Err(index(&format!("it has the line {line:?}")));
            };
            let length = length
                .parse()
                .map_err(|_| index(&format!("it has the line {line:?}")))?;
            files.insert((*path).to_owned(), (sha256.to_ascii_lowercase(), length));
        }
        let unsupported = fields.get("No-Support-for-Architecture-all").unwrap_or_default();
        Ok(Self {
            files,
            has_all_everywhere: unsupported.split_whitespace().any(|index| index == "Packages"),
        })
    }

    /// SHA-256 and length of a file.
    pub(super) fn file(&self, path: &str) -> Option<(&str, u64)> {
        self.files.get(path).map(|(sha256, length)| (sha256.as_str(), *length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_files_and_an_end() {
        let now: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let text = "Suite: stable\nValid-Until: Sun, 07 Jan 2024 00:00:00 UTC\nSHA256:\n AB 12 main/binary-amd64/Packages.xz\n";
        let release = Release::read(text, "u", Some(now)).unwrap();
        assert_eq!(release.file("main/binary-amd64/Packages.xz"), Some(("ab", 12)));
        assert_eq!(release.file("main"), None);
        assert!(!release.has_all_everywhere);
        let modern = format!("No-Support-for-Architecture-all: Packages\n{text}");
        assert!(Release::read(&modern, "u", None).unwrap().has_all_everywhere);
        let check = |text: &str, now: &str, expected: &str| {
            let error = Release::read(text, "u", now.parse().ok()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            text,
            "2024-01-08T00:00:00Z",
            "u was good until Sun, 07 Jan 2024 00:00:00 UTC",
        );
        assert!(Release::read(text, "u", None).is_ok(), "where that may be");
        check(
            "Suite: x\n",
            "2024-01-01T00:00:00Z",
            "u is not a sound index: it has no field SHA256",
        );
        check(
            "SHA256:\n a b\n",
            "2024-01-01T00:00:00Z",
            "u is not a sound index: it has the line \"a b\"",
        );
    }
}
