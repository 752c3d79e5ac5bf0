//! The overview as an OpenMetrics text: for the text file collector of a monitoring system.

use dkms_support::openmetrics::Metrics;

use super::Overview;

/// The text, with its end mark.
pub fn text(overview: &Overview) -> String {
    let mut out = Metrics::default();
    out.family("dkms_fetch_devices", "Devices of the machine by their verdict.");
    for kernel in &overview.kernels {
        for (verdict, count) in Overview::verdicts(kernel) {
            out.sample(
                "dkms_fetch_devices",
                &[("kernel", &kernel.release), ("verdict", verdict)],
                count as f64,
            );
        }
    }
    out.family("dkms_fetch_kernel_running", "Whether the kernel is the one that runs.");
    for kernel in &overview.kernels {
        let running = f64::from(u8::from(kernel.running));
        out.sample("dkms_fetch_kernel_running", &[("kernel", &kernel.release)], running);
    }
    out.family(
        "dkms_fetch_package",
        "Packages in the DKMS tree; 1 where nothing is wrong with them.",
    );
    for one in &overview.installed {
        let good = f64::from(u8::from(one.problems.is_empty()));
        let labels = [
            ("package", one.package.as_str()),
            ("version", &one.version),
            ("kernel", &one.kernel),
            ("state", &one.state),
        ];
        out.sample("dkms_fetch_package", &labels, good);
    }
    out.family(
        "dkms_fetch_failed",
        "Packages that failed on this machine and are not tried again.",
    );
    out.sample("dkms_fetch_failed", &[], overview.failed.len() as f64);
    out.family("dkms_fetch_held", "Packages that are held.");
    out.sample("dkms_fetch_held", &[], overview.held.len() as f64);
    out.family(
        "dkms_fetch_repository_packages",
        "Package versions in the index of a repository.",
    );
    for one in &overview.repositories {
        let labels = [("repository", one.name.as_str())];
        out.sample("dkms_fetch_repository_packages", &labels, one.packages as f64);
    }
    let expires = "dkms_fetch_repository_expires_timestamp_seconds";
    out.family(expires, "When the index of a repository stops being fresh.");
    for one in &overview.repositories {
        let at = one.expires.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        if let Some(at) = at {
            out.sample(expires, &[("repository", &one.name)], at.as_second() as f64);
        }
    }
    let last = "dkms_fetch_last_change_timestamp_seconds";
    out.family(last, "When the machine was last changed.");
    if let Some(entry) = overview.history.last() {
        out.sample(last, &[], entry.at.as_second() as f64);
    }
    let made = "dkms_fetch_report_timestamp_seconds";
    out.family(made, "When this report was made.");
    out.sample(made, &[], overview.time.as_second() as f64);
    out.end()
}
