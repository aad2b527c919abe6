# SPDX-License-Identifier: GPL-2.0
#
# What a person types. The kernel's own build reads Kbuild instead of this.

KDIR ?= /lib/modules/$(shell uname -r)/build

# The defaults of the kernel's Makefile, which gets to see what the command
# line says about them.
RUSTC = rustc
RUSTFMT = rustfmt
BINDGEN = bindgen
CC = $(if $(LLVM),$(filter %/,$(LLVM))clang$(filter -%,$(LLVM)),$(CROSS_COMPILE)gcc)

PHONY := all modules
all modules: preflight	## build rsmalloc.ko for the kernel in KDIR (the default target)
	$(kbuild) modules

PHONY += modules_install
modules_install: preflight-root	## install rsmalloc.ko among the modules of that kernel (INSTALL_MOD_PATH= to put them elsewhere)
	@test -e rsmalloc.ko || { echo 'rsmalloc.ko is not built yet: run make first' >&2; exit 1; }
	$(kbuild) modules_install

PHONY += clean
clean:	## delete what was built in this tree
	@find . -name .git -prune -o -name target -prune -o \
		\( -name '*.[aos]' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' \
		-o -name '.*.cmd' -o -name '.*.d' -o -name '*.rsi' -o -name '*.tmp' \
		-o -name Module.symvers -o -name modules.order \
		-o -name bindings_generated.rs -o -name rust-project.json \) \
		-type f -exec rm -f {} +

PHONY += clippy
clippy: preflight	## build with clippy's advice, and with every warning as an error
	$(kbuild) CLIPPY=1 KRUSTFLAGS='$(KRUSTFLAGS) -Dwarnings' modules

rust_sources = $(shell find rust tools -name target -prune -o -name '*.rs' ! -name bindings_generated.rs -print)

PHONY += rustfmt
rustfmt:	## put the Rust sources into the kernel's format
	@$(RUSTFMT) $(rust_sources)

PHONY += rustfmtcheck
rustfmtcheck:	## say which Rust sources are not in the kernel's format
	@$(RUSTFMT) --check $(rust_sources)

PHONY += rust-analyzer
rust-analyzer: all	## write rust-project.json, for editors
	@scripts/rust_analyzer.py '$(KDIR)' '$(RUSTC)' >rust-project.json

PHONY += setup
setup:	## install all tools on a bare Debian 12 or 13, and build a kernel to develop with
	scripts/setup.sh

PHONY += demo
demo:	## show rsmalloc beside the other backends, in a virtual machine
	scripts/demo.sh

PHONY += test
test:	## run all tests; ends with how many passed and failed
	scripts/test.sh

PHONY += bench
bench:	## measure rsmalloc beside the other backends: tables, a CSV file and plots
	scripts/bench.sh

PHONY += help
help:	## list the targets
	@echo 'make [TARGET] [KDIR=kernel build directory] [LLVM=1 or -19] [RUSTC=] [BINDGEN=] [V=1]'
	@sed -n 's/^\([a-z_ -]*\):.*	## \(.*\)/  \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

PHONY += preflight preflight-root
preflight:
	@scripts/preflight.sh '$(KDIR)' '$(RUSTC)' '$(BINDGEN)' '$(CC)' >/dev/null
preflight-root:
	@scripts/preflight.sh $(if $(INSTALL_MOD_PATH),,--root) '$(KDIR)' '$(RUSTC)' '$(BINDGEN)' '$(CC)' >/dev/null

kbuild = +$(MAKE) -C '$(KDIR)' M='$(CURDIR)'

.PHONY: $(PHONY)
