// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of a zpool backend, through the zpool front end that zswap uses. How a
 * script runs one is told in objects.h.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/shrinker.h>
#include <linux/spinlock.h>

#include "objects.h"

module_param(backend, charp, 0444);
MODULE_PARM_DESC(backend, "Name of the zpool backend to test");

FUNCTION(zpool_can_sleep_mapped);
FUNCTION(drain_all_pages);

static void shuffle(u32 *numbers, u32 count, struct rnd_state *random)
{
	u32 i;

	for (i = count - 1; i > 0; i--) {
		u32 other = prandom_u32_state(random) % (i + 1);

		swap(numbers[i], numbers[other]);
	}
}

/*
 * A slot that is too small, at a wrong place or given out twice: the bytes of
 * one of the objects, all of which live at once, are not what was written.
 */
static int test_contents(struct zpool *pool)
{
	struct rnd_state random;
	int error;
	u32 i;

	error = store_every_size(pool);
	if (error)
		return error;
	error = load_all(pool);
	prandom_seed_state(&random, SEED);
	for (i = 0; i < 4 * PAGE_SIZE && !error; i++) {
		struct object *object = &objects[prandom_u32_state(&random) % PAGE_SIZE];

		drop(pool, object);
		error = store(pool, object, prandom_u32_state(&random) % PAGE_SIZE + 1, i);
		cond_resched();
	}
	return error ?: load_all(pool);
}

/*
 * Wrong arithmetic in the last slots of a zspage, or a bitmap one bit short:
 * classes are filled several zspages deep, and emptied in random order.
 */
static int test_full_zspages(struct zpool *pool)
{
	static const u32 sizes[] = { 1, 8, 9, 16, 31, 32, 36, 48, 64, 65, 100, 128, 200, 255, 256,
		300, 400, 512, 600, 700, 800, 1000, 1024, 1200, 1364, 1500, 1700, 2047, 2048,
		2049, 2300, 2700, 3000, 3200, 3264, 3500, 3624, 3800, 4032, 4095, 4096 };
	struct rnd_state random;
	u32 *order;
	int error = 0;
	u32 i, j;

	prandom_seed_state(&random, SEED);
	order = vmalloc_array(MAX_OBJECTS, sizeof(*order));
	if (!order)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(sizes) && !error; i++) {
		u32 count = max(500, 3 * (u32)PAGE_SIZE / sizes[i]);

		for (j = 0; j < count && !error; j++) {
			order[j] = j;
			error = store(pool, &objects[j], sizes[i], j);
			cond_resched();
		}
		error = error ?: load_all(pool);
		if (error)
			break;
		shuffle(order, count, &random);
		for (j = 0; j < count; j++) {
			drop(pool, &objects[order[j]]);
			/* What is left must not have been touched by the frees. */
			if (j == count / 2)
				error = load_all(pool);
			cond_resched();
		}
	}
	vfree(order);
	return error;
}

/* A bounce buffer that is not read before, or not written back after, the use that asks for it. */
static int test_modes(struct zpool *pool)
{
	int error;
	u32 i;

	error = store_every_size(pool);
	for (i = 0; i < PAGE_SIZE && !error; i++) {
		struct object *object = &objects[i];
		u8 *address = map(pool, object, ZPOOL_MM_RW);

		if (!address)
			return -EINVAL;
		error = compare(object, address);
		object->seed += PAGE_SIZE;
		memcpy(address, contents(object), object->size);
		unmap(pool, object);
		cond_resched();
	}
	return error ?: load_all(pool);
}

/* A wrong errno, which zswap counts as another event, or pages kept for a request that failed. */
static int test_bad_sizes(struct zpool *pool)
{
	static const struct {
		size_t size;
		int error;
	} bad[] = {
		{ 0, -EINVAL },
		{ PAGE_SIZE + 1, -ENOSPC },
		{ 2 * PAGE_SIZE, -ENOSPC },
		{ SZ_1M, -ENOSPC },
		{ (size_t)U32_MAX + 2, -ENOSPC },
		{ SIZE_MAX / 2 + 1, -ENOSPC },
		{ SIZE_MAX - PAGE_SIZE, -ENOSPC },
		{ SIZE_MAX, -ENOSPC },
	};
	unsigned long handle;
	u64 pages;
	int error;
	u32 i;

	error = store(pool, &objects[0], 100, 0);
	if (error)
		return error;
	pages = CALL(zpool_get_total_pages)(pool);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		error = CALL(zpool_malloc)(pool, bad[i].size, zswap_gfp(pool), &handle);
		if (!error)
			CALL(zpool_free)(pool, handle);
		if (error != bad[i].error)
			return fail("%zu bytes: %d instead of %d",
				    bad[i].size, error, bad[i].error);
		if (CALL(zpool_get_total_pages)(pool) != pages)
			return fail("refusing %zu bytes changed the number of pages", bad[i].size);
	}
	return load(pool, &objects[0]);
}

/* A lock that stays behind after unmap, or, where mappings may sleep, is felt by the holder. */
static int test_mapping_context(struct zpool *pool)
{
	bool sleeps = CALL(zpool_can_sleep_mapped)(pool);
	enum zpool_mapmode mode;
	int error;
	u32 i;

	error = store_every_size(pool);
	for (i = 0; i < PAGE_SIZE && !error; i++) {
		for (mode = ZPOOL_MM_RW; mode <= ZPOOL_MM_WO && !error; mode++) {
			struct object *object = &objects[i];
			struct context before = context_now();
			u8 *address = map(pool, object, mode);

			if (!address)
				return -EINVAL;
			if (sleeps)
				error = check_context(&before, "while", "all on", object->size);
			if (mode == ZPOOL_MM_WO)
				memcpy(address, contents(object), object->size);
			unmap(pool, object);
			error = error ?: check_context(&before, "after", "all on", object->size);
		}
		cond_resched();
	}
	return error ?: load_all(pool);
}

/* A mapping that is lost, or noticed by the scheduler, while its holder sleeps. */
static int test_sleep_mapped(struct zpool *pool)
{
	int error;
	u32 i;

	if (!CALL(zpool_can_sleep_mapped)(pool))
		return skip_test("mappings may not sleep");
	error = store_every_size(pool);
	for (i = 0; i < PAGE_SIZE && !error; i += 37) {
		const u8 *address = map(pool, &objects[i], ZPOOL_MM_RO);

		if (!address)
			return -EINVAL;
		might_sleep();
		error = compare(&objects[i], address);
		fsleep(1000);
		error = error ?: compare(&objects[i], address);
		unmap(pool, &objects[i]);
	}
	return error;
}

/* Two mappings that share a bounce buffer, or that must be undone in order. */
static int test_many_mappings(struct zpool *pool)
{
	u32 count = num_possible_cpus();
	struct rnd_state random;
	u32 *order, round, i;
	u8 **addresses;
	int error;

	if (!CALL(zpool_can_sleep_mapped)(pool))
		return skip_test("mappings may not sleep");
	prandom_seed_state(&random, SEED);
	order = kcalloc(count, sizeof(*order), GFP_KERNEL);
	addresses = kcalloc(count, sizeof(*addresses), GFP_KERNEL);
	error = order && addresses ? store_every_size(pool) : -ENOMEM;
	for (round = 0; round < PAGE_SIZE && !error; round++) {
		struct object *first = &objects[prandom_u32_state(&random) % (PAGE_SIZE - count)];
		u32 mapped;

		for (mapped = 0; mapped < count; mapped++) {
			order[mapped] = mapped;
			addresses[mapped] = map(pool, first + mapped, ZPOOL_MM_RW);
			if (!addresses[mapped])
				break;
			first[mapped].seed++;
			memcpy(addresses[mapped], contents(first + mapped), first[mapped].size);
		}
		for (i = 0; i < mapped && !error; i++)
			error = compare(first + i, addresses[i]);
		if (mapped < count)
			error = -EINVAL;
		if (mapped)
			shuffle(order, mapped, &random);
		for (i = 0; i < mapped; i++)
			unmap(pool, first + order[i]);
		for (i = 0; i < mapped && !error; i++)
			error = load(pool, first + i);
		cond_resched();
	}
	kfree(order);
	kfree(addresses);
	return error;
}

/*
 * A mapping that only its own task or CPU can end, as a completion handler of
 * an asynchronous compressor would have to: its lock stays taken, or a bounce
 * buffer of another CPU is written back.
 */
static int test_unmap_elsewhere(struct zpool *pool)
{
	int cpu = -1, error;
	u32 i;

	if (!CALL(zpool_can_sleep_mapped)(pool))
		return skip_test("mappings may not sleep");
	error = store_every_size(pool);
	for (i = 0; i < PAGE_SIZE && !error; i += 61) {
		struct object *object = &objects[i];
		struct context before = context_now();
		u8 *address = map(pool, object, ZPOOL_MM_WO);

		if (!address)
			return -EINVAL;
		object->seed += PAGE_SIZE;
		memcpy(address, contents(object), object->size);
		cpu = next_cpu(cpu);
		error = unmap_elsewhere(pool, object, cpu);
		error = error ?: check_context(&before, "after", "ended elsewhere", object->size);
	}
	return error ?: load_all(pool);
}

/*
 * A free that sleeps, say in giving back the pages of a zspage: a debug kernel
 * reports it, and any kernel when it comes to schedule().
 */
static int test_free_under_spinlock(struct zpool *pool)
{
	static DEFINE_SPINLOCK(lock);
	int error;
	u32 i;

	error = store_every_size(pool);
	if (error)
		return error;
	for (i = 0; i < PAGE_SIZE; i += 256) {
		struct object *object;

		spin_lock(&lock);
		for (object = &objects[i]; object < &objects[i + 256]; object++)
			drop(pool, object);
		spin_unlock(&lock);
		cond_resched();
	}
	return 0;
}

/* A page count that lies: zswap's limit and the accounting of memory hang on it. */
static int test_total_pages(struct zpool *pool)
{
	u64 bytes = 0, pages, before = 0;
	int error;
	u32 i;

	if (CALL(zpool_get_total_pages)(pool))
		return fail("a new pool has %llu pages", CALL(zpool_get_total_pages)(pool));
	for (i = 0; i < PAGE_SIZE; i++) {
		error = store(pool, &objects[i], PAGE_SIZE - i, i);
		if (error)
			return error;
		bytes += PAGE_SIZE - i;
		pages = CALL(zpool_get_total_pages)(pool);
		if (pages < before)
			return fail("a store lowered the number of pages to %llu", pages);
		if (pages * PAGE_SIZE < bytes)
			return fail("%llu bytes are said to be in %llu pages", bytes, pages);
		before = pages;
		cond_resched();
	}
	return 0;
}

/* A full zspage that hides those with free slots: new pages are taken while old ones have room. */
static int test_slot_reuse(struct zpool *pool)
{
	const u32 count = 4 * PAGE_SIZE;
	struct rnd_state random;
	u64 peak, pages;
	int error = 0;
	u32 *order;
	u32 i, round;

	prandom_seed_state(&random, SEED);
	order = vmalloc_array(count, sizeof(*order));
	if (!order)
		return -ENOMEM;
	for (i = 0; i < count && !error; i++) {
		order[i] = i;
		error = store(pool, &objects[i], prandom_u32_state(&random) % PAGE_SIZE + 1, i);
		cond_resched();
	}
	peak = CALL(zpool_get_total_pages)(pool);
	for (round = 0; round < 4 && !error; round++) {
		shuffle(order, count, &random);
		for (i = 0; i < count / 2; i++) {
			drop(pool, &objects[order[i]]);
			cond_resched();
		}
		/* The same sizes again, in another order. */
		shuffle(order, count / 2, &random);
		for (i = 0; i < count / 2 && !error; i++) {
			struct object *object = &objects[order[i]];

			error = store(pool, object, object->size, object->seed);
			pages = CALL(zpool_get_total_pages)(pool);
			/* How well the partly filled zspages suit the next objects is chance. */
			if (!error && pages > peak + peak / 16)
				error = fail("%llu pages for what was in %llu", pages, peak);
			cond_resched();
		}
	}
	vfree(order);
	return error ?: load_all(pool);
}

/* Pools that are not independent, or one that keeps the caller's copy of its name. */
static int test_pools(struct zpool *pool)
{
	struct zpool *pools[8] = {};
	int error = 0;
	char name[16];
	u32 i;

	for (i = 0; i < ARRAY_SIZE(pools) && !error; i++) {
		snprintf(name, sizeof(name), "zpool_test%u", i);
		pools[i] = CALL(zpool_create_pool)(backend, name, GFP_KERNEL);
		memset(name, 'x', sizeof(name) - 1);
		if (!pools[i])
			error = fail("no pool beside %u others", i + 1);
	}
	for (i = 0; i < PAGE_SIZE && !error; i++) {
		error = store(pools[i % ARRAY_SIZE(pools)], &objects[i], i + 1, i);
		cond_resched();
	}
	for (i = 0; i < PAGE_SIZE; i++) {
		struct zpool *owner = pools[i % ARRAY_SIZE(pools)];

		if (objects[i].stored) {
			error = error ?: load(owner, &objects[i]);
			drop(owner, &objects[i]);
		}
		cond_resched();
	}
	for (i = 0; i < ARRAY_SIZE(pools); i++)
		if (pools[i])
			CALL(zpool_destroy_pool)(pools[i]);
	if (!error && CALL(zpool_get_total_pages)(pool))
		return fail("pages of other pools were counted");
	return error;
}

/* Stores, loads and frees that race, also of objects that another CPU stored. */
static int test_concurrency(struct zpool *pool)
{
	u32 count = 2 * num_online_cpus(), i;
	struct worker *workers;
	int error;

	workers = kcalloc(count, sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		workers[i].pool = pool;
		workers[i].work = churn_work;
	}
	error = run_workers(workers, count, false);
	kfree(workers);
	return error ?: load_all(pool);
}

/* All memory that can be had without reclaim, page by page. */
static void take_memory(struct list_head *held, unsigned int order)
{
	struct page *page;

	while ((page = alloc_pages(__GFP_NOWARN, order))) {
		set_page_private(page, order);
		list_add(&page->lru, held);
		cond_resched();
	}
}

static void give_memory_back(struct list_head *held)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, held, lru) {
		unsigned int order = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		__free_pages(page, order);
		cond_resched();
	}
}

/* Leaves memory of which no two free pages are adjacent. */
static void fragment_memory(struct list_head *held)
{
	struct page *page, *next;

	take_memory(held, 0);
	list_for_each_entry_safe(page, next, held, lru) {
		if (page_to_pfn(page) & 1) {
			list_del(&page->lru);
			set_page_private(page, 0);
			__free_page(page);
		}
		cond_resched();
	}
	/* What the watermarks kept back may still be in one piece. */
	take_memory(held, 1);
}

/* Objects that cross from one page to another that is not its neighbour. */
static int test_fragmented_memory(struct zpool *pool)
{
	LIST_HEAD(held);
	int error;

	fragment_memory(&held);
	error = test_contents(pool);
	drop_all(pool);
	error = error ?: test_mapping_context(pool);
	give_memory_back(&held);
	return error;
}

/*
 * The pages of @held and those that are free: how many of these can be had depends
 * on watermarks, which the kernel raises for a while when memory is fragmented.
 * Work items have given back what they will, and no CPU keeps any to itself.
 */
static size_t count_memory(struct list_head *held)
{
	struct sysinfo info;

	msleep(100);
	((void (*)(struct zone *))drain_all_pages_address)(NULL);
	si_meminfo(&info);
	return list_count_nodes(held) + info.freeram;
}

/*
 * A store for which some of the pages that it needs are there, but not all: it
 * must give back those that it got before it fails.
 */
static int test_failed_stores(struct zpool *pool)
{
	const u32 warm_up = 100, free_pages = 64;
	const u32 rounds = IS_ENABLED(CONFIG_KASAN_GENERIC) ? 250 : 2000;
	/* kswapd would find other pages meanwhile. */
	gfp_t gfp = zswap_gfp(pool) & ~__GFP_KSWAPD_RECLAIM;
	size_t before = 0, after;
	struct rnd_state random;
	u32 i, round, stored;
	LIST_HEAD(held);
	LIST_HEAD(freed);
	int error;

	prandom_seed_state(&random, SEED);
	for (round = 0; round < warm_up + rounds; round++) {
		take_memory(&held, 0);
		/* By now, the caches of descriptors are as large as they get. */
		if (round == warm_up)
			before = count_memory(&held);
		for (i = 0; i < free_pages && !list_empty(&held); i++)
			list_move(held.next, &freed);
		give_memory_back(&freed);
		for (stored = 0, error = 0; !error; stored++) {
			u32 size = PAGE_SIZE - prandom_u32_state(&random) % (PAGE_SIZE / 2);

			error = store_gfp(pool, &objects[stored], size, stored, gfp);
		}
		for (i = 0; i < stored - 1; i++)
			drop(pool, &objects[i]);
		if (error != -ENOMEM)
			break;
	}
	after = count_memory(&held);
	give_memory_back(&held);
	if (error != -ENOMEM)
		return fail("with little memory left, a store gives %d", error);
	/* KASAN keeps what was freed for a while, so there are always fewer. */
	if (!IS_ENABLED(CONFIG_KASAN_GENERIC) && after + rounds < before)
		return fail("%u stores that failed lost %zu pages", rounds, before - after);
	return 0;
}

static struct task_struct *reclaim_watched;
static bool reclaim_seen;

static unsigned long watch_reclaim(struct shrinker *shrinker, struct shrink_control *control)
{
	/* Direct reclaim calls shrinkers from the allocating task, kswapd from its own. */
	if (current == reclaim_watched)
		reclaim_seen = true;
	return SHRINK_EMPTY;
}

static unsigned long reclaim_nothing(struct shrinker *shrinker, struct shrink_control *control)
{
	return SHRINK_STOP;
}

/*
 * A malloc that reclaims when memory is short would be called again by zswap
 * from within, and stop at the mutex that it holds. And with no memory left,
 * stores fail cleanly, while loads work: zswap cannot tell anybody that one
 * does not.
 */
static int test_no_memory(struct zpool *pool)
{
	gfp_t gfp = zswap_gfp(pool);
	struct shrinker *shrinker;
	struct page *page;
	LIST_HEAD(held);
	int error;
	u64 pages;
	u32 i;

	/* rsmalloc does not even reclaim if asked to. */
	if (!strcmp(backend, "rsmalloc"))
		gfp |= __GFP_DIRECT_RECLAIM;

	shrinker = shrinker_alloc(0, "zpool_test");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = watch_reclaim;
	shrinker->scan_objects = reclaim_nothing;
	shrinker_register(shrinker);
	reclaim_watched = current;

	/* Objects that cross pages that are not adjacent are the hard ones to map. */
	fragment_memory(&held);
	error = store_every_size(pool);

	/* kswapd may be ahead of this once or twice. */
	reclaim_seen = false;
	for (i = 0; i < 100 && !reclaim_seen; i++) {
		take_memory(&held, 0);
		page = alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
		if (page)
			__free_page(page);
	}
	if (!error && !reclaim_seen)
		error = fail("reclaim was not noticed, or memory is not short");

	reclaim_seen = false;
	for (i = PAGE_SIZE; i < MAX_OBJECTS && !error; i++) {
		if (i % 256 == 0)
			take_memory(&held, 0);
		error = store_gfp(pool, &objects[i], i % PAGE_SIZE + 1, i, gfp);
		if (error)
			break;
		cond_resched();
	}
	if (!test_bit(0, &failed)) {
		if (error != -ENOMEM)
			error = fail("with no memory left, a store gives %d", error);
		else if (reclaim_seen)
			error = fail("malloc reclaimed memory");
		else
			error = 0;
	}
	pages = CALL(zpool_get_total_pages)(pool);
	error = error ?: load_all(pool);
	give_memory_back(&held);
	if (!error && CALL(zpool_get_total_pages)(pool) > pages)
		error = fail("a store that failed keeps pages");
	error = error ?: store(pool, &objects[MAX_OBJECTS - 1], PAGE_SIZE, 0);
	shrinker_free(shrinker);
	return error;
}

static const struct test tests[] = {
	{ "contents", test_contents },
	{ "full_zspages", test_full_zspages },
	{ "modes", test_modes },
	{ "bad_sizes", test_bad_sizes },
	{ "total_pages", test_total_pages },
	{ "slot_reuse", test_slot_reuse },
	{ "pools", test_pools },
	{ "mapping_context", test_mapping_context },
	{ "sleep_mapped", test_sleep_mapped },
	{ "many_mappings", test_many_mappings },
	{ "unmap_elsewhere", test_unmap_elsewhere },
	{ "free_under_spinlock", test_free_under_spinlock },
	{ "concurrency", test_concurrency },
	{ "fragmented_memory", test_fragmented_memory },
	{ "no_memory", test_no_memory },
	{ "failed_stores", test_failed_stores },
};

static int __init zpool_test_init(void)
{
	return tests_init(tests, ARRAY_SIZE(tests),
			  zpool_can_sleep_mapped_address && drain_all_pages_address);
}
module_init(zpool_test_init);

static void __exit zpool_test_exit(void)
{
	tests_exit();
}
module_exit(zpool_test_exit);

MODULE_DESCRIPTION("Tests of a zpool backend");
MODULE_LICENSE("GPL");
