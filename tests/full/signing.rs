//! A key in a PKCS #11 token: the kernels' own sign-file signs with it, told by framework.conf alone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dkms_tests::dkms::{Hello, Machine, Program};
use dkms_tests::inputs;

/// The key of the token below, with its PIN.
const URI: &str = "pkcs11:token=mok;object=key;type=private;pin-value=1234";

/// What ends a signed module (include/linux/module_signature.h), and the bytes of the numbers before it.
const MAGIC: &[u8] = b"~Module signature appended~\n";
const NUMBERS_LEN: usize = 12;

/// A token in software with one key, and a process that serves it: its library uses OpenSSL, as sign-file does, and would meet itself there.
struct Token {
    dir: tempfile::TempDir,
    server: Child,
}

impl Token {
    fn new() -> Token {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("tokens")).expect("directory");
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\n",
            path("tokens").display()
        );
        std::fs::write(path("softhsm.conf"), conf).expect("write");
        let openssl = |words: &str| run(Command::new("openssl").current_dir(dir.path()).args(words.split(' ')));
        openssl(
            "req -new -x509 -nodes -newkey rsa:2048 -days 10 -subj /CN=in-a-token -keyout key.pem -out certificate.pem",
        );
        openssl("x509 -in certificate.pem -outform DER -out certificate.der");
        openssl("pkcs8 -topk8 -nocrypt -in key.pem -out key.p8");
        let library = part("libsofthsm2.so");
        let softhsm = |words: &str| {
            let mut command = Command::new(part("softhsm2-util"));
            command
                .env("SOFTHSM2_CONF", path("softhsm.conf"))
                .current_dir(dir.path());
            run(command.arg("--module").arg(&library).args(words.split(' ')));
        };
        softhsm("--init-token --free --label mok --so-pin 0000 --pin 1234");
        softhsm("--import key.p8 --token mok --label key --id 01 --pin 1234");
        for name in ["key.pem", "key.p8"] {
            std::fs::remove_file(path(name)).expect("the key is in the token alone");
        }
        let server = Command::new(part("p11-kit-server"))
            .env("SOFTHSM2_CONF", path("softhsm.conf"))
            .args(["--foreground", "--provider"])
            .arg(library)
            .arg("--name")
            .arg(path("socket"))
            .arg("pkcs11:token=mok")
            .stdout(Stdio::null())
            .spawn()
            .expect("p11-kit-server");
        let mut token = Token { dir, server };
        while !token.path("socket").exists() {
            let ended = token.server.try_wait().expect("the server");
            assert!(ended.is_none(), "p11-kit-server ended: {ended:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        token
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What tells OpenSSL how to get at the token.
    fn environment(&self) -> Vec<String> {
        let providers = part("pkcs11.so");
        vec![
            format!("OPENSSL_MODULES={}", providers.parent().unwrap_or(&providers).display()),
            format!("PKCS11_PROVIDER_MODULE={}", part("p11-kit-client.so").display()),
            format!("P11_KIT_SERVER_ADDRESS=unix:path={}", self.path("socket").display()),
        ]
    }

    /// Whether `signature` is this key's over `content`.
    fn signed(&self, content: &[u8], signature: &[u8]) -> bool {
        let (data, signed) = (self.path("content"), self.path("signature"));
        std::fs::write(&data, content).expect("write");
        std::fs::write(&signed, signature).expect("write");
        let mut command = Command::new("openssl");
        command.args([
            "cms",
            "-verify",
            "-binary",
            "-noverify",
            "-inform",
            "DER",
            "-out",
            "/dev/null",
        ]);
        command.arg("-in").arg(signed).arg("-content").arg(data);
        command.arg("-certfile").arg(self.path("certificate.pem"));
        command.output().expect("openssl").status.success()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // It is ours, and it may have ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A file of the packages that `scripts/setup.sh full` unpacks.
fn part(name: &str) -> PathBuf {
    let dir = inputs::dir().join("peers/token");
    let found = walkdir::WalkDir::new(&dir).into_iter().filter_map(Result::ok);
    let mut found = found.filter(|entry| entry.file_type().is_file() && entry.file_name() == name);
    let file = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {}\nhint: scripts/setup.sh full", dir.display()));
    file.into_path()
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// The module in `dir`, as make built it, and the signature at its end.
fn taken_apart(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let file = std::fs::read_dir(dir)
        .expect("modules")
        .flatten()
        .map(|entry| entry.path());
    let mut file = file.filter(|path| path.display().to_string().contains(".ko"));
    let file = file.next().expect("a module");
    let module = if file.extension().is_some_and(|e| e == "xz") {
        Command::new("xz").arg("-dc").arg(&file).output().expect("xz").stdout
    } else {
        std::fs::read(&file).expect("the module")
    };
    let rest = module.strip_suffix(MAGIC).expect("a signed module");
    let (rest, numbers) = rest.split_at(rest.len() - NUMBERS_LEN);
    let len = u32::from_be_bytes(numbers[NUMBERS_LEN - 4..].try_into().expect("four bytes"));
    let (content, signature) = rest.split_at(rest.len() - usize::try_from(len).expect("a length"));
    (content.to_vec(), signature.to_vec())
}

#[test]
fn sign_file_signs_with_a_key_in_a_token() {
    let token = Token::new();
    for release in inputs::kernels() {
        let machine = Machine::new(Program::Ours);
        machine.add_kernel(&release);
        Hello::quick("hello", "1").put(&machine);
        let conf = format!("mok_signing_key='{URI}'\nmok_certificate=/etc/dkms/certificate.der\n");
        machine.write("etc/framework.conf", conf);
        machine.write(
            "etc/certificate.der",
            std::fs::read(token.path("certificate.der")).expect("certificate"),
        );
        let environment = token.environment();
        let mut words = vec!["env"];
        words.extend(environment.iter().map(String::as_str));
        words.extend(["dkms", "build", "hello/1", "-k", &release]);
        let outcome = machine.run(&words);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
        let dir = format!("dkms/hello/1/{release}/{}/module", std::env::consts::ARCH);
        let (mut content, signature) = taken_apart(&machine.path(&dir));
        assert!(token.signed(&content, &signature), "{release}");
        content[0] ^= 1;
        assert!(!token.signed(&content, &signature), "{release}: something else");

        // A PIN is nobody's business; the module stays as it was when the token says no.
        machine.write(
            "etc/framework.conf",
            format!("mok_signing_key='{URI}5'\nmok_certificate=/etc/dkms/certificate.der\n"),
        );
        words.push("--force");
        let outcome = machine.run(&words);
        assert!(outcome.stderr.contains("pin-value=…"), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("12345"), "{}", outcome.stderr);
    }
}
