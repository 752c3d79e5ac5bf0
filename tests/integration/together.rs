//! Plain packages that are compiled by one make: the same modules, records and failures as one by one, and nothing of each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use dkms_engine::conf::ConfContext;
use dkms_engine::kbuild::{BuildOptions, BuildOutcome, BuildRequest, Built, build_all};
use dkms_engine::kernel::KernelTarget;
use dkms_engine::package::DkmsId;
use dkms_engine::recovery::lock_and_recover;
use dkms_engine::tree::{AddOptions, Authority, Tree, TreeLock};
use dkms_tests::dkms::{Machine, Program};
use dkms_tests::engine::tree_and_kernels;
use dkms_tests::{inputs, sources};

/// Trees of their own on the running system, and the two kernels.
struct World {
    dir: tempfile::TempDir,
    tree: Tree,
    lock: TreeLock,
    kernels: [Arc<KernelTarget>; 2],
}

/// A driver that names its file, as real ones do.
fn driver(name: &str, more: &str) -> String {
    format!(
        "#include <linux/module.h>\n#include <linux/pci.h>\n{more}\n\
         static const struct pci_device_id ids[] = {{ {{ PCI_DEVICE(0xf00d, 0x{:04x}) }}, {{ }} }};\n\
         MODULE_DEVICE_TABLE(pci, ids);\n\
         static int probe(struct pci_dev *dev, const struct pci_device_id *id) {{ WARN_ON(!id); return -ENODEV; }}\n\
         static struct pci_driver own = {{ .name = \"{name}\", .id_table = ids, .probe = probe }};\n\
         static int __init start(void) {{ pr_info(\"%s\\n\", __FILE__); return pci_register_driver(&own); }}\n\
         static void __exit stop(void) {{ pci_unregister_driver(&own); }}\n\
         module_init(start);\nmodule_exit(stop);\nMODULE_LICENSE(\"GPL\");\nMODULE_VERSION(\"1\");\n",
        name.len() * 256 + usize::from(*name.as_bytes().last().expect("a name"))
    )
}

impl World {
    fn new() -> World {
        let dir = sources::open_tempdir();
        let (tree, kernels) = tree_and_kernels(dir.path());
        let lock = lock_and_recover(&tree, &()).expect("locks");
        World {
            dir,
            tree,
            lock,
            kernels,
        }
    }

    /// Adds the package `name` 1 of these files, for which `authority` answers.
    fn add_of(&self, authority: &Authority, name: &str, conf: &str, files: &[(&str, &str)]) -> DkmsId {
        let source = self.dir.path().join("new").join(name);
        fs::create_dir_all(&source).expect("dirs");
        let conf =
            format!("PACKAGE_NAME={name}\nPACKAGE_VERSION=1\nDEST_MODULE_LOCATION[0]=/extra\nAUTOINSTALL=yes\n{conf}");
        for (file, text) in [("dkms.conf", conf.as_str())].iter().chain(files) {
            fs::write(source.join(file), text).expect("write");
        }
        let options = AddOptions {
            authority: authority.clone(),
            ..AddOptions::default()
        };
        let ctx = ConfContext::for_kernel(&self.kernels[0]);
        let added = self.tree.add_directory(&self.lock, &source, &ctx, &options, &());
        added.expect("adds").package
    }

    fn add(&self, name: &str, conf: &str, files: &[(&str, &str)]) -> DkmsId {
        self.add_of(&Authority::Administrator, name, conf, files)
    }

    /// Adds a package of one file, with `more` at its beginning.
    fn add_driver(&self, name: &str, more: &str) -> DkmsId {
        let (file, makefile) = (format!("{name}.c"), format!("obj-m := {name}.o\n"));
        let conf = format!("BUILT_MODULE_NAME[0]={name}\n");
        self.add(name, &conf, &[(&file, &driver(name, more)), ("Makefile", &makefile)])
    }

    /// Builds all for these kernels, anew.
    fn build(&self, packages: &[DkmsId], kernels: &[usize], together: bool) -> Vec<BuildOutcome> {
        let requests: Vec<BuildRequest> = kernels
            .iter()
            .flat_map(|kernel| {
                packages.iter().map(|package| BuildRequest {
                    force: true,
                    ..BuildRequest::new(package.clone(), Arc::clone(&self.kernels[*kernel]))
                })
            })
            .collect();
        let options = BuildOptions {
            sign: false,
            together,
            jobs: 2,
            ..BuildOptions::new(jiff::Timestamp::UNIX_EPOCH)
        };
        build_all(&self.tree, &self.lock, &requests, &options, &())
    }
}

fn built(outcome: &BuildOutcome) -> &Built {
    match outcome {
        BuildOutcome::Built(built) => built,
        BuildOutcome::Failed(failure) => panic!("{failure}\n{}", failure.tail.join("\n")),
        other => panic!("{other:?}"),
    }
}

fn log(built: &Built) -> String {
    fs::read_to_string(built.dir.join("log/make.log")).expect("a log")
}

/// The command that compiled, where it compiled several packages.
fn common_make(built: &Built) -> Option<String> {
    let log = log(built);
    let line = log
        .lines()
        .find(|line| line.starts_with("# command: "))
        .expect("a command");
    line.contains("--output-sync").then(|| line.to_owned())
}

/// The modules of a build with their bytes, and its record.
fn product(built: &Built) -> (Vec<(PathBuf, Vec<u8>)>, String) {
    let mut files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(built.dir.join("module"))
        .expect("modules")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(&path).expect("a module")))
        .collect();
    files.sort();
    let record = fs::read_to_string(built.dir.join("log/build.json")).expect("a record");
    (files, record)
}

#[test]
fn ten_packages_are_the_same_together_and_one_by_one() {
    let world = World::new();
    let mut packages: Vec<DkmsId> = (0..6).map(|n| world.add_driver(&format!("one{n}"), "")).collect();
    // With a Makefile of both kinds, and the usual MAKE in words.
    packages.push(world.add(
        "both-kinds",
        "BUILT_MODULE_NAME[0]=both-kinds\nMAKE[0]=\"make -C ${kernel_source_dir} M=${dkms_tree}/${PACKAGE_NAME}/${PACKAGE_VERSION}/build modules\"\n",
        &[
            ("both-kinds.c", &driver("both-kinds", "")),
            (
                "Makefile",
                "ifneq ($(KERNELRELEASE),)\nobj-m := both-kinds.o\nelse\nKDIR ?= /lib/modules/$(shell uname -r)/build\n\
                 all:\n\t$(MAKE) -C $(KDIR) M=$(PWD) modules\nendif\n",
            ),
        ],
    ));
    // Of several objects, with a header and flags.
    packages.push(world.add(
        "parts",
        "BUILT_MODULE_NAME[0]=parts\n",
        &[
            ("main.c", &driver("parts", "#include <own.h>\nint two(void) { return VALUE; }")),
            ("other.c", "#include \"own.h\"\nint three(void) { return VALUE + 1 + two(); }\n"),
            ("own.h", "int two(void);\nint three(void);\n"),
            ("Kbuild", "obj-m += parts.o\nparts-y := main.o \\\n\tother.o\nccflags-y := -I$(src) -DVALUE=2 -Wno-missing-prototypes\n"),
            ("Makefile", "all:\n\tfalse\n"),
        ],
    ));
    // Two modules in one package, one of which has the installed name of its own.
    packages.push(world.add(
        "pair",
        "BUILT_MODULE_NAME[0]=left\nBUILT_MODULE_NAME[1]=right\nDEST_MODULE_NAME[1]=pair-right\nDEST_MODULE_LOCATION[1]=/extra\n",
        &[
            ("left.c", &driver("left", "")),
            ("right.c", &driver("right", "")),
            ("Makefile", "obj-m := left.o right.o\nEXTRA_CFLAGS += -DDEBUG\n"),
        ],
    ));
    packages.push(world.add_driver("warns", "static int unused_one(void) { return 1; }"));
    assert_eq!(packages.len(), 10);

    let alone = world.build(&packages, &[0, 1], false);
    assert!(alone.iter().all(|outcome| common_make(built(outcome)).is_none()));
    let expected: Vec<_> = alone.iter().map(|outcome| product(built(outcome))).collect();
    let together = world.build(&packages, &[0, 1], true);
    for (outcome, expected) in together.iter().zip(&expected) {
        let built = built(outcome);
        let (files, record) = product(built);
        assert!(!files.is_empty());
        let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&files), names(&expected.0));
        for ((path, bytes), (_, expected)) in files.iter().zip(&expected.0) {
            assert!(bytes == expected, "{} has other bytes", path.display());
        }
        assert_eq!(record, expected.1);
    }
    // One make a kernel.
    let makes: BTreeSet<String> = together
        .iter()
        .map(|outcome| common_make(built(outcome)).expect("with the others"))
        .collect();
    assert_eq!(makes.len(), 2, "{makes:?}");
    // Each log has what is about its package, and nothing about the others.
    let log_of = |package: usize| log(built(&together[package]));
    assert!(
        log_of(9).contains("unused_one") && log_of(9).contains("/warns.o"),
        "{}",
        log_of(9)
    );
    for package in 0..9 {
        let log = log_of(package);
        assert!(!log.contains("unused_one") && !log.contains("warns."), "{log}");
        assert!(log.contains("CC [M]") && log.contains("MODPOST"), "{log}");
    }
    let left: Vec<_> = fs::read_dir(world.dir.path().join("dkms/.work"))
        .expect("dir")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_that_fails_fails_by_itself() {
    let world = World::new();
    let mut packages: Vec<DkmsId> = (0..4).map(|n| world.add_driver(&format!("good{n}"), "")).collect();
    packages.insert(2, world.add_driver("broken", "static int x = no_such_thing;"));
    let outcomes = world.build(&packages, &[0], true);
    for (package, outcome) in packages.iter().zip(&outcomes) {
        if package.module != "broken" {
            assert_eq!(common_make(built(outcome)), None, "{package}");
            continue;
        }
        let BuildOutcome::Failed(failure) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(failure.to_string().contains("broken.c"), "{failure}");
        let log = fs::read_to_string(failure.log.as_ref().expect("a log")).expect("a log");
        assert!(log.contains("no_such_thing") && !log.contains("good"), "{log}");
        assert!(
            log.contains("compiled by itself: one make over all of them failed"),
            "{log}"
        );
    }
    assert_eq!(world.tree.failures_of(&packages[2]).len(), 1);
    // Without it, the others have company again.
    packages.remove(2);
    let outcomes = world.build(&packages, &[0], true);
    assert!(outcomes.iter().all(|outcome| common_make(built(outcome)).is_some()));
}

#[test]
fn symbols_of_one_package_do_not_reach_another() {
    let world = World::new();
    // Names of macros can be made of parts, so that no search finds them.
    let export = "#define JOIN(a, b) a ## b\n#define EXPORT(name) JOIN(EXPORT_, SYMBOL)(name)\nint shared_thing(void);\n\
                  int shared_thing(void) { return 1; }\nEXPORT(shared_thing);\n";
    let first = world.add_driver("first", export);
    let user = world.add_driver(
        "user",
        "int shared_thing(void);\nint use_it(void);\nint use_it(void) { return shared_thing(); }\n",
    );
    let other = world.add_driver("other", "");
    let outcomes = world.build(&[first.clone(), user.clone(), other.clone()], &[0], true);
    let exports = built(&outcomes[0]).dir.join("module/Module.symvers");
    assert!(
        fs::read_to_string(exports)
            .expect("its exports")
            .contains("shared_thing")
    );
    assert!(matches!(&outcomes[1], BuildOutcome::Failed(failure) if failure.to_string().contains("shared_thing")));
    assert_eq!(common_make(built(&outcomes[2])), None);

    let second = world.add_driver("second", export);
    for outcome in world.build(&[first, second, other], &[0], true) {
        assert_eq!(common_make(built(&outcome)), None);
    }
    let plainly = world.add_driver(
        "plainly",
        "int shared_too(void);\nint shared_too(void) { return 1; }\nEXPORT_SYMBOL(shared_too);",
    );
    let outcomes = world.build(
        &[plainly, world.add_driver("a", ""), world.add_driver("b", "")],
        &[0],
        true,
    );
    let makes: Vec<bool> = outcomes
        .iter()
        .map(|outcome| common_make(built(outcome)).is_some())
        .collect();
    assert_eq!(makes, [false, true, true]);
}

#[test]
fn authorities_are_not_mixed_and_two_modules_of_one_name_are_not_made_together() {
    let world = World::new();
    let signer = |text: &str| Authority::Signer(text.to_owned());
    let (ours, theirs) = (signer("main by-id/pci-10ec"), signer("main by-id/pci-1234"));
    let add = |authority: &Authority, name: &str, module: &str| {
        let (file, makefile) = (format!("{module}.c"), format!("obj-m := {module}.o\n"));
        let conf = format!("BUILT_MODULE_NAME[0]={module}\n");
        world.add_of(
            authority,
            name,
            &conf,
            &[(&file, &driver(module, "")), ("Makefile", &makefile)],
        )
    };
    let by_hand = Authority::Administrator;
    let packages = [
        add(&ours, "a", "a"),
        add(&by_hand, "b", "b"),
        add(&theirs, "c", "c"),
        add(&ours, "d", "d"),
        add(&theirs, "e", "e"),
        add(&by_hand, "f", "f"),
        // Two with one module, which the kernel has by one name.
        add(&ours, "g", "same-name"),
        add(&ours, "h", "same_name"),
        // Nobody knows whose these are.
        add(&ours, "i", "i"),
        add(&ours, "j", "j"),
    ];
    for name in ["i", "j"] {
        fs::write(world.dir.path().join(format!("dkms/{name}/1/.authority")), "").expect("write");
    }
    let outcomes = world.build(&packages, &[0], true);
    let makes: Vec<Option<String>> = outcomes.iter().map(|outcome| common_make(built(outcome))).collect();
    let of = |name: &str| {
        let at = packages.iter().position(|package| package.module == name);
        makes[at.expect("a package")].clone()
    };
    assert!(
        of("a").is_some() && of("a") == of("d") && of("a") == of("g"),
        "{makes:?}"
    );
    assert!(of("b").is_some() && of("b") == of("f"), "{makes:?}");
    assert!(of("c").is_some() && of("c") == of("e"), "{makes:?}");
    let different: BTreeSet<_> = [of("a"), of("b"), of("c")].into();
    assert_eq!(different.len(), 3, "{makes:?}");
    assert_eq!([of("h"), of("i"), of("j")], [None, None, None]);
}

#[test]
fn a_package_reaches_no_file_of_its_neighbours() {
    let world = World::new();
    let good = [world.add_driver("good", ""), world.add_driver("fine", "")];
    let expected: Vec<_> = world
        .build(&good, &[0], false)
        .iter()
        .map(|outcome| product(built(outcome)))
        .collect();
    // The names are put together by the preprocessor.
    let reads = world.add_driver(
        "reads",
        "#define TEXT(x) #x\n#define NAME(x) TEXT(x)\n#define UP ..\n#include NAME(UP/good.c)\n",
    );
    // Lines of a Makefile that would reach into the directory of the others.
    let code = driver("writes", "");
    let writes = world.add(
        "writes",
        "BUILT_MODULE_NAME[0]=writes\n",
        &[
            ("writes.c", &code),
            (
                "Makefile",
                "obj-m := writes.o\n$(shell for dir in $(M)/.. $(M)/../* $(M)/../../*; do echo '#error' >>$$dir/good.c; done)\n",
            ),
        ],
    );
    let flags = world.add(
        "flags",
        "BUILT_MODULE_NAME[0]=flags\n",
        &[
            ("flags.c", &driver("flags", "")),
            ("Makefile", "obj-m := flags.o\nccflags-y := -I$(src)/..\n"),
        ],
    );
    let packages = [good[0].clone(), reads, good[1].clone(), writes, flags];
    let outcomes = world.build(&packages, &[0], true);
    for (outcome, expected) in [&outcomes[0], &outcomes[2]].into_iter().zip(&expected) {
        assert!(product(built(outcome)) == *expected);
    }
    let BuildOutcome::Failed(failure) = &outcomes[1] else {
        panic!("{:?}", outcomes[1]);
    };
    assert!(
        failure.tail.join("\n").contains("../good.c"),
        "{failure} {:?}",
        failure.tail
    );
    for outcome in &outcomes[3..] {
        assert_eq!(common_make(built(outcome)), None);
    }
}

#[test]
fn autoinstall_compiles_together_and_installs_each() {
    let machine = Machine::with_kernels(Program::Ours);
    let [release, _] = inputs::kernels();
    for name in ["x1", "x2", "x3"] {
        machine.write(&format!("src/{name}-1/{name}.c"), driver(name, ""));
        machine.write(&format!("src/{name}-1/Makefile"), format!("obj-m := {name}.o\n"));
        machine.write(
            &format!("src/{name}-1/dkms.conf"),
            format!("PACKAGE_NAME={name}\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME={name}\nDEST_MODULE_LOCATION=/extra\nAUTOINSTALL=yes\n"),
        );
        let outcome = machine.dkms(&["add", &format!("{name}/1")]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    }
    let outcome = machine.dkms(&["autoinstall", "-k", &release]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let arch = std::env::consts::ARCH;
    let status = machine.dkms(&["status"]).stdout;
    let makes: BTreeSet<String> = ["x1", "x2", "x3"]
        .iter()
        .map(|name| {
            assert!(
                status.contains(&format!("{name}/1, {release}, {arch}: installed\n")),
                "{status}"
            );
            let log = machine.path(&format!("dkms/{name}/1/{release}/{arch}/log/make.log"));
            let log = fs::read_to_string(log).expect("a log");
            log.lines()
                .find(|line| line.contains("--output-sync"))
                .expect("one make")
                .to_owned()
        })
        .collect();
    assert_eq!(makes.len(), 1, "{makes:?}");
    assert_eq!(machine.depmod_runs(), 1);
}
