//! A commit or tag of a git repository, read by the program `git` without a working tree: what is in the commit, byte for byte.
//!
//! `git` reads no settings but ours: no hooks, filters, credentials or submodules, only these protocols, with limits of time and size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dkms_engine::command::{Confined, Output};

use super::error::{IngestError, Problem};
use super::origin::Origin;
use super::tree::{Entry, Limits, RawTree};

/// How a path begins that is one of these.
const PREFIX: &str = "git+";
const TIME_LIMIT: Duration = Duration::from_secs(600);
/// For messages and lists.
const OUTPUT_MAX: u64 = 16 << 20;

/// What a git repository gave.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) origin: Origin,
    pub(super) raw: RawTree,
    pub(super) notes: Vec<String>,
}

/// Whether this is `git+…` and no file of that name.
pub(super) fn is_git(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(PREFIX)) && !path.exists()
}

/// Reads `git+URL@REVISION`, where the revision is a tag or a whole commit, and the URL may be the path of a checkout.
pub(super) fn read(path: &Path, limits: Limits) -> Result<Taken, IngestError> {
    let failed = |why: String| IngestError::Git {
        path: path.to_owned(),
        why,
    };
    let (url, revision) = parse(path).map_err(failed)?;
    let scratch = tempfile::Builder::new()
        .prefix("dkms-git-")
        .tempdir()
        .map_err(|error| failed(format!("no temporary directory: {error}")))?;
    let git = Git {
        dir: scratch.path().join("repository"),
        file_bytes: limits.packed_bytes,
    };
    let dir = git.dir.display().to_string();
    git.run(
        &["init", "--quiet", "--bare", "--template=", "--", &dir],
        Vec::new(),
        OUTPUT_MAX,
    )
    .map_err(failed)?;
    let is_commit = matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| b.is_ascii_hexdigit());
    let source = if is_commit {
        revision.clone()
    } else {
        format!("refs/tags/{revision}")
    };
    let words = [
        "--git-dir",
        &dir,
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-recurse-submodules",
    ];
    let fetched = git.run(
        &[
            &words[..],
            &["--no-write-fetch-head", "--", &url, &format!("+{source}:refs/taken")],
        ]
        .concat(),
        Vec::new(),
        OUTPUT_MAX,
    );
    fetched.map_err(|why| failed(format!("{revision} cannot be fetched from {url}: {why}")))?;
    let list = git
        .run(
            &["--git-dir", &dir, "ls-tree", "-r", "-z", "--full-tree", "refs/taken"],
            Vec::new(),
            OUTPUT_MAX,
        )
        .map_err(failed)?;
    let refused = |problem| IngestError::Refused {
        path: path.to_owned(),
        problem,
    };
    let (files, notes) = listed(&list, limits).map_err(refused)?;
    let ids: String = files.iter().map(|file| format!("{}\n", file.id)).collect();
    let room = limits.total_bytes + files.len() as u64 * 128;
    let contents = git
        .run(&["--git-dir", &dir, "cat-file", "--batch"], ids.into_bytes(), room)
        .map_err(failed)?;
    let raw = filled(&files, &contents, limits).map_err(refused)?;
    let homepage = if url.starts_with("https://") {
        url
    } else {
        String::new()
    };
    Ok(Taken {
        origin: Origin {
            homepage,
            ..Origin::default()
        },
        raw,
        notes,
    })
}

/// The tags of a repository, each with the commit that it stands for.
///
/// # Errors
/// When the address is not one that is taken, or git cannot list them.
pub fn tags(url: &str) -> Result<Vec<(String, String)>, IngestError> {
    let failed = |why: String| IngestError::Git {
        path: PathBuf::from(format!("{PREFIX}{url}")),
        why,
    };
    let url = address(url).map_err(failed)?;
    let git = Git {
        dir: PathBuf::new(),
        file_bytes: OUTPUT_MAX,
    };
    let list = git
        .run(&["ls-remote", "--tags", "--", &url], Vec::new(), OUTPUT_MAX)
        .map_err(|why| failed(format!("its tags cannot be listed: {why}")))?;
    Ok(listed_tags(&String::from_utf8_lossy(&list)))
}

/// `COMMIT\trefs/tags/NAME`, and for a tag that is an object of its own, `COMMIT\trefs/tags/NAME^{}` after it.
fn listed_tags(list: &str) -> Vec<(String, String)> {
    let mut tags = BTreeMap::new();
    for line in list.lines() {
        let Some((commit, name)) = line.split_once("\trefs/tags/") else {
            continue;
        };
        tags.insert(name.strip_suffix("^{}").unwrap_or(name).to_owned(), commit.to_owned());
    }
    tags.into_iter().collect()
}

/// The address and the revision.
fn parse(path: &Path) -> Result<(String, String), String> {
    let text = path.to_str().unwrap_or_default();
    let rest = text.strip_prefix(PREFIX).unwrap_or_default();
    let (url, revision) = rest
        .rsplit_once('@')
        .filter(|(url, revision)| !url.is_empty() && !revision.is_empty() && !revision.contains(':'))
        .ok_or("it names no tag and no commit")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+/~".contains(c);
    if !revision.chars().all(plain) || revision.starts_with(['-', '/']) || revision.contains("..") {
        return Err(format!("{revision:?} is no name of a tag or commit"));
    }
    Ok((address(url)?, revision.to_owned()))
}

/// The address as git gets it: https, this machine, or a directory.
fn address(url: &str) -> Result<String, String> {
    let loopback = ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        let at = |scheme: &str| url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(host));
        ["http://", "git://"]
            .iter()
            .filter_map(|scheme| at(scheme))
            .any(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if url.starts_with("https://") || url.starts_with("file://") || loopback {
        return Ok(url.to_owned());
    }
    if url.contains("://") || url.starts_with('-') {
        return Err(format!(
            "{url} is neither https:// nor file:// nor a path, and not on this machine"
        ));
    }
    let dir = PathBuf::from(url)
        .canonicalize()
        .map_err(|error| format!("{url} cannot be read: {error}"))?;
    Ok(format!("file://{}", dir.display()))
}

struct Git {
    dir: PathBuf,
    file_bytes: u64,
}

impl Git {
    /// The standard output of git; an error is what it said last.
    fn run(&self, words: &[&str], stdin: Vec<u8>, most_bytes: u64) -> Result<Vec<u8>, String> {
        let settings = [
            "protocol.allow=never",
            "protocol.https.allow=always",
            "protocol.http.allow=always",
            "protocol.git.allow=always",
            "protocol.file.allow=always",
            "core.hooksPath=/dev/null",
            "core.symlinks=false",
            "credential.helper=",
            "http.followRedirects=initial",
            "http.lowSpeedLimit=1000",
            "http.lowSpeedTime=60",
            "fetch.unpackLimit=1",
            "gc.auto=0",
        ];
        let mut command = Confined::new("prlimit")
            .arg(format!("--fsize={}", self.file_bytes))
            .arg("--core=0")
            .arg("git");
        for setting in settings {
            command = command.args(["-c", setting]);
        }
        for name in [
            "https_proxy",
            "HTTPS_PROXY",
            "no_proxy",
            "NO_PROXY",
            "GIT_SSL_CAINFO",
            "SSL_CERT_FILE",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command = command.env(name, value);
            }
        }
        let output = command
            .args(words)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .stdin(stdin)
            .time_limit(TIME_LIMIT)
            .output(most_bytes)
            .map_err(|error| format!("git cannot be run: {error}"))?;
        self.result(output, most_bytes)
    }

    fn result(&self, output: Output, most_bytes: u64) -> Result<Vec<u8>, String> {
        if output.ended.timed_out {
            return Err(format!("git took longer than {} seconds", TIME_LIMIT.as_secs()));
        }
        if !output.ended.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            let why = last.map_or_else(|| format!("git ended with {}", output.ended.status), str::to_owned);
            return Err(why);
        }
        if output.stdout.len() as u64 >= most_bytes {
            return Err(format!("it is larger than {most_bytes} bytes"));
        }
        Ok(output.stdout)
    }
}

/// A file or link of the commit.
struct Listed {
    name: Vec<u8>,
    id: String,
    mode: String,
}

/// `MODE TYPE ID\tNAME\0` …
fn listed(list: &[u8], limits: Limits) -> Result<(Vec<Listed>, Vec<String>), Problem> {
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    for line in list.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let malformed = || Problem::Malformed("git lists the commit in an unknown way".to_owned());
        let tab = line.iter().position(|byte| *byte == b'\t').ok_or_else(malformed)?;
        let (facts, name) = (String::from_utf8_lossy(&line[..tab]).into_owned(), &line[tab + 1..]);
        match facts.split(' ').collect::<Vec<_>>().as_slice() {
            [mode, "blob", id] => files.push(Listed {
                name: name.to_vec(),
                id: (*id).to_owned(),
                mode: (*mode).to_owned(),
            }),
            [_, "commit", _] => notes.push(format!("leaves out the submodule {}", String::from_utf8_lossy(name))),
            _ => return Err(malformed()),
        }
        if files.len() > limits.entries {
            return Err(Problem::TooManyEntries(limits.entries));
        }
    }
    Ok((files, notes))
}

/// `ID TYPE SIZE\n`, the content, a newline; … in the order of the files.
fn filled(files: &[Listed], mut contents: &[u8], limits: Limits) -> Result<RawTree, Problem> {
    let malformed = || Problem::Malformed("git gives another file than was asked for".to_owned());
    let mut tree = RawTree::new(limits);
    let mut seen = BTreeMap::new();
    for file in files {
        let end = contents.iter().position(|byte| *byte == b'\n').ok_or_else(malformed)?;
        let header = String::from_utf8_lossy(&contents[..end]).into_owned();
        let size = header
            .strip_prefix(&format!("{} blob ", file.id))
            .and_then(|size| size.parse::<usize>().ok())
            .ok_or_else(malformed)?;
        let bytes = contents.get(end + 1..end + 1 + size).ok_or_else(malformed)?.to_vec();
        contents = contents.get(end + 2 + size..).ok_or_else(malformed)?;
        let shown = String::from_utf8_lossy(&file.name).into_owned();
        if seen.insert(file.name.clone(), ()).is_some() {
            return Err(Problem::Clash(shown));
        }
        let entry = match file.mode.as_str() {
            "120000" => Entry::Link(String::from_utf8(bytes).map_err(|_| Problem::BadName(shown))?),
            mode => Entry::File {
                bytes,
                executable: mode == "100755",
            },
        };
        tree.insert(&file.name, entry)?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_revision_and_a_known_protocol() {
        fn check(text: &str, expected: Result<(&str, &str), &str>) {
            let parsed = parse(Path::new(text));
            let parsed = parsed.as_ref().map(|(url, revision)| (url.as_str(), revision.as_str()));
            assert_eq!(parsed.map_err(String::as_str), expected, "{text}");
        }
        check(
            "git+https://x.example/a.git@v1.0",
            Ok(("https://x.example/a.git", "v1.0")),
        );
        check("git+http://127.0.0.1:80/a@v1", Ok(("http://127.0.0.1:80/a", "v1")));
        check("git+https://x.example/a.git", Err("it names no tag and no commit"));
        check("git+https://x.example/a.git@", Err("it names no tag and no commit"));
        check(
            "git+https://x.example/a@-x",
            Err("\"-x\" is no name of a tag or commit"),
        );
        check(
            "git+https://x.example/a@a..b",
            Err("\"a..b\" is no name of a tag or commit"),
        );
        for other in [
            "http://x.example/a",
            "git://x.example/a",
            "ext::sh -c x://",
            "ssh://x/a",
            "http://127.0.0.1.example/a",
        ] {
            let error = format!("{other} is neither https:// nor file:// nor a path, and not on this machine");
            check(&format!("git+{other}@v1"), Err(&error));
        }
        let error = parse(Path::new("git+/nowhere/at/all@v1")).unwrap_err();
        assert!(error.starts_with("/nowhere/at/all cannot be read: "), "{error}");
    }
}
