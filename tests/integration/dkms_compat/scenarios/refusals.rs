//! What cannot be done, and what is damaged.

use dkms_tests::dkms::{Hello, Machine, Scenario, prebuilt};
use dkms_tests::inputs;

use super::{HELLO, hello};

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

/// Packages of which one script says that it failed.
fn failing_scripts(machine: &Machine) {
    let packages = [
        ("post-add", "POST_ADD=no"),
        ("pre-build", "PRE_BUILD=no"),
        ("post-build", "POST_BUILD=no"),
        ("pre-install", "PRE_INSTALL=no"),
        ("post-install", "POST_INSTALL=no"),
        ("post-remove", "POST_REMOVE=no"),
        ("not-there", "PRE_BUILD=gone POST_INSTALL=gone"),
    ];
    for (name, conf) in packages {
        Hello::quick(name, "1").with(conf).put(machine);
        machine.write(
            &format!("src/{name}-1/no"),
            "#!/bin/sh\necho it does not work >&2\nexit 3\n",
        );
        machine.make_executable(&format!("src/{name}-1/no"));
    }
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

pub(super) const STORIES: &[Scenario<'static>] = &[
    Scenario {
        name: "bad sources",
        set_up: &broken_sources,
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
        name: "failing scripts",
        set_up: &failing_scripts,
        steps: &[
            "add post-add/1",
            "build post-add/1 -k K1",
            "build pre-build/1 -k K1",
            "build post-build/1 -k K1",
            "install pre-install/1 -k K1",
            "status",
            "install pre-install/1 -k K1 --force",
            "install post-install/1 -k K1",
            "install post-remove/1 -k K1",
            "install not-there/1 -k K1",
            "status",
            "remove post-remove/1 --all",
            "status",
        ],
    },
    Scenario {
        name: "bad usage",
        set_up: &hello,
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
        name: "module in the kernel",
        set_up: &module_in_kernel,
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
        set_up: &hello,
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
];
