//! What became of a medium, as a document and as text.

use serde::Serialize;

use crate::candidate::OfferId;
use crate::cli::context::Context;
use crate::cli::devices::show_devices;
use crate::exit::Exit;
use crate::report::progress::{ProgressEvent, print_json, print_text};
use crate::report::{DeviceReport, Document, KernelReport, Warning, count};

/// A source on the medium.
#[derive(Serialize)]
pub(super) struct Carried {
    #[serde(flatten)]
    pub(super) package: OfferId,
    pub(super) sha256: String,
    pub(super) length: u64,
}

/// A repository on the medium.
#[derive(Serialize)]
pub(super) struct Part {
    pub(super) name: String,
    /// Its directory below the medium.
    pub(super) directory: String,
    /// When its signatures expire: after that a machine takes nothing from it, unless its owner allows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<String>,
    pub(super) packages: Vec<Carried>,
}

/// The final document of `media make`.
#[derive(Serialize)]
pub(super) struct Made {
    pub(super) out: String,
    pub(super) label: &'static str,
    pub(super) devices: usize,
    pub(super) kernels: Vec<String>,
    pub(super) repositories: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) toolchain: Option<ToolchainPart>,
    /// For each kernel that leaves some.
    pub(super) not_served: Vec<NotServed>,
    pub(super) warnings: Vec<Warning>,
}

/// What builds need, on the medium.
#[derive(Serialize)]
pub(super) struct ToolchainPart {
    /// `NAME VERSION` of each.
    pub(super) packages: Vec<String>,
    /// Their length in bytes.
    pub(super) length: u64,
}

/// The devices that get nothing from a medium for one kernel.
#[derive(Serialize)]
pub(super) struct NotServed {
    pub(super) kernel: String,
    #[serde(skip)]
    pub(super) arch: String,
    /// Whether it is known which devices the kernel drives by itself: they need nothing, and are not here.
    pub(super) modules_known: bool,
    pub(super) devices: Vec<DeviceReport>,
}

/// What a person should check: an unknown kernel, and a medium that has nothing to install.
pub(super) fn warnings(context: &Context, parts: &[Part], not_served: &[NotServed]) -> Vec<Warning> {
    let unknown = not_served.iter().filter(|one| !one.modules_known);
    let mut warnings: Vec<Warning> = unknown
        .map(|one| Warning {
            text: format!(
                "the modules of kernel {} are not in {}: which devices it drives by itself is not known",
                one.kernel,
                context.root().join("/lib/modules").display()
            ),
            hint: None,
        })
        .collect();
    if parts.iter().all(|part| part.packages.is_empty()) {
        warnings.push(Warning {
            text: "no driver is on the medium: no package may be installed for a device of this machine".to_owned(),
            hint: Some(
                "check --kernel, which is what `uname -r` prints on the machine, and the list of devices".to_owned(),
            ),
        });
    }
    for Warning { text, hint } in warnings.iter().cloned() {
        context.reporter.report(ProgressEvent::Warning { text, hint });
    }
    warnings
}

pub(super) fn finish(context: &Context, made: Made, is_image: bool) -> Exit {
    let exit = Exit::Converged;
    if context.options.json {
        print_json(&Document::new("media", exit, made));
        return exit;
    }
    for part in &made.repositories {
        let bytes: u64 = part.packages.iter().map(|one| one.length).sum();
        let until = part
            .expires
            .as_ref()
            .map(|at| format!(", valid until {at}"))
            .unwrap_or_default();
        print_text(format_args!(
            "repository {}: {} of {bytes} bytes{until}",
            part.name,
            count(part.packages.len(), "source"),
        ));
        for one in &part.packages {
            print_text(format_args!("  {}", one.package));
        }
    }
    if let Some(part) = &made.toolchain {
        print_text(format_args!(
            "toolchain: {} of {} bytes",
            count(part.packages.len(), "package"),
            part.length
        ));
    }
    for one in made.not_served {
        print_text(format_args!(
            "nothing on it for {} with kernel {}:",
            count(one.devices.len(), "device"),
            one.kernel
        ));
        let kernel = KernelReport {
            release: one.kernel,
            arch: one.arch,
            devices: one.devices,
            packages: Vec::new(),
            removals: Vec::new(),
        };
        show_devices(&kernel, context.options.wide);
    }
    let verb = if context.options.check { "would write" } else { "wrote" };
    print_text(format_args!("{verb} {}", made.out));
    if is_image {
        print_text(format_args!(
            "at its first boot a machine finds it by the label {}",
            made.label
        ));
        print_text("later, where it is mounted at /mnt: dkms-fetch --auto --medium /mnt");
    } else {
        print_text(format_args!("on the machine: dkms-fetch --auto --medium {}", made.out));
    }
    exit
}
