// SPDX-License-Identifier: GPL-2.0
/*
 * A pool whose pages lie all over memory, for scripts that make the kernel move
 * them, and a count of what becomes of the pages that it tries to move.
 *
 * The test "fill" makes the pool, "check" compares the contents of all objects
 * and destroys it; in between a script does what it likes. "churn" uses a pool
 * of its own, while a script compacts memory.
 *
 * The counters are for the pages of one backend, those of /proc/vmstat for
 * pages of all kinds. They come from probes on the backend's own functions,
 * whose addresses are parameters; for a backend that does not move pages they
 * are left out.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/kprobes.h>

#include "objects.h"

/* --- Probes -------------------------------------------------------------- */

module_param(backend, charp, 0);
MODULE_PARM_DESC(backend, "The backend whose pages are moved");

static unsigned long migrate_page;
module_param(migrate_page, ulong, 0);
MODULE_PARM_DESC(migrate_page, "Address of the backend's migrate_page()");

static unsigned long putback_page;
module_param(putback_page, ulong, 0);
MODULE_PARM_DESC(putback_page, "Address of the backend's putback_page()");

static bool refuse;
module_param(refuse, bool, 0600);
MODULE_PARM_DESC(refuse, "Answer -EAGAIN to every call, without asking the backend");

static int refuse_with;
module_param(refuse_with, int, 0600);
MODULE_PARM_DESC(refuse_with, "Where the backend answers -EAGAIN, answer this error instead");

static int get_counter(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(param->arg));
}

static const struct kernel_param_ops counter_ops = { .get = get_counter };

static atomic_t moved;
module_param_cb(moved, &counter_ops, &moved, 0444);
MODULE_PARM_DESC(moved, "Calls of migrate_page() that succeeded, which is pages moved");

static atomic_t refused;
module_param_cb(refused, &counter_ops, &refused, 0444);
MODULE_PARM_DESC(refused, "Calls of migrate_page() that failed");

static atomic_t given_up;
module_param_cb(given_up, &counter_ops, &given_up, 0444);
MODULE_PARM_DESC(given_up, "Pages that were put back after a call that failed");

/* One bit per page frame: the last call for the page failed. */
static unsigned long *last_failed;

static int migrate_called(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct page *src = (struct page *)regs_get_kernel_argument(regs, 1);

	*(unsigned long *)instance->data = page_to_pfn(src);
	return 0;
}

static int migrate_returned(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	unsigned long pfn = *(unsigned long *)instance->data;

	if (!(int)regs_return_value(regs)) {
		clear_bit(pfn, last_failed);
		atomic_inc(&moved);
		return 0;
	}
	set_bit(pfn, last_failed);
	atomic_inc(&refused);
	if (refuse_with)
		regs_set_return_value(regs, refuse_with);
	return 0;
}

static struct kretprobe migrate_probe = {
	.entry_handler = migrate_called,
	.handler = migrate_returned,
	.data_size = sizeof(unsigned long),
	.maxactive = 64,
};

/* Gets what migrate_page() was called with. */
static noinline int refuse_here(struct page *dst, struct page *src, enum migrate_mode mode)
{
	set_bit(page_to_pfn(src), last_failed);
	atomic_inc(&refused);
	return -EAGAIN;
}

static int lead_there(struct kprobe *probe, struct pt_regs *regs)
{
	if (!refuse)
		return 0;
	instruction_pointer_set(regs, (unsigned long)refuse_here);
	/* Do not go on where the breakpoint is. */
	return 1;
}

/* Only keeps the breakpoint from being replaced by a jump, which cannot lead elsewhere. */
static void no_jump(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe refuse_probe = { .pre_handler = lead_there, .post_handler = no_jump };

/*
 * Where a probe is a call of ftrace, the first one of an address decides which kind, and the kind
 * is another with a post_handler. A kretprobe cannot have one.
 */
static struct kprobe first_probe = { .post_handler = no_jump };

static int put_back(struct kprobe *probe, struct pt_regs *regs)
{
	struct page *page = (struct page *)regs_get_kernel_argument(regs, 0);

	/* The kernel also puts back pages that it found no new place for. */
	if (test_and_clear_bit(page_to_pfn(page), last_failed))
		atomic_inc(&given_up);
	return 0;
}

static struct kprobe putback_probe = { .pre_handler = put_back };

static int watch(void)
{
	unsigned long frames = PHYS_PFN(__pa(high_memory - 1)) + 1;
	int error;

	last_failed = vcalloc(BITS_TO_LONGS(frames), sizeof(long));
	if (!last_failed)
		return -ENOMEM;
	migrate_probe.kp.addr = (kprobe_opcode_t *)migrate_page;
	refuse_probe.addr = (kprobe_opcode_t *)migrate_page;
	putback_probe.addr = (kprobe_opcode_t *)putback_page;
	first_probe.addr = (kprobe_opcode_t *)migrate_page;
	error = register_kprobe(&first_probe);
	if (error)
		goto free_bits;
	error = register_kretprobe(&migrate_probe);
	if (error)
		goto unregister_first;
	/* The one that came last is asked first. */
	error = register_kprobe(&refuse_probe);
	if (error)
		goto unregister_migrate;
	error = register_kprobe(&putback_probe);
	if (error)
		goto unregister_refuse;
	return 0;

unregister_refuse:
	unregister_kprobe(&refuse_probe);
unregister_migrate:
	unregister_kretprobe(&migrate_probe);
unregister_first:
	unregister_kprobe(&first_probe);
free_bits:
	vfree(last_failed);
	return error;
}

static void end_watch(void)
{
	unregister_kprobe(&putback_probe);
	unregister_kprobe(&refuse_probe);
	unregister_kretprobe(&migrate_probe);
	unregister_kprobe(&first_probe);
	if (migrate_probe.nmissed || putback_probe.nmissed)
		pr_warn("%lu calls were not counted\n",
			migrate_probe.nmissed + putback_probe.nmissed);
	vfree(last_failed);
}

/* --- The pool ------------------------------------------------------------ */

static struct zpool *scattered;

/* For each page of the pool, so many free ones lie between. */
#define GAPS	3

static bool take_pages(struct list_head *held, u64 count, gfp_t gfp)
{
	struct page *page;

	for (; count; count--) {
		page = alloc_page(gfp);
		if (!page)
			return false;
		list_add(&page->lru, held);
	}
	return true;
}

/* Until memory is full, of which the pool then keeps a part everywhere. */
static int test_fill(struct zpool *unused)
{
	struct rnd_state random;
	LIST_HEAD(held);
	int error = 0;
	u64 pages = 0;
	u32 count;
	gfp_t gfp;

	if (scattered)
		return fail("there is a pool already");
	scattered = CALL(zpool_create_pool)(backend, KBUILD_MODNAME, GFP_KERNEL);
	if (!scattered)
		return fail("no pool of %s could be made", backend);
	prandom_seed_state(&random, SEED);
	/* kswapd would find other pages meanwhile. */
	gfp = zswap_gfp(scattered) & ~__GFP_KSWAPD_RECLAIM;
	for (count = 0; count < MAX_OBJECTS; count++) {
		/* Neither so small that they fill no memory, nor too large for zbud. */
		u32 size = 1800 + prandom_u32_state(&random) % 2000;
		u64 before = pages;

		error = store_gfp(scattered, &objects[count], size, count, gfp);
		pages = CALL(zpool_get_total_pages)(scattered);
		if (error || !take_pages(&held, GAPS * (pages - before), gfp))
			break;
		cond_resched();
	}
	put_pages_list(&held);
	if (error && error != -ENOMEM)
		return error;
	if (count == MAX_OBJECTS)
		return fail("%u objects do not fill memory", count);
	tell("%u objects in %llu pages", count, pages);
	return 0;
}

static void end_scattered(void)
{
	CALL(zpool_destroy_pool)(scattered);
	scattered = NULL;
}

/* What was lost on the way, or stays when it should have gone. */
static int test_check(struct zpool *unused)
{
	int error;

	if (!scattered)
		return fail("there is no pool");
	error = load_all(scattered);
	drop_all(scattered);
	error = no_pages_left(scattered) ?: error;
	end_scattered();
	return error;
}

#define TASKS	4

static int test_churn(struct zpool *pool)
{
	struct worker workers[TASKS];
	u32 i;

	for (i = 0; i < TASKS; i++)
		workers[i] = (struct worker) { .pool = pool, .work = churn_work };
	return run_workers(workers, TASKS, false) ?: load_all(pool);
}

static const struct test tests[] = {
	{ "fill", test_fill, BY_NAME | NO_POOL },
	{ "check", test_check, BY_NAME | NO_POOL },
	{ "churn", test_churn, BY_NAME },
};

static int __init migration_test_init(void)
{
	int error = tests_init(tests, ARRAY_SIZE(tests), !migrate_page == !putback_page);

	if (!error && migrate_page) {
		error = watch();
		if (error)
			tests_exit();
	}
	return error;
}
module_init(migration_test_init);

static void __exit migration_test_exit(void)
{
	if (scattered) {
		drop_all(scattered);
		end_scattered();
	}
	if (migrate_page)
		end_watch();
	tests_exit();
}
module_exit(migration_test_exit);

MODULE_DESCRIPTION("Pools whose pages are moved, and a count of that");
MODULE_LICENSE("GPL");
