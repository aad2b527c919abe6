// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the kernel, as functions that Rust can call.
 */

#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>

#include "helpers.h"

/*
 * Not merged with other caches: destroying a cache then tells whether an object
 * of ours was left in it.
 */
struct kmem_cache *rsmalloc_cache_create(const char *name, unsigned int size,
					 unsigned int align)
{
	return kmem_cache_create(name, size, align, SLAB_NO_MERGE, NULL);
}

/*
 * What to add to a physical address to get its address in the direct map. The
 * tag that KASAN may keep in a pointer is that of one page: it does not belong
 * in the base.
 */
unsigned long rsmalloc_direct_map_base(struct page *page)
{
	return (unsigned long)kasan_reset_tag(page_address(page)) -
	       (unsigned long)PFN_PHYS(page_to_pfn(page));
}

unsigned long rsmalloc_page_to_pfn(struct page *page)
{
	return page_to_pfn(page);
}

struct page *rsmalloc_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

/* The kernel has the counter only if it was built with zsmalloc. */
void rsmalloc_mod_nr_zspages(struct page *page, long nr)
{
#if IS_ENABLED(CONFIG_ZSMALLOC)
	mod_zone_page_state(page_zone(page), NR_ZSPAGES, nr);
#endif
}

unsigned int rsmalloc_num_possible_cpus(void)
{
	return num_possible_cpus();
}

void rsmalloc_spin_lock_init(spinlock_t *lock, const char *name,
			     struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
# ifdef CONFIG_PREEMPT_RT
	__spin_lock_init(lock, name, key, false);
# else
	__raw_spin_lock_init(spinlock_check(lock), name, key, LD_WAIT_CONFIG);
# endif
#else
	spin_lock_init(lock);
#endif
}

void rsmalloc_spin_lock(spinlock_t *lock)
{
	spin_lock(lock);
}

void rsmalloc_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

/* A macro, which also prints the stack: the caller's mistake is further up. */
void rsmalloc_warn(const char *what, unsigned long handle)
{
	WARN(1, "rsmalloc: %s (handle %#lx)\n", what, handle);
}
