//! Our `dkms` beside Debian's, and beside plain make: one run, one Markdown table of wall and CPU seconds.
//!
//! `cargo bench --bench dkms`, as root (or where users may have namespaces). Each program gets a machine of its own with a real kernel.
//! `cargo bench --bench dkms -- 1 20` asks `status` with these numbers of installed packages; the usual ones take ten minutes, nearly
//! all of them Debian's. Where work can be repeated, the least of several runs counts.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dkms_native::{Cost, Meter};
use dkms_tests::dkms::{Hello, Machine, Program, prebuilt};
use dkms_tests::inputs;

/// How often work is repeated that can be.
const ROUNDS: usize = 5;

/// How many modules are built at once.
const MANY: usize = 10;

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() {
        vec![1, 20, 100, 500]
    } else {
        counts
    };
    let bench = Bench::new();
    println!("kernel {}, {} processors, seconds", bench.release, processors());
    println!("| Work | dkms wall | dkms CPU | ours wall | ours CPU | CPU, times less |\n|---|---|---|---|---|---|");
    bench.one_package();
    bench.one_compilation();
    bench.ten_compilations();
    bench.many_installed(&counts);
}

struct Bench {
    meter: Meter,
    release: String,
    arch: &'static str,
}

/// A machine with Debian's dkms, and one with ours.
struct Pair {
    debian: Machine,
    ours: Machine,
}

impl Pair {
    fn both(&self) -> [&Machine; 2] {
        [&self.debian, &self.ours]
    }
}

impl Bench {
    fn new() -> Bench {
        let [release, _] = inputs::kernels();
        Bench {
            meter: Meter::new(),
            release,
            arch: std::env::consts::ARCH,
        }
    }

    /// Two machines with the kernel: its headers and all of its modules, so that depmod costs what it costs.
    fn pair(&self) -> Pair {
        let machine = |program| {
            let machine = Machine::new(program);
            machine.add_kernel(&self.release);
            let modules = inputs::kernel_root(&self.release)
                .join("lib/modules")
                .join(&self.release);
            inputs::link_tree(&modules.join("kernel"), &machine.path("modules").join(&self.release));
            succeed(&machine, &["depmod", &self.release]);
            machine
        };
        Pair {
            debian: machine(Program::Debian),
            ours: machine(Program::Ours),
        }
    }

    /// Runs `words` on `machine` and says what they cost.
    fn cost(&self, machine: &Machine, words: &[&str]) -> Cost {
        let result = machine.path("tmp/cost");
        let words = self.meter.wrap(&result, words);
        succeed(machine, &words.iter().map(String::as_str).collect::<Vec<_>>());
        Meter::read(&result)
    }

    /// `dkms` with these words; the kernel is named where the verb wants one.
    fn dkms(&self, machine: &Machine, line: &str) -> Cost {
        let line = line.replace('K', &self.release);
        let words: Vec<&str> = ["dkms"].into_iter().chain(line.split(' ')).collect();
        self.cost(machine, &words)
    }

    /// The verbs for one package whose build only copies a file: what is left is all dkms's own.
    fn one_package(&self) {
        let pair = self.pair();
        for machine in pair.both() {
            Hello::quick("hello", "1").put(machine);
        }
        let steps = [
            ("add", "add hello/1"),
            ("build, make taken off", "build hello/1 -k K"),
            ("install of a built module, with depmod", "install hello/1 -k K"),
            ("install, nothing to do", "install hello/1 -k K"),
            ("uninstall, with depmod", "uninstall hello/1 -k K"),
            ("remove", "remove hello/1 -k K"),
        ];
        let rounds: Vec<Vec<[Cost; 2]>> = (0..ROUNDS)
            .map(|_| {
                steps
                    .iter()
                    .map(|(_, line)| pair.both().map(|machine| self.dkms(machine, line)))
                    .collect()
            })
            .collect();
        for (step, (name, _)) in steps.iter().enumerate() {
            row(name, least_of_both(rounds.iter().map(|round| round[step])));
        }
    }

    /// One file, compiled by each program and by make alone, in turns.
    fn one_compilation(&self) {
        let pair = self.pair();
        for machine in pair.both() {
            compiled(machine, "one");
            succeed(machine, &["dkms", "add", "one/1"]);
        }
        let (mut built, mut made) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            made.push(self.plain_makes(&pair.ours, &["one"]));
            built.push(pair.both().map(|machine| {
                let cost = self.dkms(machine, "build one/1 -k K");
                succeed(machine, &["dkms", "unbuild", "one/1", "-k", &self.release]);
                cost
            }));
        }
        let built = least_of_both(built);
        let made = least(made);
        row("build of one file", built);
        alone("the same by plain make", made);
        let percent = |cost: Cost| {
            let over = cost.cpu.as_secs_f64() - made.cpu.as_secs_f64();
            format!("{:+.0} ms ({:+.1} %)", over * 1e3, over / made.cpu.as_secs_f64() * 1e2)
        };
        println!(
            "| CPU of that build minus plain make | | {} | | {} | |",
            percent(built[0]),
            percent(built[1])
        );
    }

    /// `status`, and `autoinstall` where all is done, with many packages installed.
    fn many_installed(&self, counts: &[usize]) {
        let pair = self.pair();
        let mut have = 0;
        for &count in counts {
            for index in have..count {
                self.install_another(&pair, index);
            }
            // Ours installs what it was given in one call; Debian's has all of it.
            self.dkms(&pair.ours, "autoinstall -k K");
            have = have.max(count);
            let ask = |line: &str| {
                let ours = least((0..ROUNDS).map(|_| self.dkms(&pair.ours, line)));
                [self.dkms(&pair.debian, line), ours]
            };
            row(&format!("status, {have} installed"), ask("status"));
            if count == 100 {
                row("autoinstall, 100 installed, nothing to do", ask("autoinstall -k K"));
                self.made_by_another(&pair.debian);
            }
        }
    }

    /// A machine on which Debian's dkms gave way to ours: nothing in its tree has a record of ours.
    fn made_by_another(&self, debian: &Machine) {
        let ours = Machine::new(Program::Ours);
        ours.add_kernel(&self.release);
        let updates = format!("modules/{}/updates", self.release);
        for place in ["dkms", "src", &updates] {
            let to = ours.path(place);
            copy(&debian.path(place), to.parent().unwrap_or(&to));
        }
        for line in ["status", "autoinstall -k K"] {
            let cost = least((0..ROUNDS).map(|_| self.dkms(&ours, line)));
            row(
                &format!("{}, 100 installed by Debian's dkms", line.trim_end_matches(" -k K")),
                [self.dkms(debian, line), cost],
            );
        }
    }

    /// Gives both machines one more package. Debian's dkms really installs the first one; to install hundreds would take it an hour, so the
    /// others are made as it left that one.
    fn install_another(&self, pair: &Pair, index: usize) {
        let name: &'static str = format!("m{index}").leak();
        let package = Hello::quick(name, "1");
        package.put(&pair.debian);
        package.put(&pair.ours);
        let spec = format!("{name}/1");
        succeed(&pair.ours, &["dkms", "add", &spec]);
        if index == 0 {
            succeed(&pair.debian, &["dkms", "install", &spec, "-k", &self.release]);
            return;
        }
        let (first, tree) = (pair.debian.path("dkms/m0"), pair.debian.path("dkms").join(name));
        copy(&first, &tree);
        let modules = tree.join("1").join(&self.release).join(self.arch).join("module");
        rename(&modules.join("m0.ko"), &modules.join(format!("{name}.ko")));
        let link = tree.join("1/source");
        std::fs::remove_file(&link).unwrap_or_else(|e| panic!("{}: {e}", link.display()));
        symlink(format!("/usr/src/{name}-1"), &link).unwrap_or_else(|e| panic!("{}: {e}", link.display()));
        let installed = format!("modules/{}/updates/dkms/{name}.ko", self.release);
        pair.debian.write(&installed, prebuilt(&self.release));
    }

    /// Ten packages of one file each, beside plain make for each of them and one make for them all.
    fn ten_compilations(&self) {
        let pair = self.pair();
        let names: Vec<String> = (0..MANY).map(|index| format!("n{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for machine in pair.both() {
            for name in &names {
                compiled(machine, name);
                succeed(machine, &["dkms", "add", &format!("{name}/1")]);
            }
        }
        let (mut makes, mut one_make, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        let mut depmods = 0;
        for _ in 0..2 {
            makes.push(self.plain_makes(&pair.ours, &names));
            one_make.push(self.one_make(&pair.ours, &names));
            for name in &names {
                let package = format!("{name}/1");
                let words = ["dkms", "unbuild", &package, "-k", &self.release, "--no-depmod"];
                succeed(&pair.ours, &words);
            }
            let before = pair.ours.depmod_runs();
            ours.push(self.dkms(&pair.ours, "autoinstall -k K"));
            depmods = pair.ours.depmod_runs() - before;
        }
        let before = pair.debian.depmod_runs();
        let debian = self.dkms(&pair.debian, "autoinstall -k K");
        let debian_depmods = pair.debian.depmod_runs() - before;
        let (ours, makes, one_make) = (least(ours), least(makes), least(one_make));
        row(&format!("autoinstall of {MANY} one-file modules"), [debian, ours]);
        println!("| runs of depmod in it | | {debian_depmods} | | {depmods} | |");
        alone(&format!("{MANY} plain makes, two at a time"), makes);
        alone("one make over all of them, -j2", one_make);
        let ratio = |ours: Duration, make: Duration| (ours.as_secs_f64() / make.as_secs_f64() - 1.0) * 1e2;
        println!(
            "| autoinstall over the plain makes | | | {:+.1} % | {:+.1} % | |",
            ratio(ours.wall, makes.wall),
            ratio(ours.cpu, makes.cpu)
        );
        println!(
            "| autoinstall over that one make | | | {:+.1} % | {:+.1} % | |",
            ratio(ours.wall, one_make.wall),
            ratio(ours.cpu, one_make.cpu)
        );
    }

    /// Plain make, once for each package, two at a time, on copies of their sources.
    fn plain_makes(&self, machine: &Machine, names: &[&str]) -> Cost {
        let plain = fresh(machine);
        for name in names {
            copy(&machine.path(&format!("src/{name}-1")), &plain.join(name));
        }
        let script = format!(
            "printf '%s\\n' {} | xargs -P2 -I{{}} make -s -C /lib/modules/{}/build M={}/{{}} modules",
            names.join(" "),
            self.release,
            plain.display()
        );
        self.cost(machine, &["sh", "-c", &script])
    }

    /// One make over the files of all packages.
    fn one_make(&self, machine: &Machine, names: &[&str]) -> Cost {
        let plain = fresh(machine);
        let mut makefile = String::new();
        for name in names {
            let from = machine.path(&format!("src/{name}-1/{name}.c"));
            copy(&from, &plain);
            makefile += &format!("obj-m += {name}.o\n");
        }
        machine.write("tmp/plain/Makefile", makefile);
        let build = format!("/lib/modules/{}/build", self.release);
        let module = format!("M={}", plain.display());
        self.cost(machine, &["make", "-s", "-j2", "-C", &build, &module, "modules"])
    }
}

/// A package of one C file that is really compiled, in the machine's /usr/src.
fn compiled(machine: &Machine, name: &str) {
    let at = |file: &str| format!("src/{name}-1/{file}");
    let source = "#include <linux/module.h>\n\
        static int __init start(void) { return 0; }\nstatic void __exit stop(void) { }\n\
        module_init(start); module_exit(stop);\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"does nothing\");\n";
    machine.write(&at(&format!("{name}.c")), source);
    machine.write(&at("Makefile"), format!("obj-m := {name}.o\n"));
    machine.write(
        &at("dkms.conf"),
        format!(
            "PACKAGE_NAME={name}\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME[0]={name}\n\
             DEST_MODULE_LOCATION[0]=/extra\nAUTOINSTALL=yes\n"
        ),
    );
}

/// An empty directory on the machine.
fn fresh(machine: &Machine) -> PathBuf {
    let plain = machine.path("tmp/plain");
    if plain.exists() {
        std::fs::remove_dir_all(&plain).unwrap_or_else(|e| panic!("{}: {e}", plain.display()));
    }
    std::fs::create_dir(&plain).unwrap_or_else(|e| panic!("{}: {e}", plain.display()));
    plain
}

fn succeed(machine: &Machine, words: &[&str]) {
    let outcome = machine.run(words);
    assert!(
        outcome.code == 0,
        "{words:?} ended with {}\n{}{}",
        outcome.code,
        outcome.stdout,
        outcome.stderr
    );
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        done.as_ref().is_ok_and(std::process::ExitStatus::success),
        "cp -a {} {}: {done:?}",
        from.display(),
        to.display()
    );
}

fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), to.display()));
}

fn least(costs: impl IntoIterator<Item = Cost>) -> Cost {
    Cost::least(costs).unwrap_or_else(|| panic!("nothing was run"))
}

fn least_of_both(pairs: impl IntoIterator<Item = [Cost; 2]>) -> [Cost; 2] {
    let (debian, ours): (Vec<Cost>, Vec<Cost>) = pairs.into_iter().map(|[debian, ours]| (debian, ours)).unzip();
    [least(debian), least(ours)]
}

fn row(work: &str, [debian, ours]: [Cost; 2]) {
    println!(
        "| {work} | {:.3} | {:.3} | {:.4} | {:.4} | {:.1} |",
        debian.wall.as_secs_f64(),
        debian.cpu.as_secs_f64(),
        ours.wall.as_secs_f64(),
        ours.cpu.as_secs_f64(),
        debian.cpu.as_secs_f64() / ours.cpu.as_secs_f64()
    );
}

/// A row about neither of the two.
fn alone(work: &str, cost: Cost) {
    println!(
        "| {work} | | | {:.3} | {:.3} | |",
        cost.wall.as_secs_f64(),
        cost.cpu.as_secs_f64()
    );
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
