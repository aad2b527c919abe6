// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of a zpool backend, through the zpool front end that zswap uses.
 *
 * The front end is not exported to modules, so the addresses of its functions
 * are parameters, which the test script reads from /proc/kallsyms. The name of
 * a test written to the parameter "run" runs it on a new pool; the parameter
 * "result" then tells how it went: "pass", "skip: ..." or "fail: ...".
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/zpool.h>

static char *backend = "rsmalloc";
module_param(backend, charp, 0444);
MODULE_PARM_DESC(backend, "Name of the zpool backend to test");

#define FRONT_END(name)							\
	static unsigned long name##_address;				\
	module_param_named(name, name##_address, ulong, 0);		\
	MODULE_PARM_DESC(name, "Address of " #name "()")

FRONT_END(zpool_create_pool);
FRONT_END(zpool_destroy_pool);
FRONT_END(zpool_malloc_support_movable);
FRONT_END(zpool_malloc);
FRONT_END(zpool_free);
FRONT_END(zpool_can_sleep_mapped);
FRONT_END(zpool_map_handle);
FRONT_END(zpool_unmap_handle);
FRONT_END(zpool_get_total_pages);

/* The front end's function itself, with its own type. */
#define CALL(name) ((typeof(name) *)name##_address)

#define MAX_OBJECTS	65536
#define NOISE_OFFSETS	65536
#define SEED		20160406

struct object {
	unsigned long handle;
	u32 size;
	/* Chooses the contents. */
	u32 seed;
	bool stored;
	/* Bit 0: a worker of the concurrency test has it in hand. */
	unsigned long in_hand;
};

/* The objects of the running test: what it leaves stored is freed after it. */
static struct object *objects;

/* Random bytes; an object's contents are a part of them. */
static u8 *noise;

static char result[512] = "no test was run";
static unsigned long failed;

/* Reports the first failure of a test; later ones are often its consequence. */
static __printf(1, 2) int fail(const char *format, ...)
{
	va_list args;

	if (!test_and_set_bit(0, &failed)) {
		int length = scnprintf(result, sizeof(result), "fail: ");

		va_start(args, format);
		vscnprintf(result + length, sizeof(result) - length, format, args);
		va_end(args);
	}
	return -EINVAL;
}

/* The flags that zswap allocates with. */
static gfp_t zswap_gfp(struct zpool *pool)
{
	gfp_t gfp = __GFP_NORETRY | __GFP_NOWARN | __GFP_KSWAPD_RECLAIM;

	if (CALL(zpool_malloc_support_movable)(pool))
		gfp |= __GFP_HIGHMEM | __GFP_MOVABLE;
	return gfp;
}

static const u8 *contents(const struct object *object)
{
	return noise + hash_32(object->seed ^ object->size << 16, 32) % NOISE_OFFSETS;
}

static u8 *map(struct zpool *pool, const struct object *object, enum zpool_mapmode mode)
{
	u8 *address = CALL(zpool_map_handle)(pool, object->handle, mode);

	/* zswap dereferences the address unchecked, and copies if it is not in the direct map. */
	if (!address || !virt_addr_valid(address) || !virt_addr_valid(address + object->size - 1)) {
		fail("an object of %u bytes was mapped at %p", object->size, address);
		if (address)
			CALL(zpool_unmap_handle)(pool, object->handle);
		return NULL;
	}
	return address;
}

static void unmap(struct zpool *pool, const struct object *object)
{
	CALL(zpool_unmap_handle)(pool, object->handle);
}

static int compare(const struct object *object, const u8 *address)
{
	const u8 *expected = contents(object);
	u32 i;

	if (!memcmp(address, expected, object->size))
		return 0;
	for (i = 0; i < object->size - 1; i++)
		if (address[i] != expected[i])
			break;
	return fail("byte %u of an object of %u bytes is %#x instead of %#x",
		    i, object->size, address[i], expected[i]);
}

static int store_gfp(struct zpool *pool, struct object *object, u32 size, u32 seed, gfp_t gfp)
{
	u8 *address;
	int error;

	object->size = size;
	object->seed = seed;
	error = CALL(zpool_malloc)(pool, size, gfp, &object->handle);
	if (error)
		return error;
	object->stored = true;
	address = map(pool, object, ZPOOL_MM_WO);
	if (!address)
		return -EINVAL;
	memcpy(address, contents(object), size);
	unmap(pool, object);
	return 0;
}

static int store(struct zpool *pool, struct object *object, u32 size, u32 seed)
{
	int error = store_gfp(pool, object, size, seed, zswap_gfp(pool));

	if (error)
		return fail("storing %u bytes failed with %d", size, error);
	return 0;
}

static int load(struct zpool *pool, const struct object *object)
{
	const u8 *address = map(pool, object, ZPOOL_MM_RO);
	int error;

	if (!address)
		return -EINVAL;
	error = compare(object, address);
	unmap(pool, object);
	return error;
}

static int load_all(struct zpool *pool, u32 count)
{
	int error = 0;
	u32 i;

	for (i = 0; i < count && !error; i++) {
		if (objects[i].stored)
			error = load(pool, &objects[i]);
		cond_resched();
	}
	return error;
}

static void drop(struct zpool *pool, struct object *object)
{
	CALL(zpool_free)(pool, object->handle);
	object->stored = false;
}

static void drop_all(struct zpool *pool)
{
	u32 i;

	for (i = 0; i < MAX_OBJECTS; i++) {
		if (objects[i].stored)
			drop(pool, &objects[i]);
		cond_resched();
	}
}

/* One object of each size, in an order in which neighbours differ in class. */
static int store_every_size(struct zpool *pool)
{
	int error = 0;
	u32 i;

	for (i = 0; i < PAGE_SIZE && !error; i++) {
		/* An odd stride visits every size, for their number is a power of two. */
		error = store(pool, &objects[i], i * 1009 % PAGE_SIZE + 1, i);
		cond_resched();
	}
	return error;
}

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
	error = load_all(pool, PAGE_SIZE);
	prandom_seed_state(&random, SEED);
	for (i = 0; i < 4 * PAGE_SIZE && !error; i++) {
		struct object *object = &objects[prandom_u32_state(&random) % PAGE_SIZE];

		drop(pool, object);
		error = store(pool, object, prandom_u32_state(&random) % PAGE_SIZE + 1, i);
		cond_resched();
	}
	return error ?: load_all(pool, PAGE_SIZE);
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
		error = error ?: load_all(pool, count);
		if (error)
			break;
		shuffle(order, count, &random);
		for (j = 0; j < count; j++) {
			drop(pool, &objects[order[j]]);
			/* What is left must not have been touched by the frees. */
			if (j == count / 2)
				error = load_all(pool, count);
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
	return error ?: load_all(pool, PAGE_SIZE);
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

struct context {
	int preempt;
	int pagefault;
	int migration;
	int rcu;
	bool irqs_off;
};

static struct context context_now(void)
{
	return (struct context) {
		.preempt = preempt_count(),
		.pagefault = current->pagefault_disabled,
		.migration = current->migration_disabled,
		.rcu = rcu_preempt_depth(),
		.irqs_off = irqs_disabled(),
	};
}

static int check_context(const struct context *before, const char *where, u32 size)
{
	struct context now = context_now();

	if (now.preempt == before->preempt && now.pagefault == before->pagefault &&
	    now.migration == before->migration && now.rcu == before->rcu &&
	    now.irqs_off == before->irqs_off)
		return 0;
	return fail("%s mapping %u bytes: preempt %d, faults %d, migration %d, rcu %d, irqs %d",
		    where, size, now.preempt - before->preempt, now.pagefault - before->pagefault,
		    now.migration - before->migration, now.rcu - before->rcu,
		    now.irqs_off - before->irqs_off);
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
				error = check_context(&before, "while", object->size);
			if (mode == ZPOOL_MM_WO)
				memcpy(address, contents(object), object->size);
			unmap(pool, object);
			error = error ?: check_context(&before, "after", object->size);
		}
		cond_resched();
	}
	return error ?: load_all(pool, PAGE_SIZE);
}

/* A mapping that is lost, or noticed by the scheduler, while its holder sleeps. */
static int test_sleep_mapped(struct zpool *pool)
{
	int error;
	u32 i;

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

/* A task that does a part of a test. */
struct worker {
	struct zpool *pool;
	struct task_struct *task;
	struct completion done;
	int (*work)(struct worker *worker);
	/* What to work on, for a worker that has but one object. */
	struct object *object;
	u32 number;
	int error;
};

static int worker_main(void *data)
{
	struct worker *worker = data;

	worker->error = worker->work(worker);
	complete(&worker->done);
	return 0;
}

static int worker_start(struct worker *worker, int cpu)
{
	init_completion(&worker->done);
	worker->task = kthread_create(worker_main, worker, "zpool_test/%u", worker->number);
	if (IS_ERR(worker->task))
		return fail("no kernel thread: %ld", PTR_ERR(worker->task));
	if (cpu >= 0)
		kthread_bind(worker->task, cpu);
	get_task_struct(worker->task);
	wake_up_process(worker->task);
	return 0;
}

static int worker_join(struct worker *worker)
{
	wait_for_completion(&worker->done);
	/* Only when the task is gone does nothing run in this module any more. */
	kthread_stop_put(worker->task);
	return worker->error;
}

static int unmap_work(struct worker *worker)
{
	unmap(worker->pool, worker->object);
	return 0;
}

/*
 * A mapping that only its own task or CPU can end, as a completion handler of
 * an asynchronous compressor would have to: its lock stays taken, or a bounce
 * buffer of another CPU is written back.
 */
static int test_unmap_elsewhere(struct zpool *pool)
{
	u32 cpu = cpumask_first(cpu_online_mask);
	int error;
	u32 i;

	error = store_every_size(pool);
	for (i = 0; i < PAGE_SIZE && !error; i += 61) {
		struct object *object = &objects[i];
		struct context before = context_now();
		struct worker worker = {
			.pool = pool,
			.work = unmap_work,
			.object = object,
			.number = i,
		};
		u8 *address = map(pool, object, ZPOOL_MM_WO);

		if (!address)
			return -EINVAL;
		object->seed += PAGE_SIZE;
		memcpy(address, contents(object), object->size);
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
		error = worker_start(&worker, cpu);
		if (error)
			unmap(pool, object);
		else
			error = worker_join(&worker);
		error = error ?: check_context(&before, "after", object->size);
	}
	error = error ?: load_all(pool, PAGE_SIZE);
	return error;
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
			if (!error && pages > peak)
				error = fail("%llu pages for what was in %llu", pages, peak);
			cond_resched();
		}
	}
	vfree(order);
	return error ?: load_all(pool, count);
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

#define SHARED_OBJECTS	2048
#define OPERATIONS	15000

static int concurrent_work(struct worker *worker)
{
	struct rnd_state random;
	int error = 0;
	u32 i;

	prandom_seed_state(&random, SEED + worker->number);
	for (i = 0; i < OPERATIONS && !error && !test_bit(0, &failed); i++) {
		struct object *object = &objects[prandom_u32_state(&random) % SHARED_OBJECTS];
		u32 size = prandom_u32_state(&random) % PAGE_SIZE + 1;

		/* Half of the sizes are of one class, so that the workers meet in it. */
		if (size & 1)
			size = 1500;
		if (test_and_set_bit_lock(0, &object->in_hand))
			continue;
		if (object->stored) {
			error = load(worker->pool, object);
			if (!error && prandom_u32_state(&random) % 3)
				drop(worker->pool, object);
		} else {
			error = store(worker->pool, object, size, prandom_u32_state(&random));
		}
		clear_bit_unlock(0, &object->in_hand);
		cond_resched();
	}
	return error;
}

/* Stores, loads and frees that race, also of objects that another CPU stored. */
static int test_concurrency(struct zpool *pool)
{
	u32 count = 2 * num_online_cpus();
	struct worker *workers;
	int error = 0;
	u32 i, started;

	workers = kcalloc(count, sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	for (started = 0; started < count; started++) {
		struct worker *worker = &workers[started];

		worker->pool = pool;
		worker->number = started;
		worker->work = concurrent_work;
		error = worker_start(worker, -1);
		if (error)
			break;
	}
	for (i = 0; i < started; i++)
		error = worker_join(&workers[i]) ?: error;
	kfree(workers);
	return error ?: load_all(pool, SHARED_OBJECTS);
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
 * A store for which some of the pages that it needs are there, but not all: it
 * must give back those that it got before it fails.
 */
static int test_failed_stores(struct zpool *pool)
{
	const u32 warm_up = 100, rounds = 2000, free_pages = 64;
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
		/* By now, the lists of free pages that each CPU has are as long as they get. */
		if (round == warm_up)
			before = list_count_nodes(&held);
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
	take_memory(&held, 0);
	after = list_count_nodes(&held);
	give_memory_back(&held);
	if (error != -ENOMEM)
		return fail("with little memory left, a store gives %d", error);
	if (after + rounds < before)
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
	error = error ?: load_all(pool, i);
	give_memory_back(&held);
	if (!error && CALL(zpool_get_total_pages)(pool) > pages)
		error = fail("a store that failed keeps pages");
	error = error ?: store(pool, &objects[MAX_OBJECTS - 1], PAGE_SIZE, 0);
	shrinker_free(shrinker);
	return error;
}

static const struct test {
	const char *name;
	int (*run)(struct zpool *pool);
	/* Only for backends whose mappings may sleep. */
	bool sleep_mapped;
} tests[] = {
	{ "contents", test_contents },
	{ "full_zspages", test_full_zspages },
	{ "modes", test_modes },
	{ "bad_sizes", test_bad_sizes },
	{ "total_pages", test_total_pages },
	{ "slot_reuse", test_slot_reuse },
	{ "pools", test_pools },
	{ "mapping_context", test_mapping_context },
	{ "sleep_mapped", test_sleep_mapped, true },
	{ "many_mappings", test_many_mappings, true },
	{ "unmap_elsewhere", test_unmap_elsewhere, true },
	{ "free_under_spinlock", test_free_under_spinlock },
	{ "concurrency", test_concurrency },
	{ "fragmented_memory", test_fragmented_memory },
	{ "no_memory", test_no_memory },
	{ "failed_stores", test_failed_stores },
};

static void run_test(const struct test *test)
{
	struct zpool *pool;
	int error, i;

	failed = 0;
	memset(objects, 0, MAX_OBJECTS * sizeof(*objects));
	pool = CALL(zpool_create_pool)(backend, "zpool_test", GFP_KERNEL);
	if (!pool) {
		fail("no pool of %s could be made", backend);
		return;
	}
	if (test->sleep_mapped && !CALL(zpool_can_sleep_mapped)(pool)) {
		scnprintf(result, sizeof(result), "skip: mappings of %s may not sleep", backend);
	} else {
		error = test->run(pool);
		if (error)
			fail("the test itself failed with %d", error);
		drop_all(pool);
		/* Pages may be given back by a work item; they must be in the end. */
		for (i = 0; i < 1000 && CALL(zpool_get_total_pages)(pool); i++)
			fsleep(10000);
		if (CALL(zpool_get_total_pages)(pool))
			fail("%llu pages are left when all objects were freed",
			     CALL(zpool_get_total_pages)(pool));
		if (!test_bit(0, &failed))
			scnprintf(result, sizeof(result), "pass");
	}
	CALL(zpool_destroy_pool)(pool);
}

static int set_run(const char *value, const struct kernel_param *param)
{
	int i;

	/* Given with insmod, it would come before the module is ready. */
	if (!objects)
		return -EBUSY;
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (sysfs_streq(value, tests[i].name)) {
			run_test(&tests[i]);
			return 0;
		}
	}
	return -ENOENT;
}

static int get_tests(char *buffer, const struct kernel_param *param)
{
	int length = 0, i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		length += sysfs_emit_at(buffer, length, "%s\n", tests[i].name);
	return length;
}

static const struct kernel_param_ops run_ops = {
	.set = set_run,
	.get = get_tests,
};
module_param_cb(run, &run_ops, NULL, 0600);
MODULE_PARM_DESC(run, "Write the name of a test to run it; reads as the names of all");

module_param_string(result, result, sizeof(result), 0400);
MODULE_PARM_DESC(result, "How the last test went");

static int __init zpool_test_init(void)
{
	struct rnd_state random;

	if (!zpool_create_pool_address || !zpool_destroy_pool_address ||
	    !zpool_malloc_support_movable_address || !zpool_malloc_address ||
	    !zpool_free_address || !zpool_can_sleep_mapped_address ||
	    !zpool_map_handle_address || !zpool_unmap_handle_address ||
	    !zpool_get_total_pages_address) {
		pr_err("give the addresses of all zpool functions, from /proc/kallsyms\n");
		return -EINVAL;
	}
	noise = vmalloc(NOISE_OFFSETS + PAGE_SIZE);
	if (!noise)
		return -ENOMEM;
	prandom_seed_state(&random, SEED);
	prandom_bytes_state(&random, noise, NOISE_OFFSETS + PAGE_SIZE);
	objects = vcalloc(MAX_OBJECTS, sizeof(*objects));
	if (!objects) {
		vfree(noise);
		return -ENOMEM;
	}
	return 0;
}
module_init(zpool_test_init);

static void __exit zpool_test_exit(void)
{
	vfree(objects);
	vfree(noise);
}
module_exit(zpool_test_exit);

MODULE_DESCRIPTION("Tests of a zpool backend");
MODULE_LICENSE("GPL");
