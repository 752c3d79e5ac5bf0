use dkms_engine::root::Root;

use super::*;
use crate::config::{Name, Repository};
use crate::sync::Network;
use crate::transport::fake::{Server, answer, ok, run, short};
use crate::transport::{Options, Transport};

const CONTENT: &str = "the source of a driver";

struct Machine {
    dir: tempfile::TempDir,
    paths: Paths,
    transport: Transport,
}

fn machine() -> Machine {
    let dir = tempfile::tempdir().unwrap();
    Machine {
        paths: Paths::of(&Root::at(dir.path())),
        transport: Transport::new(Options {
            backoff: Duration::from_millis(5),
            ..Options::default()
        }),
        dir,
    }
}

impl Machine {
    fn wanted(&self, content: &str) -> Wanted {
        let sha256 = hex::encode(Sha256::digest(content));
        let below = format!("{}/{sha256}", &sha256[..2]);
        Wanted {
            package: "ddcci-0.4.5".into(),
            path: self.paths.bundles().join(&below),
            remote: format!("bundles/sha256/{below}"),
            length: content.len() as u64,
            sha256,
        }
    }

    fn download(&self, servers: &[&Server], network: Network) -> Result<String, FetchError> {
        let repository = Repository {
            name: Name::try_from("acme".to_owned()).unwrap(),
            file: "acme.toml".into(),
            urls: servers.iter().map(|s| s.url.clone()).collect(),
            root: "root.json".into(),
            priority: 0,
            enabled: true,
        };
        let session = Session::new(&repository, &self.paths, &self.transport, network);
        let wanted = self.wanted(CONTENT);
        let mut file = run(wanted.download(&session, &mut |_| {}))?;
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(
            fs::read_to_string(&wanted.path).unwrap(),
            text,
            "what is verified is what is stored"
        );
        assert_eq!(fs::read_dir(wanted.directory()).unwrap().count(), 1, "no part is left");
        Ok(text)
    }

    fn put_part(&self, content: &str) {
        let wanted = self.wanted(CONTENT);
        fs::create_dir_all(wanted.directory()).unwrap();
        fs::write(wanted.path.with_extension("part"), content).unwrap();
    }
}

#[test]
fn a_bundle_is_fetched_by_its_hash() {
    let server = Server::new(vec![ok(CONTENT)]);
    assert_eq!(machine().download(&[&server], Network::Online).unwrap(), CONTENT);
    let sha256 = hex::encode(Sha256::digest(CONTENT));
    let expected = format!("get /bundles/sha256/{}/{sha256} http/1.1", &sha256[..2]);
    assert!(server.seen()[0].starts_with(&expected));
}

#[test]
fn a_download_of_an_earlier_run_goes_on() {
    let machine = machine();
    machine.put_part("the source");
    let rest = answer(
        "206 Partial Content",
        "Content-Range: bytes 10-21/22\r\n",
        " of a driver",
    );
    let server = Server::new(vec![rest]);
    assert_eq!(machine.download(&[&server], Network::Online).unwrap(), CONTENT);
    assert!(server.seen()[0].contains("range: bytes=10-"));
}

#[test]
fn a_part_that_is_whole_needs_no_request() {
    let machine = machine();
    machine.put_part(CONTENT);
    let server = Server::new(vec![]);
    assert_eq!(machine.download(&[&server], Network::Online).unwrap(), CONTENT);
}

#[test]
fn a_part_of_something_else_is_thrown_away() {
    let machine = machine();
    machine.put_part("rubbish!!!");
    let rest = answer(
        "206 Partial Content",
        "Content-Range: bytes 10-21/22\r\n",
        " of a driver",
    );
    let server = Server::new(vec![rest, ok(CONTENT)]);
    assert_eq!(machine.download(&[&server], Network::Online).unwrap(), CONTENT);
    machine.wanted(CONTENT).stored().unwrap().expect("it is in the store");
}

#[test]
fn one_flipped_byte_is_refused_and_nothing_is_kept() {
    let machine = machine();
    let server = Server::new(vec![ok("the source of a driveR")]);
    let error = machine.download(&[&server], Network::Online).unwrap_err();
    assert!(matches!(error, FetchError::Hash { .. }) && error.is_trust(), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(fs::read_dir(machine.wanted(CONTENT).directory()).unwrap().count(), 0);
}

#[test]
fn another_mirror_makes_up_for_a_bad_one() {
    let bad = Server::new(vec![ok("the source of a driveR")]);
    let good = Server::new(vec![ok(CONTENT)]);
    assert_eq!(machine().download(&[&bad, &good], Network::Online).unwrap(), CONTENT);
}

#[test]
fn more_than_the_manifest_says_is_not_taken() {
    let server = Server::new(vec![ok(&CONTENT.repeat(2))]);
    let error = machine().download(&[&server], Network::Online).unwrap_err();
    assert!(error.is_trust(), "{error}");
}

#[test]
fn what_came_before_an_interruption_is_kept_for_later() {
    let machine = machine();
    let drops = |from: usize| {
        let text = &CONTENT[from..from + 2];
        let head = format!("Content-Range: bytes {from}-21/22\r\n");
        let whole = String::from_utf8(answer("206 Partial Content", &head, text)).unwrap();
        // It promises the rest and hangs up.
        whole
            .replace("Content-Length: 2", &format!("Content-Length: {}", 22 - from))
            .into_bytes()
    };
    let server = Server::new(vec![short(22, "th"), drops(2), drops(4), drops(6)]);
    let error = machine.download(&[&server], Network::Online).unwrap_err();
    assert!(
        matches!(error, FetchError::Transport { .. }) && !error.is_trust(),
        "{error}"
    );
    let part = machine.wanted(CONTENT).path.with_extension("part");
    assert_eq!(fs::read_to_string(part).unwrap(), "the sour");
}

#[test]
fn a_damaged_bundle_in_the_store_is_fetched_again() {
    let machine = machine();
    let wanted = machine.wanted(CONTENT);
    fs::create_dir_all(wanted.directory()).unwrap();
    fs::write(&wanted.path, "the source of a drivel").unwrap();
    assert!(wanted.stored().unwrap().is_none());
    assert!(!wanted.path.exists());
    drop(machine.dir);
}

#[test]
fn offline_there_is_only_the_store() {
    let machine = machine();
    let server = Server::new(vec![]);
    let error = machine.download(&[&server], Network::Offline).unwrap_err();
    assert!(
        matches!(error, FetchError::NotCached { .. }) && error.is_offline(),
        "{error}"
    );
}
