// SPDX-License-Identifier: GPL-2.0
/*
 * The C functions that the kernel crate calls, for a kernel that lacks them, from
 * the kernel's source. Only those that the module can reach: what the others
 * call is not always exported by such a kernel.
 */

#include "bug.c"
#include "build_bug.c"
#include "page.c"
#include "slab.c"
