//! Ingests, scans, signs and publishes DKMS driver packages.
