//! A run that may install what a build lacks, by dnf and by zypper. The real programs and rpm work on the image's own database, with a
//! repository of small packages of ours; nothing of this machine changes.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dkms_tests::story::{FileState, Story, patiently};

use super::waiting::Waiting;

/// On Debian 12 rpm has its database in it. The program starts others with this one.
const HOME: &str = "/nonexistent";

#[derive(Clone, Copy, PartialEq)]
enum By {
    Dnf,
    Zypper,
}

const BOTH: [By; 2] = [By::Dnf, By::Zypper];

/// A machine without headers, of a distribution with rpm packages.
struct Bare {
    by: By,
    story: Story,
    repository: PathBuf,
    /// Where the link to the headers leads.
    headers: PathBuf,
}

/// What a package of ours is; one file of a megabyte is in it.
#[derive(Default)]
struct Spec<'a> {
    name: &'a str,
    version: &'a str,
    /// Further lines of the spec file.
    tags: &'a str,
    /// A link in it, and where that leads.
    link: Option<(String, String)>,
}

fn run(command: &mut Command) -> String {
    let output = command
        .env("LC_ALL", "C")
        .env("HOME", HOME)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Dnf => "dnf",
            Self::Zypper => "zypper",
        }
    }

    /// The name and the version of the package with the headers of `release`: 6.1.0-57-amd64 becomes kernel-devel-6.1.0 57-amd64, which dnf
    /// finds by both, and kernel-amd64-devel 6.1.0-57.
    fn headers(self, release: &str) -> (String, String) {
        let (version, flavour) = release.rsplit_once('-').expect("a flavour");
        match self {
            Self::Dnf => {
                let (version, abi) = version.rsplit_once('-').expect("an ABI");
                (format!("kernel-devel-{version}"), format!("{abi}-{flavour}"))
            }
            Self::Zypper => (format!("kernel-{flavour}-devel"), version.to_owned()),
        }
    }

    /// What asks for just these.
    fn words(self, release: &str) -> String {
        let (name, version) = self.headers(release);
        match self {
            Self::Dnf => format!("{name}-{version}"),
            Self::Zypper => format!("{name}={version}"),
        }
    }

    /// What it installs a package with, as the hint says.
    fn look(self) -> &'static str {
        match self {
            Self::Dnf => "look at it: dnf install --assumeno --setopt=install_weak_deps=False kernel-devel-",
            Self::Zypper => "look at it: zypper install --dry-run --no-recommends kernel-",
        }
    }
}

impl Bare {
    fn new(by: By) -> Self {
        let story = Story::with_driver();
        let link = story.path(&format!("lib/modules/{}/build", story.kernel));
        let headers = fs::read_link(&link).expect("a link");
        fs::remove_file(&link).expect("a link");
        let repository = story.path("repository");
        for dir in ["repository", "opt", "var/log", "var/cache", "var/lib", "run", "tmp"] {
            fs::create_dir_all(story.path(dir)).expect("a directory");
        }
        let text = |scheme: &str| {
            format!(
                "[ours]\nname=ours\nenabled=1\nautorefresh=1\ngpgcheck=0\nbaseurl={scheme}{}\n",
                repository.display()
            )
        };
        match by {
            By::Dnf => {
                story.write("etc/os-release", "ID=fedora\nVERSION_ID=39\n");
                story.write("etc/yum.repos.d/ours.repo", &text("file://"));
            }
            By::Zypper => {
                story.write("etc/os-release", "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n");
                story.write("etc/zypp/repos.d/ours.repo", &text("dir:"));
                // As SUSE's zypp.conf has it.
                story.write("etc/zypp/multiversion.d/kernel", "provides:multiversion(kernel)\n");
            }
        }
        let bare = Self {
            by,
            story,
            repository,
            headers,
        };
        // Zypper takes a database from which all was removed for a broken one.
        let base = bare.offer(&Spec {
            name: "base",
            version: "1.0-1",
            ..Spec::default()
        });
        bare.install(&base);
        bare
    }

    /// Puts a package into the repository.
    fn offer(&self, spec: &Spec<'_>) -> PathBuf {
        let dir = tempfile::tempdir().expect("a directory");
        let Spec { name, tags, .. } = spec;
        let (version, release) = spec.version.split_once('-').expect("a release");
        let (link, listed) = match &spec.link {
            Some((path, target)) => (
                format!("mkdir -p %{{buildroot}}$(dirname {path})\nln -s {target} %{{buildroot}}{path}"),
                path.as_str(),
            ),
            None => (String::new(), ""),
        };
        let text = format!(
            "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: a test\nLicense: MIT\nBuildArch: noarch\n{tags}\n\
             %description\nA test.\n%install\nmkdir -p %{{buildroot}}/opt\n\
             head -c 1048576 /dev/zero >%{{buildroot}}/opt/{name}\n{link}\n%files\n/opt/{name}\n{listed}\n"
        );
        let file = dir.path().join("test.spec");
        fs::write(&file, text).expect("a file");
        let top = dir.path().display();
        let mut build = Command::new("rpmbuild");
        build.args(["-bb", "--quiet"]).arg(file);
        for (name, dir) in [("_topdir", ""), ("_rpmdir", "/rpms"), ("_dbpath", "/database")] {
            build.arg("--define").arg(format!("{name} {top}{dir}"));
        }
        run(&mut build);
        let rpm = format!("{name}-{}.noarch.rpm", spec.version);
        fs::copy(dir.path().join("rpms/noarch").join(&rpm), self.repository.join(&rpm)).expect("a package");
        run(Command::new("createrepo_c").arg("--quiet").arg(&self.repository));
        self.repository.join(rpm)
    }

    /// The headers as a package that needs another one, and recommends a third.
    fn offer_headers(&self, tags: &str) {
        for name in ["tiny-kbuild", "nicety"] {
            self.offer(&Spec {
                name,
                version: "1.0-1",
                ..Spec::default()
            });
        }
        let (name, version) = self.by.headers(&self.story.kernel);
        let build = format!("/lib/modules/{}/build", self.story.kernel);
        self.offer(&Spec {
            name: &name,
            version: &version,
            tags: &format!("Requires: tiny-kbuild\nRecommends: nicety\n{tags}"),
            link: Some((build, self.headers.display().to_string())),
        });
    }

    /// Installs a package by rpm, as an administrator would.
    fn install(&self, rpm: &PathBuf) {
        run(Command::new("rpm")
            .arg("--root")
            .arg(self.story.path(""))
            .arg("--install")
            .arg(rpm));
    }

    /// The packages that are installed besides the first one, with their versions.
    fn installed(&self) -> Vec<String> {
        let text =
            run(Command::new("rpm")
                .arg("--root")
                .arg(self.story.path(""))
                .args(["-qa", "--qf", "%{NAME} %{EVR}\\n"]));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.retain(|line| line != "base 1.0-1");
        lines.sort();
        lines
    }

    /// The headers and what they need, as [`Bare::installed`] has them.
    fn wanted(&self) -> [String; 2] {
        let (name, version) = self.by.headers(&self.story.kernel);
        [format!("{name} {version}"), "tiny-kbuild 1.0-1".to_owned()]
    }

    /// The driver's module, where distributions of this kind have those of DKMS.
    fn module(&self) -> PathBuf {
        let dir = match self.by {
            By::Dnf => "extra",
            By::Zypper => "updates",
        };
        self.story
            .path(&format!("lib/modules/{}/{dir}/edu.ko", self.story.kernel))
    }

    /// Every file that a run may touch, but what SQLite touches where a database is only read.
    fn files(&self) -> Vec<FileState> {
        let mut files = self.story.files();
        files.retain(|(path, ..)| !path.to_string_lossy().ends_with(".sqlite-shm"));
        files
    }

    fn configure(&self, text: &str) {
        self.story.write("etc/dkms-fetch/config.toml", text);
    }
}

#[test]
fn what_a_build_lacks_is_installed_and_taken_away_again() {
    for by in BOTH {
        let bare = Bare::new(by);
        bare.offer_headers("");
        let name = by.name();
        let command = format!("{name} install {}", by.words(&bare.story.kernel));
        bare.story.auto(&[]).assert(5, &[&command]);
        assert_eq!(bare.installed(), [""; 0]);
        bare.configure("toolchain = \"never\"\n");
        bare.story.auto(&["--install-toolchain"]).assert(5, &[]);
        assert_eq!(bare.installed(), [""; 0]);

        bare.configure("toolchain_keep = false\n");
        let run = bare.story.auto(&["--install-toolchain"]);
        let [headers, kbuild] = bare.wanted();
        let said = format!("installing by {name}, for builds: {headers}, {kbuild} (");
        run.assert(0, &[&said, " KiB to download, 20", "installed edu 1.0"]);
        let removed = format!("removed by {name}, after the builds: ");
        run.assert(0, &[&removed, "tiny-kbuild"]);
        assert!(bare.module().is_file());
        assert_eq!(bare.installed(), [""; 0]);
        assert!(!bare.story.path("var/lib/dkms-fetch/toolchain.json").exists());
        // Nothing is to be built: nothing is installed.
        let again = bare.story.auto(&["--install-toolchain"]);
        assert!(!again.stderr.contains(name), "{}", again.stderr);

        // The lists are there now: `--check` can say what it would be, and writes nothing.
        bare.story.run(&["remove", "edu"]).assert(0, &[]);
        let before = bare.files();
        let check = bare.story.auto(&["--install-toolchain", "--check"]);
        check.assert(
            0,
            &[&format!("would install by {name}, for builds: {headers}, {kbuild} (")],
        );
        assert_eq!(bare.files(), before);
    }
}

#[test]
fn what_others_came_to_need_stays() {
    for by in BOTH {
        let bare = Bare::new(by);
        bare.offer_headers("");
        bare.configure("toolchain = \"install\"\n");
        bare.story.auto(&[]).assert(0, &["installed edu 1.0"]);
        assert_eq!(bare.installed(), bare.wanted());
        let note = fs::read_to_string(bare.story.path("var/lib/dkms-fetch/toolchain.json")).expect("a note");
        assert!(note.contains(&format!("\"manager\":\"{}\"", by.name())), "{note}");
        let user = bare.offer(&Spec {
            name: "user",
            version: "1.0-1",
            tags: "Requires: tiny-kbuild\n",
            ..Spec::default()
        });
        bare.install(&user);
        bare.configure("toolchain_keep = false\n");
        let run = bare.story.auto(&[]);
        run.assert(0, &["stay installed: user would have to be changed with them"]);
        let [headers, kbuild] = bare.wanted();
        assert_eq!(bare.installed(), [headers, kbuild, "user 1.0-1".to_owned()]);
        assert!(bare.story.path("var/lib/dkms-fetch/toolchain.json").exists());
    }
}

/// Headers of many kernels are packages of one name, which lie beside each other.
#[test]
fn headers_that_were_there_before_stay() {
    for by in BOTH {
        let bare = Bare::new(by);
        let tags = "Provides: installonlypkg(kernel)\nProvides: multiversion(kernel)\n";
        let (name, _) = by.headers(&bare.story.kernel);
        // More of them than dnf keeps when it installs another one.
        let versions = ["5-1", "5-2", "5-3"];
        for version in versions {
            let other = bare.offer(&Spec {
                name: &name,
                version,
                tags,
                ..Spec::default()
            });
            bare.install(&other);
        }
        bare.offer_headers(tags);
        bare.configure("toolchain = \"install\"\n");
        bare.story.auto(&[]).assert(0, &["installed edu 1.0"]);
        let [headers, kbuild] = bare.wanted();
        let before = versions.map(|version| format!("{name} {version}"));
        assert_eq!(bare.installed(), [&before[..], &[headers, kbuild]].concat());
        bare.configure("toolchain_keep = false\n");
        bare.story.auto(&[]).assert(0, &["after the builds: "]);
        assert_eq!(bare.installed(), before);
    }
}

#[test]
fn nothing_else_is_removed_or_upgraded() {
    for by in BOTH {
        let name = by.name();
        for (tags, expected) in [
            (
                "Obsoletes: precious\n",
                format!("{name} would have to remove precious for "),
            ),
            (
                "Requires: precious >= 2\n",
                format!("{name} would have to upgrade precious for "),
            ),
            ("Conflicts: precious\n", format!("{name} finds no way to install ")),
        ] {
            let bare = Bare::new(by);
            let spec = |version| Spec {
                name: "precious",
                version,
                ..Spec::default()
            };
            let precious = bare.offer(&spec("1.0-1"));
            bare.install(&precious);
            bare.offer(&spec("2.0-1"));
            bare.offer_headers(tags);
            bare.configure("toolchain = \"install\"\n");
            let run = bare.story.auto(&[]);
            run.assert(5, &[&expected, by.look()]);
            assert_eq!(bare.installed(), ["precious 1.0-1"]);
            assert!(!bare.story.path("var/lib/dkms-fetch/toolchain.json").exists());
        }
    }
}

#[test]
fn what_the_manager_does_not_have_is_told() {
    for (by, refresh) in [
        (By::Dnf, "dnf makecache --refresh; where "),
        (By::Zypper, "zypper refresh; where "),
    ] {
        let bare = Bare::new(by);
        bare.offer(&Spec {
            name: "other",
            version: "1.0-1",
            ..Spec::default()
        });
        bare.configure("toolchain = \"install\"\n");
        let words = by.words(&bare.story.kernel);
        let said = format!("{} offers no package {words}", by.name());
        bare.story.auto(&[]).assert(5, &[&said, refresh]);
        // It is offered by now: the lists are brought up to date for that.
        bare.offer_headers("");
        bare.story.auto(&[]).assert(0, &["installed edu 1.0"]);
        let database = run(Command::new("rpm").args(["--eval", "%{_dbpath}"]));
        let database = bare.story.path(database.trim().trim_start_matches('/'));
        fs::remove_dir_all(database).expect("a directory");
        bare.story.run(&["remove", "edu"]).assert(0, &[]);
        fs::remove_file(bare.story.path(&format!("lib/modules/{}/build", bare.story.kernel))).expect("a link");
        bare.story.auto(&[]).assert(
            5,
            &["installed by apt, dnf or zypper only, and this system has none of them"],
        );
    }
}

/// What cannot be had now may be there later: no other code would have the first boot try again.
#[test]
fn a_failure_is_to_be_tried_again() {
    for by in BOTH {
        let bare = Bare::new(by);
        bare.offer_headers("");
        let auto = || bare.story.auto(&["--install-toolchain"]);
        // The whole repository cannot be reached.
        let away = bare.story.path("away");
        fs::rename(&bare.repository, &away).expect("moved");
        auto().assert(75, &["failed: "]);
        fs::rename(&away, &bare.repository).expect("moved");
        // A package is not there.
        let rpm = bare.repository.join("tiny-kbuild-1.0-1.noarch.rpm");
        let away = bare.story.path("away.rpm");
        fs::rename(&rpm, &away).expect("moved");
        auto().assert(75, &["failed: "]);
        let install = bare.story.run(&["install", "edu", "--install-toolchain"]);
        install.assert(75, &["failed: "]);
        assert_eq!(bare.installed(), [""; 0]);
        fs::rename(&away, &rpm).expect("moved");
        auto().assert(0, &["installed edu 1.0"]);
        assert_eq!(bare.installed(), bare.wanted());
    }
}

/// A person who is asked by zypper whether to go on has its lock until the answer.
#[test]
fn another_run_of_zypper_is_waited_for() {
    let bare = Bare::new(By::Zypper);
    bare.offer_headers("");
    // It asks at a terminal only.
    let zypper = format!("zypper --root {} install nicety", bare.story.path("").display());
    let mut person = Command::new("script")
        .args(["--quiet", "--command", &zypper, "/dev/null"])
        .env("HOME", HOME)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script");
    let lock = bare.story.path("run/zypp.pid");
    let holder = || fs::read_to_string(&lock).ok()?.trim().parse::<u32>().ok();
    patiently("zypper's lock", || {
        holder().filter(|pid| PathBuf::from(format!("/proc/{pid}")).exists())
    });
    let run = Waiting::start(&bare.story, &["zypper", "install"]);
    assert_eq!(bare.installed(), [""; 0]);
    person
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"n\n")
        .expect("an answer");
    person.wait().expect("script");
    run.end().assert(0, &["installed edu 1.0"]);
    assert_eq!(bare.installed(), bare.wanted());
}

/// dnf cannot be told how long it is to wait where it must not be ended: so it does not, and the run is to be repeated.
#[test]
fn another_run_of_dnf_is_told() {
    let bare = Bare::new(By::Dnf);
    bare.offer_headers("");
    let auto = || bare.story.auto(&["--install-toolchain"]);
    // As dnf/lock.py of version 4 has it: the number of a process that runs.
    let lock = bare.story.path("var/lib/dnf/rpmdb_lock.pid");
    fs::create_dir_all(lock.parent().expect("a directory")).expect("a directory");
    fs::write(&lock, std::process::id().to_string()).expect("a file");
    auto().assert(
        75,
        &["dnf install kernel-devel-", "failed: ", "hint: by hand: dnf install"],
    );
    assert_eq!(bare.installed(), [""; 0]);
    fs::remove_file(&lock).expect("a file");
    auto().assert(0, &["installed edu 1.0"]);
}
