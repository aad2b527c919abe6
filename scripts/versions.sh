# shellcheck shell=bash disable=SC2034 # sourced: the variables are used elsewhere
# SPDX-License-Identifier: GPL-2.0
#
# Every version that the set-up pins, in one place.

# The kernel series, taken from Debian's linux-source package. The archive
# keeps only the newest point releases, so the series is pinned and its newest
# point release is accepted; set-up prints and records the exact one.
KERNEL_SERIES=6.12

# One LLVM builds the kernels that are built here, and is bindgen's libclang.
LLVM_MAJOR=19

# The oldest that compiles the module: constants refer to statics.
RUSTC_MINIMUM=1.83.0

# Built by cargo where Debian's own bindgen is older than the kernel accepts.
BINDGEN_MINIMUM=0.65.1
BINDGEN_VERSION=0.71.1

# Installed by pip.
VIRTME_NG_VERSION=1.42

# Installed by pip, for the plots of the benchmark.
MATPLOTLIB_VERSION=3.11.2
