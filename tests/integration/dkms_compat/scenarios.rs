//! What is played on both programs. The sources copy a ready module instead of compiling, but for the story `compiled`.

use dkms_tests::dkms::{Hello, Machine, Scenario, prebuilt};
use dkms_tests::inputs;

const HELLO: Hello = Hello::quick("hello", "1");

fn hello(machine: &Machine) {
    HELLO.put(machine);
}

fn compiled(machine: &Machine) {
    Hello {
        compiled: true,
        ..HELLO
    }
    .put(machine);
}

fn two_versions(machine: &Machine) {
    HELLO.put(machine);
    Hello::quick("hello", "2").put(machine);
}

/// Sources that cannot be added or built, each for a reason of its own.
fn broken_sources(machine: &Machine) {
    HELLO.put(machine);
    machine.write("src/no-conf-1/hello.c", "");
    machine.write(
        "src/no-name-1/dkms.conf",
        "PACKAGE_VERSION=1\nDEST_MODULE_LOCATION[0]=/extra\n",
    );
    Hello::quick("no-location", "1")
        .with("DEST_MODULE_LOCATION[0]=")
        .put(machine);
    Hello::quick("bad-location", "1")
        .with("DEST_MODULE_LOCATION[0]=/etc")
        .put(machine);
    Hello::quick("suffix", "1")
        .with("BUILT_MODULE_NAME[0]=hello.ko")
        .put(machine);
    Hello::quick("not-this-kernel", "1")
        .with("BUILD_EXCLUSIVE_KERNEL='^2\\.4'")
        .put(machine);
    Hello::quick("not-this-arch", "1")
        .with("BUILD_EXCLUSIVE_ARCH='^vax$'")
        .put(machine);
    Hello::quick("not-this-config", "1")
        .with("BUILD_EXCLUSIVE_CONFIG='CONFIG_NOT_THERE'")
        .put(machine);
    Hello::quick("patch-missing", "1")
        .with("PATCH[0]=gone.patch")
        .put(machine);
    let patched = Hello::quick("patch-fails", "1").with("PATCH[0]=wrong.patch");
    patched.put(machine);
    machine.write(
        "src/patch-fails-1/patches/wrong.patch",
        "--- a/hello.c\n+++ b/hello.c\n@@ -1 +1 @@\n-no such line\n+x\n",
    );
    Hello::quick("make-fails", "1").with("MAKE[0]=false").put(machine);
    Hello::quick("makes-nothing", "1").with("MAKE[0]=true").put(machine);
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

fn module_in_kernel(machine: &Machine) {
    HELLO.put(machine);
    Hello::quick("other", "1").put(machine);
    let release = &inputs::kernels()[0];
    machine.write(
        &format!("modules/{release}/kernel/drivers/misc/hello.ko"),
        prebuilt(release),
    );
}

/// Every story, in the order of the document.
pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "life",
        set_up: hello,
        steps: &[
            "status",
            "add hello/1",
            "status",
            "build hello/1 -k K1",
            "status",
            "install hello/1 -k K1",
            "status",
            "uninstall hello/1 -k K1",
            "status",
            "unbuild hello/1 -k K1",
            "status",
            "remove hello/1 -k K1",
            "status",
        ],
    },
    Scenario {
        name: "compiled",
        set_up: compiled,
        steps: &["install hello/1 -k K1", "status", "remove hello/1 --all", "status"],
    },
    Scenario {
        name: "two kernels",
        set_up: hello,
        steps: &[
            "build -m hello -v 1 -k K1 -k K2",
            "status -k K2",
            "install -m hello -v 1 -k K1 -k K2",
            "status",
            "status -m hello -v 1 -k K1",
            "status -k K1 -a vax",
            "status -m nosuch",
            "remove hello/1 -k K1",
            "status",
            "remove hello/1 --all",
            "status",
        ],
    },
    Scenario {
        name: "two versions",
        set_up: two_versions,
        steps: &[
            "install hello/1 -k K1",
            "install hello/2 -k K1 --force",
            "status",
            "uninstall hello/1 -k K1",
            "status",
            "remove hello/2 --all",
            "status",
            "install hello/1 -k K1 --force",
            "status",
        ],
    },
    Scenario {
        name: "again",
        set_up: hello,
        steps: &[
            "add hello/1",
            "add hello/1",
            "build hello/1 -k K1",
            "build hello/1 -k K1",
            "build hello/1 -k K1 --force",
            "install hello/1 -k K1",
            "install hello/1 -k K1",
            "install hello/1 -k K1 --force",
            "status",
            "uninstall hello/1 -k K1",
            "uninstall hello/1 -k K1",
            "unbuild hello/1 -k K1",
            "unbuild hello/1 -k K1",
            "remove hello/1 --all",
            "remove hello/1 --all",
        ],
    },
    Scenario {
        name: "bad sources",
        set_up: broken_sources,
        steps: &[
            "add nosuch/1",
            "add no-conf/1",
            "add no-name/1",
            "add no-location/1",
            "add bad-location/1",
            "add suffix/1",
            "build nosuch/1 -k K1",
            "build hello/1 -k 9.9.9-none",
            "install hello/1 -k 9.9.9-none",
            "build not-this-kernel/1 -k K1",
            "install not-this-arch/1 -k K1",
            "build not-this-config/1 -k K1",
            "build patch-missing/1 -k K1",
            "build patch-fails/1 -k K1",
            "build make-fails/1 -k K1",
            "install make-fails/1 -k K1",
            "build makes-nothing/1 -k K1",
            "status",
            "uninstall nosuch/1 -k K1",
            "unbuild nosuch/1 -k K1",
            "remove nosuch/1 --all",
            "mktarball nosuch/1 -k K1",
            "mktarball hello/1 -k K1",
        ],
    },
    Scenario {
        name: "bad usage",
        set_up: hello,
        steps: &[
            "frob",
            "add",
            "add build",
            "add --bogus",
            "build --all hello/1",
            "uninstall hello/1 -k K1 --all",
            "uninstall hello/1 -a x --all",
            "status -a x -a y -k K1",
            "mktarball --binaries-only --source-only hello/1",
            "match",
            "match --templatekernel K1 -k K1",
            "match --templatekernel K1 -k K2 -k K3",
            "--version --no-initrd",
        ],
    },
    Scenario {
        name: "sources elsewhere",
        set_up: |machine| HELLO.write_to(machine, "tmp/work"),
        steps: &[
            "add tmp/work",
            "status",
            "remove hello/1 --all",
            "sh:rm -r /usr/src/hello-1",
            "add tmp/work/dkms.conf",
            "status",
            "remove hello/1 --all",
            "sh:rm -r /usr/src/hello-1; mkdir tmp/empty",
            "add tmp/empty",
            "install tmp/work -k K1",
            "status",
        ],
    },
    Scenario {
        name: "autoinstall",
        set_up: autoinstall,
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
    Scenario {
        name: "scripts",
        set_up: scripts,
        steps: &[
            "add scripts/1",
            "build scripts/1 -k K1",
            "install scripts/1 -k K1",
            "uninstall scripts/1 -k K1",
            "remove scripts/1 --all",
        ],
    },
    Scenario {
        name: "overrides",
        set_up: overridden,
        steps: &[
            "install hello/1 -k K1",
            "status",
            "build hello/1 -k K2",
            "status",
            "remove hello/1 --all",
        ],
    },
    Scenario {
        name: "several modules",
        set_up: several_modules,
        steps: &[
            "install several/1 -k K1",
            "status",
            "uninstall several/1 -k K1",
            "status",
            "remove several/1 --all",
        ],
    },
    Scenario {
        name: "module in the kernel",
        set_up: module_in_kernel,
        steps: &[
            "install hello/1 -k K1",
            "status",
            "install hello/1 -k K1 --force",
            "status",
            "install other/1 -k K1",
            "remove hello/1 --all",
            "status",
        ],
    },
    Scenario {
        name: "damage",
        set_up: hello,
        steps: &[
            "install hello/1 -k K1",
            "sh:printf x >> /lib/modules/K1/updates/dkms/hello.ko",
            "status",
            "sh:rm /lib/modules/K1/updates/dkms/hello.ko",
            "status",
            "sh:rm /var/lib/dkms/hello/1/K1/*/module/hello.ko",
            "status",
            "sh:rm -r /usr/src/hello-1",
            "status",
        ],
    },
    Scenario {
        name: "tarball",
        set_up: hello,
        steps: &[
            "build hello/1 -k K1",
            "mktarball hello/1 -k K1",
            "remove hello/1 --all",
            "sh:rm -r /usr/src/hello-1",
            "ldtarball nosuch.tar.gz",
        ],
    },
    Scenario {
        name: "tarball elsewhere",
        set_up: hello,
        steps: &[
            "build hello/1 -k K1",
            "mktarball hello/1 -k K1 --archive=tmp/both.tar.gz",
            "mktarball hello/1 --source-only --archive=tmp/source.tar.gz",
            "mktarball hello/1 -k K1 --binaries-only --archive=tmp/binaries.tar.gz",
            "ldtarball tmp/both.tar.gz",
            "remove hello/1 --all",
            "sh:rm -r /usr/src/hello-1",
            "ldtarball tmp/both.tar.gz",
            "status",
            "remove hello/1 --all",
            "sh:rm -r /usr/src/hello-1",
            "ldtarball --archive tmp/source.tar.gz",
            "status",
            "remove hello/1 --all",
            "sh:rm -r /usr/src/hello-1",
            "add tmp/both.tar.gz",
            "status",
        ],
    },
    Scenario {
        name: "match",
        set_up: two_versions,
        steps: &[
            "install hello/1 -k K1",
            "add hello/2",
            "match --templatekernel K1 -k K2",
            "status",
            "match --templatekernel K1 -k K2",
            "match --templatekernel K1 -k K2 nosuch",
        ],
    },
    Scenario {
        name: "other trees",
        set_up: |machine| {
            HELLO.write_to(machine, "dkms/s/hello-1");
            machine.write(&format!("dkms/i/{}/x", inputs::kernels()[0]), "");
        },
        steps: &[
            "add hello/1 --sourcetree /var/lib/dkms/s --dkmstree /var/lib/dkms/d",
            "install hello/1 -k K1 --dkmstree=/var/lib/dkms/d --sourcetree=/var/lib/dkms/s --installtree=/var/lib/dkms/i --no-depmod",
            "status --dkmstree /var/lib/dkms/d --installtree=/var/lib/dkms/i",
            "remove hello/1 --all --dkmstree /var/lib/dkms/d --installtree=/var/lib/dkms/i --no-depmod",
            "status --dkmstree /var/lib/dkms/d",
        ],
    },
];
