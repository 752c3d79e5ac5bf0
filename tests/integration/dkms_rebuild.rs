//! What a build was made from decides whether it is made again: the source, the headers, the configuration, the compiler, the
//! overrides and what it depends on; not times, and not where files lie.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use dkms_tests::dkms::{Hello, Machine, Program};
use dkms_tests::inputs;

/// A machine with one installed package, and headers of its own that may be changed.
struct World {
    machine: Machine,
    release: String,
}

impl World {
    fn new() -> World {
        let [release, _] = inputs::kernels();
        let machine = Machine::new(Program::Ours);
        machine.add_kernel(&release);
        let world = World { machine, release };
        fs::remove_file(world.header("")).expect("the link to the headers");
        for file in [
            ".config",
            ".kernelvariables",
            "Makefile",
            "Module.symvers",
            "include/config/auto.conf",
            "include/generated/autoconf.h",
            "include/generated/compile.h",
            "include/generated/utsrelease.h",
        ] {
            if let Ok(bytes) = fs::read(inputs::headers(&world.release).join(file)) {
                world.machine.write(&world.header_name(file), bytes);
            }
        }
        Hello::quick("hello", "1").put(&world.machine);
        world.dkms("install hello/1");
        world
    }

    fn header_name(&self, file: &str) -> String {
        format!("modules/{}/build/{file}", self.release)
    }

    fn header(&self, file: &str) -> PathBuf {
        self.machine.path(self.header_name(file).trim_end_matches('/'))
    }

    fn dkms(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').chain(["-k", &self.release]).collect();
        let outcome = self.machine.dkms(&words);
        assert_eq!(outcome.code, 0, "dkms {line}\n{}{}", outcome.stdout, outcome.stderr);
    }

    /// What is remembered of the build.
    fn record(&self) -> Vec<u8> {
        let file = format!(
            "dkms/hello/1/{}/{}/log/build.json",
            self.release,
            std::env::consts::ARCH
        );
        fs::read(self.machine.path(&file)).expect("the record of the build")
    }

    fn built_at(&self) -> SystemTime {
        let log = format!("dkms/hello/1/{}/{}/log/make.log", self.release, std::env::consts::ARCH);
        let meta = self.machine.path(&log).metadata();
        meta.and_then(|meta| meta.modified()).expect("the log of the build")
    }

    /// Writes the same bytes in a new file.
    fn renew(&self, name: &str) {
        let bytes = fs::read(self.machine.path(name)).expect(name);
        fs::remove_file(self.machine.path(name)).expect(name);
        self.machine.write(name, bytes);
    }

    fn append(&self, name: &str, text: &str) {
        let mut bytes = fs::read(self.machine.path(name)).expect(name);
        bytes.extend_from_slice(text.as_bytes());
        self.machine.write(name, bytes);
    }

    /// Puts another program before the kernel's compiler; it says `version`.
    fn put_compiler(&self, version: &str) {
        let name = version.split(' ').next().expect("a name");
        self.machine
            .write(&format!("bin/{name}"), format!("#!/bin/sh\necho '{version}'\n"));
        self.machine.make_executable(&format!("bin/{name}"));
    }

    /// The first line of what the kernel's compiler says here.
    fn compiler(&self) -> String {
        let config = fs::read_to_string(self.header(".config")).expect("a configuration");
        let wanted = config
            .lines()
            .find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT=\""));
        let name = wanted.and_then(|text| text.split(' ').next()).expect("a compiler");
        let said = self.machine.run(&[name, "--version"]).stdout;
        said.lines().next().expect("a version").to_owned()
    }
}

/// What a change does to a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    Untouched,
    /// It is right, and that its files moved is remembered, so that nobody reads them a second time.
    Noted,
    Rebuilt,
}

#[test]
fn a_build_is_made_again_when_what_it_was_made_from_changed_and_not_otherwise() {
    let world = World::new();
    let check = |what: &str, change: &dyn Fn(), becomes: Becomes| {
        let before = (world.built_at(), world.record());
        change();
        world.dkms("autoinstall");
        let after = (world.built_at(), world.record());
        assert_eq!(after.0 != before.0, becomes == Becomes::Rebuilt, "{what}");
        assert_eq!(after.1 != before.1, becomes != Becomes::Untouched, "{what}: its record");
        world.dkms("autoinstall");
        world.dkms("build hello/1");
        assert_eq!(
            (world.built_at(), world.record()),
            after,
            "{what}: a second run has nothing to do"
        );
    };
    let header = |file: &str| world.header_name(file);
    let compiler = world.compiler();
    check("nothing", &|| {}, Becomes::Untouched);
    check(
        "a new copy of the same source",
        &|| world.renew("src/hello-1/hello.c"),
        Becomes::Noted,
    );
    check(
        "a new copy of the same headers",
        &|| world.renew(&header("Module.symvers")),
        Becomes::Noted,
    );
    check(
        "another program that is the same compiler",
        &|| world.put_compiler(&compiler),
        Becomes::Noted,
    );
    check(
        "the overrides of another package",
        &|| world.machine.write("etc/other.conf", "x=1\n"),
        Becomes::Untouched,
    );
    check(
        "the source",
        &|| world.append("src/hello-1/hello.c", "// more\n"),
        Becomes::Rebuilt,
    );
    check(
        "a new file in the source",
        &|| world.machine.write("src/hello-1/more.c", "// more\n"),
        Becomes::Rebuilt,
    );
    check(
        "the configuration",
        &|| world.append(&header(".config"), "CONFIG_ADDED=y\n"),
        Becomes::Rebuilt,
    );
    check(
        "the generated configuration",
        &|| world.append(&header("include/generated/autoconf.h"), "#define CONFIG_ADDED 1\n"),
        Becomes::Rebuilt,
    );
    check(
        "the exported symbols",
        &|| {
            world.append(
                &header("Module.symvers"),
                "0x00000001\tadded\tvmlinux\tEXPORT_SYMBOL\t\n",
            )
        },
        Becomes::Rebuilt,
    );
    check(
        "the compiler",
        &|| world.put_compiler(&format!("{compiler}.1")),
        Becomes::Rebuilt,
    );
    check(
        "an override",
        &|| world.machine.write("etc/hello.conf", "STRIP[0]=no\n"),
        Becomes::Rebuilt,
    );
    check(
        "a script of this machine",
        &|| world.machine.write("etc/hello/pre.sh", "#!/bin/sh\n"),
        Becomes::Rebuilt,
    );
}
