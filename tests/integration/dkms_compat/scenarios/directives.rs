//! What a dkms.conf and those beside it ask for.

use dkms_tests::dkms::{Hello, Machine, Scenario};
use dkms_tests::inputs;

use super::{HELLO, hello};

/// Scripts around the build may write only in the build directory with us, so they leave their traces there.
fn scripts(machine: &Machine) {
    let conf = "POST_ADD='trace post_add'\nPRE_BUILD='ready pre_build'\nMAKE[0]=\"cp ready.bin hello.ko\"\n\
                PRE_INSTALL='trace pre_install x'\nPOST_INSTALL='trace post_install'\nPOST_REMOVE='trace post_remove'";
    Hello::quick("scripts", "1").with(conf).put(machine);
    let trace = "#!/bin/sh\necho \"$1 $(basename \"$(pwd -P)\") $#\" >> /usr/src/trace.txt\n";
    let ready = "#!/bin/sh\n[ \"$1\" = pre_build ] && [ -e dkms.conf ] && cp prebuilt/\"$kernelver\" ready.bin\n";
    for (name, text) in [
        ("trace", trace),
        ("ready", &ready.replace("\"$kernelver\"", &inputs::kernels()[0])),
    ] {
        machine.write(&format!("src/scripts-1/{name}"), text);
        machine.make_executable(&format!("src/scripts-1/{name}"));
    }
    // The scripts' output lies in /usr/src, where the snapshots see it.
    machine.write("src/trace.txt", "");
}

fn overridden(machine: &Machine) {
    HELLO.put(machine);
    let release = &inputs::kernels()[0];
    machine.write("etc/hello.conf", "DEST_MODULE_NAME[0]=by_module\n");
    machine.write(
        &format!("etc/hello-1-{release}.conf"),
        "DEST_MODULE_NAME[0]=by_kernel\n",
    );
}

/// A second dkms.conf beside the package's own.
fn other_conf(machine: &Machine) {
    HELLO.put(machine);
    let other = HELLO.with("DEST_MODULE_LOCATION[0]=/extra").conf_text();
    machine.write("src/hello-1/other.conf", other);
}

/// Three modules from one source: a renamed one, one in a subdirectory, one that is not stripped.
fn several_modules(machine: &Machine) {
    let conf = "BUILT_MODULE_NAME[1]=second\nBUILT_MODULE_LOCATION[1]=sub/\nDEST_MODULE_LOCATION[1]=/updates\n\
                BUILT_MODULE_NAME[2]=third\nDEST_MODULE_NAME[2]=drei\nDEST_MODULE_LOCATION[2]=/extra/x\nSTRIP[2]=no";
    Hello {
        compiled: true,
        ..Hello::quick("several", "1")
    }
    .with(conf)
    .put(machine);
    for name in ["sub/second.c", "third.c"] {
        machine.write(
            &format!("src/several-1/{name}"),
            "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n",
        );
    }
    machine.write(
        "src/several-1/Makefile",
        "obj-m := hello.o sub/second.o third.o\nccflags-y := '-DHELLO_VERSION=\"1\"'\n",
    );
}

fn needy(machine: &Machine) {
    Hello::quick("hello", "1").put(machine);
    Hello::quick("needy", "1").with("BUILD_DEPENDS[0]=hello").put(machine);
}

fn autoinstall(machine: &Machine) {
    Hello::quick("manual", "1").with("AUTOINSTALL=").put(machine);
    Hello::quick("newer", "1").put(machine);
    Hello::quick("newer", "10").put(machine);
    Hello::quick("newer", "9").put(machine);
    Hello::quick("broken", "1").with("MAKE[0]=false").put(machine);
    // Sorted before what it needs.
    Hello::quick("after", "1").with("BUILD_DEPENDS[0]=newer").put(machine);
    Hello::quick("excluded", "1")
        .with("BUILD_EXCLUSIVE_KERNEL='^2\\.4'")
        .put(machine);
}

pub(super) const STORIES: &[Scenario<'static>] = &[
    Scenario {
        name: "scripts",
        set_up: &scripts,
        steps: &[
            "add scripts/1",
            "build scripts/1 -k K1",
            "install scripts/1 -k K1",
            "uninstall scripts/1 -k K1",
            "remove scripts/1 --all",
        ],
    },
    Scenario {
        name: "what a package needs",
        set_up: &needy,
        steps: &[
            "build needy/1 -k K1",
            "build hello/1 -k K1",
            "build needy/1 -k K1",
            "install needy/1 -k K1",
            "install needy/1 -k K2 --force",
            "install hello/1 -k K1",
            "install needy/1 -k K1",
            "status",
        ],
    },
    Scenario {
        name: "overrides",
        set_up: &overridden,
        steps: &[
            "install hello/1 -k K1",
            "status",
            "build hello/1 -k K2",
            "status",
            "remove hello/1 --all",
        ],
    },
    Scenario {
        name: "on the command line",
        set_up: &other_conf,
        steps: &[
            "add hello/1",
            "build hello/1 -k K1 -c /usr/src/hello-1/other.conf -j 1 --verbose",
            "build hello/1 -k K2 --directive MAKE[0]=false",
            "build hello/1 -k K2 --directive=STRIP[0]=no --quiet",
            "install hello/1 -k K1 -k K2",
            "status",
            "uninstall hello/1 --all",
            "status",
            "install hello/1 -k K1 --symlink-modules",
            "status",
            "uninstall hello/1 -k K1",
            "status",
        ],
    },
    Scenario {
        name: "an rpm transaction",
        set_up: &hello,
        steps: &[
            // A transaction that puts a version in, and whose old package takes "itself" out.
            "sh:sh -c 'dkms add hello/1 --rpm_safe_upgrade; :'; sh -c 'dkms install hello/1 -k K1 --rpm_safe_upgrade; :'; \
             sh -c 'dkms remove hello/1 --all --rpm_safe_upgrade; :'",
            "status",
            // The next transaction takes it out in earnest.
            "sh:sh -c 'dkms remove hello/1 --all --rpm_safe_upgrade; :'",
            "status",
        ],
    },
    Scenario {
        name: "several modules",
        set_up: &several_modules,
        steps: &[
            "install several/1 -k K1",
            "status",
            "uninstall several/1 -k K1",
            "status",
            "remove several/1 --all",
        ],
    },
    Scenario {
        name: "autoinstall",
        set_up: &autoinstall,
        steps: &[
            "add manual/1",
            "add newer/1",
            "add newer/10",
            "add newer/9",
            "add after/1",
            "autoinstall -k K1",
            "status",
            "autoinstall -k K1",
            "add broken/1",
            "autoinstall -k K2",
            "status",
            "add excluded/1",
            "remove broken/1 --all",
            "autoinstall -k K2",
            "status",
        ],
    },
];
