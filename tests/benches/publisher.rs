//! `dkms-repo` beside the programs that make repositories of .deb and .rpm: one run, one Markdown table of wall and CPU seconds and memory.
//!
//! `cargo bench --bench publisher` has 1,000 packages, `cargo bench --bench publisher -- 1000 10000` these numbers of them. Each program gets
//! the same drivers, as packages that `dkms-repo mkdeb` and `mkrpm` made; making them is not counted. What is not equal:
//!
//! - `dkms-repo add` evaluates each dkms.conf, reads the tables of devices in the sources and packs the source anew, and flushes what it
//!   writes; nobody else does. The others read what the packages say of themselves.
//! - `dkms-repo` signs a statement for each package (in one role), the others one file that lists all of them. The key of all is ed25519.
//! - `publish` makes deltas from earlier states and reads the result as a machine does, before it is visible.
//! - `apt-ftparchive` and `createrepo_c` index a directory, into which `cp` puts the packages; that is counted. The index is compressed by
//!   gzip, at each program's own level.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_native::{Cost, Meter};
use dkms_tests::dkms::ours;
use dkms_tests::process::succeeds;
use dkms_tests::synthetic::Synthetic;

/// How many packages there are, if no other numbers are given.
const PACKAGES: usize = 1000;
/// Device entries of a driver, about as many as a real one has.
const DEVICES: usize = 44;
/// How often one package is changed, each time to a newer version. At the end there are as many earlier states as there are deltas from.
const CHANGES: usize = 20;

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![PACKAGES] } else { counts };
    for count in counts {
        let bench = Bench::new(count);
        println!("{count} packages of {DEVICES} devices each, seconds\n");
        println!("| Work | Program | wall | CPU | peak MiB |\n|---|---|---|---|---|");
        bench.dkms_repo();
        bench.reprepro();
        bench.apt_ftparchive();
        bench.createrepo();
        println!();
    }
}

struct Bench {
    meter: Meter,
    dir: tempfile::TempDir,
    debs: Vec<PathBuf>,
    rpms: Vec<PathBuf>,
    /// Newer versions of one of the packages.
    newer_debs: Vec<PathBuf>,
    newer_rpms: Vec<PathBuf>,
}

impl Bench {
    fn new(count: usize) -> Bench {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut synthetic = Synthetic::new(count as u64);
        let sources = dir.path().join("sources");
        let all: Vec<PathBuf> = (0..count).map(|n| driver(&sources, &mut synthetic, n, 0)).collect();
        let newer: Vec<PathBuf> = (1..=CHANGES)
            .map(|version| driver(&sources, &mut synthetic, count / 2, version))
            .collect();
        let make = |verb: &str, kind: &str, sources: &[PathBuf]| {
            let out = dir.path().join(kind);
            fs::create_dir(&out).expect("a directory");
            succeeds(
                dkms_repo(&dir.path().join("none"))
                    .args([verb, "--out"])
                    .arg(&out)
                    .args(sources),
            );
            let entries = fs::read_dir(&out).expect("a directory");
            let mut made: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
            made.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
            assert_eq!(made.len(), sources.len());
            made
        };
        let bench = Bench {
            debs: make("mkdeb", "debs", &all),
            rpms: make("mkrpm", "rpms", &all),
            newer_debs: make("mkdeb", "newer-debs", &newer),
            newer_rpms: make("mkrpm", "newer-rpms", &newer),
            meter: Meter::new(),
            dir,
        };
        fs::create_dir(bench.path("gnupg")).expect("a directory");
        let key = [
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--quick-generate-key",
            "bench",
            "ed25519",
        ];
        succeeds(bench.command("gpg").args(key));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("GNUPGHOME", self.path("gnupg"))
            .env("LC_ALL", "C")
            .current_dir(self.dir.path());
        command
    }

    /// What a line of the shell costs, with these files for its arguments.
    fn cost(&self, line: &str, files: &[PathBuf]) -> Cost {
        let result = self.path("cost");
        let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        let words = ["sh", "-ec", line, "sh"]
            .into_iter()
            .chain(files.iter().map(String::as_str));
        let words = self.meter.wrap(&result, &words.collect::<Vec<_>>());
        succeeds(self.command(&words[0]).args(&words[1..]));
        Meter::read(&result)
    }

    fn dkms_repo(&self) {
        let repo = self.path("dkms-repo");
        succeeds(dkms_repo(&repo).args(["init", "--root", "1/1", "--name", "bench"]));
        let call = format!("'{}' -C '{}'", program().display(), repo.display());
        let add = |files: &[PathBuf]| self.cost(&format!("exec {call} add \"$@\""), files);
        let publish = || self.cost(&format!("exec {call} publish"), &[]);
        row("add all", "dkms-repo add", add(&self.debs));
        row("publish first", "dkms-repo publish", publish());
        row("publish with no change", "dkms-repo publish", publish());
        let both = format!("{call} add \"$@\"; {call} publish");
        for (nth, file) in self.newer_debs.iter().enumerate() {
            let cost = self.cost(&both, std::slice::from_ref(file));
            match nth + 1 {
                1 => row("change one and publish", "dkms-repo add, publish", cost),
                CHANGES => row(
                    &format!("the same, the {CHANGES}th time"),
                    "dkms-repo add, publish",
                    cost,
                ),
                _ => {}
            }
        }
        row("publish with no change", "dkms-repo publish", publish());
        succeeds(dkms_repo(&repo).arg("verify"));
    }

    fn reprepro(&self) {
        let dir = self.path("reprepro");
        let conf = "Codename: stable\nComponents: main\nArchitectures: amd64\nSignWith: yes\n";
        fs::create_dir_all(dir.join("conf")).expect("a directory");
        fs::write(dir.join("conf/distributions"), conf).expect("a file");
        let include = "exec reprepro --silent -b reprepro includedeb stable \"$@\"";
        row(
            "add all and publish",
            "reprepro includedeb",
            self.cost(include, &self.debs),
        );
        row(
            "publish with no change",
            "reprepro export",
            self.cost("exec reprepro --silent -b reprepro export stable", &[]),
        );
        let changes = self
            .newer_debs
            .iter()
            .take(3)
            .map(|file| self.cost(include, std::slice::from_ref(file)));
        row("change one and publish", "reprepro includedeb", least(changes));
        lists(
            &dir.join("dists/stable/main/binary-amd64/Packages"),
            "Package: ",
            self.debs.len(),
        );
    }

    fn apt_ftparchive(&self) {
        let index = "cd apt-ftparchive; apt-ftparchive --db cache.db packages pool > Packages; gzip -kf Packages; \
                     apt-ftparchive release . > Release.new; mv Release.new Release; gpg --batch --quiet --yes --clearsign -o InRelease Release";
        self.directory("apt-ftparchive", "pool", index, &self.debs, &self.newer_debs);
        // All versions are listed.
        lists(&self.path("apt-ftparchive/Packages"), "Package: ", self.debs.len() + 3);
    }

    fn createrepo(&self) {
        let index = "createrepo_c --quiet --update createrepo_c; gpg --batch --quiet --yes --detach-sign createrepo_c/repodata/repomd.xml";
        self.directory("createrepo_c", "packages", index, &self.rpms, &self.newer_rpms);
    }

    /// A program that makes the index of a directory.
    fn directory(&self, program: &str, below: &str, index: &str, all: &[PathBuf], newer: &[PathBuf]) {
        fs::create_dir_all(self.path(program).join(below)).expect("a directory");
        let copy = format!("cp -- \"$@\" {program}/{below}/; {index}");
        row("add all and publish", program, self.cost(&copy, all));
        let unchanged = (0..3).map(|_| self.cost(index, &[]));
        row("publish with no change", program, least(unchanged));
        let changes = newer
            .iter()
            .take(3)
            .map(|file| self.cost(&copy, std::slice::from_ref(file)));
        row("change one and publish", program, least(changes));
    }
}

/// Writes the source of a driver.
fn driver(sources: &Path, synthetic: &mut Synthetic, number: usize, version: usize) -> PathBuf {
    let name = format!("driver{number:05}");
    let dir = sources.join(format!("{name}-1.{version}"));
    let devices: String = (0..DEVICES)
        .map(|_| {
            let (vendor, device) = (0x1000 + synthetic.below(0x1000), synthetic.below(0x10000));
            format!("\t{{ PCI_DEVICE({vendor:#06x}, {device:#06x}) }},\n")
        })
        .collect();
    let files = [
        (
            "dkms.conf",
            format!(
                "PACKAGE_NAME=\"{name}\"\nPACKAGE_VERSION=\"1.{version}\"\nBUILT_MODULE_NAME[0]=\"{name}\"\n\
                 DEST_MODULE_LOCATION[0]=\"/updates\"\nAUTOINSTALL=\"yes\"\n"
            ),
        ),
        ("Makefile", format!("obj-m := {name}.o\n")),
        (
            &format!("{name}.c"),
            format!(
                "#include <linux/module.h>\n#include <linux/pci.h>\nstatic const struct pci_device_id ids[] = {{\n{devices}\t{{ }}\n}};\n\
                 MODULE_DEVICE_TABLE(pci, ids);\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"Driver {number}\");\n"
            ),
        ),
    ];
    fs::create_dir_all(&dir).expect("a directory");
    for (name, text) in files {
        fs::write(dir.join(name), text).expect("a file");
    }
    dir
}

fn program() -> PathBuf {
    ours().with_file_name("dkms-repo")
}

fn dkms_repo(repo: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg("-C").arg(repo);
    command
}

/// Fails where an index does not have as many entries as there are packages.
fn lists(index: &Path, begin: &str, count: usize) {
    let text = fs::read_to_string(index).unwrap_or_else(|e| panic!("{}: {e}", index.display()));
    let found = text.lines().filter(|line| line.starts_with(begin)).count();
    assert_eq!(found, count, "{}", index.display());
}

fn least(costs: impl IntoIterator<Item = Cost>) -> Cost {
    Cost::least(costs).expect("it was run")
}

fn row(work: &str, program: &str, cost: Cost) {
    println!(
        "| {work} | {program} | {:.2} | {:.2} | {:.0} |",
        cost.wall.as_secs_f64(),
        cost.cpu.as_secs_f64(),
        cost.peak_kib as f64 / 1024.0
    );
}
