//! The key that signs modules, and whether the machine accepts it. EFI variables are files of a directory here; certificates are
//! openssl's.

use std::fs;
use std::path::Path;
use std::process::Command;

use dkms_tests::schemas::Schemas;
use dkms_tests::story::{Run, in_namespace, program};

const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";

/// `EFI_CERT_X509_GUID`, as it stands in memory.
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];

/// A certificate by openssl, DER.
fn certificate(dir: &Path, name: &str) -> Vec<u8> {
    let (key, out) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.der")));
    let made = Command::new("openssl")
        .args([
            "req", "-new", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "9", "-outform", "DER",
        ])
        .args(["-subj", &format!("/CN={name}/"), "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&out)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(out).expect("a certificate")
}

/// A variable with attributes and one signature list for each certificate, as mokutil and shim write them.
fn variable(certificates: &[&[u8]]) -> Vec<u8> {
    let mut bytes = 7u32.to_le_bytes().to_vec();
    for certificate in certificates {
        let entry = 16 + u32::try_from(certificate.len()).expect("small");
        bytes.extend(X509);
        for number in [28 + entry, 0, entry] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([0x42; 16]);
        bytes.extend(*certificate);
    }
    bytes
}

struct Machine(tempfile::TempDir);

impl Machine {
    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }

    fn variable(&self, name: &str, certificates: &[&[u8]]) {
        self.put(
            &format!("sys/firmware/efi/efivars/{name}-{SHIM}"),
            &variable(certificates),
        );
    }

    fn mok(&self, words: &[&str]) -> Run {
        let root = self.0.path().display().to_string();
        let words = [&["--root", &root, "mok"], words].concat();
        Run::of(&mut program(&words.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }

    fn state(&self) -> String {
        let document = self.mok(&["status", "--json"]).document();
        document["state"].as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn the_state_of_the_key_is_read_from_efi_variables() {
    let machine = Machine(tempfile::tempdir().expect("a directory"));
    let (ours, other) = (
        certificate(machine.0.path(), "ours"),
        certificate(machine.0.path(), "other"),
    );
    assert_eq!(machine.state(), "no-key");
    machine.put("var/lib/dkms/mok.pub", &ours);
    assert_eq!(machine.state(), "no-firmware");
    machine.variable("MokListRT", &[&other]);
    assert_eq!(machine.state(), "none");
    machine.variable("MokNew", &[&other, &ours]);
    let run = machine.mok(&["status"]);
    run.assert(0, &["state: pending", "next: restart, choose `Enroll MOK`"]);
    machine.variable("MokListRT", &[&other, &ours]);
    assert_eq!(machine.state(), "enrolled");

    // Ubuntu's key is another one.
    machine.put("etc/os-release", b"ID=ubuntu\nID_LIKE=debian\n");
    assert_eq!(machine.state(), "no-key");
    machine.put("var/lib/shim-signed/mok/MOK.der", &other);
    let run = machine.mok(&["status"]);
    run.assert(0, &["state: enrolled", "/var/lib/shim-signed/mok/MOK.der"]);
}

#[test]
fn the_certificate_is_exported_as_it_is_and_an_image_is_not_enrolled() {
    let machine = Machine(tempfile::tempdir().expect("a directory"));
    let out = machine.0.path().join("for-the-factory.der");
    let name = out.display().to_string();
    machine
        .mok(&["export", &name])
        .assert(2, &["there is no certificate at", "hint: dkms generate_mok"]);
    let ours = certificate(machine.0.path(), "ours");
    machine.put("var/lib/dkms/mok.pub", &ours);
    machine
        .mok(&["export", &name, "--check"])
        .assert(0, &[&format!("would write the certificate to {name}")]);
    assert!(!out.exists());
    let document = machine.mok(&["export", &name, "--check", "--json"]).document();
    assert_eq!(document["check"], true, "{document}");
    machine
        .mok(&["export", &name])
        .assert(0, &[&format!("wrote the certificate to {name}")]);
    let stick = machine.0.path().join("stick");
    let run = machine.mok(&["export", &stick.join("key.der").display().to_string()]);
    run.assert(1, &["there is no directory", "hint: if it is on a medium"]);
    assert!(!stick.exists());
    let sha256 = machine.mok(&["status", "--json"]).document()["sha256"].clone();
    let openssl = Command::new("openssl")
        .args([
            "x509",
            "-inform",
            "DER",
            "-noout",
            "-fingerprint",
            "-sha256",
            "-in",
            &name,
        ])
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&openssl.stdout).replace(':', "").to_lowercase();
    let (_, fingerprint) = text.trim().split_once('=').expect("a fingerprint");
    assert_eq!(sha256, fingerprint);
    machine
        .mok(&["enroll"])
        .assert(2, &["an image has no firmware that could accept a key", "hint:"]);
}

/// On this machine's own root, where nothing is written; only mokutil is a program of ours.
#[test]
fn enrolment_says_what_it_would_do_as_a_document_too() {
    let before = "mount -t tmpfs none /usr/local/sbin\n\
         printf '#!/bin/sh\\nexit 1\\n' >/usr/local/sbin/mokutil; chmod 755 /usr/local/sbin/mokutil\n\
         mount -t tmpfs none /var/lib\n\
         mount -t tmpfs none /sys/firmware; mkdir -p /sys/firmware/efi/efivars\n";
    let with_variables = format!("{before}echo >/sys/firmware/efi/efivars/BootOrder-1; exec \"$@\"");
    let without = format!("{before}exec \"$@\"");
    let enroll_by = |script: &str, more: &[&str]| {
        let words = [&["mok", "enroll", "--hash-file", "/dev/null", "--check"], more].concat();
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Run::of(&mut in_namespace(script, &words))
    };
    let enroll = |more: &[&str]| enroll_by(&with_variables, more);
    // Nothing can be asked there, so no key is made for it.
    enroll_by(&without, &[]).assert(2, &["EFI variables"]);
    enroll(&[]).assert(
        0,
        &[
            "would make a key and ask the firmware to accept",
            "state: there is no key yet",
        ],
    );
    let run = enroll(&["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    Schemas::default().check_lines("fetch-mok", &run.stdout);
    let document = run.document();
    assert_eq!(
        (&document["check"], &document["state"]),
        (&true.into(), &"no-key".into()),
        "{document}"
    );
}
