//! The package that makes a machine trust a repository: its addresses and its pinned root, in the directories below
//! /usr/share/dkms-fetch that are for packages. An administrator overrides or masks both by a file of the same name below /etc.

use std::io;

use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder};
use serde::Serialize;
use url::Url;

use super::deb_archive::{self, Tree};
use super::error::ExportError;
use super::names;
use super::source::{Made, Settings};

/// Where packages put repositories and their roots, as the agent reads them (dkms-fetch-repos(5)).
const SHARE: &str = "usr/share/dkms-fetch";

/// What a machine has to know to trust a repository.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// The repository's name.
    pub name: &'a str,
    /// Its mirrors, the preferred one first.
    pub urls: &'a [Url],
    /// The higher one wins where several repositories serve a device.
    pub priority: i32,
    /// The root that is pinned, as it is published.
    pub root: &'a [u8],
    /// Its version, which is the version of the package.
    pub root_version: u64,
}

/// Paths below `/`, and what is in them.
type Files = [(String, Vec<u8>); 2];

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The file in `repos.d`.
#[derive(Serialize)]
struct RepositoryFile<'a> {
    name: &'a str,
    urls: Vec<&'a str>,
    root: String,
    #[serde(skip_serializing_if = "is_default")]
    priority: i32,
}

fn is_default(priority: &i32) -> bool {
    *priority == 0
}

impl Release<'_> {
    fn package(&self, lower: bool) -> String {
        let name = if lower {
            self.name.to_ascii_lowercase().replace('_', "-")
        } else {
            self.name.to_owned()
        };
        format!("{name}-release")
    }

    fn summary(&self) -> String {
        format!("drivers of the repository {}, for dkms-fetch", self.name)
    }

    fn description(&self) -> [&'static str; 2] {
        [
            "This package has the address of a repository of kernel drivers, and the root of",
            "the signatures by which dkms-fetch verifies what comes from there.",
        ]
    }

    fn files(&self) -> Result<Files, BoxError> {
        let root = format!("{}.root.json", self.name);
        let file = RepositoryFile {
            name: self.name,
            urls: self.urls.iter().map(Url::as_str).collect(),
            root: root.clone(),
            priority: self.priority,
        };
        let text = format!(
            "# A repository of drivers. /etc/dkms-fetch/repos.d/{}.toml overrides this file.\n{}",
            self.name,
            toml::to_string(&file)?
        );
        Ok([
            (format!("{SHARE}/repos.d/{}.toml", self.name), text.into_bytes()),
            (format!("{SHARE}/roots.d/{root}"), self.root.to_vec()),
        ])
    }

    fn what(&self) -> String {
        format!("Version {} of the root of {}.", self.root_version, self.name)
    }

    fn failed(&self, format: &'static str, source: BoxError) -> ExportError {
        ExportError::Archive {
            format,
            name: self.package(false),
            version: self.root_version.to_string(),
            source,
        }
    }

    /// Makes the Debian package.
    ///
    /// # Errors
    /// When an archive cannot be written.
    pub fn deb(&self, settings: &Settings) -> Result<Made, ExportError> {
        let package = self.package(true);
        let version = format!("{}-{}", self.root_version, settings.revision);
        let bytes = self
            .files()
            .and_then(|files| Ok(self.build_deb(&package, &version, &files, settings)?))
            .map_err(|source| self.failed(".deb", source))?;
        Ok(Made {
            file_name: format!("{package}_{version}_all.deb"),
            package,
            version,
            bytes,
            notes: Vec::new(),
        })
    }

    fn build_deb(
        &self,
        package: &str,
        version: &str,
        files: &[(String, Vec<u8>)],
        settings: &Settings,
    ) -> io::Result<Vec<u8>> {
        let mut data = Tree::new(settings.time_s);
        for (path, bytes) in files {
            data.file(path, bytes, false)?;
        }
        let doc = format!("usr/share/doc/{package}");
        let copyright = format!(
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: {}\n\n\
             Files: *\nCopyright: {}\nLicense: CC0-1.0\n An address and public keys.\n",
            self.name,
            settings.maintainer()
        );
        data.file(&format!("{doc}/copyright"), copyright.as_bytes(), false)?;
        let changelog = deb_archive::changelog(settings, package, version, &self.what())?;
        data.file(&format!("{doc}/changelog.Debian.gz"), &changelog, false)?;
        let fields = [
            ("Package", package.to_owned()),
            ("Version", version.to_owned()),
            ("Architecture", "all".to_owned()),
            ("Maintainer", settings.maintainer()),
            ("Installed-Size", data.kibibytes.to_string()),
            ("Depends", "dkms-fetch".to_owned()),
            ("Section", "admin".to_owned()),
            ("Priority", "optional".to_owned()),
            (
                "Description",
                format!("{}\n {}", self.summary(), self.description().join("\n ")),
            ),
        ];
        let mut control = Tree::new(settings.time_s);
        control.file("control", deb_archive::fields(&fields).as_bytes(), false)?;
        deb_archive::package(control, data)
    }

    /// Makes the rpm package, without a signature.
    ///
    /// # Errors
    /// When the package cannot be written.
    pub fn rpm(&self, settings: &Settings) -> Result<Made, ExportError> {
        let package = self.package(false);
        let version = self.root_version.to_string();
        let bytes = self
            .files()
            .and_then(|files| Ok(self.build_rpm(&package, &version, files, settings)?))
            .map_err(|source| self.failed(".rpm", source))?;
        let version = format!("{version}-{}", settings.revision);
        Ok(Made {
            file_name: format!("{package}-{version}.noarch.rpm"),
            package,
            version,
            bytes,
            notes: Vec::new(),
        })
    }

    fn build_rpm(
        &self,
        package: &str,
        version: &str,
        files: Files,
        settings: &Settings,
    ) -> Result<Vec<u8>, rpm::Error> {
        let config = BuildConfig::v4()
            .compression(CompressionWithLevel::Xz(6))
            .source_date(settings.time_s);
        let mut builder = PackageBuilder::new(package, version, "CC0-1.0", "noarch", &names::one_line(&self.summary()));
        builder
            .using_config(config)
            .release(settings.revision.as_str())
            .description(self.description().join("\n"))
            .packager(settings.maintainer())
            .group("System Environment/Base")
            .build_host("localhost")
            .requires(Dependency::any("dkms-fetch"))
            .requires(Dependency::rpmlib("PayloadIsXz", "5.2-1"))
            .add_changelog_entry(
                format!("{} - {version}-{}", settings.maintainer(), settings.revision),
                format!("- {}", self.what()),
                settings.time_s,
            );
        for (path, bytes) in files {
            builder.with_file_contents(bytes, FileOptions::new(format!("/{path}")).permissions(0o644))?;
        }
        let mut bytes = Vec::new();
        builder.build()?.write(&mut bytes)?;
        Ok(bytes)
    }
}
