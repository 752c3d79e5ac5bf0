//! Ingests, scans, signs and publishes DKMS driver packages.
//!
//! A repository's working directory holds all its data; only `public/` is served:
//!
//! ```text
//! repo.toml        name, expiries                                    [`repository`]
//! keys/            private keys, mode 0600, one PKCS#8 PEM file each
//! staging/         packages that were added and scanned              [`stage`]
//! bundles/sha256/  their source bundles, content addressed           [`stage`]
//! prepared/        changes that wait for signatures of others          [`ceremony`]
//! kernels/         kernels and compilers of Debian, unpacked          [`kernels`]
//! public/          the static tree that clients read
//! ```
//!
//! A process that changes any of it holds its [`lock`]; each step that others can see is one rename, and [`recovery`] finishes or
//! removes what an interrupted run left.
//!
//! - [`import`]: an archive of a distribution: which packages it has, and their verified files.
//! - [`ingest`]: packages from outside become normalised sources and bundles.
//! - [`recipe`]: where a driver's source is, and what it lacks to be a package.
//! - [`intake`]: `add`: a package from outside becomes a staged one.
//! - [`package`]: a source and what is known about it become the two staged documents.
//! - [`lint`]: what a publisher should know before signing.
//! - [`scan`]: which devices a source claims, and on which kernels it builds.
//! - [`kernels`]: kernels and compilers of Debian, by the name of a suite, for [`scan`].
//! - [`init`], [`authority`]: keys and roles, from the first root on.
//! - [`publish`]: staged packages become signed, static files.
//! - [`push`]: the published tree is put where machines read it: into one of the [`store`]s.
//! - [`mirror`]: a published tree is copied from one place to another, and verified on the way. [`diff`]: what differs between two states.
//! - [`expiry`]: which signatures have expired, or soon will.
//! - [`export`]: a package version becomes a package of a distribution, .deb or .rpm.
//! - [`ceremony`]: what has to be signed where the repository is not is prepared, signed and merged.
//! - [`gc`]: removes what no client needs any more.
//! - [`verify`]: checks the published tree as a client does. [`serve`]: serves it over HTTP.

pub mod authority;
mod canonical;
pub mod ceremony;
pub mod cli;
#[cfg(test)]
mod crash_tests;
pub mod diff;
pub mod expiry;
pub mod export;
pub mod files;
pub mod gc;
mod http;
pub mod import;
pub mod ingest;
pub mod init;
pub mod inputs;
pub mod intake;
pub mod kernels;
pub mod keys;
pub mod lint;
pub mod lock;
pub mod mirror;
pub mod package;
pub mod publish;
pub mod push;
mod reach;
pub mod recipe;
pub mod recovery;
pub mod repository;
pub mod roles;
pub mod scan;
pub mod serve;
pub mod signed;
pub mod stage;
pub mod store;
pub mod verify;
