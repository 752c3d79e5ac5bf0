use std::fs;
use std::path::{Path, PathBuf};

use super::conf::is_default_make;
use super::*;

/// What `text` says, as the Kbuild that is written for it; None where it is not plain.
fn kbuild(text: &str) -> Option<String> {
    Makefile::read(text.as_bytes()).map(|makefile| makefile.kbuild())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(kbuild(text).as_deref(), Some(expected), "{text}");
}

#[track_caller]
fn refused(text: &str) {
    assert_eq!(kbuild(text), None, "{text}");
}

/// The line, behind a Makefile that is plain without it.
#[track_caller]
fn line_refused(line: &str) {
    check("obj-m += a.o\n", "obj-m := a.o\n");
    refused(&format!("obj-m += a.o\n{line}\n"));
    refused(&format!("{line}\nobj-m += a.o\n"));
    refused(&format!("ifneq ($(KERNELRELEASE),)\nobj-m += a.o\n{line}\nendif\n"));
}

#[test]
fn what_makefiles_of_drivers_say() {
    check("obj-m := a.o", "obj-m := a.o\n");
    check("obj-m=a.o b.o # two\n", "obj-m := a.o b.o\n");
    check("  obj-m += a.o\n\nobj-m\t+=\tb-c.o\n", "obj-m := a.o b-c.o\n");
    check("obj-m := x.o\nobj-m := a.o\n", "obj-m := a.o\n");
    check(
        "obj-m := a.o\na-objs := main.o \\\n\t io.o\\\n  usb.o\na-y += more.o\nccflags-y := -Wall -I$(src)\nccflags-y += -DX=1\n\
         EXTRA_CFLAGS += -DDEBUG\n",
        "obj-m := a.o\na-objs := main.o io.o usb.o\na-y := more.o\nccflags-y := -Wall -I$(src) -DX=1\n\
         EXTRA_CFLAGS := -DDEBUG\n",
    );
    // Both kinds of Makefiles in one.
    for condition in [
        "ifneq ($(KERNELRELEASE),)",
        "ifneq (${KERNELRELEASE}, )",
        "ifneq (,$(KERNELRELEASE))",
        "ifneq \"$(KERNELRELEASE)\" \"\"",
        "ifneq '$(KERNELRELEASE)' ''",
        "ifdef KERNELRELEASE # by kbuild",
    ] {
        check(
            &format!("{condition}\n\tobj-m := a.o\nelse\nKDIR := $(shell ls)\nall:\n\trm -rf /\nendif\n")
                .replace("\tobj-m", "obj-m"),
            "obj-m := a.o\n",
        );
    }
    for condition in ["ifeq ($(KERNELRELEASE),)", "ifndef KERNELRELEASE"] {
        let nested = "ifeq ($(DEBUG),y)\nobj-m += x.o\nelse\ninclude x\nendif";
        check(
            &format!("{condition}\n{nested}\nobj-m := no.o\n$(error x)\nelse\nobj-m := a.o\nendif\n"),
            "obj-m := a.o\n",
        );
    }
    // Targets and variables of those who call make themselves.
    check(
        "KVERSION ?= $(shell uname -r)\nKDIR = /lib/modules/$(KVERSION)/build\nPWD := $(shell pwd)\nKERNEL_SRC=/lib/modules/`uname -r`/build\n\
         obj-m := a.o\n.PHONY: all clean\nall: modules\nmodules modules_install clean:\n\t$(MAKE) -C $(KDIR) M=$(PWD) $@\n\n\
         \t@echo $$HOME # still the recipe\n# a comment\n\tdepmod\ninstall: all\n\tinclude x\n",
        "obj-m := a.o\n",
    );
    check("# \u{e9} \\\ninclude x\nobj-m := a.o\n", "obj-m := a.o\n");
    assert_eq!(
        Makefile::read(b"# \xff\nobj-m := a.o b.o\nb-y := c.o a.o\n")
            .expect("plain")
            .objects(),
        ["a", "c"]
    );
}

#[test]
fn lines_that_do_more_are_refused() {
    for line in [
        "include x.mk",
        "-include x.mk",
        "sinclude x.mk",
        "include : x.mk",
        "define x",
        "override obj-m := b.o",
        "override obj-m: b",
        "export KCFLAGS",
        "export A := b",
        "export : a",
        "unexport A",
        "undefine CC",
        "private A := b",
        "vpath %.c ..",
        "vpath : a",
        "VPATH := ..",
        "load x.so",
        ".SECONDEXPANSION:",
        ".EXPORT_ALL_VARIABLES:",
        ".ONESHELL:",
        ".DEFAULT:",
        ".SUFFIXES: .x",
        "$(eval obj-m := b.o)",
        "$(shell touch x)",
        "$(info x)",
        "$(error x)",
        "X := $(shell touch x)",
        "KDIR := $(shell touch x)",
        "KDIR := $(shell uname -r; touch x)",
        "KDIR := $(shell pwd > x)",
        "KDIR := $(shell uname $(x))",
        "KDIR := $(eval x)",
        "KDIR := $(file >x)",
        "KDIR := $(KDIR:%=x)",
        "KDIR := $x",
        "KDIR := $$x",
        "KDIR != touch x",
        "CC := ./cc",
        "SHELL := ./sh",
        "MAKEFLAGS += -e",
        "KBUILD_CFLAGS += -fplugin=x",
        "KCFLAGS := x",
        "NOSTDINC_FLAGS := -I/",
        "CFLAGS_a.o := -DX",
        "CFLAGS_REMOVE_a.o := -O2",
        "OBJECT_FILES_NON_STANDARD := y",
        "subdir-ccflags-y := -DX",
        "subdir-y := x",
        "always-y := x",
        "extra-y := x",
        "hostprogs-y := x",
        "hostprogs := x",
        "targets := x",
        "clean-files := x",
        "ldflags-y := -T x",
        "asflags-y := -DX",
        "lib-y := x.o",
        "lib-m := x.o",
        "obj-y := x.o",
        "obj-$(CONFIG_X) := x.o",
        "obj-m := $(x).o",
        "obj-m := ../x.o",
        "obj-m := sub/x.o",
        "obj-m := sub/",
        "obj-m := /x.o",
        "obj-m := -x.o",
        "obj-m := .o",
        "obj-m := x.o a",
        "obj-m := x%.o",
        "obj-m := x.o;",
        "obj-m ?= x.o",
        "obj-m ::= x.o",
        "obj-m :::= x.o",
        "obj-m != echo x.o",
        "obj-m := a.o a.o",
        "a-objs := a.o",
        "a-objs := ../b.o",
        "a-objs := b.o $(wildcard *.o)",
        "a-$(CONFIG_X) += b.o",
        "a-m := b.o",
        "a-y :=",
        "unknown-objs := b.o",
        "ccflags-y := -fplugin=./x.so",
        "ccflags-y := -DX $(shell touch x)",
        "ccflags-y := -DX=\\\"x\\\"",
        "ccflags-y := '-DX=1'",
        "ccflags-y := -I $(src)",
        "ccflags-y := -I$(src)/../x",
        "ccflags-y := -I/usr/include",
        "ccflags-y := -include /etc/passwd",
        "ccflags-y := -B $(src)",
        "ccflags-y := -B$(src)",
        "ccflags-y := -wrapper $(src)/x",
        "ccflags-y := -specs=$(src)/x",
        "ccflags-y := @$(src)/x",
        "ccflags-y := -Wp,-MD,x",
        "ccflags-y ?= -DX",
        "ccflags-m := -DX",
        "EXTRA_CFLAGS = $(CFLAGS)",
        "$(obj)/a.o: x",
        "$(obj)/x.o:\n\ttouch x",
        "a.o: x.h",
        "a.ko:\n\ttouch x",
        "a.c: x",
        "/x: y",
        "__build: x",
        "FORCE: x",
        "%.o: %.c",
        "%: x",
        "all: $(x)",
        "all:: x",
        "all: x; touch x",
        "all: A = x",
        "all: x | y",
        "all: %.x: y",
        "all",
        ": x",
        "\ttouch x",
        "\tobj-m := b.o",
        "A=1 B=2",
        "KDIR := (",
        "KDIR := ${x",
        "if x",
        "ifeq ($(DEBUG),y)\nobj-m += b.o\nendif",
        "ifdef DEBUG\nendif",
        "ifeq ($(KERNELRELEASE),6.1)\nendif",
        "ifneq ($(KERNELRELEASE),)\nelse ifdef X\nendif",
        "ifneq ($(KERNELRELEASE),)\nelse\nelse\nendif",
        "ifneq($(KERNELRELEASE),)\nendif",
        "ifneq ($(KERNELRELEASE),)\nelse\ndefine x\nendif\nendef\nendif",
        "ifneq ($(KERNELRELEASE),)\nelse\nall:\n\tendif\nobj-m := b.o\nendif",
        "all:\nifdef KERNELRELEASE\n\tobj-m := b.o\nendif",
        "ifdef KERNELRELEASE",
        "endif x",
    ] {
        line_refused(line);
    }
    for text in [
        "",
        "# obj-m := a.o\n",
        "obj-m :=\n",
        "obj-m := a.o\r\n",
        "obj-m := a.o\u{b}\n",
        "obj-m := a.o\0\n",
        "obj-m := \u{e9}.o\n",
        "obj-m := a.o \\",
        "else\nobj-m := a.o\n",
        "obj-m := a.o\nendif\n",
        "obj-m := a.o \\\\\n",
        "obj-m := ccflags.o\nccflags-y := b.o\n",
        "obj-m := obj.o\nobj-objs := b.o\n",
        "obj-m := a.o b-y.o\n",
        "\u{feff}obj-m := a.o\n",
        "all:\n\ttrue\nKDIR := x\n\tobj-m := b.o\nobj-m := a.o\n",
    ] {
        refused(text);
    }
    let long = format!("obj-m := a.o\n#{}\n", "x".repeat(64 << 10));
    refused(&long);
}

#[test]
fn the_default_make_in_other_words() {
    let ctx = ConfContext {
        kernel_source_dir: "/usr/src/linux-headers-6.1".into(),
        dkms_tree: "/var/lib/dkms".into(),
        ..ConfContext::without_kernel("6.1.0-1-amd64", "x86_64")
    }
    .of_package("a", "1.0");
    let (headers, build) = ("/usr/src/linux-headers-6.1", "/var/lib/dkms/a/1.0/build");
    let check = |line: &str, expected: bool| {
        let line = line.replace('K', headers).replace('B', build);
        assert_eq!(is_default_make(&line, &ctx), expected, "{line}");
    };
    for line in [
        "make -C K M=B",
        "'make' -C K M=B modules",
        "make -j4 M=B -C \"K\" modules",
        "make -j -C /lib/modules/6.1.0-1-amd64/build M=B",
    ] {
        check(line, true);
    }
    assert!(is_default_make(
        &format!("make KERNELRELEASE=6.1.0-1-amd64 -C {headers} M={build}"),
        &ctx
    ));
    for line in [
        "",
        "make",
        "make all",
        "make -C K",
        "make M=B",
        "make -C M=B",
        "make -C K M=B/src",
        "make -C K M=B clean modules",
        "make -C K M=B CC=x",
        "make -C K M=B X=1",
        "make -C K M=B -f x",
        "make -C K -C B M=B",
        "make -C K M=B M=B",
        "make -C K M=B; x",
        "make -C K M=B && x",
        "make -C K M=$(x)",
        "make -C K 'M=B",
        "cd x; make -C K M=B",
        "X=1 make -C K M=B",
        "./make -C K M=B",
        "make -C /lib/modules/6.12/build M=B",
        "make -jx -C K M=B",
    ] {
        check(line, false);
    }
}

#[test]
fn kernels_that_were_compared() {
    for (release, expected) in [
        ("6.1.0-56-amd64", true),
        ("6.12.117+deb12-amd64", true),
        ("6.6", true),
        ("6.0.0", false),
        ("5.10.0-1-amd64", false),
        ("6.13.0-1-amd64", false),
        ("7.1.0", false),
        ("6", false),
        ("next", false),
    ] {
        assert_eq!(is_compared(release), expected, "{release}");
    }
}

/// Why a source of these files is not plain; None where it is.
fn source_refused(files: &[(&str, &str)]) -> Option<String> {
    let dir = tempfile::tempdir().expect("temp dir");
    let write = |name: &str, text: &str| {
        let path: PathBuf = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("dirs");
        fs::write(path, text).expect("write");
    };
    write("a.c", "");
    write("Makefile", "obj-m := a.o\n");
    files.iter().for_each(|(name, text)| write(name, text));
    Source::read(dir.path()).err().map(|why| why.to_string())
}

#[test]
fn a_source_is_a_flat_directory_of_files_to_compile() {
    for files in [
        &[][..],
        &[("a.h", "#define A 1"), ("README.md", ""), ("dkms.conf", "")],
        &[("debian/rules", "../x"), ("install.sh", "../x")],
        &[("Kbuild", "obj-m := a.o"), ("GNUmakefile", "x")],
    ] {
        assert_eq!(source_refused(files), None, "{files:?}");
    }
    for (name, text) in [
        ("a.o", ""),
        (".a.o.cmd", ""),
        ("a.ko", ""),
        ("a.mod.c", ""),
        ("a.h.gch", ""),
        ("a.S", ""),
        ("blob.o_shipped", ""),
        ("sub/a.o", ""),
        ("Module.symvers", ""),
        ("sub/a.h", ""),
        ("a b.c", ""),
        ("b.c", "EXPORT_SYMBOL_GPL(x);"),
        ("b.h", "#include \"../x.h\""),
        ("b.c", "asm(\".incbin \\\"x\\\"\");"),
        ("b.c", "#if __has_include(\"x.h\")"),
    ] {
        assert!(source_refused(&[(name, text)]).is_some(), "{name} {text}");
    }
    assert_eq!(source_refused(&[("x.vh", "")]), None);
    for line in ["#include \"x.vh\"", " # include <x.vh>"] {
        assert!(source_refused(&[("x.vh", ""), ("b.c", line)]).is_some(), "{line}");
    }
    let large = "x".repeat(600 << 10);
    assert!(source_refused(&[("large.c", &large)]).is_some());
    let dir = tempfile::tempdir().expect("temp dir");
    fs::write(dir.path().join("Makefile"), "").expect("write");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a.c")).expect("link");
    assert!(Source::read(dir.path()).is_err());
}
