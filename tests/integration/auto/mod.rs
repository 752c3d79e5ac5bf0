//! The main job on a real kernel, by topic.

mod authority;
mod builds;
mod first_minute;
mod initramfs;
mod job;
mod live;
mod load;
mod modes;
mod new_kernel;
mod repositories;
mod revoked;
mod rollback;
mod toolchain;
mod toolchain_rpm;
mod trial;
mod trust;
mod waiting;
mod words;
