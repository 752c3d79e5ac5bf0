//! Finds the cause of a failed make in its log.

use crate::diagnosis::Diagnosis;

/// What is known beside the log.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The build directory; files below it are named from there.
    pub build_dir: String,
    /// The compilers' versions (wanted, present), where their major numbers differ.
    pub compilers: Option<(String, String)>,
}

/// Messages of compilers that tell of a changed interface of the kernel.
const API_WORDS: [&str; 17] = [
    "implicit declaration of function",
    "too few arguments to function",
    "too many arguments to function",
    "has no member named",
    "incompatible pointer type",
    "incompatible function pointer",
    "No such file or directory",
    "unknown type name",
    "undeclared",
    "incomplete type",
    "incompatible type",
    "conflicting types for",
    "makes integer from pointer",
    "makes pointer from integer",
    "dereferencing pointer to incomplete",
    "passing argument",
    "arguments, but",
];

/// Finds the cause of a failed make in its log.
pub fn diagnose(log: &str, around: &Surroundings) -> Diagnosis {
    let lines = || log.lines();
    if lines().any(|line| line.contains("No space left on device")) {
        return Diagnosis::NoSpace;
    }
    if let Some(program) = lines().find_map(killed) {
        return Diagnosis::Killed { program };
    }
    if let Some(option) = lines().find_map(config_missing) {
        return Diagnosis::ConfigMissing { option };
    }
    if let Some((wanted, present)) = &around.compilers
        && lines().any(|line| line.contains("unrecognized command-line option") || line.contains("unknown argument:"))
    {
        return Diagnosis::CompilerMismatch {
            wanted: wanted.clone(),
            present: present.clone(),
        };
    }
    if let Some(line) = lines().find(|line| headers_incomplete(line)) {
        return Diagnosis::HeadersIncomplete {
            what: line.trim().to_owned(),
        };
    }
    if let Some((file, line, message)) = lines().find_map(|line| compiler_error(line, &around.build_dir)) {
        return if API_WORDS.iter().any(|word| message.contains(word)) {
            Diagnosis::ApiChange { file, line, message }
        } else {
            Diagnosis::CompileError { file, line, message }
        };
    }
    if let Some((symbol, module)) = lines().find_map(symbol_missing) {
        return Diagnosis::SymbolMissing { symbol, module };
    }
    if let Some(library) = lines().find_map(library_missing) {
        return Diagnosis::LibraryMissing { library };
    }
    if let Some(program) = lines().find_map(tool_missing) {
        return Diagnosis::ToolMissing { program };
    }
    if let Some(host) = lines().find_map(unreachable_host) {
        return Diagnosis::NoNetwork { host };
    }
    if let Some(diagnosis) = lines().find_map(denied) {
        return diagnosis;
    }
    // What comes before the output of make is ours: the head of the log and the command.
    let output = log.split_once("\n# command:").map_or(log, |(_, command)| {
        command.split_once('\n').map_or("", |(_, output)| output)
    });
    let is_error = |line: &&str| line.contains("***") || line.to_ascii_lowercase().contains("error");
    let line = output
        .lines()
        .find(is_error)
        .or_else(|| output.lines().rev().find(|line| !line.trim().is_empty()));
    Diagnosis::Unknown {
        line: line.unwrap_or_default().trim().to_owned(),
    }
}

/// `FILE:LINE:COLUMN: error: MESSAGE` of gcc and clang, also `fatal error`.
fn compiler_error(line: &str, build_dir: &str) -> Option<(String, u32, String)> {
    let (place, message) = line
        .split_once(" error: ")
        .or_else(|| line.split_once(" fatal error: "))?;
    let place = place.trim_end_matches(" fatal").trim_end_matches(':');
    let mut parts = place.splitn(3, ':');
    let (file, number) = (parts.next()?, parts.next()?.parse().ok()?);
    let file = file
        .strip_prefix(build_dir)
        .map_or(file, |rest| rest.trim_start_matches('/'));
    Some((file.to_owned(), number, message.trim().to_owned()))
}

/// `gcc: fatal error: Killed signal terminated program cc1`.
fn killed(line: &str) -> Option<String> {
    line.split_once("Killed signal terminated program ")
        .map(|(_, program)| program.trim().to_owned())
}

/// `./tools/objtool/objtool: error while loading shared libraries: libelf.so.1: cannot open shared object file: …`.
fn library_missing(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("error while loading shared libraries: ")?;
    rest.split_once(':').map(|(library, _)| library.trim().to_owned())
}

/// `/bin/sh: 1: bc: not found`, `make: gcc-11: No such file or directory`, `bash: line 1: flex: command not found`.
fn tool_missing(line: &str) -> Option<String> {
    let line = line.trim();
    let rest = line
        .strip_suffix(": command not found")
        .or_else(|| line.strip_suffix(": not found"));
    let from_make = || {
        let (before, rest) = line.split_once(": ")?;
        let program = rest.strip_suffix(": No such file or directory")?;
        (before.starts_with("make") && !program.contains(['*', ' ', '/'])).then_some(program)
    };
    let program = match rest {
        Some(rest) => rest.rsplit(": ").next()?,
        None => from_make()?,
    };
    (!program.is_empty() && !program.contains(' ')).then(|| program.to_owned())
}

/// `curl: (6) Could not resolve host: git.kernel.org`, `fatal: unable to access '…': Could not resolve host: github.com`,
/// `wget: unable to resolve host address 'kernel.org'`.
fn unreachable_host(line: &str) -> Option<String> {
    let (_, rest) = line
        .split_once("Could not resolve host: ")
        .or_else(|| line.split_once("unable to resolve host address "))?;
    let host = rest.trim_start_matches(['\'', '`', '"', '\u{2018}']);
    let end = host.find(|c: char| !c.is_alphanumeric() && !".-".contains(c));
    let host = &host[..end.unwrap_or(host.len())];
    (!host.is_empty()).then(|| host.to_owned())
}

/// `cp: cannot create regular file '/usr/bin/x': Read-only file system`, `/bin/sh: 1: cannot create /x: Permission denied`; where a
/// script cannot be started, `make: ./x.sh: Permission denied` and `bash: line 1: ./x.sh: Permission denied`.
fn denied(line: &str) -> Option<Diagnosis> {
    let line = line.trim();
    let (before, is_mode) = [
        ": Permission denied",
        ": Read-only file system",
        ": Operation not permitted",
    ]
    .iter()
    .find_map(|end| Some((line.strip_suffix(end)?, *end == ": Permission denied")))?;
    let what = before.rsplit(": ").next()?;
    if is_mode && what.starts_with("./") && !what.contains(' ') {
        return Some(Diagnosis::NotExecutable {
            script: what.to_owned(),
        });
    }
    let mut quoted = what.split(['\'', '"', '\u{2018}', '\u{2019}']).skip(1).step_by(2);
    let path = quoted
        .next()
        .or_else(|| what.split_whitespace().find(|word| word.contains('/')))?;
    Some(Diagnosis::Denied {
        path: path.to_owned(),
        message: line.to_owned(),
    })
}

/// `ERROR: modpost: "symbol" [path/module.ko] undefined!`.
fn symbol_missing(line: &str) -> Option<(String, String)> {
    let rest = line.split_once("ERROR: modpost: \"")?.1;
    let (symbol, rest) = rest.split_once('"')?;
    let (path, _) = rest.split_once('[')?.1.split_once("] undefined")?;
    Some((symbol.to_owned(), path.rsplit('/').next()?.to_owned()))
}

/// What `#error`s and checks of packages say about options.
fn config_missing(line: &str) -> Option<String> {
    let complains = [
        "is not set",
        "not enabled",
        "is required",
        "must be enabled",
        "requires CONFIG_",
        "needs CONFIG_",
    ];
    let is_error = line.contains("#error") || line.contains("***") || line.to_ascii_lowercase().contains("error:");
    if !is_error || !complains.iter().any(|words| line.contains(words)) {
        return None;
    }
    let start = line.find("CONFIG_")?;
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    Some(line[start..].chars().take_while(|&c| name(c)).collect())
}

fn headers_incomplete(line: &str) -> bool {
    line.contains("Kernel configuration is invalid")
        || line.contains("include/generated/autoconf.h or include/config/auto.conf are missing")
        || (line.contains("*** No rule to make target") && line.contains("/scripts/"))
        || (line.contains("No such file or directory") && line.contains("/lib/modules/") && line.contains("/build"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let around = Surroundings {
            build_dir: "/w/m/1/build".into(),
            compilers: Some(("gcc-13 13.2.0".into(), "gcc 12.2.0".into())),
        };
        let check = |log: &str, expected: &str| assert_eq!(diagnose(log, &around).to_string(), expected, "{log}");
        check(
            "  CC x\n/w/m/1/build/ddcci/ddcci.c:12:5: error: implicit declaration of function 'strlcpy'; did you mean 'strncpy'? [-Werror]\n",
            "the source does not fit the interfaces of this kernel at ddcci/ddcci.c:12: implicit declaration of function 'strlcpy'; did you mean 'strncpy'? [-Werror]",
        );
        check(
            "src/a.c:7:10: fatal error: asm/unaligned.h: No such file or directory\n",
            "the source does not fit the interfaces of this kernel at src/a.c:7: asm/unaligned.h: No such file or directory",
        );
        check(
            "a.c:1:1: error: expected ';' before '}' token\n",
            "compiling failed at a.c:1: expected ';' before '}' token",
        );
        check(
            "fatal error: error writing to /tmp/x.s: No space left on device\n",
            "no space is left on the disk",
        );
        check(
            "gcc: fatal error: Killed signal terminated program cc1\n",
            "cc1 was killed, most likely for want of memory",
        );
        check(
            "make[1]: gcc-11: No such file or directory\n",
            "the program gcc-11 is not installed",
        );
        check("/bin/sh: 1: bc: not found\n", "the program bc is not installed");
        check(
            "ERROR: modpost: \"foo_bar\" [/w/m/1/build/x.ko] undefined!\n",
            "x.ko needs the symbol foo_bar, which this kernel does not export",
        );
        check(
            "a.c:3:2: error: #error CONFIG_PCI is required\n",
            "the kernel was built without CONFIG_PCI",
        );
        check(
            "gcc: error: unrecognized command-line option '-fmin-function-alignment=16'\n",
            "the kernel was built with gcc-13 13.2.0, the compiler here is gcc 12.2.0",
        );
        check(
            "make: *** [Makefile:3: all] Error 2\n",
            "make failed: make: *** [Makefile:3: all] Error 2",
        );
        check(
            "cp: cannot create regular file '/usr/bin/x': Read-only file system\nmake: *** [Makefile:3: all] Error 1\n",
            "the build was denied access to /usr/bin/x: builds run as a user without rights, who may write in the build directory and in \
             /tmp alone (cp: cannot create regular file '/usr/bin/x': Read-only file system)",
        );
        check(
            "/bin/sh: 1: cannot create /var/x: Permission denied\n",
            "the build was denied access to /var/x: builds run as a user without rights, who may write in the build directory and in \
             /tmp alone (/bin/sh: 1: cannot create /var/x: Permission denied)",
        );
        check(
            "/bin/bash: line 1: ./dkms-make.sh: Permission denied\n",
            "the script ./dkms-make.sh of the package is not executable",
        );
        let no_network = "the build wants to reach git.kernel.org, and builds have no network";
        check("curl: (6) Could not resolve host: git.kernel.org\n", no_network);
        check("wget: unable to resolve host address 'git.kernel.org'\n", no_network);
        check(
            "fatal: unable to access 'https://git.kernel.org/x/': Could not resolve host: git.kernel.org\n",
            no_network,
        );
        check("", "make failed without a word");
        check(
            "DKMS make.log\n\nBuilding module(s)\n# command: false\n",
            "make failed without a word",
        );
        check(
            "DKMS make.log\n\nBuilding module(s)\n# command: ./x\nno\n",
            "make failed: no",
        );
    }
}
