//! The addresses of a repository, and which of them may be used.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use url::{Host, Url};

use super::error::{TransportError, shown};

/// Mirrors in order of preference. The one that answered last is asked first, so that one dead mirror costs one
/// timeout and not one for every file.
#[derive(Debug)]
pub struct Mirrors {
    urls: Vec<Url>,
    preferred: AtomicUsize,
    /// Whether none gave the last file that was asked for.
    failed: AtomicBool,
}

impl Mirrors {
    /// Mirrors at these addresses, each ending with `/`.
    pub fn new(urls: Vec<Url>) -> Self {
        Self {
            urls,
            preferred: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// The same after `first`.
    #[must_use]
    pub fn after(self, first: Url) -> Self {
        Self::new([first].into_iter().chain(self.urls).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.urls.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// Prefers the next one from now on: what the preferred one sent could not be used.
    pub fn prefer_next(&self) {
        if !self.is_empty() {
            let next = (self.preferred.load(Ordering::Relaxed) + 1) % self.len();
            self.prefer(next);
        }
    }

    /// The number of every mirror once.
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.urls.len();
        (0..count).map(move |n| (first + n) % count)
    }

    /// The mirror of this number.
    pub(super) fn at(&self, number: usize) -> &Url {
        &self.urls[number]
    }

    /// Notes whether one of them answered: mirrors that did not are not asked again and again.
    pub(super) fn note(&self, answered: bool) {
        self.failed.store(!answered, Ordering::Relaxed);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn prefer(&self, number: usize) {
        self.preferred.store(number, Ordering::Relaxed);
    }
}

/// The address of `path` below `mirror`. Every segment is encoded, if it is not already, so a path cannot change the address's host or query.
pub(super) fn below(mirror: &Url, path: &str) -> Result<Url, TransportError> {
    let bad = || TransportError::Path { path: path.to_owned() };
    let good = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        !matches!(segment.as_str(), "" | "." | "..") && !segment.contains(['\0', '\\'])
    };
    // What is encoded already is the name of a role in a repository that is not one of drivers. A disk could take it for several directories.
    let is_encoded = path.contains('%');
    if !path.split('/').all(good) || is_encoded && !matches!(mirror.scheme(), "http" | "https") {
        return Err(bad());
    }
    let mut url = mirror.clone();
    if is_encoded {
        let base = mirror.path().trim_end_matches('/');
        url.set_path(&format!("{base}/{path}"));
        return Ok(url);
    }
    url.path_segments_mut()
        .map_err(|()| bad())?
        .pop_if_empty()
        .extend(path.split('/'));
    Ok(url)
}

/// Refuses plain http beyond loopback unless it is allowed.
pub(super) fn check_scheme(url: &Url, allow_plain_http: bool) -> Result<(), TransportError> {
    match url.scheme() {
        "https" | "file" => Ok(()),
        "http" if allow_plain_http || is_loopback(url) => Ok(()),
        _ => Err(TransportError::PlainHttp { url: shown(url) }),
    }
}

/// Whether the address is a loopback address, without asking a resolver.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a good address")
    }

    #[test]
    fn paths_stay_below_their_mirror() {
        let check = |mirror: &str, path: &str, expected: Option<&str>| {
            let found = below(&url(mirror), path).ok();
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{mirror} + {path}");
        };
        check(
            "https://x.example/a/",
            "metadata/1.root.json",
            Some("https://x.example/a/metadata/1.root.json"),
        );
        check(
            "https://x.example/",
            "targets/n@1.2+3~4?q#f",
            Some("https://x.example/targets/n@1.2+3~4%3Fq%23f"),
        );
        check(
            "https://x.example/a",
            "metadata/1...%2Fx?y#z.json",
            Some("https://x.example/a/metadata/1...%2Fx%3Fy%23z.json"),
        );
        check("file:///media/stick/", "metadata/1...%2Fx.json", None);
        check("file:///media/stick/", "a/b", Some("file:///media/stick/a/b"));
        for bad in [
            "",
            "/a",
            "a//b",
            "../a",
            "a/../b",
            "a/./b",
            "a/%2e%2E/b",
            ".%2e/b",
            "a\\b",
            "a\0",
        ] {
            check("https://x.example/", bad, None);
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        let check = |address: &str, allowed: bool| {
            assert_eq!(check_scheme(&url(address), false).is_ok(), allowed, "{address}");
        };
        check("https://x.example/", true);
        check("file:///srv/", true);
        check("http://127.0.0.1:8080/", true);
        check("http://127.9.9.9/", true);
        check("http://[::1]/", true);
        check("http://localhost/", true);
        check("http://x.example/", false);
        check("http://localhost.x.example/", false);
        check("http://10.0.2.2/", false);
        check("ftp://127.0.0.1/", false);
        assert!(check_scheme(&url("http://10.0.2.2/"), true).is_ok());
    }

    #[test]
    fn the_mirror_that_answered_is_asked_first() {
        let mirrors = Mirrors::new(vec![
            url("http://[::1]:1/"),
            url("http://[::1]:2/"),
            url("http://[::1]:3/"),
        ]);
        let order = |m: &Mirrors| m.in_order().collect::<Vec<_>>();
        assert_eq!(order(&mirrors), [0, 1, 2]);
        mirrors.prefer(1);
        assert_eq!(order(&mirrors), [1, 2, 0]);
        assert!(order(&Mirrors::new(vec![])).is_empty());
    }
}
