//! `watch`: does what `--auto` does, now and whenever a device without a driver appears. For a terminal; packages have a udev rule.

use std::collections::BTreeSet;

use super::args::{Cli, Common};
use super::context::Context;
use super::failure::Failure;
use crate::device::{self, hotplug};
use crate::exit::Exit;
use crate::report::progress::ProgressEvent;
use crate::runtime::Runtime;

/// Runs until a signal arrives.
///
/// # Errors
/// When the first run shows that no other would succeed, or nothing can be heard of devices.
pub(super) fn run(cli: &Cli) -> Result<Exit, Failure> {
    let options = &cli.common;
    if options.root.is_some() || options.devices.is_some() || !options.kernel.is_empty() {
        return Err(Failure::WatchesThisMachine);
    }
    let context = Context::new(options, jiff::Timestamp::now())?;
    context.require_repository()?;
    let runtime = Runtime::new().map_err(Failure::Runtime)?;
    // Before the first run: what is plugged in during one has its turn after it.
    let events = hotplug::Hotplug::listen().map_err(Failure::Hotplug)?;
    let mut known = run_once(options, &runtime)?;
    loop {
        context.reporter.report(ProgressEvent::Watching);
        runtime.run(events.appeared())?;
        if !hotplug::without_driver(&device::scan()?).is_subset(&known) {
            known = run_once(options, &runtime)?;
        }
    }
}

/// One run; a failure of it is told. Returns the devices that had no driver before it and have none now: they start no run again.
fn run_once(options: &Common, runtime: &Runtime) -> Result<BTreeSet<String>, Failure> {
    let before = hotplug::without_driver(&device::scan()?);
    let auto = Cli {
        auto: true,
        common: options.clone(),
        command: None,
    };
    if let Err(failure) = super::run(&auto) {
        if failure.exit() == Exit::Usage {
            return Err(failure);
        }
        super::report(&auto, &failure);
    }
    runtime.check()?;
    let now = hotplug::without_driver(&device::scan()?);
    Ok(before.intersection(&now).cloned().collect())
}
