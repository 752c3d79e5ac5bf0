//! The log of a make over several packages, divided among them.

use std::path::Path;

/// The part of `log` that each package gets. The packages have the directories `dirs` in `top`.
///
/// make keeps the output of one command together, and its first line has the path of what is made: a line belongs to the package that
/// was named last. Lines that name the common directory belong to all.
pub(super) fn divide(log: &str, top: &Path, dirs: &[String]) -> Vec<String> {
    let top = top.display().to_string();
    let mut logs = vec![String::new(); dirs.len()];
    let mut owner = None;
    for line in log.lines() {
        if let Some(of) = dirs.iter().position(|dir| line.contains(dir.as_str())) {
            owner = Some(of);
        } else if line.contains(&top) || line.starts_with("make") {
            owner = None;
        }
        let of = |index: &usize| owner.is_none_or(|owner| owner == *index);
        for index in (0..dirs.len()).filter(of) {
            logs[index].push_str(line);
            logs[index].push('\n');
        }
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_to_the_package_that_they_are_about() {
        let log = "make: Entering directory '/h'\n\
            \x20 CC [M]  /w/b/pA/a.o\n\
            /w/b/pA/a.c:1:2: warning: x\n\
            \x20   1 | int x;\n\
            \x20 CC [M]  /w/b/pB/b.o\n\
            In file included from ./include/linux/x.h:1,\n\
            \x20                from /w/b/pB/b.c:3:\n\
            \x20 MODPOST /w/b/Module.symvers\n\
            WARNING: modpost: something\n\
            \x20 LD [M]  /w/b/pA/a.ko\n\
            make: Leaving directory '/h'\n";
        let logs = divide(log, Path::new("/w/b"), &["pA".into(), "pB".into()]);
        let of = |log: &str| log.lines().map(str::trim_start).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            of(&logs[0]),
            [
                "make: Entering directory '/h'",
                "CC [M]  /w/b/pA/a.o",
                "/w/b/pA/a.c:1:2: warning: x",
                "1 | int x;",
                "MODPOST /w/b/Module.symvers",
                "WARNING: modpost: something",
                "LD [M]  /w/b/pA/a.ko",
                "make: Leaving directory '/h'",
            ]
        );
        assert_eq!(
            of(&logs[1]),
            [
                "make: Entering directory '/h'",
                "CC [M]  /w/b/pB/b.o",
                "In file included from ./include/linux/x.h:1,",
                "from /w/b/pB/b.c:3:",
                "MODPOST /w/b/Module.symvers",
                "WARNING: modpost: something",
                "make: Leaving directory '/h'",
            ]
        );
    }
}
