//! `compress_gzip_opts`, `compress_xz_opts`, `compress_zstd_opts`: options of the compressors' command lines, as far as they
//! affect the result. Compression does not use those programs.

/// The largest xz dictionary that may be set, in bytes.
const MAX_DICT_LEN: u32 = 64 << 20;

/// How hard to compress. What is not set stays as the kernel's own decompressor reads it: CRC32, a dictionary of 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressOptions {
    /// 1 to 9.
    pub gzip_level: u32,
    /// 0 to 9.
    pub xz_level: u32,
    /// Try harder at the same level.
    pub xz_extreme: bool,
    /// The integrity check of an xz file.
    pub xz_check: XzCheck,
    /// The size of the xz dictionary in bytes.
    pub xz_dict_len: u32,
    /// 1 to 22; the fast levels are below 0.
    pub zstd_level: i32,
}

/// The integrity checks of xz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XzCheck {
    /// No check.
    None,
    /// The one that the kernel can verify.
    Crc32,
    /// The default of `xz`.
    Crc64,
    /// A cryptographic hash.
    Sha256,
}

impl Default for CompressOptions {
    fn default() -> CompressOptions {
        CompressOptions {
            gzip_level: 9,
            xz_level: 6,
            xz_extreme: false,
            xz_check: XzCheck::Crc32,
            xz_dict_len: 1 << 20,
            zstd_level: 3,
        }
    }
}

impl CompressOptions {
    /// Reads the three settings, empty where not set. Also returns the words that are not supported, each with its setting.
    #[must_use]
    pub fn read(gzip: &str, xz: &str, zstd: &str) -> (CompressOptions, Vec<String>) {
        let mut options = CompressOptions::default();
        let mut strange = Vec::new();
        type Understand = fn(&mut CompressOptions, &str) -> Option<()>;
        let settings: [(&str, &str, Understand); 3] = [
            ("compress_gzip_opts", gzip, CompressOptions::gzip),
            ("compress_xz_opts", xz, CompressOptions::xz),
            ("compress_zstd_opts", zstd, CompressOptions::zstd),
        ];
        for (name, text, understand) in settings {
            for word in text.split_whitespace() {
                if understand(&mut options, word).is_none() {
                    strange.push(format!("{name}: {word}"));
                }
            }
        }
        (options, strange)
    }

    fn gzip(&mut self, word: &str) -> Option<()> {
        match word {
            "--best" => self.gzip_level = 9,
            "--fast" => self.gzip_level = 1,
            _ if is_about_files(word) => {}
            _ => self.gzip_level = level(word, 1..=9)?,
        }
        Some(())
    }

    fn xz(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            Some(("--check", check)) => {
                self.xz_check = match check {
                    "none" => XzCheck::None,
                    "crc32" => XzCheck::Crc32,
                    "crc64" => XzCheck::Crc64,
                    "sha256" => XzCheck::Sha256,
                    _ => return None,
                }
            }
            Some(("--lzma2", parts)) => {
                for part in parts.split(',') {
                    match part.split_once('=')? {
                        ("dict", size) => self.xz_dict_len = dict_len(size)?,
                        ("preset", preset) => self.xz_preset(preset)?,
                        _ => return None,
                    }
                }
            }
            _ => match word {
                "--best" => self.xz_level = 9,
                "--fast" => self.xz_level = 0,
                "--extreme" => self.xz_extreme = true,
                _ if is_about_files(word) => {}
                _ => self.xz_preset(word.strip_prefix('-')?)?,
            },
        }
        Some(())
    }

    /// `6`, `9e`, `e`.
    fn xz_preset(&mut self, text: &str) -> Option<()> {
        let digits = text.trim_end_matches('e');
        if text.is_empty() || text.len() > digits.len() + 1 {
            return None;
        }
        if !digits.is_empty() {
            self.xz_level = digits.parse().ok().filter(|level| *level <= 9)?;
        }
        self.xz_extreme |= digits.len() < text.len();
        Some(())
    }

    fn zstd(&mut self, word: &str) -> Option<()> {
        match word {
            // `--ultra` only allows the levels from 20 on.
            "--ultra" => {}
            "--fast" => self.zstd_level = -1,
            _ if is_about_files(word) => {}
            _ => {
                self.zstd_level = match word.strip_prefix("--fast=") {
                    Some(level) => -level.parse::<i32>().ok().filter(|level| (1..=100).contains(level))?,
                    None => i32::try_from(level(word, 1..=22)?).ok()?,
                }
            }
        }
        Some(())
    }
}

/// `-6`.
fn level(word: &str, allowed: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let level = word.strip_prefix('-')?.parse().ok()?;
    allowed.contains(&level).then_some(level)
}

/// Options about files, threads and messages, which change nothing about the bytes that come out.
fn is_about_files(word: &str) -> bool {
    let short = ["-f", "-k", "-n", "-q", "-qq", "-v", "-z", "-T"];
    let long = [
        "--compress",
        "--force",
        "--keep",
        "--no-name",
        "--no-progress",
        "--no-warn",
        "--quiet",
        "--rm",
        "--verbose",
    ];
    let threads = word.strip_prefix("-T").or_else(|| word.strip_prefix("--threads="));
    short.contains(&word) || long.contains(&word) || threads.is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
}

/// A size as xz takes it: `1MiB`, `512KiB`, `65536`.
fn dict_len(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u32 = match &text[digits.len()..] {
        "" => 1,
        "KiB" | "Ki" | "k" | "kB" | "K" | "KB" => 1 << 10,
        "MiB" | "Mi" | "m" | "M" | "MB" => 1 << 20,
        _ => return None,
    };
    let len = digits.parse::<u32>().ok()?.checked_mul(unit)?;
    (4096..=MAX_DICT_LEN).contains(&len).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_understood() {
        fn check(settings: [&str; 3], expected: CompressOptions, strange: &[&str]) {
            let [gzip, xz, zstd] = settings;
            let (options, words) = CompressOptions::read(gzip, xz, zstd);
            assert_eq!(
                (options, words),
                (expected, strange.iter().map(ToString::to_string).collect()),
                "{settings:?}"
            );
        }
        let default = CompressOptions::default;
        check(["", "", ""], default(), &[]);
        // What upstream's framework.conf shows.
        check(["", "--check=crc32 --lzma2=dict=1MiB", "-q --rm -T0"], default(), &[]);
        let gzip = CompressOptions {
            gzip_level: 4,
            ..default()
        };
        check(["-n -4", "", ""], gzip, &[]);
        let xz = CompressOptions {
            xz_level: 9,
            xz_extreme: true,
            xz_check: XzCheck::Sha256,
            xz_dict_len: 64 << 10,
            ..default()
        };
        check(["", "-9e --check=sha256 --lzma2=dict=64KiB", ""], xz.clone(), &[]);
        check(["", "--check=sha256 --lzma2=preset=9e,dict=65536", ""], xz, &[]);
        for (text, zstd_level) in [("-19", 19), ("--ultra -22", 22), ("--fast=3", -3)] {
            let zstd = CompressOptions {
                zstd_level,
                ..default()
            };
            check(["", "", text], zstd, &[]);
        }
        check(
            ["-0", "--check=md5 -66 --lzma2=dict=4GiB x", "-23 --fast=0 --long=27"],
            default(),
            &[
                "compress_gzip_opts: -0",
                "compress_xz_opts: --check=md5",
                "compress_xz_opts: -66",
                "compress_xz_opts: --lzma2=dict=4GiB",
                "compress_xz_opts: x",
                "compress_zstd_opts: -23",
                "compress_zstd_opts: --fast=0",
                "compress_zstd_opts: --long=27",
            ],
        );
    }
}
