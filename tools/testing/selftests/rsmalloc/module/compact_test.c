// SPDX-License-Identifier: GPL-2.0
/*
 * Compaction of the objects in a pool, asked for as administrators, the memory
 * shrinker and the pool itself do. Each test says what it would catch.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kmod.h>
#include <linux/ktime.h>
#include <linux/spinlock.h>

#include "objects.h"

#define COUNT	16384

static const char compact[] = "echo 1 >/sys/kernel/debug/rsmalloc/" KBUILD_MODNAME "/compact";
static const char shrink[] = "echo 2 >/proc/sys/vm/drop_caches";

/* Has the shell do something, and waits for it. */
static int shell(const char *command)
{
	char *argv[] = { "/bin/sh", "-c", (char *)command, NULL };
	static char *envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	int status = call_usermodehelper(argv[0], argv, envp, UMH_WAIT_PROC);

	return status ? fail("status %#x of: %s", status, command) : 0;
}

/* Objects of sizes up to @limit in all places that are not taken. */
static int fill(struct zpool *pool, struct rnd_state *random, u32 limit)
{
	int error = 0;
	u32 i;

	for (i = 0; i < COUNT && !error; i++) {
		if (!objects[i].stored)
			error = store(pool, &objects[i], prandom_u32_state(random) % limit + 1,
				      prandom_u32_state(random));
		cond_resched();
	}
	return error;
}

static void drop_half(struct zpool *pool, struct rnd_state *random)
{
	u32 i;

	for (i = 0; i < COUNT; i++) {
		if (objects[i].stored && prandom_u32_state(random) % 2)
			drop(pool, &objects[i]);
		cond_resched();
	}
}

/* Per mille of the pool's memory that objects take. */
static u32 density(struct zpool *pool)
{
	u64 pages = CALL(zpool_get_total_pages)(pool), bytes = 0;
	u32 i;

	for (i = 0; i < COUNT; i++)
		if (objects[i].stored)
			bytes += objects[i].size;
	return div64_u64(bytes * 1000, max(pages, 1ULL) * PAGE_SIZE);
}

/*
 * Objects that are lost or mixed up on their way, the same objects again and
 * again; and memory that is not given back. @compact_with is a shell command,
 * or the pool is to do it by itself.
 */
static int half_freed(struct zpool *pool, const char *compact_with)
{
	struct rnd_state random;
	u32 round, before, after = 0;
	int error = 0;

	prandom_seed_state(&random, SEED);
	for (round = 0; round < 3 && !error; round++) {
		error = fill(pool, &random, round % 2 ? 1500 : PAGE_SIZE);
		drop_half(pool, &random);
		before = density(pool);
		if (!error && compact_with)
			error = shell(compact_with);
		for (u32 i = 0; i < (compact_with ? 1 : PATIENCE * 10); i++) {
			after = density(pool);
			if (after >= 900)
				break;
			fsleep(100000);
		}
		if (!error && after < 900)
			error = fail("density %u/1000 after %u/1000", after, before);
		tell("density %u/1000, then %u/1000", before, after);
		error = error ?: load_all(pool);
	}
	return error;
}

static int test_administrator(struct zpool *pool)
{
	return half_freed(pool, compact);
}

static int test_shrinker(struct zpool *pool)
{
	return half_freed(pool, shrink);
}

static int test_background(struct zpool *pool)
{
	return half_freed(pool, NULL);
}

/* Background work that is switched off, and is done. */
static int test_no_background(struct zpool *pool)
{
	struct rnd_state random;
	u64 pages;
	int error;

	prandom_seed_state(&random, SEED);
	error = fill(pool, &random, PAGE_SIZE);
	drop_half(pool, &random);
	/* What has no object left goes in any case, a moment later. */
	msleep(200);
	pages = CALL(zpool_get_total_pages)(pool);
	msleep(500);
	if (CALL(zpool_get_total_pages)(pool) != pages)
		return fail("%llu pages, and then %llu", pages, CALL(zpool_get_total_pages)(pool));
	return error;
}

#define HELD	64

/* An object that is moved away from under a mapping, where it was stored or where it was moved. */
static int test_mapped(struct zpool *pool)
{
	static u8 *held[HELD];
	struct rnd_state random;
	u32 round, i;
	int error = 0;

	prandom_seed_state(&random, SEED);
	for (round = 0; round < 3 && !error; round++) {
		error = fill(pool, &random, PAGE_SIZE / 2);
		drop_half(pool, &random);
		for (i = 0; i < HELD; i++) {
			struct object *object = &objects[i * (COUNT / HELD)];

			held[i] = object->stored && !error ? map(pool, object, ZPOOL_MM_RO) : NULL;
		}
		error = error ?: shell(compact);
		for (i = 0; i < HELD; i++) {
			struct object *object = &objects[i * (COUNT / HELD)];

			if (!held[i])
				continue;
			error = error ?: compare(object, held[i]);
			/* What is written there now must be found there later. */
			unmap(pool, object);
		}
		error = error ?: shell(compact);
		error = error ?: load_all(pool);
	}
	return error;
}

/* What happens under one lock of a caller, as zswap frees under a swap device's. */
struct caller {
	spinlock_t lock;
	u64 longest;
};

static struct caller callers[16];

static int free_under_lock_work(struct worker *worker)
{
	struct caller *caller = &callers[worker->number];
	u32 span = worker->end - worker->first;
	struct rnd_state random;
	int error = 0;
	u32 i;

	prandom_seed_state(&random, SEED + worker->number);
	for (i = 0; i < 3 * span && !error; i++) {
		struct object *object = &objects[worker->first + prandom_u32_state(&random) % span];

		if (object->stored) {
			u64 start;

			spin_lock(&caller->lock);
			start = ktime_get_ns();
			drop(worker->pool, object);
			caller->longest = max(caller->longest, ktime_get_ns() - start);
			spin_unlock(&caller->lock);
		} else {
			error = store(worker->pool, object,
				      prandom_u32_state(&random) % PAGE_SIZE + 1, i);
		}
		cond_resched();
	}
	return error;
}

/*
 * Compaction that is preempted while others wait for it: a task of the lowest
 * priority compacts all the time, and on every CPU others free under a spinlock.
 * If one waited for what that task holds, both would stop for ever, and the
 * kernel's watchdogs would say so.
 */
static int test_lowest_priority(struct zpool *pool)
{
	static const char compact_all_the_time[] =
		"chrt -i 0 sh -c 'while echo 1 >/sys/kernel/debug/rsmalloc/" KBUILD_MODNAME
		"/compact; do :; done' 2>/dev/null &";
	static struct worker workers[ARRAY_SIZE(callers)];
	u32 cpus = min(num_online_cpus(), ARRAY_SIZE(callers));
	struct rnd_state random;
	u64 longest = 0;
	int error;
	u32 i;

	prandom_seed_state(&random, SEED);
	error = fill(pool, &random, PAGE_SIZE);
	drop_half(pool, &random);
	error = error ?: shell(compact_all_the_time);
	for (i = 0; i < cpus; i++) {
		spin_lock_init(&callers[i].lock);
		callers[i].longest = 0;
		workers[i].pool = pool;
		workers[i].work = free_under_lock_work;
		workers[i].first = COUNT / cpus * i;
		workers[i].end = COUNT / cpus * (i + 1);
	}
	error = error ?: run_workers(workers, cpus, true);
	for (i = 0; i < cpus; i++)
		longest = max(longest, callers[i].longest);
	tell("the longest free took %llu us", div_u64(longest, 1000));
	return error ?: load_all(pool);
}

/*
 * Objects that are moved while others store, load and free them, and several
 * that compact at once.
 */
static int test_concurrency(struct zpool *pool)
{
	static const char compact_a_lot[] =
		"for i in 1 2 3; do (for j in $(seq 200); do echo 1 >/sys/kernel/debug/rsmalloc/"
		KBUILD_MODNAME "/compact; echo 2 >/proc/sys/vm/drop_caches; done) & done 2>/dev/null";
	struct worker workers[4] = {};
	int error;
	u32 i;

	error = shell(compact_a_lot);
	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i].pool = pool;
		workers[i].work = churn_work;
	}
	error = error ?: run_workers(workers, ARRAY_SIZE(workers), false);
	return error ?: load_all(pool);
}

static const struct test tests[] = {
	{ "administrator", test_administrator, BY_NAME },
	{ "shrinker", test_shrinker, BY_NAME },
	{ "no_background", test_no_background, BY_NAME },
	{ "background", test_background },
	{ "mapped", test_mapped },
	{ "lowest_priority", test_lowest_priority },
	{ "concurrency", test_concurrency },
};

static int __init compact_test_init(void)
{
	return tests_init(tests, ARRAY_SIZE(tests), true);
}

static void __exit compact_test_exit(void)
{
	tests_exit();
}

module_init(compact_test_init);
module_exit(compact_test_exit);
MODULE_DESCRIPTION("Tests of the compaction of a zpool backend");
MODULE_LICENSE("GPL");
