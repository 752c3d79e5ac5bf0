//! Tables as drivers write them, and the patterns that come of them.

use super::*;

/// The patterns and the unknown of all tables in one file.
fn read(source: &str) -> (Vec<String>, Vec<String>) {
    let tree = SourceTree::from_files([("driver.c", source)]).unwrap();
    let mut constants = Constants::builtin();
    constants.add_header("#define PCI_VENDOR_ID_ACME 0x1abc\n#define PCI_DEVICE_ID_ACME_ROCKET 0x0007\n");
    let tables = scan(&tree, &constants);
    let patterns = tables.iter().flat_map(|t| t.patterns.iter().cloned()).collect();
    let unknown = tables.iter().flat_map(|t| t.unknown.iter().cloned()).collect();
    (patterns, unknown)
}

fn check(bus: &str, entries: &str, expected: &[&str]) {
    let source = format!(
        "static const struct some_id ids[] __maybe_unused = {{ {entries} }};\nMODULE_DEVICE_TABLE({bus}, ids);\n"
    );
    let (patterns, unknown) = read(&source);
    assert_eq!(patterns, expected, "{entries}");
    assert_eq!(unknown, [""; 0], "{entries}");
}

#[test]
fn pci_tables() {
    let open = "bc*sc*i*";
    check(
        "pci",
        "{ PCI_DEVICE(0x10EE, 0xfae3), .driver_data = 1 }, { 0, }",
        &[&format!("pci:v000010EEd0000FAE3sv*sd*{open}")],
    );
    check(
        "pci",
        "{ PCI_VDEVICE(ACME, 0x10), board }, { PCI_DEVICE_DATA(ACME, ROCKET, &info) }, {}",
        &[
            &format!("pci:v00001ABCd00000007sv*sd*{open}"),
            &format!("pci:v00001ABCd00000010sv*sd*{open}"),
        ],
    );
    check(
        "pci",
        "{ PCI_VENDOR_ID_ACME, 2, PCI_ANY_ID, PCI_ANY_ID, 0, 0, board }, { PCI_VENDOR_ID_ACME, 1, 3, 4 }, { }",
        &[
            "pci:v00001ABCd00000001sv00000003sd00000004bc*sc*i*",
            &format!("pci:v00001ABCd00000002sv*sd*{open}"),
        ],
    );
    check(
        "pci",
        "{ PCI_DEVICE_CLASS(0x028000, 0xffff00) }, {0}",
        &["pci:v*d*sv*sd*bc02sc80i*"],
    );
    check(
        "pci",
        "{ .vendor = 0x1abc, .device = ~0, .subvendor = PCI_ANY_ID, .subdevice = PCI_ANY_ID, .override_only = 1 }, {0}",
        &["vfio_pci:v00001ABCd*sv*sd*bc*sc*i*"],
    );
}

#[test]
fn usb_tables() {
    let none = "dc*dsc*dp*ic*isc*ip*in*";
    check(
        "usb",
        "{ USB_DEVICE(0x0403, 0x6001), .driver_info = (kernel_ulong_t)&quirk }, { }",
        &[&format!("usb:v0403p6001d*{none}")],
    );
    check(
        "usb",
        "{ USB_DEVICE_VER(1, 2, 0x0000, 0x0104) }, { USB_DEVICE_INTERFACE_NUMBER(1, 3, 2) }, { }",
        &[
            &format!("usb:v0001p0002d00*{none}"),
            &format!("usb:v0001p0002d010[0-4]{none}"),
            "usb:v0001p0003d*dc*dsc*dp*ic*isc*ip*in02*",
        ],
    );
    check(
        "usb",
        "{ .match_flags = USB_DEVICE_ID_MATCH_VENDOR | USB_DEVICE_ID_MATCH_INT_CLASS, .idVendor = 5, .bInterfaceClass = USB_CLASS_VENDOR_SPEC }, {}",
        &["usb:v0005p*d*dc*dsc*dp*icFFisc*ip*in*"],
    );
}

#[test]
fn other_tables() {
    check(
        "hid",
        "{ HID_USB_DEVICE(0x5543, 0x42) }, { HID_DEVICE(BUS_I2C, HID_GROUP_MULTITOUCH, 1, HID_ANY_ID) }, { }",
        &["hid:b0003g*v00005543p00000042", "hid:b0018g0002v00000001p*"],
    );
    check(
        "acpi",
        r#"{ "PNP0C14", 0 }, { ACPI_DEVICE_CLASS(0x010601, 0xffff00) }, { "", 0 }"#,
        &["acpi*:0106??:*", "acpi*:PNP0C14:*"],
    );
    check(
        "pnp",
        r#"{ .id = "PNPb02f" }, { .id = "" }"#,
        &["acpi*:PNPB02F:*", "pnp:dPNPb02f*"],
    );
    check(
        "i2c",
        r#"{ "ddcci", 0 }, { "ddcci-dependent", 1 }, {}"#,
        &["i2c:ddcci", "i2c:ddcci-dependent"],
    );
    check(
        "of",
        r#"{ .compatible = "acme,rocket" }, { .type = "x", .compatible = "acme,b" }, { }"#,
        &[
            "of:N*T*Cacme,rocket",
            "of:N*T*Cacme,rocketC*",
            "of:N*Tx*Cacme,b",
            "of:N*Tx*Cacme,bC*",
        ],
    );
    check(
        "sdio",
        "{ SDIO_DEVICE(0x02d0, 0xa9a6) }, { SDIO_DEVICE_CLASS(7) }, {}",
        &["sdio:c*v02D0dA9A6*", "sdio:c07v*d*"],
    );
    check("virtio", "{ 10, VIRTIO_DEV_ANY_ID }, { 0 }", &["virtio:d0000000Av*"]);
}

#[test]
fn macros_of_the_driver_are_followed() {
    let source = r#"
        #define VENDOR 0x1abc
        #define CARD(id, board) { PCI_DEVICE(VENDOR, (id)), .driver_data = board }
        #define ALL CARD(1, A), CARD(2, B)
        static struct pci_device_id table[] = { ALL, CARD(3, C), { } };
        #ifdef MODULE
        MODULE_DEVICE_TABLE(pci, table);
        MODULE_ALIAS("platform:" NAME);
        MODULE_ALIAS("acpi*:ACME0001:*"); MODULE_ALIAS("char-major-10-1");
        #endif
    "#;
    let (patterns, unknown) = read(source);
    assert_eq!(
        patterns,
        [
            "pci:v00001ABCd00000001sv*sd*bc*sc*i*",
            "pci:v00001ABCd00000002sv*sd*bc*sc*i*",
            "pci:v00001ABCd00000003sv*sd*bc*sc*i*",
            "acpi*:ACME0001:*",
        ]
    );
    assert_eq!(unknown, ["NAME"]);
}

#[test]
fn tables_may_be_declared_by_a_macro() {
    let source = "static DEFINE_PCI_DEVICE_TABLE(ids) = { { 0x1abc, 5, PCI_ANY_ID, PCI_ANY_ID }, { 0 } };\n\
                  MODULE_DEVICE_TABLE(pci, ids);";
    assert_eq!(read(source).0, ["pci:v00001ABCd00000005sv*sd*bc*sc*i*"]);
}

#[test]
fn what_is_not_understood_is_said() {
    fn check(source: &str, expected: &str) {
        assert_eq!(read(source), (vec![], vec![expected.to_owned()]), "{source}");
    }
    check("MODULE_DEVICE_TABLE(pci, nowhere);", "where the table is defined");
    check(
        "struct x t[] = { {1} }; MODULE_DEVICE_TABLE(rpmsg, t);",
        "tables of the bus rpmsg",
    );
    check(
        "struct x t[] = { { PCI_DEVICE(FOO, 1) }, {} }; MODULE_DEVICE_TABLE(pci, t);",
        "FOO",
    );
    check(
        "struct x t[] = { MAKE_IDS(1), {} }; MODULE_DEVICE_TABLE(usb, t);",
        "MAKE_IDS",
    );
    check(
        "struct x t[] = { { .vendor }, {} }; MODULE_DEVICE_TABLE(pci, t);",
        "vendor",
    );
}

#[test]
fn a_table_that_a_macro_leaves_open_does_no_harm() {
    let source = "#define M [0] = {\nstruct x t[] = { { M }, M };\nMODULE_DEVICE_TABLE(pci, t);";
    assert_eq!(read(source).0, [""; 0]);
    let source = "#define M [0] = {\n#define N {\nstruct x t[] = { M, [1] = {, [2] = { 1, 2 }, N };\nMODULE_DEVICE_TABLE(pci, t);";
    read(source);
}

#[test]
fn hostile_macros_are_bounded() {
    fn check(source: &str, expected: &str) {
        let begun = std::time::Instant::now();
        let (patterns, unknown) = read(source);
        assert_eq!(patterns, [""; 0]);
        assert!(unknown.iter().any(|text| text.contains(expected)), "{unknown:?}");
        // Far more than it takes, far less than the work that the source asks for.
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
    }
    let table = "struct x t[] = { { A0 } };\nMODULE_DEVICE_TABLE(pci, t);";
    let chain = |name: &str, times: usize, end: &str| -> String {
        let mut text = String::new();
        for level in 0..15 {
            let next = format!("{name}{} ", level + 1);
            text.push_str(&format!("#define {name}{level} {}\n", next.repeat(times)));
        }
        format!("{text}#define {name}15 {end}\n")
    };
    // 30 to the power of 15 expansions to nothing, and to a number.
    check(&format!("{}{table}", chain("A", 30, "")), "too much work");
    check(&format!("{}{table}", chain("A", 30, "1,")), "too many tokens");
    // Macros that expand to one another.
    check(&format!("#define A0 B B\n#define B A0\n{table}"), "too");
    // Arguments that are copied many times over.
    let calls = format!("{}1{}", "D(".repeat(12), ")".repeat(12));
    let nested = format!("#define A0 {calls}\n#define D(x) {}\n", "x ".repeat(1000));
    check(&format!("{nested}{table}"), "too");
    // Names that double.
    let names = format!(
        "#define A0 {}a{}\n#define P(x) x##x##x##x##x##x##x##x\n",
        "P(".repeat(12),
        ")".repeat(12)
    );
    check(&format!("{names}{table}"), "too");
    // Calls without an end, each of which looks for it.
    let open = format!(
        "#define C(x) x\nstruct x t[] = {{ {} }};\nMODULE_DEVICE_TABLE(pci, t);",
        "C(".repeat(50_000)
    );
    read(&open);
    // Tables without a definition, each of which is looked for everywhere.
    let tables: String = (0..20_000)
        .map(|n| format!("MODULE_DEVICE_TABLE(pci, t{n});\n"))
        .collect();
    check(&tables, "where the table is defined");
    // A table whose name is everywhere, each time with a bracket that is never closed.
    let everywhere = format!("{} MODULE_DEVICE_TABLE(pci, t);", "t[ ".repeat(200_000));
    check(&everywhere, "where the table is defined");
    // Long names and texts that macros repeat.
    let long = "n".repeat(400_000);
    let table = "struct x t[] = { { A0 } };\nMODULE_DEVICE_TABLE(i2c, t);";
    check(
        &format!("#define L {long}\n#define A0 {}\n{table}", "L ".repeat(100_000)),
        "n",
    );
    check(
        &format!("#define L \"{long}\"\n#define A0 {}\n{table}", "L ".repeat(100_000)),
        "texts that are too long",
    );
}

#[test]
fn files_belong_to_modules() {
    let modules = ["hid_kye", "hid_uclogic", "ddcci"].map(str::to_owned);
    let check = |file: &str, expected: &str| assert_eq!(module_of(file, &modules), Some(expected), "{file}");
    check("hid-uclogic-core.c", "hid_uclogic");
    check("ddcci/main.c", "ddcci");
    check("other.c", "hid_kye");
    assert_eq!(module_of("x.c", &[]), None);
}
