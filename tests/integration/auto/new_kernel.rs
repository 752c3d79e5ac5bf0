//! Another kernel than the running one: what it drives by itself, which devices lose their driver, and which packages it needs no more.

use std::fs;

use dkms_engine::root::Root;
use dkms_fetch::state::Paths;
use dkms_fetch::state::records::Records;
use dkms_tests::inputs;
use dkms_tests::story::{EDU, Story};

use super::live::Live;

#[test]
fn a_new_kernel_is_checked_before_it_is_booted() {
    let story = Story::with_driver();
    story.auto(&[]).assert(0, &["installed edu 1.0"]);
    let devices = story.device_list().display().to_string();
    let newer = story.second_kernel("6.1.0-99-amd64");
    let check = |kernel: &str| story.run(&["check-kernel", kernel, "--devices", &devices]);
    let lost = format!("kernel {newer} has no driver for Unclassified device (edu 1.0);");
    let install = format!("`dkms-fetch --auto --kernel {newer}` installs edu 1.0");
    let run = check(&newer);
    run.assert(8, &[&lost, &install]);
    assert_eq!(
        run.stdout.lines().count(),
        1,
        "the kernel's own drivers are in both: {}",
        run.stdout
    );
    check(&story.kernel).assert(0, &["has a driver for every device that has one now"]);
    check("6.1.0-1-none").assert(2, &["kernel 6.1.0-1-none"]);

    // Without a package for it, the old kernel is the way out.
    fs::remove_dir_all(story.path("var/cache/dkms-fetch/index")).expect("an index");
    let keep = format!("keep booting {}", story.kernel);
    check(&newer).assert(8, &[&lost, &keep]);
}

/// A network card of virtio. Debian's 6.1 has its driver as a module, and 6.12 of the backports built in, where no list names the device.
const VIRTIO_NET: &str = "pci:v00001AF4d00001041sv00001AF4sd00001041bc02sc00i00";

#[test]
fn a_driver_that_a_kernel_has_built_in_is_not_lost() {
    let story = Story::with_driver();
    let [_, newer] = inputs::kernels();
    let lists = inputs::kernel_root(&newer).join("lib/modules").join(&newer);
    let to = story.path("lib/modules").join(&newer);
    fs::create_dir_all(&to).expect("a directory");
    for list in [
        "modules.alias",
        "modules.builtin.modinfo",
        "modules.dep",
        "modules.order",
    ] {
        fs::copy(lists.join(list), to.join(list)).expect("a list");
    }
    let of = |kernel: &str, list: &str| {
        let path = story.path("lib/modules").join(kernel).join(list);
        String::from_utf8_lossy(&fs::read(path).expect("a list")).into_owned()
    };
    assert!(of(&story.kernel, "modules.order").contains("/virtio_pci.ko"));
    assert!(of(&newer, "modules.builtin.modinfo").contains("virtio_pci.license="));
    assert!(!of(&newer, "modules.alias").contains(" virtio_pci\n"));

    story.devices(&[VIRTIO_NET]);
    let devices = story.device_list().display().to_string();
    let check = |kernel: &str| story.run(&["check-kernel", kernel, "--devices", &devices]);
    check(&newer).assert(0, &["has a driver for every device that has one now"]);
    let shown = story.run(&["devices", "--kernel", &newer, "--devices", &devices]);
    shown.assert(0, &["kernel driver", "virtio_pci"]);
    // Where the other kernel does not have it at all, it is lost.
    let without = of(&newer, "modules.builtin.modinfo").replace("virtio_pci.", "other.");
    fs::write(to.join("modules.builtin.modinfo"), without).expect("a list");
    check(&newer).assert(8, &["(virtio_pci); keep booting "]);
}

/// A machine whose next kernel has got a driver for the device, which a package of ours serves there too.
fn with_a_driver_of_its_own() -> Live {
    let mut live = Live::new("exit 0");
    live.running = live.story.second_kernel("6.1.0-1-running");
    let kernel = live.story.kernel.clone();
    assert_eq!(live.run_for(&kernel).attempts.len(), 1);
    assert!(live.story.module("edu").is_file());
    claim(&live, &kernel);
    live
}

/// Lets a module of the kernel's own claim the device.
fn claim(live: &Live, kernel: &str) {
    let list = live.story.path("lib/modules").join(kernel).join("modules.alias");
    let text = fs::read_to_string(&list).expect("a list");
    fs::write(&list, format!("{text}alias {EDU} pvpanic_pci\n")).expect("a list");
}

fn records(live: &Live) -> Records {
    Records::open(&Paths::of(&Root::at(live.story.path("")))).expect("records")
}

#[test]
fn a_package_goes_from_a_kernel_that_has_a_driver_of_its_own() {
    let live = with_a_driver_of_its_own();
    live.run_for(&live.story.kernel);
    assert!(!live.story.module("edu").exists());
    let history = live.story.run(&["history"]);
    history.assert(0, &["drives its devices itself, with pvpanic_pci"]);
    assert!(records(&live).installed().expect("records").is_empty());
}

#[test]
fn what_is_held_stays_on_a_kernel_that_has_a_driver_of_its_own() {
    let live = with_a_driver_of_its_own();
    live.story.run(&["hold", "edu"]).assert(0, &[]);
    live.run_for(&live.story.kernel);
    assert!(live.story.module("edu").is_file());
}

/// Somebody wanted the package although the running kernel has a driver.
#[test]
fn a_package_stays_where_the_running_kernel_has_the_driver_too() {
    let live = with_a_driver_of_its_own();
    claim(&live, &live.running);
    live.run_for(&live.story.kernel);
    assert!(live.story.module("edu").is_file());
}
