// SPDX-License-Identifier: GPL-2.0
/*
 * How page migration was to freeze a zspage in 2016: one bit_spin_lock for each
 * object in it, all held at once. This module does it with a zspage of its own,
 * to show what becomes of preempt_count; rsmalloc has nothing of it.
 *
 * The number of pages of the zspage written to the parameter "freeze" makes one
 * and freezes it on every CPU; the parameter "result" then tells what happened.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/debug_locks.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
/* Does not include what it needs. */
#include <linux/bit_spinlock.h>

#define SLOT_SIZE	36
/* In the header that each object has. */
#define LOCK_BIT	0

struct frozen {
	unsigned long *headers;
	u32 objects;
	/* How much higher preempt_count was with all frozen, and with all thawed again. */
	int depth, left;
	/* Whether the kernel took the overflow for a softirq. */
	bool softirq;
	/* With how many locks held the kernel complained; 0 if it did not. */
	u32 complained;
};

static char result[512] = "no zspage was frozen";

static long freeze(void *data)
{
	struct frozen *frozen = data;
	int before = preempt_count();
	u32 i;

	for (i = 0; i < frozen->objects; i++) {
		int quiet = debug_locks;

		bit_spin_lock(LOCK_BIT, &frozen->headers[i]);
		if (quiet && !debug_locks)
			frozen->complained = i + 1;
	}
	frozen->depth = preempt_count() - before;
	frozen->softirq = in_serving_softirq();
	for (i = 0; i < frozen->objects; i++)
		bit_spin_unlock(LOCK_BIT, &frozen->headers[i]);
	frozen->left = preempt_count() - before;
	/* Once it has overflowed, it does not come back by itself. */
	preempt_count_set(before);
	return 0;
}

/* On one CPU after the other: each has a preempt_count of its own. */
static int freeze_everywhere(u32 pages)
{
	struct frozen frozen = { .objects = pages * PAGE_SIZE / SLOT_SIZE };
	int cpu, length;

	frozen.headers = kcalloc(frozen.objects, sizeof(*frozen.headers), GFP_KERNEL);
	if (!frozen.headers)
		return -ENOMEM;
	length = scnprintf(result, sizeof(result), "%u objects in %u pages", frozen.objects, pages);
	for_each_online_cpu(cpu) {
		frozen.complained = 0;
		work_on_cpu(cpu, freeze, &frozen);
		length += scnprintf(result + length, sizeof(result) - length,
				    "; CPU %d: depth %d%s, then %d, complaint at %u", cpu,
				    frozen.depth, frozen.softirq ? " (as in a softirq)" : "",
				    frozen.left, frozen.complained);
	}
	kfree(frozen.headers);
	return 0;
}

static int set_freeze(const char *value, const struct kernel_param *param)
{
	u32 pages;
	int error = kstrtou32(value, 0, &pages);

	if (error)
		return error;
	if (!pages || pages > 8)
		return -EINVAL;
	return freeze_everywhere(pages);
}

static const struct kernel_param_ops freeze_ops = {
	.set = set_freeze,
};
module_param_cb(freeze, &freeze_ops, NULL, 0200);
MODULE_PARM_DESC(freeze, "Write 1 to 8 to freeze the objects of a zspage of so many pages");

module_param_string(result, result, sizeof(result), 0400);
MODULE_PARM_DESC(result, "What happened");

MODULE_DESCRIPTION("One bit_spin_lock for each object of a zspage");
MODULE_LICENSE("GPL");
