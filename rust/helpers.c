// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the kernel, as functions that Rust can call.
 */

#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/lockdep.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "helpers.h"

MODULE_VERSION(RSMALLOC_VERSION);

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

bool rsmalloc_page_trylock(struct page *page)
{
	return trylock_page(page);
}

void rsmalloc_page_lock(struct page *page)
{
	lock_page(page);
}

void rsmalloc_page_unlock(struct page *page)
{
	unlock_page(page);
}

void rsmalloc_get_page(struct page *page)
{
	get_page(page);
}

unsigned long rsmalloc_page_private(struct page *page)
{
	return page_private(page);
}

void rsmalloc_set_page_private(struct page *page, unsigned long private)
{
	set_page_private(page, private);
}

/* Empty inline functions in a kernel without compaction. */
void rsmalloc_set_page_movable(struct page *page,
			       const struct movable_operations *ops)
{
	__SetPageMovable(page, ops);
}

void rsmalloc_clear_page_movable(struct page *page)
{
	__ClearPageMovable(page);
}

/* With the metadata that KMSAN and memory tagging keep of a page. */
void rsmalloc_copy_page(struct page *to, struct page *from)
{
	copy_highpage(to, from);
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

void rsmalloc_init_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

/* Not bound to a CPU: it may copy a lot. */
void rsmalloc_schedule_work(struct delayed_work *work)
{
	mod_delayed_work(system_unbound_wq, work, 0);
}

void rsmalloc_schedule_work_after(struct delayed_work *work,
				  unsigned int milliseconds)
{
	queue_delayed_work(system_unbound_wq, work,
			   msecs_to_jiffies(milliseconds));
}

struct dentry *rsmalloc_debugfs_create_dir(const char *name,
					   struct dentry *parent)
{
	return debugfs_create_dir(name, parent);
}

void rsmalloc_debugfs_create_file(const char *name, unsigned short mode,
				  struct dentry *parent, void *data,
				  const struct file_operations *operations)
{
	debugfs_create_file(name, mode, parent, data, operations);
}

void rsmalloc_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}

static unsigned int wasted_share = 1;

static int set_percentage(const char *value, const struct kernel_param *param)
{
	return param_set_uint_minmax(value, param, 0, 100);
}

static const struct kernel_param_ops percentage_ops = {
	.set = set_percentage,
	.get = param_get_uint,
};

module_param_cb(wasted_share, &percentage_ops, &wasted_share, 0644);
MODULE_PARM_DESC(wasted_share,
		 "Compact a pool in the background when more than this share of it, in per cent, is wasted; 0: never (default: 1)");

unsigned int rsmalloc_wasted_share(void)
{
	return READ_ONCE(wasted_share);
}

static unsigned int populous_pages = 1024;

module_param(populous_pages, uint, 0644);
MODULE_PARM_DESC(populous_pages,
		 "Store objects in finer classes of longer zspages when there are so many pages of their class; 0: always (default: 1024)");

unsigned int rsmalloc_populous_pages(void)
{
	return READ_ONCE(populous_pages);
}

/* For ever: there is no way back. */
void rsmalloc_keep_module(void)
{
	__module_get(THIS_MODULE);
}

void rsmalloc_cond_resched(void)
{
	cond_resched();
}

void rsmalloc_sleep_a_tick(void)
{
	schedule_timeout_uninterruptible(1);
}

void rsmalloc_preempt_disable(void)
{
	preempt_disable();
}

void rsmalloc_preempt_enable(void)
{
	preempt_enable();
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

#ifndef RSMALLOC_SPIN_LOCK
void rsmalloc_spin_lock(spinlock_t *lock)
{
	spin_lock(lock);
}
#endif

/* While another lock of the same class is held. */
void rsmalloc_spin_lock_nested(spinlock_t *lock)
{
	spin_lock_nested(lock, SINGLE_DEPTH_NESTING);
}

#ifndef RSMALLOC_SPIN_UNLOCK
void rsmalloc_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}
#endif

#ifdef CONFIG_DEBUG_LOCK_ALLOC
/*
 * The wait type is that of a raw spinlock: a reader spins, so it may be wanted
 * wherever one may spin, and a writer may take nothing that sleeps.
 */
void rsmalloc_lock_map_init(struct rsmalloc_lock_map *lock, const char *name)
{
	lockdep_register_key(&lock->key);
	lockdep_init_map_wait(&lock->map, name, &lock->key, 0, LD_WAIT_SPIN);
}

void rsmalloc_lock_map_destroy(struct rsmalloc_lock_map *lock)
{
	lockdep_unregister_key(&lock->key);
}

/* Recursive: a reader is let in whatever other reader is in. */
void rsmalloc_lock_map_acquire_read(struct rsmalloc_lock_map *lock)
{
	lock_acquire_shared_recursive(&lock->map, 0, 0, NULL, _RET_IP_);
}

void rsmalloc_lock_map_contended(struct rsmalloc_lock_map *lock)
{
#ifdef CONFIG_LOCK_STAT
	lock_contended(&lock->map, _RET_IP_);
#endif
}

void rsmalloc_lock_map_read_acquired(struct rsmalloc_lock_map *lock)
{
#ifdef CONFIG_LOCK_STAT
	lock_acquired(&lock->map, _RET_IP_);
#endif
}

void rsmalloc_lock_map_write_acquired(struct rsmalloc_lock_map *lock)
{
	lock_acquire_exclusive(&lock->map, 0, 1, NULL, _RET_IP_);
}

void rsmalloc_lock_map_released(struct rsmalloc_lock_map *lock)
{
	lock_release(&lock->map, _RET_IP_);
}
#endif

/* A macro, which also prints the stack: the caller's mistake is further up. */
void rsmalloc_warn(const char *what, unsigned long handle)
{
	WARN(1, "rsmalloc: %s (handle %#lx)\n", what, handle);
}
