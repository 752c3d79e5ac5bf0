//! The whole program `dkms-fetch`: the peak memory of a first `--auto` that builds, and `devices` with a warm cache.
//!
//! `cargo bench --bench agent`. The repository has ten thousand made-up packages and one real driver, for QEMU's `edu` device; the
//! machine is a recorded laptop with that device, in a root with a real kernel.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use dkms_native::{Cost, Meter};
use dkms_tests::dkms::ours;
use dkms_tests::published::Published;
use dkms_tests::{inputs, sources};
use jiff::Timestamp;

/// How many made-up packages the repository has, if no other number is given.
const PACKAGES: usize = 10_000;
const EDU: &str = "pci:v00001234d000011E8sv00001AF4sd00001100bc00scFFi00";
const LAPTOP: &str = "fixtures/machines/laptop-thinkpad.modaliases";

/// How often work is repeated that can be.
const ROUNDS: usize = 20;

fn main() {
    let packages = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(PACKAGES);
    let now = Timestamp::now();
    let published = Published::empty_at(now);
    published.add_many(packages, 11);
    published.add_source(&sources::own("edu"));
    published.publish(now);
    let machine = Machine::new(&published);
    println!("| Work | wall ms | CPU ms | peak MiB |\n|---|---|---|---|");
    let peak_kib = machine.peak_of_auto();
    println!(
        "| first --auto: {packages} packages synced, one driver built and installed; compilers aside | | | {:.1} |",
        f64::from(peak_kib) / 1024.0
    );
    let cost = machine.cost_of_devices();
    println!(
        "| devices, {} devices, warm cache: the whole program | {:.1} | {:.1} | |",
        machine.devices,
        millis(cost.wall),
        millis(cost.cpu)
    );
}

/// A root with one kernel, one repository and a list of devices.
struct Machine {
    root: tempfile::TempDir,
    kernel: String,
    devices: usize,
}

impl Machine {
    fn new(published: &Published) -> Machine {
        let [kernel, _] = inputs::kernels();
        let root = tempfile::tempdir_in(inputs::dir().join("..")).expect("a temporary directory");
        inputs::link_tree(&inputs::kernel_root(&kernel).join("."), root.path());
        let repositories = root.path().join("etc/dkms-fetch/repos.d");
        fs::create_dir_all(&repositories).expect("a directory");
        fs::copy("/etc/os-release", root.path().join("etc/os-release")).expect("a copy");
        fs::copy(published.pinned_root(), repositories.join("a.root.json")).expect("a copy");
        let url = format!("file://{}/", published.public().display());
        let text = format!("name = \"a\"\nroot = \"a.root.json\"\nurls = [{url:?}]\n");
        fs::write(repositories.join("a.toml"), text).expect("a file");
        let recorded = fs::read_to_string(inputs::workspace().join(LAPTOP)).expect("a fixture");
        let list = format!("{recorded}\n{EDU}\n");
        fs::write(root.path().join("devices"), &list).expect("a file");
        Machine {
            root,
            kernel,
            devices: list.lines().filter(|line| line.contains(':')).count(),
        }
    }

    fn words(&self, verb: &[&str]) -> Vec<String> {
        let path = |name: &str| self.root.path().join(name).display().to_string();
        let own = [ours().display().to_string(), "--root".into(), path("")].into_iter();
        let verb = verb.iter().map(|&word| word.to_owned());
        let rest = [
            "--kernel".into(),
            self.kernel.clone(),
            "--devices".into(),
            path("devices"),
        ];
        own.chain(verb).chain(rest).collect()
    }

    /// The most memory that the program itself ever held, in KiB: what the kernel noted of it last before it ended.
    fn peak_of_auto(&self) -> u32 {
        let words = self.words(&["--auto"]);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdout(Stdio::null())
            .spawn()
            .expect("dkms-fetch starts");
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        let ended = loop {
            let noted = fs::read_to_string(&status).unwrap_or_default();
            let line = noted.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak = peak.max(kib.unwrap_or(0));
            if let Some(ended) = child.try_wait().expect("our child") {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let module = format!("lib/modules/{}/updates/dkms/qemu_edu.ko", self.kernel);
        assert!(
            self.root.path().join(module).is_file(),
            "nothing was installed: {ended}"
        );
        peak
    }

    fn cost_of_devices(&self) -> Cost {
        let meter = Meter::new();
        let result = self.root.path().join("cost");
        let words = self.words(&["--offline", "devices"]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = meter.wrap(&result, &words);
        let once = |_| {
            let done = Command::new(&words[0]).args(&words[1..]).output().expect("it runs");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            Meter::read(&result)
        };
        Cost::least((0..ROUNDS).map(once)).expect("it was run")
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
