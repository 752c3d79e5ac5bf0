//! Signatures of modules, with the kernels' own `sign-file` as the peer.

use std::path::Path;
use std::process::Command;

use dkms_engine::framework::Framework;
use dkms_engine::kbuild::Signer;
use dkms_engine::kernel::{KernelOptions, KernelTarget};
use dkms_engine::root::Root;
use dkms_engine::tree::Tree;
use dkms_tests::inputs;

/// The `sign-file` of a kernel of the inputs.
fn sign_file(release: &str) -> std::path::PathBuf {
    let lib = inputs::kernel_root(release).join("usr/lib");
    let kbuild = std::fs::read_dir(&lib).expect("usr/lib").flatten();
    let mut programs = kbuild.map(|entry| entry.path().join("scripts/sign-file"));
    programs.find(|path| path.is_file()).expect("sign-file")
}

fn run(command: &mut Command) {
    let done = command.output().expect("runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// An image's modules are signed by this machine's programs, and as the image's own would sign them.
#[test]
fn a_signature_in_an_image_is_that_of_sign_file() {
    for release in inputs::kernels() {
        let temp = tempfile::tempdir().expect("temp dir");
        let image = temp.path();
        let kernel = KernelTarget::find(
            &Root::at(inputs::kernel_root(&release)),
            &release,
            &KernelOptions::default(),
        )
        .expect("kernel");
        // The image names a program of its own, and has one in the place that this machine's would have.
        let trap = image.join("usr/bin/sign-it");
        for path in [&trap, &image.join("usr/bin/kmodsign")] {
            write_program(path, &format!("#!/bin/sh\ntouch {}/ran\n", image.display()));
        }
        let framework = Framework {
            sign_file: Some("/usr/bin/sign-it".to_owned()),
            ..Framework::default()
        };
        let tree = Tree::new(&Root::at(image), &framework);
        let lock = dkms_engine::recovery::lock_and_recover(&tree, &()).expect("locks");
        let signer = Signer::prepare(&tree, &lock, &kernel, &())
            .expect("a key")
            .expect("a signer");
        let hash = kernel
            .config()
            .get("CONFIG_MODULE_SIG_HASH")
            .expect("signatures")
            .to_owned();
        for len in [0_usize, 1, 4096, 100_001] {
            let content: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let (ours, theirs) = (image.join("ours.ko"), image.join("theirs.ko"));
            for path in [&ours, &theirs] {
                std::fs::write(path, &content).expect("write");
            }
            signer.sign(&ours).expect("signs");
            let keys = signer.keys();
            run(Command::new(sign_file(&release))
                .arg(&hash)
                .args([Path::new(&keys.key), &keys.certificate, &theirs]));
            let (ours, theirs) = (
                std::fs::read(ours).expect("ours"),
                std::fs::read(theirs).expect("theirs"),
            );
            assert!(ours.len() > len + 200, "{release}: it has a signature");
            assert!(ours == theirs, "{release}, {len} bytes: the signatures differ");
        }
        assert!(!image.join("ran").exists(), "{release}: a program of the image ran");
    }
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("dirs");
    std::fs::write(path, text).expect("write");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("mode");
}
