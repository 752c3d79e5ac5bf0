//! Real sources for real kernels: trial builds, held against what plain make and modinfo say, published, verified, read by
//! python-tuf's client and planned by the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use dkms_engine::event::{Event, Step};
use dkms_engine::kbuild::BuildOptions;
use dkms_engine::root::Root;
use dkms_index::document::record::BuildOutcome;
use dkms_repo::intake::{self, Intake};
use dkms_repo::package::Vendors;
use dkms_repo::repository::Expiry;
use dkms_repo::scan::facts::Trial;
use dkms_repo::scan::save::{ResultWriter, Scanned};
use dkms_repo::scan::trial::BuildRoot;
use dkms_repo::stage::{Stage, StagedPackage};
use dkms_repo::verify::verify;
use dkms_tests::dkms::ours;
use dkms_tests::repo::TestRepo;
use dkms_tests::{inputs, sources};

/// The device of langford: a PF5102 board.
const BOARD: &str = "pci:v00001172d00000004sv00001172sd00000004bcFFsc00i00";

fn add(repo: &TestRepo, path: &Path) -> StagedPackage {
    let stage = Stage::of(&repo.repository);
    let prepared = Intake::on_this_machine(Vendors::of(&repo.repository))
        .prepare(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let outcome = intake::stage(&stage, &prepared, path, false).expect("it is staged");
    assert_eq!(outcome, intake::Outcome::Added);
    prepared.package
}

/// Scans all that is staged for the kernels of the inputs, and saves what is learnt.
fn scan(repo: &TestRepo, look: &(dyn Fn(&Event) + Sync)) -> Vec<Scanned> {
    let stage = Stage::of(&repo.repository);
    let staged = stage.list().expect("it lists");
    let kernels = inputs::kernels();
    let roots = kernels.each_ref().map(|release| Root::at(inputs::kernel_root(release)));
    // Without names: every kernel that any of the roots has.
    let build_root = BuildRoot::new(&roots, &[]).expect("both kernels are there");
    assert_eq!(
        build_root.kernels().iter().map(|k| &k.release).collect::<Vec<_>>(),
        [&kernels[0], &kernels[1]]
    );
    let vendors = Vendors::of(&repo.repository);
    let save = ResultWriter::new(&stage, &staged, build_root.kernels(), "2026-03-01", &vendors);
    let work: Vec<(usize, Vec<usize>)> = (0..staged.len())
        .map(|index| {
            let needed = dkms_repo::scan::facts::needed(&staged[index], build_root.kernels(), false);
            (index, needed)
        })
        .filter(|(_, kernels)| !kernels.is_empty())
        .collect();
    let mut options = BuildOptions::new(repo.now);
    options.sign = false;
    build_root
        .run(
            &stage,
            &staged,
            &work,
            &options,
            &|event: Event| look(&event),
            &|index, results| save.save(index, results),
        )
        .expect("the build_root works");
    save.finish()
}

/// Builds a Debian package's source for a kernel with nothing but make, and asks modinfo which devices its modules claim.
fn by_hand(deb: &str, kernel: &str) -> BTreeSet<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let source = sources::unpack(deb, dir.path());
    let made = Command::new("make")
        .args(["-s", "-C"])
        .arg(inputs::headers(kernel))
        .arg(format!("M={}", source.display()))
        .arg("modules")
        .output()
        .expect("make runs");
    assert!(
        made.status.success(),
        "{deb} on {kernel}: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let mut aliases = BTreeSet::new();
    for entry in walkdir::WalkDir::new(&source).into_iter().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "ko") {
            let told = Command::new("modinfo")
                .args(["-F", "alias"])
                .arg(entry.path())
                .output()
                .expect("modinfo");
            assert!(told.status.success(), "{told:?}");
            aliases.extend(String::from_utf8(told.stdout).expect("text").lines().map(str::to_owned));
        }
    }
    aliases
}

/// An image with one kernel and its headers, that trusts the repository.
fn image(repo: &TestRepo, kernel: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir_in(inputs::dir().join("..")).expect("a directory");
    let copied = ["-al", "-a"].iter().any(|flags| {
        let from = inputs::kernel_root(kernel).join(".");
        let cp = Command::new("cp")
            .arg(flags)
            .arg(from)
            .arg(root.path())
            .output()
            .expect("cp");
        cp.status.success()
    });
    assert!(copied, "{kernel}");
    let etc = root.path().join("etc/dkms-fetch/repos.d");
    fs::create_dir_all(&etc).expect("a directory");
    fs::write(etc.join("t.root.json"), repo.pinned().expect("a root")).expect("a file");
    let toml = format!(
        "name = \"t\"\nroot = \"t.root.json\"\nurls = [\"file://{}/\"]\n",
        repo.public().display()
    );
    fs::write(etc.join("t.toml"), toml).expect("a file");
    root
}

/// What the agent plans for the board: name and version, or the verdict.
fn planned(root: &Path, kernel: &str) -> String {
    let devices = root.join("devices");
    fs::write(&devices, format!("{BOARD}\n")).expect("a file");
    let output = Command::new(ours())
        .arg("--root")
        .arg(root)
        .args(["--kernel", kernel, "--auto", "--check", "--json", "--devices"])
        .arg(&devices)
        .output()
        .expect("dkms-fetch runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())
        .unwrap_or_else(|e| panic!("{e}: {stdout}{}", String::from_utf8_lossy(&output.stderr)));
    let kernel = &report["kernels"][0];
    match kernel["packages"].get(0) {
        Some(package) => format!("{} {}", package["name"], package["version"]).replace('"', ""),
        None => kernel["devices"][0]["verdict"].to_string().replace('"', ""),
    }
}

#[test]
fn a_reason_names_no_path_of_the_builder() {
    let repo = TestRepo::at(jiff::Timestamp::now(), Expiry::default()).expect("a repository");
    let source = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(source.path().join(name), text).expect("a file");
    write(
        "dkms.conf",
        "PACKAGE_NAME=odd\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=odd\nDEST_MODULE_LOCATION=/extra\nMAKE='make all'\n",
    );
    write(
        "Makefile",
        "all:\n\t@echo '$(CURDIR)/odd.c:1:1: error: $(CURDIR)/b.h $(kernel_source_dir)/x'; false\n",
    );
    add(&repo, source.path());
    let scanned = scan(&repo, &|_| {});
    for fact in &scanned[0].package.record.builds {
        let expected = format!(
            "compiling failed at odd.c:1: /var/lib/dkms/odd/1/build/b.h /lib/modules/{}/build/x",
            fact.kernel
        );
        assert_eq!((fact.outcome, &fact.reason), (BuildOutcome::Failed, &expected));
    }
    assert_eq!(scanned[0].package.record.builds.len(), 2);
}

#[test]
fn real_packages_are_scanned_published_verified_and_planned() {
    let repo = TestRepo::at(jiff::Timestamp::now(), Expiry::default()).expect("a repository");
    let kernels = inputs::kernels();
    let (stable, backport) = ("langford-dkms_0.0.20130228-6.3", "langford-dkms_0.0.20130228-7");
    let builds = |one: &Scanned| -> Vec<BuildOutcome> {
        // Sorted by kernel: 6.1 first.
        one.package.record.builds.iter().map(|fact| fact.outcome).collect()
    };

    add(&repo, &inputs::deb(stable));
    let scanned = scan(&repo, &|_| {});
    assert_eq!(builds(&scanned[0]), [BuildOutcome::Built, BuildOutcome::Failed]);
    let record = &scanned[0].package.record;
    assert_eq!(
        record
            .builds
            .iter()
            .map(|fact| fact.reason.is_empty())
            .collect::<Vec<_>>(),
        [true, false]
    );
    assert!(
        record.builds.iter().all(|fact| fact.compiler.contains("gcc")),
        "{record:?}"
    );
    let log = repo.repository.staging_dir().join("langford/0.0.20130228-6.3/log");
    let logs: Vec<_> = fs::read_dir(log)
        .expect("a log")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(logs, [format!("{}-x86_64.log", kernels[1]).as_str()]);
    repo.publish(0).expect("it is published");
    let images = kernels.each_ref().map(|kernel| image(&repo, kernel));
    assert_eq!(planned(images[0].path(), &kernels[0]), "langford 0.0.20130228-6.3");
    assert_eq!(
        planned(images[1].path(), &kernels[1]),
        "refused",
        "known not to build there"
    );

    add(&repo, &inputs::deb(backport));
    let mut scanned = scan(&repo, &|_| {});
    assert_eq!(scanned.len(), 1, "what is known is not built again");
    let new = scanned.remove(0);
    assert_eq!(builds(&new), [BuildOutcome::Built, BuildOutcome::Built]);
    let mut claimed = BTreeSet::new();
    for (index, trial) in &new.trials {
        let Trial::Built(modules) = trial else {
            panic!("{trial:?}")
        };
        let ours: BTreeSet<String> = modules.iter().flat_map(|module| module.aliases.clone()).collect();
        let theirs = by_hand(backport, &kernels[*index]);
        assert_eq!(
            ours, theirs,
            "as modinfo -F alias says of a module that plain make built for {}",
            kernels[*index]
        );
        claimed.extend(theirs);
    }
    assert!(!claimed.is_empty());
    assert_eq!(new.package.record.patterns, claimed.into_iter().collect::<Vec<_>>());
    repo.publish(0).expect("it is published");
    for (kernel, image) in kernels.iter().zip(&images) {
        assert_eq!(
            planned(image.path(), kernel),
            "langford 0.0.20130228-7~bpo12+1",
            "{kernel}"
        );
    }

    let public = repo.public();
    let verified = verify(&public, &public.join("metadata/1.root.json"), repo.now).expect("a client takes it");
    assert_eq!((verified.records, verified.manifests, verified.bundles), (2, 2, 2));
    assert_eq!(verified.problems, []);
    let manifests = read_by_python_tuf(&repo);
    assert_eq!(
        manifests,
        ["langford@0.0.20130228-6.3", "langford@0.0.20130228-7~bpo12+1"]
    );
    assert_eq!(scan(&repo, &|_| {}).len(), 0, "all is known");
}

/// Refreshes with python-tuf and downloads every manifest: names and versions, as their content says.
fn read_by_python_tuf(repo: &TestRepo) -> Vec<String> {
    let staged = Stage::of(&repo.repository).list().expect("it lists");
    let targets: Vec<String> = staged.iter().map(|package| package.manifest.target_path()).collect();
    let work = repo.scratch().join("python-tuf");
    let output = dkms_tests::peer::python_tuf(&repo.public(), &work, &targets);
    let read = targets.iter().map(|target| {
        let hash = output["targets"][target].as_str().unwrap_or_else(|| panic!("{output}"));
        let (dir, name) = target.rsplit_once('/').expect("a path");
        let bytes =
            fs::read(repo.public().join(format!("targets/{dir}/{hash}.{name}"))).expect("the file of that hash");
        let manifest: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        format!("{}@{}", manifest["name"], manifest["version"]).replace('"', "")
    });
    read.collect()
}

/// A module that exports a function, or one that calls it.
fn source(dir: &Path, name: &str, depends: &str, text: &str) {
    fs::create_dir_all(dir).expect("a directory");
    let mut conf =
        format!("PACKAGE_NAME={name}\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME={name}\nDEST_MODULE_LOCATION=/updates\n");
    if !depends.is_empty() {
        conf.push_str(&format!("BUILD_DEPENDS[0]={depends}\n"));
    }
    fs::write(dir.join("dkms.conf"), conf).expect("a file");
    fs::write(dir.join("Makefile"), format!("obj-m := {name}.o\n")).expect("a file");
    let text = format!("#include <linux/module.h>\n{text}MODULE_LICENSE(\"GPL\");\n");
    fs::write(dir.join(format!("{name}.c")), text).expect("a file");
}

#[test]
fn what_a_package_needs_is_built_first_and_saved_before_the_rest() {
    let repo = TestRepo::new().expect("a repository");
    let dir = repo.scratch().join("sources");
    let call = "int shared_thing(void);\nstatic int __init go(void) { return shared_thing(); }\nmodule_init(go);\n";
    // By name the caller comes first.
    source(&dir.join("caller"), "caller", "provider", call);
    source(
        &dir.join("provider"),
        "provider",
        "",
        "int shared_thing(void);\nint shared_thing(void) { return 0; }\nEXPORT_SYMBOL_GPL(shared_thing);\n",
    );
    source(&dir.join("lonely"), "lonely", "nowhere", call);
    for name in ["caller", "provider", "lonely"] {
        add(&repo, &dir.join(name));
    }
    let stage = Stage::of(&repo.repository);
    let at_start: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let scanned = scan(&repo, &|event| {
        if let Event::Started {
            subject,
            step: Step::Make,
            ..
        } = event
            && subject.module == "caller"
        {
            let saved = stage.get("provider", "1").expect("it is staged").record.builds.len();
            at_start.lock().expect("no panic").insert(subject.to_string(), saved);
        }
    });
    let saved: Vec<usize> = at_start.into_inner().expect("no panic").into_values().collect();
    assert_eq!(saved, [2, 2], "whoever is killed now has lost nothing of the provider");
    let outcomes: BTreeMap<&str, Vec<String>> = scanned
        .iter()
        .map(|one| {
            let trial = |(_, trial): &(usize, Trial)| match trial {
                Trial::Built(_) => "built".to_owned(),
                Trial::Blocked(why) => why.clone(),
                other => panic!("{other:?}"),
            };
            (
                one.package.manifest.name.as_str(),
                one.trials.iter().map(trial).collect(),
            )
        })
        .collect();
    let blocked = "it needs nowhere, which is not staged".to_owned();
    let expected = [
        ("caller", vec!["built".to_owned(); 2]),
        ("lonely", vec![blocked; 2]),
        ("provider", vec!["built".to_owned(); 2]),
    ];
    assert_eq!(outcomes, BTreeMap::from(expected));
    assert_eq!(stage.get("lonely", "1").expect("it is staged").record.builds, []);
}
