/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inline functions and macros of the kernel, as functions that Rust can call.
 */
#ifndef RSMALLOC_HELPERS_H
#define RSMALLOC_HELPERS_H

#include <linux/mm_types.h>
#include <linux/slab.h>
#include <linux/spinlock_types.h>

struct kmem_cache *rsmalloc_cache_create(const char *name, unsigned int size,
					 unsigned int align);
unsigned long rsmalloc_direct_map_base(struct page *page);
unsigned long rsmalloc_page_to_pfn(struct page *page);
struct page *rsmalloc_pfn_to_page(unsigned long pfn);
void rsmalloc_mod_nr_zspages(struct page *page, long nr);
unsigned int rsmalloc_num_possible_cpus(void);
void rsmalloc_spin_lock_init(spinlock_t *lock, const char *name,
			     struct lock_class_key *key);
void rsmalloc_spin_lock(spinlock_t *lock);
void rsmalloc_spin_unlock(spinlock_t *lock);
void rsmalloc_warn(const char *what, unsigned long handle);

#endif
