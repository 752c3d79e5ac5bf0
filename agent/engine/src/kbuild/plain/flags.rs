//! Flags of the compiler that run no program, read no file of the package's choice and write none.

/// Flags without a value that change only the code.
const CODE: [&str; 22] = [
    "-O0",
    "-O1",
    "-O2",
    "-O3",
    "-Os",
    "-g",
    "-w",
    "-fno-builtin",
    "-fno-common",
    "-fno-pic",
    "-fno-pie",
    "-fno-PIE",
    "-fno-stack-protector",
    "-fno-strict-aliasing",
    "-fno-strict-overflow",
    "-fomit-frame-pointer",
    "-fshort-wchar",
    "-fsigned-char",
    "-funsigned-char",
    "-fwrapv",
    "-std=gnu99",
    "-std=gnu11",
];

/// The only directory of headers: that of the package itself.
const OWN_HEADERS: [&str; 4] = ["-I$(src)", "-I${src}", "-I$(src)/", "-I${src}/"];

/// Whether the compiler does the same with `flag` wherever the package lies, and nothing but compile.
pub(super) fn is_plain(flag: &str) -> bool {
    CODE.contains(&flag) || OWN_HEADERS.contains(&flag) || is_definition(flag) || is_warning(flag)
}

/// `-DNAME`, `-DNAME=WORD`, `-UNAME`.
fn is_definition(flag: &str) -> bool {
    let (name, value) = match (flag.strip_prefix("-D"), flag.strip_prefix("-U")) {
        (Some(text), _) => text.split_once('=').unwrap_or((text, "")),
        (None, Some(name)) => (name, ""),
        (None, None) => return false,
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| is_word(c) && !c.is_ascii_digit())
        && name.chars().all(is_word)
        && value.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

/// `-Wall`, `-Wno-unused`, `-Werror=format`; not `-Wp,`, `-Wa,` or `-Wl,`, which hand words to other programs.
fn is_warning(flag: &str) -> bool {
    flag.strip_prefix("-W").is_some_and(|name| {
        name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_only_compile() {
        let plain = "-DDEBUG -DA=1 -D_B=x_1.0-rc2 -UC -Wall -Wextra -Wno-unused-result -Werror=format \
            -Wframe-larger-than=2048 -O2 -Os -g -w -std=gnu11 -fno-strict-aliasing -I$(src) -I${src}/";
        for flag in plain.split_whitespace() {
            assert!(is_plain(flag), "{flag}");
        }
        let not_plain = "-fplugin=./x.so -fplugin-arg-x-y=1 -wrapper -wrapper,./x -B -B. -B/tmp -include -include/etc/passwd \
            -imacros -isystem -iquote -idirafter @file @./file -specs=./x -specs ./x -x -xc++ -o -oout -L. -l -T -Xlinker \
            -Wp,-MD,x -Wa,-I. -Wl,-T,x -W -W, -Wp -Wa -Wl -WP,x -I -I. -I.. -I/usr/include -I$(src)/.. -I$(src)/inc -I$(obj) -I$(M) \
            -I$(PWD) -I$(srctree) -I$(src)$(x) -D -D= -D1 -DA=$(x) -DA=\"x\" -DA='x' -DA=/etc -DA=@x -DA(x)=y -U -U1 \
            -DA=`x` -save-temps -fdump-tree-all -fprofile-use=x -ffile-prefix-map=a=b -fsanitize=address -flto -O4 -Ofast \
            -std=c++11 -MD -MF -E -S -c -### -v -dumpdir -fuse-ld=x --sysroot=/ --param -gsplit-dwarf -march=native $(x) x x.o / ''";
        for flag in not_plain.split_whitespace() {
            assert!(!is_plain(flag), "{flag}");
        }
        assert!(!is_plain(""));
    }
}
