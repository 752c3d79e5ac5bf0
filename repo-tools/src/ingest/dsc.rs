//! Debian source packages (dsc(5)): a .dsc and the archives beside it that it names with their checksums.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use deb822_fast::{Deb822, Paragraph};
use sha2::{Digest, Sha256};

use super::control::{first_line, without_epoch};
use super::error::{IngestError, Problem};
use super::origin::Origin;
use super::patches::Patch;
use super::tree::{Entry, Limits, RawTree};
use super::{license, packed};

/// A source package that was put together, without its patches.
#[derive(Debug)]
pub(super) struct Unpatched {
    pub(super) origin: Origin,
    pub(super) raw: RawTree,
    pub(super) patches: Vec<Patch>,
    pub(super) notes: Vec<String>,
}

/// Whether a file with this name is taken for a source package.
pub(super) fn is_dsc(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "dsc")
}

/// Reads the package of the .dsc at `path`. Its signature is not checked: whose key would count is not known here.
pub(super) fn read(path: &Path, text: &[u8], limits: Limits) -> Result<Unpatched, IngestError> {
    let refused = |problem| IngestError::Refused {
        path: path.to_owned(),
        problem,
    };
    let text: Deb822 = unarmored(&String::from_utf8_lossy(text))
        .parse()
        .map_err(|_| refused(malformed("it is not a list of fields")))?;
    let fields = text.iter().next().ok_or_else(|| refused(malformed("it is empty")))?;
    let mut left = limits.packed_bytes;
    let mut files = Vec::new();
    for (name, sha256) in names(fields).map_err(refused)? {
        if name.ends_with(".asc") {
            continue;
        }
        let bytes = file(&path.with_file_name(&name), left, &sha256)?;
        left -= bytes.len() as u64;
        files.push((name, bytes));
    }
    put_together(fields, files, limits).map_err(refused)
}

/// The text between the lines of a signature, if there is one.
fn unarmored(text: &str) -> String {
    let Some((_, signed)) = text.split_once("-----BEGIN PGP SIGNED MESSAGE-----") else {
        return text.to_owned();
    };
    let body = signed.lines().skip_while(|line| !line.trim().is_empty()).skip(1);
    let body = body.take_while(|line| !line.starts_with("-----BEGIN PGP SIGNATURE-----"));
    body.map(|line| format!("{}\n", line.strip_prefix("- ").unwrap_or(line)))
        .collect()
}

/// The files of the package with their SHA-256.
fn names(fields: &Paragraph) -> Result<Vec<(String, String)>, Problem> {
    let list = fields
        .get("Checksums-Sha256")
        .ok_or_else(|| malformed("it has no field Checksums-Sha256"))?;
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [sha256, _, name] if !name.contains('/') && !name.starts_with('.') => {
                Ok(((*name).to_owned(), (*sha256).to_owned()))
            }
            _ => Err(malformed(&format!("it has a line that names no file: {line:?}"))),
        })
        .collect()
}

fn file(path: &Path, most_bytes: u64, sha256: &str) -> Result<Vec<u8>, IngestError> {
    let mut bytes = Vec::new();
    // Reading a pipe or a device may never end.
    let is_file = fs::metadata(path).map(|meta| meta.is_file());
    let open = is_file.and_then(|is_file| {
        if is_file {
            File::open(path)
        } else {
            Err(std::io::Error::other("it is not a file"))
        }
    });
    open.and_then(|file| file.take(most_bytes + 1).read_to_end(&mut bytes))
        .map_err(|source| IngestError::Read {
            path: path.to_owned(),
            source,
        })?;
    let refused = |problem| IngestError::Refused {
        path: path.to_owned(),
        problem,
    };
    if bytes.len() as u64 > most_bytes {
        return Err(refused(Problem::TooLarge(most_bytes)));
    }
    if !hex::encode(Sha256::digest(&bytes)).eq_ignore_ascii_case(sha256) {
        return Err(refused(Problem::Malformed(
            "it is not the file that the .dsc names: its SHA-256 is another one".to_owned(),
        )));
    }
    Ok(bytes)
}

fn put_together(fields: &Paragraph, files: Vec<(String, Vec<u8>)>, limits: Limits) -> Result<Unpatched, Problem> {
    let (mut raw, mut debian, mut patches) = (None, None, Vec::new());
    let mut components = Vec::new();
    for (name, bytes) in files {
        if let Some((_, component)) = name.split_once(".orig-") {
            let component = component.split(".tar").next().unwrap_or_default().to_owned();
            components.push((component, packed::read(&bytes, limits)?.below_single_top()));
        } else if name.contains(".debian.tar") {
            debian = Some(packed::read(&bytes, limits)?);
        } else if let Some(plain) = name.strip_suffix(".diff.gz") {
            let text = super::compress::whole(&bytes, limits.of_archive(bytes.len()).total_bytes)?;
            patches.push(Patch {
                name: format!("{plain}.diff"),
                text,
                strip: 1,
            });
        } else if name.contains(".tar") {
            if raw.is_some() {
                return Err(malformed("it names two archives of the source"));
            }
            raw = Some(packed::read(&bytes, limits)?.below_single_top());
        } else {
            return Err(malformed(&format!(
                "it names the file {name:?}, which is none of a source package"
            )));
        }
    }
    let mut raw = raw.ok_or_else(|| malformed("it names no archive of the source"))?;
    for (component, tree) in components {
        raw.remove(&component);
        raw.graft(&component, tree)?;
    }
    if let Some(debian) = debian {
        // As dpkg-source does: upstream's own directory of this name goes.
        raw.remove("debian");
        raw.graft("", debian)?;
        patches.extend(series(&raw)?);
    }
    let origin = origin(fields, &raw);
    Ok(Unpatched {
        origin,
        raw,
        patches,
        notes: Vec::new(),
    })
}

/// The patches of quilt's series, as dpkg-source applies them.
fn series(raw: &RawTree) -> Result<Vec<Patch>, Problem> {
    let series = ["debian/patches/debian.series", "debian/patches/series"];
    let Some(series) = series.iter().find_map(|path| text_of(raw, path)) else {
        return Ok(Vec::new());
    };
    let lines = series
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default().trim());
    let mut patches = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let strip = match words.next() {
            None | Some("-p1") => 1,
            Some("-p0") => 0,
            Some(other) => return Err(malformed(&format!("its series has the option {other} for {name}"))),
        };
        let Some(Entry::File { bytes, .. }) = raw.get(&format!("debian/patches/{name}")) else {
            return Err(malformed(&format!("its series names {name}, which is not there")));
        };
        patches.push(Patch {
            name: name.to_owned(),
            text: bytes.clone(),
            strip,
        });
    }
    Ok(patches)
}

fn origin(fields: &Paragraph, raw: &RawTree) -> Origin {
    let control = text_of(raw, "debian/control").and_then(|text| text.parse::<Deb822>().ok());
    let summary = control.as_ref().and_then(|control| {
        let is_dkms = |package: &&Paragraph| first_line(package, "package").ends_with("-dkms");
        control
            .iter()
            .find(is_dkms)
            .map(|package| first_line(package, "description").to_owned())
    });
    Origin {
        version: fields
            .get("version")
            .map(|version| without_epoch(version.trim()).to_owned()),
        summary: summary.unwrap_or_default(),
        homepage: first_line(fields, "homepage").to_owned(),
        license: text_of(raw, "debian/copyright")
            .as_deref()
            .and_then(license::from_copyright)
            .unwrap_or_default(),
        ..Origin::default()
    }
}

/// A source package often has its dkms.conf as `debian/NAME.dkms`, where `dh_dkms` takes it from and puts the version in; it belongs to the
/// top directory then. `debian/` itself stays out: it is not part of what is built.
pub(super) fn with_conf_of_dh_dkms(unpatched: &mut Unpatched) -> Result<(), Problem> {
    let raw = &mut unpatched.raw;
    if raw.get("dkms.conf").is_some() {
        return Ok(());
    }
    let confs: Vec<String> = raw
        .paths()
        .filter(|path| {
            path.strip_prefix("debian/")
                .is_some_and(|name| name.ends_with(".dkms") && !name.contains('/'))
        })
        .map(str::to_owned)
        .collect();
    let [path] = confs.as_slice() else {
        return Ok(());
    };
    let Some(text) = text_of(raw, path).filter(|text| text.contains("PACKAGE_NAME")) else {
        return Ok(());
    };
    let version = unpatched.origin.version.clone().unwrap_or_default();
    let upstream = version
        .rsplit_once('-')
        .map_or(version.as_str(), |(upstream, _)| upstream);
    let entry = Entry::File {
        bytes: text.replace("#MODULE_VERSION#", upstream).into_bytes(),
        executable: false,
    };
    unpatched
        .notes
        .push(format!("takes {path} for its dkms.conf, as dh_dkms does"));
    raw.insert(b"dkms.conf", entry)
}

fn text_of(raw: &RawTree, path: &str) -> Option<String> {
    match raw.get(path) {
        Some(Entry::File { bytes, .. }) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn malformed(what: &str) -> Problem {
    Problem::Malformed(format!("not a sound source package: {what}"))
}
