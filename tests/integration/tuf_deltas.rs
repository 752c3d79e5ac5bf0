//! An index that changed a little costs a little: deltas from the states before.

use anyhow::{Context, Result, bail};
use dkms_index::document::record::Record;
use dkms_index::trust::{Answer, SegmentWant};
use dkms_repo::publish::lines;
use dkms_repo::publish::segments::{self, Base, Segment};
use dkms_tests::repo::{Client, Mirror, TestRepo};
use dkms_tests::synthetic::Synthetic;

/// Stages some packages whose records are long enough for a delta to be worth its entry.
pub(crate) fn stage(repo: &TestRepo, names: std::ops::Range<u32>) -> Result<()> {
    for n in names {
        let aliases: Vec<String> = (0..40)
            .map(|i| {
                format!(
                    "usb:v{:04X}p{:04X}d*dc*dsc*dp*ic*isc*ip*in*",
                    n * 37 % 65536,
                    (n * 7919 + i * 104_729) % 65536
                )
            })
            .collect();
        let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
        repo.stage(&format!("driver-{n:03}"), "1", "curated", &aliases)?;
    }
    Ok(())
}

/// What the client has to fetch for the index, and the decoded segment it ends with.
pub(crate) fn fetch(repo: &TestRepo, mirror: &Mirror, held: Option<&[u8]>) -> Result<(Vec<String>, Vec<u8>)> {
    let metadata = Client::new(repo.pinned()?).refresh(mirror, repo.now)?;
    let names: Vec<String> = held.iter().map(|bytes| segments::decoded_sha256(bytes)).collect();
    let (mut fetch, mut fetched, mut decoded) = (metadata.fetch_index(&names)?, Vec::new(), Vec::new());
    while let Some(want) = fetch.want()? {
        let segment = match want {
            SegmentWant::Held { .. } => fetch.feed_held(held.context("held")?.to_vec()),
            SegmentWant::Delta { file, .. } => {
                let bytes = mirror.files.get(&file.path).context("delta")?;
                fetched.push("delta".to_owned());
                fetch.feed_delta(Answer::Bytes(bytes), held.context("base")?)
            }
            SegmentWant::Download(file) => {
                let bytes = mirror.files.get(&file.path).context("segment")?;
                fetched.push("segment".to_owned());
                fetch.feed(Answer::Bytes(bytes))
            }
        };
        match segment {
            Ok(segment) => decoded = segment.decoded().to_vec(),
            // A delta that fails must lead to the segment, and a held copy that is damaged too.
            Err(_) if fetched.len() < 3 => {}
            Err(e) => bail!(e),
        }
    }
    fetch.finish()?;
    Ok((fetched, decoded))
}

#[test]
fn a_client_with_any_of_the_last_states_downloads_a_delta() -> Result<()> {
    let repo = TestRepo::new()?;
    stage(&repo, 0..40)?;
    repo.publish(0)?;
    let mut states = vec![fetch(&repo, &repo.mirror()?, None)?.1];
    for n in 40..43 {
        stage(&repo, n..n + 1)?;
        repo.publish(0)?;
        states.push(fetch(&repo, &repo.mirror()?, None)?.1);
    }
    let mirror = repo.mirror()?;
    let newest = states.pop().context("a state")?;
    for (age, old) in states.iter().enumerate() {
        assert_eq!(
            fetch(&repo, &mirror, Some(old))?,
            (vec!["delta".to_owned()], newest.clone()),
            "state {age}"
        );
    }
    assert_eq!(
        fetch(&repo, &mirror, Some(&newest))?,
        (vec![], newest.clone()),
        "nothing is fetched twice"
    );
    assert_eq!(fetch(&repo, &mirror, Some(b"unknown\n"))?.0, ["segment"]);

    // Without changes, the deltas stay; the smallest of them is a small part of the segment.
    assert!(repo.publish(0)?.signed.is_empty());
    let size = |suffix: &str| {
        mirror
            .files
            .iter()
            .filter(|(p, _)| p.ends_with(suffix))
            .map(|(_, b)| b.len())
            .min()
    };
    let (delta, segment) = (
        size(".delta").context("deltas")?,
        size("packages-000.jsonl.zst").context("segments")?,
    );
    assert!(delta * 4 < segment || delta < 600, "{delta} of {segment}");

    // A delta with any flipped bit is refused, and the segment is downloaded instead.
    let path = mirror
        .files
        .keys()
        .filter(|p| p.ends_with(".delta"))
        .cloned()
        .collect::<Vec<_>>();
    let mut hostile = mirror.clone();
    for path in path {
        hostile.files.entry(path).and_modify(|bytes| bytes[9] ^= 4);
    }
    assert_eq!(
        fetch(&repo, &hostile, Some(&states[2]))?,
        (vec!["delta".to_owned(), "segment".to_owned()], newest)
    );
    Ok(())
}

fn segments_of(records: &[Record]) -> Result<Vec<Vec<u8>>> {
    let lines = lines::of(records)?;
    let runs = segments::cut(&lines, 16 << 20)?.into_iter();
    Ok(runs.map(|run| Segment::of(&lines[run]).decoded().to_vec()).collect())
}

#[test]
fn one_percent_of_ten_thousand_packages_is_less_than_twenty_kilobytes() -> Result<()> {
    let mut synthetic = Synthetic::new(7);
    let mut records: Vec<Record> = (0..10_000).map(|n| Record::Package(synthetic.package(n))).collect();
    let old = segments_of(&records)?;
    // A hundred packages have a new trial build, and a new version of their source.
    for record in records.iter_mut().step_by(100) {
        if let Record::Package(package) = record {
            package.summary.push_str(" (now also for newer kernels)");
            package.bundle.length += 1;
            package.bundle.sha256 = segments::decoded_sha256(package.bundle.sha256.as_bytes());
        }
    }
    let new = segments_of(&records)?;
    assert_eq!(old.len(), new.len());
    let mut total = 0;
    for (number, (old, new)) in old.into_iter().zip(&new).enumerate() {
        let path = segments::path(number);
        let (_, delta) = segments::delta(&path, &Base::of(old), new, new.len() as u64)?.context("a delta")?;
        total += delta.len();
    }
    let decoded: usize = new.iter().map(Vec::len).sum();
    // Beside it: a timestamp of 0.5 kB, a snapshot of 1 kB, and the index role with 0.17 kB for each of 16 deltas.
    let metadata = 2_500 + new.len() * 16 * 170;
    assert!(
        decoded > 15_000_000 && total + metadata < 20_000,
        "{total} + {metadata} bytes for {decoded}"
    );
    Ok(())
}
