//! A stolen index key, which may only help to find packages and never decide what is installed.

use anyhow::{Context, Result};
use dkms_index::document::record::{PackageRecord, Record};
use dkms_index::document::{canonical, segment};
use dkms_repo::publish::Published;
use dkms_repo::publish::segments::{self, Index, Segment};
use dkms_tests::story::{Source, Story};

use super::forge;

/// Publishes an index in which the record of `name` was changed, signed with the online keys and no other.
fn publish_changed(story: &Story, name: &str, change: impl Fn(&mut PackageRecord)) -> Result<()> {
    let mut mirror = story.repo.mirror()?;
    let path = segments::path(0);
    let published = Published::load(&story.repo.public())?;
    let target = &published.roles["index"].signed.targets[&path];
    let custom = target.custom.as_ref().context("custom data")?;
    let length = custom["decoded_length"].as_u64().context("a length")?;
    let file = format!("targets/{}", target.file_path(&path));
    let mut records = segment::read(&segment::decode(&mirror.files[&file], length)?).records;
    for record in &mut records {
        if let Record::Package(package) = record
            && package.name == name
        {
            change(package);
        }
    }
    let lines: Vec<Vec<u8>> = records.iter().map(canonical::to_bytes).collect::<Result<_, _>>()?;
    let lines = lines
        .iter()
        .flat_map(|line| [&line[..], b"\n"].concat())
        .collect::<Vec<u8>>();
    let (target, bytes) = Segment::of_bytes(lines).compress(&Index::default())?;
    mirror
        .files
        .insert(format!("targets/{}", target.file_path(&path)), bytes);
    forge(&story.repo, &mut mirror, "index", |targets| {
        targets.targets.retain(|path, _| !path.ends_with(".delta"));
        targets.targets.insert(path, target);
    })?;
    for (path, bytes) in &mirror.files {
        let file = story.repo.public().join(path);
        std::fs::create_dir_all(file.parent().context("a directory")?)?;
        std::fs::write(file, bytes)?;
    }
    Ok(())
}

#[test]
fn a_signed_package_that_no_device_needs_is_not_installed() -> Result<()> {
    let story = Story::new();
    story.add("edu", "1.0", 0x11e8, Source::Good);
    // For another device, which this machine does not have.
    story.add("other", "1.0", 0x11ea, Source::Good);
    story.publish();
    publish_changed(&story, "edu", |record| {
        record.recipe.build_depends = vec!["other".to_owned()]
    })?;
    let run = story.auto(&[]);
    run.assert(4, &["differ in recipe.build_depends"]);
    for name in ["edu", "other"] {
        assert!(!story.module(name).exists(), "{name}\n{}", run.stderr);
        assert!(!story.path(&format!("usr/src/{name}-1.0")).exists(), "{name}");
    }
    Ok(())
}

#[test]
fn the_index_cannot_change_where_and_how_a_package_is_installed() -> Result<()> {
    type Change = fn(&mut PackageRecord);
    let check = |field: &str, change: Change| -> Result<()> {
        let story = Story::with_driver();
        publish_changed(&story, "edu", change)?;
        let run = story.auto(&[]);
        run.assert(4, &[&format!("differ in {field}")]);
        assert!(!story.module("edu").exists(), "{field}");
        Ok(())
    };
    check("recipe.kernel_min", |record| {
        record.recipe.kernel_min = Some("2.6".to_owned())
    })?;
    check("modules", |record| record.modules.push("another".to_owned()))?;
    check("conflicts", |record| record.conflicts = vec!["unrelated".to_owned()])
}
