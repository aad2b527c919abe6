/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the C declarations that the kernel crate of Linux 6.12
 * lacks, and constants that are macros with casts, which bindgen cannot read.
 */

#include <linux/gfp.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/zpool.h>

#include "helpers.h"

/* As in mm/zsmalloc.c: not every architecture defines the first. */
#ifndef MAX_POSSIBLE_PHYSMEM_BITS
#if defined(MAX_PHYSMEM_BITS)
#define MAX_POSSIBLE_PHYSMEM_BITS MAX_PHYSMEM_BITS
#elif defined(CONFIG_UML)
/* Its memory is a part of the address space of a process, with x86-64 for a host. */
#define MAX_POSSIBLE_PHYSMEM_BITS 48
#else
#define MAX_POSSIBLE_PHYSMEM_BITS BITS_PER_LONG
#endif
#endif

const unsigned int RSMALLOC_PFN_BITS = MAX_POSSIBLE_PHYSMEM_BITS - PAGE_SHIFT;

const gfp_t RSMALLOC_GFP_KERNEL = GFP_KERNEL;
const gfp_t RSMALLOC_GFP_NOWAIT = GFP_NOWAIT;
const gfp_t RSMALLOC_GFP_COMP = __GFP_COMP;
const gfp_t RSMALLOC_GFP_DIRECT_RECLAIM = __GFP_DIRECT_RECLAIM;
const gfp_t RSMALLOC_GFP_HIGHMEM = __GFP_HIGHMEM;
const gfp_t RSMALLOC_GFP_MOVABLE = __GFP_MOVABLE;
const gfp_t RSMALLOC_GFP_NOMEMALLOC = __GFP_NOMEMALLOC;
const gfp_t RSMALLOC_GFP_NORETRY = __GFP_NORETRY;
const gfp_t RSMALLOC_GFP_NOWARN = __GFP_NOWARN;
const gfp_t RSMALLOC_GFP_RECLAIM = __GFP_RECLAIM;
