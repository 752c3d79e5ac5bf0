//! `explain`: why a device has its verdict, with every package that matches and why it was not chosen.

use std::io::Write as _;

use dkms_index::modalias::Modalias;
use dkms_support::terminal::printable;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::packages;
use super::view::View;
use crate::candidate::Rejected;
use crate::device::{Binding, Device, ids};
use crate::exit::Exit;
use crate::intree::KernelClaim;
use crate::report::Document;
use crate::report::progress::{print_json, print_text};
use crate::state::records::Records;
use crate::verdict::Verdict;

/// The answer for one device and one kernel.
#[derive(Serialize)]
struct Explanation<'a> {
    kernel: &'a str,
    #[serde(flatten)]
    device: &'a Device,
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// The kernel's own modules that claim it, with the pattern.
    in_tree: Vec<Claim<'a>>,
    /// Installed modules that claim it, with the pattern.
    installed: Vec<Claim<'a>>,
    /// Why every other package does not serve it.
    losers: &'a [Rejected],
    /// Whether packages are known.
    #[serde(skip)]
    has_index: bool,
}

#[derive(Serialize)]
struct Claim<'a> {
    module: &'a str,
    pattern: &'a str,
}

impl<'a> Claim<'a> {
    fn of(claim: &'a KernelClaim) -> Self {
        Self {
            module: &claim.module,
            pattern: &claim.pattern,
        }
    }
}

pub(super) fn run(context: &Context, wanted: &str) -> Result<Exit, Failure> {
    let (all, here) = context.devices()?;
    let mut devices: Vec<Device> = all.iter().filter(|device| is_meant(device, wanted)).cloned().collect();
    // A modalias need not be of a device that is here: it explains what would happen.
    if devices.is_empty()
        && wanted.contains(':')
        && let Some(device) = hypothetical(wanted)
    {
        devices.push(device);
    }
    let index = context.any_index();
    let mut package = None;
    if devices.is_empty() {
        let found = packages::find(context, &index, wanted, None);
        let Ok(offer) = found else {
            return Err(Failure::UnknownDevice {
                device: wanted.to_owned(),
            });
        };
        devices = all;
        package = Some(offer.id.name.clone());
    }
    let has_index = !super::warn_without_index(context, &index);
    let records = Records::open_to_read(&context.paths)?;
    let rules = context.rules(&index, &records)?;
    let view = View::open(context, &devices, here, &index, &records)?;
    let mut explanations = Vec::new();
    let mut count = 0;
    for survey in &view.surveys {
        let plan = view.machine.plan(survey, &rules);
        let asks = |n: usize| {
            let is_it = |name: &String| view.machine.matches[n].iter().any(|(offer, _)| offer.id.name == *name);
            package.as_ref().is_none_or(is_it)
        };
        let explained = devices.iter().zip(&plan.decisions).zip(&survey.claims).enumerate();
        for (_, ((device, decision), claims)) in explained.filter(|(n, _)| asks(*n)) {
            count += 1;
            let explanation = Explanation {
                kernel: &survey.kernel.release,
                device,
                verdict: &decision.verdict,
                in_tree: claims.own.iter().map(Claim::of).collect(),
                installed: claims.installed.iter().map(Claim::of).collect(),
                losers: &decision.losers,
                has_index,
            };
            if context.options.json {
                explanations.push(json!(explanation));
            } else {
                // The reader may close the pipe early.
                let _ = anstream::stdout().write_all(explanation.text().as_bytes());
            }
        }
    }
    if context.options.json {
        let body = json!({ "explanations": explanations });
        print_json(&Document::new("explain", Exit::Converged, body));
    } else if let (0, Some(name)) = (count, &package) {
        print_text(format_args!("no device of this machine asks for {name}"));
    }
    Ok(Exit::Converged)
}

impl Explanation<'_> {
    fn text(&self) -> String {
        let bold = anstyle::Style::new().bold();
        let mut text = format!("{bold}{}{bold:#}\n", printable(&self.device.title()));
        let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<10}{}\n", printable(value)));
        line("path", &self.device.path);
        for modalias in &self.device.modaliases {
            line("modalias", &modalias.to_string());
        }
        line("kernel", self.kernel);
        line(
            "bound",
            &match &self.device.binding {
                Binding::Bound { driver, .. } => format!("to {driver}, under the kernel that the device was seen with"),
                Binding::Unbound => "to no driver".to_owned(),
                Binding::NeverBinds => "nothing binds to a device of this kind".to_owned(),
                Binding::Unknown => "not known".to_owned(),
            },
        );
        if self.in_tree.is_empty() {
            line("in-tree", "no module of the kernel claims it");
        }
        for claim in &self.in_tree {
            line("in-tree", &format!("{} by {}", claim.module, claim.pattern));
        }
        for claim in &self.installed {
            line("installed", &format!("{} by {}", claim.module, claim.pattern));
        }
        let detail = match self.verdict {
            Verdict::Unknown if !self.has_index => "no index is cached, so no package is known".to_owned(),
            verdict => verdict.detail(),
        };
        let words = self.verdict.words();
        if detail == words {
            line("verdict", words);
        } else {
            line("verdict", &format!("{words}: {detail}"));
        }
        for loser in self.losers {
            line("not", &loser.to_string());
        }
        text
    }
}

/// Whether `wanted` names this device: by modalias, by numbers, or by the end of its path.
fn is_meant(device: &Device, wanted: &str) -> bool {
    let numbers = wanted.split_once(':').and_then(|(vendor, product)| {
        Some((
            u32::from_str_radix(vendor, 16).ok()?,
            u32::from_str_radix(product, 16).ok()?,
        ))
    });
    device.path == wanted
        || device.path.ends_with(&format!("/{wanted}"))
        || device
            .modaliases
            .iter()
            .any(|modalias| modalias.as_bytes() == wanted.as_bytes() || numbers.is_some() && ids(modalias) == numbers)
}

/// A device of which only the modalias is known.
fn hypothetical(wanted: &str) -> Option<Device> {
    let modalias: Modalias = wanted.parse().ok()?;
    let subsystem = String::from_utf8_lossy(modalias.bus()).into_owned();
    // `1234:5678` is no modalias: those begin with the name of a bus.
    subsystem.contains(|c: char| c.is_ascii_lowercase()).then_some(())?;
    (u32::from_str_radix(&subsystem, 16).is_err()).then(|| Device {
        path: "imagined".to_owned(),
        subsystem,
        modaliases: vec![modalias],
        vendor: None,
        model: None,
        class: None,
        binding: Binding::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_in_several_ways() {
        let device = Device {
            path: "/devices/pci0000:00/0000:00:1c.0/0000:02:00.0".into(),
            ..hypothetical("pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00").unwrap()
        };
        let check = |wanted: &str, expected: bool| assert_eq!(is_meant(&device, wanted), expected, "{wanted}");
        check("10ec:8168", true);
        check("10EC:8168", true);
        check("10ec:8169", false);
        check("0000:02:00.0", true);
        check("02:00.0", false);
        check("pci:v000010ECd00008168sv00001043sd00008677bc02sc00i00", true);
        check("pci:v000010EC", false);
        check("/devices/pci0000:00/0000:00:1c.0/0000:02:00.0", true);
    }

    #[test]
    fn a_modalias_makes_a_device_and_numbers_do_not() {
        assert!(hypothetical("usb:v0403p6001d0600dc00dsc00dp00icFFiscFFipFFin00").is_some());
        assert!(hypothetical("10ec:8168").is_none());
        assert!(hypothetical("0000:02:00.0").is_none());
        assert!(hypothetical("dead:beef").is_none());
    }
}
