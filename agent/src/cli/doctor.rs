//! `doctor`: checks what a run needs, with a suggested fix for each finding.

use anstyle::{AnsiColor, Style};
use dkms_engine::command::find_program;
use dkms_engine::kernel::{KernelOptions, KernelTarget};
use dkms_engine::root::Root;
use dkms_engine::sandbox::{Layers, Policy};
use dkms_support::chain;
use dkms_support::terminal::printable;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use crate::apply;
use crate::exit::Exit;
use crate::mok::{Enrolment, Key};
use crate::report::Document;
use crate::report::progress::{print_json, print_styled, print_text};
use crate::state::records::Records;

/// Less free space than this is too little to build in.
const SPACE_MIN_BYTES: u64 = 512 << 20;

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    what: String,
    good: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Finding {
    fn good(what: &str, detail: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            good: true,
            detail: detail.into(),
            hint: None,
        }
    }

    fn bad(what: &str, detail: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            what: what.to_owned(),
            good: false,
            detail: detail.into(),
            hint,
        }
    }
}

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let mut findings = vec![repositories(context), index(context)?, records(context)];
    match context.kernels() {
        Ok(releases) => releases
            .iter()
            .for_each(|release| findings.extend(kernel(context, release))),
        Err(failure) => findings.push(Finding::bad("kernel", failure.to_string(), failure.hint())),
    }
    findings.extend([
        signatures(context),
        sandbox(Layers::here(), context.config.policy.sandbox),
        space(context),
    ]);
    let exit = if findings.iter().all(|finding| finding.good) {
        Exit::Converged
    } else {
        Exit::Failed
    };
    if context.options.json {
        print_json(&Document::new("doctor", exit, json!({ "findings": findings })));
    } else {
        findings.iter().for_each(show);
    }
    Ok(exit)
}

fn show(finding: &Finding) {
    let (word, colour) = if finding.good {
        ("good", AnsiColor::Green)
    } else {
        ("bad", AnsiColor::Red)
    };
    let style = Style::new().fg_color(Some(colour.into())).bold();
    print_styled(format_args!(
        "{style}{word:<5}{style:#} {:<12} {}",
        finding.what,
        printable(&finding.detail)
    ));
    if let Some(hint) = &finding.hint {
        print_text(format_args!("{:18} hint: {hint}", ""));
    }
}

fn repositories(context: &Context) -> Finding {
    match context.require_repository() {
        Ok(()) => {
            let names: Vec<String> = context.config.repositories.iter().map(|r| r.name.to_string()).collect();
            Finding::good("repositories", names.join(", "))
        }
        Err(failure) => Finding::bad("repositories", failure.to_string(), failure.hint()),
    }
}

/// Whether there is an index, and whether it is fresh.
fn index(context: &Context) -> Result<Finding, Failure> {
    let Ok(index) = context.index() else {
        return Ok(Finding::bad("index", "without a repository there is none", None));
    };
    let summaries = index.summaries()?;
    let stale = summaries
        .iter()
        .find(|s| s.expires.is_some_and(|expires| expires < context.now));
    let sync = || Some("dkms-fetch sync".to_owned());
    Ok(if summaries.len() < context.config.repositories.len() {
        Finding::bad("index", "not every repository has one in the cache", sync())
    } else if let Some(stale) = stale {
        let expired = stale.expires.unwrap_or_default();
        let days = context.now.duration_since(expired).max(SignedDuration::ZERO).as_hours() / 24;
        Finding::bad(
            "index",
            format!("that of {} expired {days} days ago, by this clock", stale.repository),
            sync(),
        )
    } else {
        let packages: u64 = summaries.iter().map(|summary| summary.packages).sum();
        Finding::good("index", format!("{packages} package versions"))
    })
}

fn records(context: &Context) -> Finding {
    match Records::open_to_read(&context.paths) {
        Ok(_) => Finding::good("records", context.paths.records().display().to_string()),
        Err(error) => Finding::bad("records", chain(&error), error.hint()),
    }
}

/// A place for modules, headers and compiler.
fn kernel(context: &Context, release: &str) -> Vec<Finding> {
    let mut findings = Vec::from_iter(
        apply::read_only(context.root(), release).map(|failure| Finding::bad("modules", failure.reason, failure.hint)),
    );
    findings.extend(tools(context, release));
    findings
}

fn tools(context: &Context, release: &str) -> Vec<Finding> {
    match KernelTarget::find(context.root(), release, &KernelOptions::default()) {
        Err(error) => vec![Finding::bad("headers", chain(&error), error.hint())],
        Ok(target) => {
            let borrowed = if target.borrowed { " (this machine's)" } else { "" };
            let headers = Finding::good(
                "headers",
                format!("of {release}: {}{borrowed}", target.headers.display()),
            );
            vec![headers, compiler(context, &target), make(&target)]
        }
    }
}

fn compiler(context: &Context, target: &KernelTarget) -> Finding {
    let toolchain = target.toolchain();
    match &toolchain.present {
        Some(present) => Finding::good("compiler", present.clone()),
        None => {
            let wanted = toolchain.wanted.as_deref().unwrap_or(&toolchain.cc);
            let program = wanted.split_whitespace().next().unwrap_or("gcc");
            let hint = context.host.distribution.install_command(program);
            Finding::bad(
                "compiler",
                format!("none is installed; the kernel was built with {wanted}"),
                Some(hint),
            )
        }
    }
}

fn make(target: &KernelTarget) -> Finding {
    let tools = target.chroot().map_or_else(Root::host, Root::at);
    match find_program(&tools, "make") {
        Some(make) => Finding::good("make", make.display().to_string()),
        None => Finding::bad(
            "make",
            "it is not installed",
            Some(target.distribution.install_command("make")),
        ),
    }
}

fn signatures(context: &Context) -> Finding {
    if !context.root().is_host() {
        return Finding::good("signatures", "the machines made from this image decide");
    }
    if !context.host.signatures.required() {
        return Finding::good("signatures", "not demanded");
    }
    match super::mok::look(context) {
        Ok(key) => signing_key(&key),
        Err(failure) => Finding::bad("signatures", failure.to_string(), failure.hint()),
    }
}

/// Whether this machine, which loads only signed modules, loads those that the key signs.
fn signing_key(key: &Key) -> Finding {
    let certificate = key.certificate.display();
    let state = key.words();
    let detail = format!("only modules signed by a key that this machine knows are loaded; {certificate}: {state}");
    let hint = match key.state {
        Enrolment::NoFirmware => Some(
            "without UEFI no key can be enrolled: start the kernel without module.sig_enforce=1 and lockdown"
                .to_owned(),
        ),
        _ => key.next_step(true),
    };
    if key.is_accepted() {
        Finding::good("signatures", detail)
    } else {
        Finding::bad("signatures", detail, hint)
    }
}

/// What confines packages while they are evaluated and built.
fn sandbox(layers: &Layers, policy: Policy) -> Finding {
    let parts: Vec<String> = [layers.to_string()].into_iter().chain(layers.missing()).collect();
    let detail = parts.join("; ");
    let Some(refusal) = layers.no_sandbox() else {
        return Finding {
            hint: layers.hint(),
            ..Finding::good("sandbox", detail)
        };
    };
    match policy {
        Policy::Required => Finding::bad("sandbox", detail, refusal.hint()),
        Policy::Optional => Finding {
            hint: refusal.hint(),
            ..Finding::good("sandbox", format!("{detail}; the policy allows it"))
        },
    }
}

fn space(context: &Context) -> Finding {
    let var = context.root().join("/var");
    // A fresh image has no /var yet.
    let dir = var.ancestors().find(|dir| dir.exists()).unwrap_or(&var);
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB free below {}", free >> 20, dir.display());
            if free < SPACE_MIN_BYTES {
                Finding::bad("space", detail, Some(format!("free some: `df -h {}`", dir.display())))
            } else {
                Finding::good("space", detail)
            }
        }
        Err(error) => Finding::bad("space", format!("{}: {error}", dir.display()), None),
    }
}

#[cfg(test)]
mod tests {
    use dkms_engine::sandbox::Confinement;

    use super::*;
    use crate::mok::Place;

    #[test]
    fn a_key_that_the_machine_does_not_accept_is_told() {
        let check = |state, list_trusted, good, detail: &str, hint: Option<&str>| {
            let place = (state == Enrolment::Enrolled).then_some(Place::MokList);
            let finding = signing_key(&Key {
                certificate: "/k/mok.pub".into(),
                sha256: None,
                state,
                place,
                list_trusted,
            });
            assert_eq!(finding.good, good, "{}", finding.detail);
            assert!(
                finding.detail.ends_with(&format!("/k/mok.pub: {detail}")),
                "{}",
                finding.detail
            );
            match hint {
                Some(hint) => assert!(
                    finding.hint.as_deref().is_some_and(|text| text.contains(hint)),
                    "{:?}",
                    finding.hint
                ),
                None => assert_eq!(finding.hint, None),
            }
        };
        let enroll = Some("dkms-fetch mok enroll");
        check(Enrolment::Enrolled, Some(true), true, "enrolled", None);
        check(Enrolment::Enrolled, None, true, "enrolled", None);
        check(
            Enrolment::Enrolled,
            Some(false),
            false,
            "enrolled in shim's list, which the kernel is told not to trust",
            Some("mokutil --trust-mok"),
        );
        check(
            Enrolment::Pending,
            None,
            false,
            "pending: the next start asks",
            Some("choose `Enroll MOK`"),
        );
        check(
            Enrolment::None,
            None,
            false,
            "the firmware was not asked to accept it",
            enroll,
        );
        check(
            Enrolment::Declined,
            None,
            false,
            "declined: it was asked for, and the machine was started since",
            enroll,
        );
        check(Enrolment::NoKey, None, false, "there is no key yet", enroll);
        check(
            Enrolment::NoFirmware,
            None,
            false,
            "this machine has no EFI variables",
            Some("module.sig_enforce=1"),
        );
    }

    #[test]
    fn the_sandbox_is_told_with_what_is_missing_and_the_way_out() {
        let check = |reason: Option<&str>, landlock, confinement, policy, good, beginning: &str| {
            let layers = Layers {
                confinement,
                no_mount_namespace: reason.map(str::to_owned),
                landlock,
                seccomp: true,
                own_user: true,
            };
            let finding = sandbox(&layers, policy);
            assert_eq!(finding.good, good, "{}", finding.detail);
            assert!(finding.detail.starts_with(beginning), "{}", finding.detail);
            assert!(
                finding.detail.contains(reason.unwrap_or_default()),
                "{}",
                finding.detail
            );
            assert_eq!(finding.hint.is_some(), reason.is_some(), "{}", finding.detail);
        };
        let refused = Some("bwrap: No permissions");
        check(
            None,
            true,
            Confinement::MountNamespace,
            Policy::Required,
            true,
            "mount, PID, network",
        );
        check(
            refused,
            true,
            Confinement::Landlock,
            Policy::Required,
            true,
            "Landlock, a user",
        );
        check(
            refused,
            false,
            Confinement::User,
            Policy::Required,
            false,
            "neither namespaces nor Landlock",
        );
        check(
            refused,
            false,
            Confinement::User,
            Policy::Optional,
            true,
            "neither namespaces nor Landlock",
        );
    }
}
