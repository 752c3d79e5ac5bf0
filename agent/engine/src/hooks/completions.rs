//! Completions for shells: clap's for options and verbs; ours for kernels and modules, which depend on the machine.

use std::io::Write;

use clap::builder::PossibleValuesParser;
use clap_complete::Shell;

use crate::dkms_cli::command::{self, VERBS};

/// Kernels after -k, modules after -m and as the word after a verb; the rest is clap's.
const BASH: &str = r#"
_dkms_here() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} modules
    modules=$(dkms status 2>/dev/null | sed 's/[:,].*//' | sort -u)
    case $prev in
        -k | --kernelver | --templatekernel) COMPREPLY=($(compgen -W "$(ls /lib/modules 2>/dev/null)" -- "$cur")) ;;
        -m | --module) COMPREPLY=($(compgen -W "$modules" -- "$cur")) ;;
        build | install | unbuild | uninstall | remove | mktarball | status)
            _dkms "$@"
            [[ $cur == -* ]] || COMPREPLY=($(compgen -W "$modules" -- "$cur"))
            ;;
        *) _dkms "$@" ;;
    esac
}
complete -o bashdefault -o default -F _dkms_here dkms
"#;

/// The same for zsh: actions of its `_arguments`.
const ZSH: &str = r#"
_dkms_kernels() {
    local -a kernels=(/lib/modules/*(N:t))
    compadd -a kernels
}
_dkms_modules() {
    local -a modules=(${(fu)"$(dkms status 2>/dev/null | sed 's/[:,].*//')"})
    compadd -a modules
}
"#;

/// The same for fish.
const FISH: &str = r#"
function __dkms_modules
    dkms status 2>/dev/null | string replace -r '[:,].*' '' | sort -u
end
complete -c dkms -s k -l kernelver -x -a '(path basename /lib/modules/*)'
complete -c dkms -l templatekernel -x -a '(path basename /lib/modules/*)'
complete -c dkms -s m -l module -x -a '(__dkms_modules)'
complete -c dkms -n '__fish_seen_subcommand_from build install unbuild uninstall remove mktarball status' -f -a '(__dkms_modules)'
"#;

/// Writes the completion script of `dkms` for `shell`.
pub fn write_completions(shell: Shell, out: &mut dyn Write) {
    let verbs = VERBS.iter().map(|(verb, _)| *verb);
    let mut completed =
        command::command().mut_arg("words", |words| words.value_parser(PossibleValuesParser::new(verbs)));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut completed, "dkms", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script += BASH,
        Shell::Zsh => script = for_zsh(&script),
        Shell::Fish => {
            // clap's generator for fish leaves positional words out.
            for (verb, about) in VERBS {
                let about = about.replace('\'', "\\'");
                script += &format!("complete -c dkms -n __fish_is_first_token -f -a {verb} -d '{about}'\n");
            }
            script += FISH;
        }
        _ => {}
    }
    // A reader that closes the pipe early is no error.
    out.write_all(script.as_bytes()).unwrap_or_default();
}

/// Replaces clap's actions, which would offer files.
fn for_zsh(script: &str) -> String {
    let with_actions = script
        .replace("KERNEL[/ARCH]:_default", "kernel:_dkms_kernels")
        .replace("KERNEL:_default", "kernel:_dkms_kernels")
        .replace("MODULE[/VERSION]:_default", "module:_dkms_modules")
        .replacen("\n_dkms() {", &format!("{ZSH}\n_dkms() {{"), 1);
    let mut lines: Vec<String> = with_actions.lines().map(|line| format!("{line}\n")).collect();
    if let Some(words) = lines.iter_mut().find(|line| line.starts_with("'*::words")) {
        let verbs: Vec<&str> = VERBS.iter().map(|(verb, _)| *verb).collect();
        *words = format!("'1:action:({})' \\\n'*:module:_dkms_modules' \\\n", verbs.join(" "));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_options_kernels_and_modules_are_offered() {
        let check = |shell: Shell, expected: &[&str]| {
            let mut script = Vec::new();
            write_completions(shell, &mut script);
            let script = String::from_utf8(script).expect("text");
            let verbs = VERBS.iter().map(|(verb, _)| *verb);
            for text in verbs.chain(["kernelsourcedir"]).chain(expected.iter().copied()) {
                assert!(script.contains(text), "{text} in {shell}: {script}");
            }
        };
        check(Shell::Bash, &["-F _dkms_here dkms"]);
        check(
            Shell::Zsh,
            &[
                "]:kernel:_dkms_kernels' ",
                "]:module:_dkms_modules' ",
                "'1:action:(add ",
                "\n_dkms_modules() {",
            ],
        );
        check(Shell::Fish, &["-l kernelver -x -a", "-f -a '(__dkms_modules)'"]);
    }
}
