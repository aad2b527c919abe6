/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inline functions and macros of the kernel, as functions that Rust can call.
 */
#ifndef RSMALLOC_HELPERS_H
#define RSMALLOC_HELPERS_H

#include <linux/lockdep_types.h>
#include <linux/mm_types.h>
#include <linux/slab.h>
#include <linux/spinlock_types.h>
#include <linux/workqueue.h>

struct dentry;
struct file_operations;
struct movable_operations;

struct kmem_cache *rsmalloc_cache_create(const char *name, unsigned int size,
					 unsigned int align);
unsigned long rsmalloc_direct_map_base(struct page *page);
unsigned long rsmalloc_page_to_pfn(struct page *page);
struct page *rsmalloc_pfn_to_page(unsigned long pfn);
bool rsmalloc_page_trylock(struct page *page);
void rsmalloc_page_lock(struct page *page);
void rsmalloc_page_unlock(struct page *page);
void rsmalloc_get_page(struct page *page);
unsigned long rsmalloc_page_private(struct page *page);
void rsmalloc_set_page_private(struct page *page, unsigned long private);
void rsmalloc_set_page_movable(struct page *page,
			       const struct movable_operations *ops);
void rsmalloc_clear_page_movable(struct page *page);
void rsmalloc_copy_page(struct page *to, struct page *from);
void rsmalloc_mod_nr_zspages(struct page *page, long nr);
unsigned int rsmalloc_num_possible_cpus(void);
void rsmalloc_init_work(struct delayed_work *work, work_func_t func);
void rsmalloc_schedule_work(struct delayed_work *work);
void rsmalloc_schedule_work_after(struct delayed_work *work,
				  unsigned int milliseconds);
struct dentry *rsmalloc_debugfs_create_dir(const char *name,
					   struct dentry *parent);
void rsmalloc_debugfs_create_file(const char *name, unsigned short mode,
				  struct dentry *parent, void *data,
				  const struct file_operations *operations);
void rsmalloc_debugfs_remove(struct dentry *dentry);
unsigned int rsmalloc_wasted_share(void);
unsigned int rsmalloc_populous_pages(void);
void rsmalloc_keep_module(void);
void rsmalloc_cond_resched(void);
void rsmalloc_sleep_a_tick(void);
void rsmalloc_preempt_disable(void);
void rsmalloc_preempt_enable(void);
void rsmalloc_spin_lock_init(spinlock_t *lock, const char *name,
			     struct lock_class_key *key);
/*
 * spin_lock() and spin_unlock() are calls of functions of the kernel in most
 * configurations. Then these are other names of those functions.
 */
#if defined(CONFIG_PREEMPT_RT)
#define RSMALLOC_SPIN_LOCK "rt_spin_lock"
#define RSMALLOC_SPIN_UNLOCK "rt_spin_unlock"
#elif defined(CONFIG_SMP)
#ifndef CONFIG_INLINE_SPIN_LOCK
#define RSMALLOC_SPIN_LOCK "_raw_spin_lock"
#endif
#ifdef CONFIG_UNINLINE_SPIN_UNLOCK
#define RSMALLOC_SPIN_UNLOCK "_raw_spin_unlock"
#endif
#endif
#ifdef RSMALLOC_SPIN_LOCK
void rsmalloc_spin_lock(spinlock_t *lock) __asm__(RSMALLOC_SPIN_LOCK);
#else
void rsmalloc_spin_lock(spinlock_t *lock);
#endif
#ifdef RSMALLOC_SPIN_UNLOCK
void rsmalloc_spin_unlock(spinlock_t *lock) __asm__(RSMALLOC_SPIN_UNLOCK);
#else
void rsmalloc_spin_unlock(spinlock_t *lock);
#endif
void rsmalloc_spin_lock_nested(spinlock_t *lock);
#ifdef CONFIG_DEBUG_LOCK_ALLOC
struct rsmalloc_lock_map {
	struct lock_class_key key;
	struct lockdep_map map;
};

void rsmalloc_lock_map_init(struct rsmalloc_lock_map *lock, const char *name);
void rsmalloc_lock_map_destroy(struct rsmalloc_lock_map *lock);
void rsmalloc_lock_map_acquire_read(struct rsmalloc_lock_map *lock);
void rsmalloc_lock_map_contended(struct rsmalloc_lock_map *lock);
void rsmalloc_lock_map_read_acquired(struct rsmalloc_lock_map *lock);
void rsmalloc_lock_map_write_acquired(struct rsmalloc_lock_map *lock);
void rsmalloc_lock_map_released(struct rsmalloc_lock_map *lock);
#endif
void rsmalloc_warn(const char *what, unsigned long handle);

#endif
