//! Sources and trees in other places, and tarballs.

use dkms_tests::dkms::{Machine, Scenario};
use dkms_tests::inputs;

use super::{HELLO, hello};

pub(super) const STORIES: &[Scenario<'static>] = &[
    Scenario {
        name: "sources elsewhere",
        set_up: &|machine: &Machine| HELLO.write_to(machine, "tmp/work"),
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
        name: "tarball",
        set_up: &hello,
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
        set_up: &hello,
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
        name: "headers elsewhere",
        set_up: &hello,
        steps: &[
            // The kernel's own directory does not lead to its headers any more.
            "sh:mv /lib/modules/K1/build tmp/headers; cp tmp/headers/.config tmp/config",
            "build hello/1 -k K1 --kernelsourcedir /nowhere",
            "install hello/1 -k K1 --kernelsourcedir tmp/headers --config tmp/config --no-depmod --no-initrd --no-clean-kernel",
            "status",
        ],
    },
    Scenario {
        name: "other trees",
        set_up: &|machine: &Machine| {
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
