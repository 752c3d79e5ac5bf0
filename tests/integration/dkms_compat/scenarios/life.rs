//! A package's life: added, built, installed and taken away, alone and beside other versions and kernels.

use dkms_tests::dkms::{Hello, Machine, Scenario};

use super::{HELLO, hello};

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

pub(super) const STORIES: &[Scenario<'static>] = &[
    Scenario {
        name: "life",
        set_up: &hello,
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
        set_up: &compiled,
        steps: &["install hello/1 -k K1", "status", "remove hello/1 --all", "status"],
    },
    Scenario {
        name: "two kernels",
        set_up: &hello,
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
        set_up: &two_versions,
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
        set_up: &hello,
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
        name: "match",
        set_up: &two_versions,
        steps: &[
            "install hello/1 -k K1",
            "add hello/2",
            "match --templatekernel K1 -k K2",
            "status",
            "match --templatekernel K1 -k K2",
            "match --templatekernel K1 -k K2 nosuch",
        ],
    },
];
