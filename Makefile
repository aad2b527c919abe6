# SPDX-License-Identifier: GPL-2.0
#
# What a person types. The kernel's own build reads Kbuild instead of this.

KDIR ?= /lib/modules/$(shell uname -r)/build

RUSTC ?= $(shell scripts/find_rustc.sh '$(KDIR)')
RUSTC := $(RUSTC)
RUSTFMT = rustfmt
BINDGEN = bindgen

# A kernel without CONFIG_RUST has no Rust crates: they are built with the module
# (rust/crates/Kbuild.include), from the kernel's source and that of Rust's
# library. The kernel's Makefiles choose flags by CONFIG_RUSTC_VERSION, which is 0
# in such a kernel.
ifneq ($(shell sed -n 's/^CONFIG_RUST=//p' '$(KDIR)/include/config/auto.conf' 2>/dev/null),y)
cache = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rsmalloc
KSRC ?= $(patsubst %/.complete,%,$(firstword $(wildcard /usr/src/linux-source-6.12 \
	$(cache)/linux-parts-*/.complete $(cache)/linux-source-*/.complete) /usr/src/linux-source-6.12.tar.xz))
RUST_LIB_SRC ?= $(shell '$(RUSTC)' --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library
without_rust = KSRC='$(abspath $(KSRC))' RUST_LIB_SRC='$(abspath $(RUST_LIB_SRC))' CONFIG_RUSTC_VERSION=$(shell \
	'$(RUSTC)' --version 2>/dev/null | awk '{ split($$2, v, /[.-]/); print v[1] * 100000 + v[2] * 100 + v[3] }')
endif

# The kernel's build deletes a module that it cannot describe to BPF.
without_btf = $(if $(shell command -v $(or $(PAHOLE),pahole)),,CONFIG_DEBUG_INFO_BTF_MODULES=)

kbuild = +$(MAKE) -C '$(KDIR)' M='$(CURDIR)' RUSTC='$(RUSTC)' BINDGEN='$(BINDGEN)' $(without_rust) $(without_btf)

PHONY := all modules
all modules: same-target	## build rsmalloc.ko for the kernel in KDIR (the default target)
	$(kbuild) modules

# Kbuild compares the times of files, by which objects of one kernel can be newer
# than the headers of another.
PHONY += same-target
same-target: preflight
	@$(target) | cmp -s - .target || { $(MAKE) -s clean && $(target) >.target; }
target = { echo '$(abspath $(KDIR)) $(abspath $(KSRC))'; '$(RUSTC)' --version --verbose; \
	stat -c '%n %s %Y' $(wildcard $(KSRC) $(KSRC)/Makefile); cd '$(KDIR)'; \
	cat include/config/auto.conf include/generated/utsrelease.h include/generated/autoconf.h Module.symvers; } | cksum

# kbuild runs depmod only where it finds System.map, which headers come without.
# It would sign with the key that the kernel was built with, if that is here.
PHONY += modules_install
modules_install:	## install rsmalloc.ko among the modules of that kernel (INSTALL_MOD_PATH= to put them elsewhere)
	@scripts/install/install.sh check '$(KDIR)'
	$(kbuild) modules_install DEPMOD=true INSTALL_MOD_PATH='$(INSTALL_MOD_PATH)' \
		$(if $(wildcard $(KDIR)/certs/signing_key.*),,CONFIG_MODULE_SIG_ALL=)
	@$(if $(DESTDIR),,scripts/install/install.sh depmod "$$(cat '$(KDIR)/include/config/kernel.release')")

# For people without DKMS.
override DESTDIR := $(abspath $(DESTDIR))
INSTALL_MOD_PATH ?= $(DESTDIR)
override INSTALL_MOD_PATH := $(abspath $(INSTALL_MOD_PATH))
export DESTDIR INSTALL_MOD_PATH libdir unitdir docdir

PHONY += install install-boot uninstall
install: modules_install install-boot	## install the module, and what chooses it at boot (DESTDIR= to put them elsewhere)
	@echo 'installed. To use it, now and at each boot: systemctl enable --now rsmalloc'
install-boot:
	@scripts/install/install.sh boot
uninstall:	## remove what "make install" installed, for every kernel
	@scripts/install/install.sh uninstall

PHONY += deb
deb:	## build the Debian package rsmalloc-dkms in build/
	scripts/deb.sh

# Not below other folders of the tree: somebody may have a kernel's headers there.
PHONY += clean
clean:	## delete what was built in this tree
	@rm -rf crates .target
	@find . -maxdepth 1 $(built) && find rust tools -name target -prune -o $(built)
built = \( -name '*.[aos]' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '.*.cmd' -o -name '.*.d' \
	-o -name '*.rsi' -o -name '*.tmp' -o -name Module.symvers -o -name modules.order \
	-o -name bindings_generated.rs -o -name rust-project.json \) -type f -exec rm -f {} +

PHONY += clippy
clippy: same-target	## build with clippy's advice, and with every warning as an error
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
setup:	## install all tools on a bare Debian 12 or 13, and unpack a kernel to develop with
	scripts/setup.sh

PHONY += demo
demo:	## show rsmalloc beside the other backends, in a virtual machine
	scripts/demo.sh

PHONY += check
check:	## run the tests that need no virtual machine
	scripts/test.sh check

PHONY += test
test:	## check, and the tests in virtual machines; ends with how many passed and failed
	scripts/test.sh

PHONY += test-all
test-all:	## the same with every kernel; ends with a table of the results
	scripts/test.sh all

PHONY += bench
bench:	## measure rsmalloc beside the other backends: tables, a CSV file and plots
	scripts/bench.sh

PHONY += help
help:	## list the targets
	@echo 'make [TARGET] [KDIR=kernel build directory] [LLVM=1 or -19] [RUSTC=] [BINDGEN=] [V=1]'
	@sed -n 's/^\([a-z_ -]*\):.*	## \(.*\)/  \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

PHONY += preflight
preflight:
	@$(without_rust) scripts/preflight.sh '$(KDIR)' '$(RUSTC)' '$(BINDGEN)'

.PHONY: $(PHONY)
