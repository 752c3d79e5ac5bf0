use super::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn check(text: &str, device: &str, expected: bool) {
    let device: Modalias = device.parse().unwrap();
    assert_eq!(pattern(text).matches(&device), expected, "{text} on {device}");
}

#[test]
fn both_ends_are_anchored_and_a_star_crosses_everything() {
    check("platform:a", "platform:a", true);
    check("platform:a", "platform:ab", false);
    check("platform:a", "xplatform:a", false);
    check("acpi*:PNP0C0A:*", "acpi:PNP0C0A:", true);
    check("acpi*:PNP0C0A:*", "acpi:LNXSYSTM:PNP0C0A:X:", true);
    check("acpi*:PNP0C0A:*", "acpi:PNP0C0", false);
    check("dmi*:bd*2007:*", "dmi:bvnX:bd09/19/2007:svnY:", true);
    check("*", "of:N/T:C", true);
    check("a**b*", "axxb", true);
    check("a*b*c", "abbc-abc", true);
    check("a*bc", "abcbcd", false);
}

#[test]
fn single_bytes_sets_and_escapes() {
    check("a?c", "abc", true);
    check("a?c", "ac", false);
    check("*?", "x", true);
    check("d[0-9]x", "d7x", true);
    check("d[0-9]x", "dAx", false);
    check("d[!0-9]x", "dAx", true);
    check("d[^0-9]x", "d7x", false);
    check("d[]x]", "d]", true);
    check("d[!]x]", "d]", false);
    check("d[a-]x", "d-x", true);
    check(r"d[\]]x", "d]x", true);
    check(r"a\*c", "a*c", true);
    check(r"a\*c", "abc", false);
    check(r"[a\-c]", "b", false);
    check("[c-a]", "b", false);
}

#[test]
fn an_unclosed_bracket_is_literal() {
    check("a[bc", "a[bc", true);
    check("a[bc", "ab", false);
    check("*[", "x[", true);
    check("a[*", "a[anything", true);
}

#[test]
fn case_is_never_folded() {
    check("usb:v1234p*d00[0-9]*dc*", "usb:v1234p5678d0001dc00", true);
    check("usb:v1234p*d00[0-9]*dc*", "usb:v1234pD005d1234dc00", false);
    check("usb:v1234pabcd*", "usb:v1234pABCD", false);
}

#[test]
fn the_device_is_never_a_pattern() {
    check("dmi:*:rnX[1]:*", r"dmi:a:rnX[1]:b", false);
    check(r"dmi:*:rnX\[1]:*", r"dmi:a:rnX[1]:b", true);
    check("dmi:x", "dmi:*", false);
    check("dmi:?", r"dmi:\", true);
}

#[test]
fn strings_of_real_machines_survive() {
    check(
        "dmi*:svn*MICRO-STARINT'LCO.,LTD*:*",
        "dmi:bvn:svnMICRO-STARINT'LCO.,LTD:pnX:",
        true,
    );
    check(
        "dmi:*:rnROGMAXIMUSXIHERO(WI-FI):*",
        "dmi:x:rnROGMAXIMUSXIHERO(WI-FI):y",
        true,
    );
    check("dmi:*:[bs]vnD[Ee][Ll][Ll]*:*", "dmi:a:svnDELLInc.:pn:", true);
    check("dmi*:bvrI[MU]ET??WW*", "dmi:bvrIMET33WW(1.1):", true);
    check("dmi:*:pnU90/U100:*", "dmi:svnX:pnU90/U100:pvr", true);
    check(
        "pci:v000015B3d0000A2D[236CF]sv*sd*bc*sc*i*",
        "pci:v000015B3d0000A2DCsv0sd0bc02sc00i00",
        true,
    );
    check("mei:*:05b7-uuid:*:*", "mei::05b7-uuid:01:", true);
    check("of:N*T(null)Cgpio-leds", "of:NledsT(null)Cgpio-leds", true);
    check(
        "of:N*T*Cfsl,imx6q-uartC*",
        "of:NserialT(null)Cfsl,imx6q-uartCfsl,imx21-uart",
        true,
    );
}

#[test]
fn hostile_patterns_are_refused() {
    let check = |text: String, expected: PatternError| assert_eq!(Pattern::parse(&text), Err(expected), "{text}");
    check(String::new(), PatternError::Empty);
    check("x".repeat(513), PatternError::TooLong(513));
    check("*a".repeat(65), PatternError::TooManyStars(65));
    check("a\nb".into(), PatternError::Control(b'\n'));
    check("a\0b".into(), PatternError::Control(0));
    check(r"a\\\".into(), PatternError::TrailingBackslash);
    check("x[[:alpha:]]".into(), PatternError::CharacterClass);
    check("x[a[=b=]]".into(), PatternError::CharacterClass);
    assert!(Pattern::parse(r"a\\").is_ok());
    assert!(Pattern::parse("x[:]").is_ok());
}

#[test]
fn matching_cannot_blow_up() {
    let hostile = pattern(&format!("{}b", "*a".repeat(64)));
    let device = Modalias::parse("a".repeat(4096)).unwrap();
    let start = std::time::Instant::now();
    assert!(!hostile.matches(&device));
    assert!(
        start.elapsed() < std::time::Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn literal_parts() {
    let check = |text: &str, prefix: &str, literals: &[&str]| {
        let pattern = pattern(text);
        assert_eq!(pattern.literal_prefix(), prefix.as_bytes(), "{text}");
        let found: Vec<String> = pattern
            .literals()
            .into_iter()
            .map(|l| String::from_utf8(l).unwrap())
            .collect();
        assert_eq!(found, literals, "{text}");
    };
    check(
        "pci:v000010ECd00008168sv*sd*",
        "pci:v000010ECd00008168sv",
        &["pci:v000010ECd00008168sv", "sd"],
    );
    check("acpi*:PNP0C0A:*", "acpi", &["acpi", ":PNP0C0A:"]);
    check("mdio:0011????", "mdio:0011", &["mdio:0011"]);
    check("a[b]c[d", "a", &["a", "c"]);
    check(r"a\*b?[]]c", "a", &["a*b", "c"]);
    check("*", "", &[]);
}

#[test]
fn the_vendor_counts_only_when_it_is_spelt_out() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(
            pattern(text).vendor_id().map(|id| id.to_string()).as_deref(),
            expected,
            "{text}"
        );
    };
    check("pci:v000010ECd00008168sv*sd*bc*sc*i*", Some("pci-10ec"));
    check("pci:v000010ECd*sv*sd*bc02sc80i*", Some("pci-10ec"));
    check("pci:v000010EC*", Some("pci-10ec"));
    check("pci:v*d*sv*sd*bc02sc80i*", None);
    check("pci:v000010E[CD]d*", None);
    check("pci:v000010E*d00008168sv*sd*bc*sc*i*", None);
    check("pci*:v000010ECd00008168sv*sd*bc*sc*i*", None);
    check("vfio_pci:v000010ECd00008168sv*sd*bc*sc*i*", None);
    check("pci:v123410ECd00008168sv*sd*bc*sc*i*", None);
    check("usb:v046DpC52Bd*dc*dsc*dp*ic*isc*ip*in*", Some("usb-046d"));
    check("usb:v046DpC52Bd00[0-4]*dc*dsc*dp*ic*isc*ip*in*", Some("usb-046d"));
    check("hid:b0003g*v0000046Dp0000C52B", Some("hid-046d"));
    check("hid:b*v0000046Dp0000C52B", None);
    check("sdio:c*v02D0d4324*", Some("sdio-02d0"));
    check("acpi*:PNP0C0A:*", None);
    check("virtio:d00000001v*", None);
}

#[test]
fn fields_of_patterns() {
    let check = |text: &str, field: &str, expected: Option<FieldValue>| {
        assert_eq!(
            pattern(text).fields().and_then(|f| f.get(field)),
            expected,
            "{text}: {field}"
        );
    };
    let broad = "usb:v*p*d*dc*dsc*dp*ic03isc01ip02in*";
    check(broad, "v", Some(FieldValue::Any));
    check(broad, "ic", Some(FieldValue::Fixed(3)));
    check(
        "usb:v1234p0001d00[0-9]*dc*dsc*dp*ic*isc*ip*in*",
        "d",
        Some(FieldValue::Partly),
    );
    check(
        "usb:v1234p0001d0*dc*dsc*dp*ic*isc*ip*in*",
        "d",
        Some(FieldValue::Partly),
    );
    check("pci:v00001234*", "bc", Some(FieldValue::Any));
    check("pci:v00001234d*sc07*", "v", None);
    check("hid:b0003g*v0000046Dp*", "p", Some(FieldValue::Any));
    check("acpi*:PNP0C0A:*", "v", None);
}

#[test]
fn problems_that_publishers_should_see() {
    let check = |text: &str, expected: &[PatternProblem]| assert_eq!(pattern(text).problems(), expected, "{text}");
    check("pci:v000010ECd00008168sv*sd*bc*sc*i*", &[]);
    check("pci:v000010ecd00008168sv*sd*bc*sc*i*", &[PatternProblem::LowerCaseHex]);
    check("pci:v*d*sv*sd*bc02sc80i*", &[PatternProblem::AnyVendor]);
    check("pci:v00001234d*sv*sd*bc02sc80i*", &[PatternProblem::AnyDevice]);
    check("usb:v046Dp*d*dc*dsc*dp*ic*isc*ip*in*", &[PatternProblem::AnyDevice]);
    check("virtio:d00000001v*", &[]);
    check("acpi*:PNP0C0A:*", &[]);
    check("platform:a[b", &[PatternProblem::UnpairedBracket]);
    check("platform:ab]", &[PatternProblem::UnpairedBracket]);
    check("*", &[PatternProblem::NoBus]);
}
