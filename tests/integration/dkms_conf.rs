//! A sample of Debian's dkms.confs means to us what it means to Debian's dkms. All of them: `make test-full`.

use dkms_engine::conf::{ConfContext, evaluate};
use dkms_tests::dkms::upstream_conf::{differences, sources_of};
use dkms_tests::inputs;

#[test]
fn confs_with_logic_in_them_evaluate_as_by_debian() {
    // Sources the kernel's .config; many modules; patches; nothing but assignments.
    let sample = [
        "v4l2loopback-dkms_0.12.7",
        "xtrx-dkms",
        "langford-dkms_0.0.20130228-6.3",
        "tp-smapi-dkms_0.43",
        "r8168-dkms",
    ];
    let (compared, different) = differences(&sample.map(inputs::deb));
    assert_eq!(compared, sample.len() * 2);
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn the_parser_of_plain_confs_agrees_with_bash_on_real_ones() {
    let (mut compared, mut different) = (0, Vec::new());
    for deb in inputs::all_debs() {
        let dir = tempfile::tempdir().expect("temp dir");
        for (source, name, version) in sources_of(&deb, dir.path()) {
            let context = ConfContext::without_kernel(&inputs::kernels()[0], "x86_64").of_package(&name, &version);
            let as_shipped = evaluate(&source, &context);
            // A command makes the same conf one that only bash reads.
            let conf = source.join("dkms.conf");
            let text = std::fs::read_to_string(&conf).expect("conf");
            std::fs::write(&conf, format!("{text}\n:\n")).expect("write");
            let by_bash = evaluate(&source, &context);
            compared += 1;
            if format!("{as_shipped:?}") != format!("{by_bash:?}") {
                different.push(format!("{name}/{version}: {as_shipped:#?}\n{by_bash:#?}"));
            }
        }
    }
    assert!(compared >= 10, "only {compared} confs were compared");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
