//! The kernels of a command line, each with its architecture.

use clap::ArgMatches;

use super::words::check_component;
use crate::dkms_cli::request::{KernelName, Kernels};
use crate::dkms_cli::usage::UsageError;

/// `-k`, `-a` and `--all`: which kernels are meant.
pub(super) fn read(matches: &ArgMatches) -> Result<Kernels, UsageError> {
    let given = |id: &str| -> Vec<String> { matches.get_many::<String>(id).into_iter().flatten().cloned().collect() };
    // `-k K/A` counts as a `-k K` and an `-a A`, as upstream counts.
    let (mut releases, mut arches) = (Vec::new(), given("arch"));
    for text in given("kernelver") {
        match text.split_once('/') {
            Some((release, arch)) => {
                releases.push(release.to_owned());
                arches.push(arch.to_owned());
            }
            None => releases.push(text),
        }
    }
    if releases.iter().chain(&arches).any(String::is_empty) {
        return Err(UsageError::EmptyKernel);
    }
    for (names, what) in [(&releases, "kernel"), (&arches, "machine architecture")] {
        names.iter().try_for_each(|name| check_component(name, what))?;
    }
    if arches.len() > 1 && arches.len() != releases.len() {
        return Err(UsageError::ArchesDoNotFit {
            arches: arches.len(),
            kernels: releases.len(),
        });
    }
    match (matches.get_flag("all"), releases.is_empty(), arches.is_empty()) {
        (true, false, _) => return Err(UsageError::AllAndKernel),
        (true, true, false) => return Err(UsageError::AllAndArch),
        (true, true, true) => return Ok(Kernels::EveryBuilt),
        (false, true, _) => return Ok(Kernels::Running { arch: arches.pop() }),
        (false, false, _) => {}
    }
    if releases.iter().any(|release| release == "all") {
        return Ok(Kernels::EveryKernel);
    }
    let arch_of = |index: usize| {
        if arches.len() == 1 {
            arches.first()
        } else {
            arches.get(index)
        }
        .cloned()
    };
    let named = releases.into_iter().enumerate();
    Ok(Kernels::Named(
        named
            .map(|(index, release)| KernelName {
                release,
                arch: arch_of(index),
            })
            .collect(),
    ))
}
