//! EFI variables of shim, as efivarfs shows them: four bytes of attributes, then the value.

use std::fs::{self, File};
use std::io::Read;

use dkms_engine::root::Root;

/// Where efivarfs is mounted.
const DIR: &str = "/sys/firmware/efi/efivars";
/// Whose variables those of shim are, and those of the firmware's signature databases (`EFI_IMAGE_SECURITY_DATABASE_GUID` of the kernel's
/// efi.h).
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";
const DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// The largest firmware has 64 KiB for all variables, and shim splits its list.
const MAX_BYTES: u64 = 1 << 20;
/// shim writes MokListRT, MokListRT1, … where one variable cannot hold the list.
const PARTS_MAX: usize = 16;

/// `EFI_CERT_X509_GUID`, a5c059a1-94e4-4aa7-87b5-ab155c2bf072, in the byte order of UEFI.
const X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];
/// The head of an `EFI_SIGNATURE_LIST`: type, three lengths.
const HEAD: usize = 28;
/// Each entry begins with the GUID of who added it.
const OWNER: usize = 16;

/// The certificates, DER, that shim lets the kernel trust.
pub(super) fn enrolled(root: &Root) -> Vec<Vec<u8>> {
    let parts = (0..PARTS_MAX).map(|n| match n {
        0 => "MokListRT".to_owned(),
        n => format!("MokListRT{n}"),
    });
    let values = parts.map_while(|name| value(root, &name, SHIM));
    values.flat_map(|value| certificates(&value)).collect()
}

/// The certificates in the firmware's own database.
pub(super) fn in_database(root: &Root) -> Vec<Vec<u8>> {
    value(root, "db", DATABASE)
        .map(|value| certificates(&value))
        .unwrap_or_default()
}

/// The certificates that wait for MokManager at the next start.
pub(super) fn pending(root: &Root) -> Vec<Vec<u8>> {
    value(root, "MokNew", SHIM)
        .map(|value| certificates(&value))
        .unwrap_or_default()
}

/// Whether shim tells the kernel to trust its list for modules (`mokutil --trust-mok`); `None` where it does not say.
pub(super) fn list_is_trusted(root: &Root) -> Option<bool> {
    value(root, "MokListTrustedRT", SHIM)?.first().map(|byte| *byte == 1)
}

/// Whether there are EFI variables at all. The kernel makes the directory also where efivarfs is not mounted.
pub(super) fn are_there(root: &Root) -> bool {
    fs::read_dir(root.join(DIR)).is_ok_and(|mut variables| variables.next().is_some())
}

fn value(root: &Root, name: &str, vendor: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(root.join(format!("{DIR}/{name}-{vendor}"))).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    bytes.get(4..).map(<[u8]>::to_vec)
}

/// The X.509 certificates of a row of `EFI_SIGNATURE_LIST`s (UEFI 2.10, 32.4.1). What does not add up ends the row.
fn certificates(mut lists: &[u8]) -> Vec<Vec<u8>> {
    let number = |bytes: &[u8], at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(word)).ok()
    };
    let mut found = Vec::new();
    loop {
        let (Some(list), Some(header), Some(entry)) = (number(lists, 16), number(lists, 20), number(lists, 24)) else {
            return found;
        };
        let begin = HEAD.saturating_add(header);
        if list > lists.len() || list < begin || entry <= OWNER {
            return found;
        }
        if lists[..16] == X509 {
            let entries = lists[begin..list].chunks_exact(entry);
            found.extend(entries.map(|one| one[OWNER..].to_vec()));
        }
        lists = &lists[list..];
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A variable as efivarfs shows it, with one certificate a list, as mokutil writes it.
    pub(crate) fn variable(certificates: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![7, 0, 0, 0];
        for certificate in certificates {
            let entry = u32::try_from(OWNER + certificate.len()).expect("small");
            bytes.extend(X509);
            bytes.extend((entry + 28).to_le_bytes());
            bytes.extend(0u32.to_le_bytes());
            bytes.extend(entry.to_le_bytes());
            bytes.extend([9; OWNER]);
            bytes.extend(*certificate);
        }
        bytes
    }

    #[test]
    fn lists_are_read_and_nonsense_ends_them() {
        let check = |bytes: &[u8], expected: &[&[u8]]| assert_eq!(certificates(bytes), expected);
        let two = variable(&[b"first", b"second one"]);
        check(&two[4..], &[b"first", b"second one"]);
        // A list of hashes between two of certificates.
        let mut hashes = two[4..4 + 28 + 16 + 5].to_vec();
        hashes[0] = 0;
        check(&[&hashes, &two[4..]].concat(), &[b"first", b"second one"]);
        check(&[], &[]);
        check(&two[4..two.len() - 1], &[b"first"]);
        let mut endless = two[4..].to_vec();
        endless[16..20].fill(0);
        check(&endless, &[]);
        endless[16..20].fill(0xff);
        check(&endless, &[]);
        let mut no_entry = two[4..].to_vec();
        no_entry[24..28].fill(0);
        check(&no_entry, &[]);
        no_entry[20..24].fill(0xff);
        check(&no_entry, &[]);
    }
}
