//! The main job on a real kernel, by topic.

mod authority;
mod builds;
mod first_minute;
mod initramfs;
mod job;
mod load;
mod modes;
mod repositories;
mod revoked;
mod rollback;
mod toolchain;
mod toolchain_rpm;
mod trial;
mod trust;
mod waiting;
mod words;
