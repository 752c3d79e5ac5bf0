//! A machine that runs its kernel, as far as anybody can see: a modprobe of ours on the loader's path says yes or no, and a /sys below the
//! root shows whether a driver is bound.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use dkms_engine::root::Root;
use dkms_engine::tree::Tree;
use dkms_fetch::apply::{Done, Goal, Loader, Obtain, Worker};
use dkms_fetch::candidate::Rules;
use dkms_fetch::config::Config;
use dkms_fetch::device::{Binding, Device};
use dkms_fetch::fetch::Store;
use dkms_fetch::host::Host;
use dkms_fetch::report::progress::Reporter;
use dkms_fetch::runtime::Runtime;
use dkms_fetch::state::Paths;
use dkms_fetch::state::index::Index;
use dkms_fetch::state::records::Records;
use dkms_fetch::survey::Machine;
use dkms_fetch::sync::{Network, Session};
use dkms_fetch::transport::{Options, Transport};
use dkms_index::trust::Expiry;
use dkms_tests::story::{EDU, EDU2, Source, Story};

/// Where the device is below /sys.
pub(super) const DEVICE: &str = "/devices/pci0000:00/0000:00:04.0";

/// Where another one is.
const DEVICE2: &str = "/devices/pci0000:00/0000:00:05.0";

/// A machine that runs its kernel, as far as anybody can see.
pub(super) struct Live {
    pub(super) story: Story,
    modprobe: PathBuf,
    /// The kernel that runs.
    pub(super) running: String,
}

impl Live {
    /// `answer` is the body of modprobe, a shell script; `$device` is the device's directory below /sys, `$module` the installed file
    /// and `$root` the machine; `$view` is the directory that stands for /, if there is one. Versions 1.0 and 2.0 of a driver are published.
    pub(super) fn new(answer: &str) -> Self {
        let story = Story::new();
        story.add("edu", "1.0", 0x11e8, Source::Good);
        story.add("edu", "2.0", 0x11e8, Source::Good);
        Self::of(story, answer)
    }

    /// The same, with what was added to the repository of `story`.
    pub(super) fn of(story: Story, answer: &str) -> Self {
        story.publish();
        story.write(&format!("sys{DEVICE}/modalias"), EDU);
        story.write("etc/os-release", "ID=debian\n");
        let modprobe = story.repo.scratch().join("bin/modprobe");
        fs::create_dir_all(modprobe.parent().expect("a directory")).expect("a directory");
        let text = format!(
            "#!/bin/sh\nroot='{}'\ndevice=\"$root/sys{DEVICE}\"\nmodule='{}'\n\
             [ \"$1\" != -d ] || {{ view=$2; shift 2; }}\necho \"${{view:+view }}$*\" >>\"$root/asked\"\n{answer}\n",
            story.path("").display(),
            story.module("edu").display()
        );
        fs::write(&modprobe, text).expect("a file");
        fs::set_permissions(&modprobe, fs::Permissions::from_mode(0o755)).expect("a program");
        let running = story.kernel.clone();
        Self {
            story,
            modprobe,
            running,
        }
    }

    /// What `--auto` does on the running machine.
    pub(super) fn auto(&self) -> Done {
        self.run_for(&self.story.kernel)
    }

    /// What `--auto --kernel KERNEL` does, down to what it removes because that kernel drives its devices itself.
    pub(super) fn run_for(&self, kernel: &str) -> Done {
        let root = Root::at(self.story.path(""));
        let config = Config::read(&root).expect("a configuration");
        let paths = Paths::of(&root);
        let host = Host {
            running: Some(self.running.clone()),
            ..Host::read(&root)
        };
        let devices = [(DEVICE, EDU), (DEVICE2, EDU2)].map(|(path, modalias)| Device {
            path: path.into(),
            subsystem: "pci".into(),
            modaliases: vec![modalias.parse().expect("a modalias")],
            vendor: None,
            model: None,
            class: None,
            binding: Binding::Unbound,
        });
        let repository = &config.repositories[0];
        let transport = Transport::new(Options::default());
        let session = Session::new(repository, &paths, &transport, Network::Online);
        let reporter = Reporter::new(false, false);
        let records = Records::open(&paths).expect("records");
        let tree = Tree::of(&root).expect("a tree");
        let lock = dkms_engine::recovery::lock_and_recover(&tree, &reporter).expect("a lock");
        let worker = Worker {
            tree: &tree,
            lock: &lock,
            run_state: std::sync::Arc::default(),
            records: &records,
            reporter: &reporter,
            now: self.story.repo.now,
            run: "test".to_owned(),
            policy: &config.policy,
            loader: Loader {
                path: format!(
                    "{}:/usr/bin:/bin",
                    self.modprobe.parent().expect("a directory").display()
                )
                .into(),
                patience: Duration::from_millis(100),
                limit: Duration::from_secs(60),
                ..Loader::default()
            },
        };
        let mut rules = Rules {
            quarantine: records.quarantined().expect("records"),
            ..Rules::default()
        };
        let runtime = Runtime::new().expect("a runtime");
        let refreshed = runtime.run(session.refresh(self.story.repo.now, Expiry::Enforce));
        let mut metadata = refreshed.expect("no signal").expect("a good repository").metadata;
        let updated = runtime.run(session.update_index(&metadata));
        updated.expect("no signal").expect("an index");
        let index = Index::open(&paths, [&repository.name]);
        let machine = Machine::look_up(&host, &devices, true, &config.repositories, &index).expect("an index");
        let installed = records.installed().expect("records");
        let mut survey = machine.survey(kernel, &tree, &installed).expect("a kernel");
        let mut obtain = Obtain {
            repositories: vec![(&session, &mut metadata)],
            store: Store::of(&paths),
            scratch: self.story.path("var/cache/dkms-fetch/unpacked"),
        };
        let done = worker
            .converge(&Goal::Devices, &machine, &mut survey, &mut rules, &mut obtain, &runtime)
            .expect("the records are good");
        worker
            .retire(&machine, &mut survey)
            .expect("what is needed no more goes");
        done
    }

    /// What modprobe was asked, a line a call.
    pub(super) fn asked(&self) -> String {
        fs::read_to_string(self.story.path("asked")).unwrap_or_default()
    }

    /// The versions in quarantine.
    pub(super) fn quarantined(&self) -> Vec<String> {
        let records = Records::open(&Paths::of(&Root::at(self.story.path("")))).expect("records");
        let quarantined = records.quarantined().expect("records");
        quarantined.into_iter().map(|entry| entry.version).collect()
    }
}
