/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of a zpool backend share: objects whose contents are known,
 * workers, and the parameters by which a script runs a test.
 *
 * The zpool front end is not exported to modules, so the addresses of its
 * functions are parameters, which the test script reads from /proc/kallsyms.
 * The name of a test written to the parameter "run" runs it on a new pool; the
 * parameter "result" then tells how it went: "pass" or "pass: ...", "skip: ..."
 * or "fail: ...".
 */
#ifndef OBJECTS_H
#define OBJECTS_H

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/zpool.h>

#define FUNCTION(name)							\
	static unsigned long name##_address;				\
	module_param_named(name, name##_address, ulong, 0);		\
	MODULE_PARM_DESC(name, "Address of " #name "()")

FUNCTION(zpool_create_pool);
FUNCTION(zpool_destroy_pool);
FUNCTION(zpool_malloc_support_movable);
FUNCTION(zpool_malloc);
FUNCTION(zpool_free);
FUNCTION(zpool_map_handle);
FUNCTION(zpool_unmap_handle);
FUNCTION(zpool_get_total_pages);

/* The function itself, with its own type. */
#define CALL(name) ((typeof(name) *)name##_address)

#define MAX_OBJECTS	65536
#define NOISE_OFFSETS	65536
#define SEED		20160406

/*
 * How long to wait for what another CPU is about to do, in seconds. It comes
 * within microseconds; the machine below may be busy with other things.
 */
#define PATIENCE	20

/* The backend that is tested. */
static char *backend = "rsmalloc";

/* --- Results ------------------------------------------------------------- */

static char result[1024] = "no test was run";
static unsigned long failed;

/* Reports the first failure of a test; later ones are often its consequence. */
static inline __printf(1, 2) int fail(const char *format, ...)
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

/* Reports figures of a test that passes. */
static inline __printf(1, 2) void tell(const char *format, ...)
{
	size_t length = strlen(result);
	va_list args;

	if (test_bit(0, &failed))
		return;
	length += scnprintf(result + length, sizeof(result) - length, length ? "; " : "pass: ");
	va_start(args, format);
	vscnprintf(result + length, sizeof(result) - length, format, args);
	va_end(args);
}

/* Reports that a test cannot be run here. */
static inline int skip_test(const char *reason)
{
	scnprintf(result, sizeof(result), "skip: %s", reason);
	return 0;
}

/* --- Objects ------------------------------------------------------------- */

struct object {
	unsigned long handle;
	u32 size;
	/* Chooses the contents. */
	u32 seed;
	bool stored;
	/* Bit 0: a worker has it in hand. */
	unsigned long in_hand;
};

/* The objects of the running test: what it leaves stored is freed after it. */
static struct object *objects;

/* Random bytes; an object's contents are a part of them. */
static u8 *noise;

/* The flags that zswap allocates with. */
static inline gfp_t zswap_gfp(struct zpool *pool)
{
	gfp_t gfp = __GFP_NORETRY | __GFP_NOWARN | __GFP_KSWAPD_RECLAIM;

	if (CALL(zpool_malloc_support_movable)(pool))
		gfp |= __GFP_HIGHMEM | __GFP_MOVABLE;
	return gfp;
}

static inline u8 *contents(const struct object *object)
{
	return noise + hash_32(object->seed ^ object->size << 16, 32) % NOISE_OFFSETS;
}

static inline u8 *map(struct zpool *pool, const struct object *object, enum zpool_mapmode mode)
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

static inline void unmap(struct zpool *pool, const struct object *object)
{
	CALL(zpool_unmap_handle)(pool, object->handle);
}

static inline int compare(const struct object *object, const u8 *address)
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

static inline int store_gfp(struct zpool *pool, struct object *object, u32 size, u32 seed,
			    gfp_t gfp)
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

static inline int store(struct zpool *pool, struct object *object, u32 size, u32 seed)
{
	int error = store_gfp(pool, object, size, seed, zswap_gfp(pool));

	if (error)
		return fail("storing %u bytes failed with %d", size, error);
	return 0;
}

/* One object of each size, in an order in which neighbours differ in class. */
static inline int store_every_size(struct zpool *pool)
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

static inline int load(struct zpool *pool, const struct object *object)
{
	const u8 *address = map(pool, object, ZPOOL_MM_RO);
	int error;

	if (!address)
		return -EINVAL;
	error = compare(object, address);
	unmap(pool, object);
	return error;
}

static inline int load_all(struct zpool *pool)
{
	int error = 0;
	u32 i;

	for (i = 0; i < MAX_OBJECTS && !error; i++) {
		if (objects[i].stored)
			error = load(pool, &objects[i]);
		cond_resched();
	}
	return error;
}

static inline void drop(struct zpool *pool, struct object *object)
{
	object->stored = false;
	CALL(zpool_free)(pool, object->handle);
}

static inline void drop_all(struct zpool *pool)
{
	u32 i;

	for (i = 0; i < MAX_OBJECTS; i++) {
		if (objects[i].stored)
			drop(pool, &objects[i]);
		cond_resched();
	}
}

/* Waits until the pool has @pages pages or fewer: a work item gives back the others. */
static inline bool shrinks_to(struct zpool *pool, u64 pages)
{
	int i;

	for (i = 0; i < PATIENCE * 100 && CALL(zpool_get_total_pages)(pool) > pages; i++)
		fsleep(10000);
	return CALL(zpool_get_total_pages)(pool) <= pages;
}

/* Pages that stay when no object is left. */
static inline int no_pages_left(struct zpool *pool)
{
	if (shrinks_to(pool, 0))
		return 0;
	return fail("%llu pages are left when all objects were freed",
		    CALL(zpool_get_total_pages)(pool));
}

/* --- What a holder of a mapping may feel --------------------------------- */

struct context {
	int preempt;
	int pagefault;
	int migration;
	int rcu;
	bool irqs_off;
};

static inline struct context context_now(void)
{
	return (struct context) {
		.preempt = preempt_count(),
		.pagefault = current->pagefault_disabled,
		.migration = current->migration_disabled,
		.rcu = rcu_preempt_depth(),
		.irqs_off = irqs_disabled(),
	};
}

/* @when and @how the mapping was made are for the message. */
static inline int check_context(const struct context *before, const char *when, const char *how,
				u32 size)
{
	struct context now = context_now();

	if (now.preempt == before->preempt && now.pagefault == before->pagefault &&
	    now.migration == before->migration && now.rcu == before->rcu &&
	    now.irqs_off == before->irqs_off)
		return 0;
	return fail("%s mapping %u bytes, %s: preempt %d, faults %d, moves %d, rcu %d, irqs %d",
		    when, size, how, now.preempt - before->preempt,
		    now.pagefault - before->pagefault, now.migration - before->migration,
		    now.rcu - before->rcu, now.irqs_off - before->irqs_off);
}

/* --- Workers ------------------------------------------------------------- */

/* A task that does a part of a test. */
struct worker {
	struct zpool *pool;
	int (*work)(struct worker *worker);
	/* Its part of objects[], or of what else the test is about. */
	u32 first, end;
	u32 number;
	struct task_struct *task;
	/* NULL, or what it waits for before it begins. */
	struct completion *start;
	struct completion all_are_there;
	struct completion done;
	int error;
};

static inline int worker_main(void *data)
{
	struct worker *worker = data;

	if (worker->start)
		wait_for_completion(worker->start);
	worker->error = worker->work(worker);
	complete(&worker->done);
	return 0;
}

static inline int worker_start(struct worker *worker, int cpu)
{
	struct task_struct *task;

	init_completion(&worker->done);
	task = kthread_create(worker_main, worker, KBUILD_MODNAME "/%u", worker->number);
	if (IS_ERR(task))
		return fail("no kernel thread: %ld", PTR_ERR(task));
	if (cpu >= 0)
		kthread_bind(task, cpu);
	worker->task = get_task_struct(task);
	wake_up_process(task);
	return 0;
}

static inline int worker_join(struct worker *worker)
{
	wait_for_completion(&worker->done);
	/* Only when the task is gone does nothing run in this module any more. */
	kthread_stop_put(worker->task);
	return worker->error;
}

/* The CPU after @cpu, or the first. */
static inline int next_cpu(int cpu)
{
	cpu = cpumask_next(cpu, cpu_online_mask);
	return cpu < nr_cpu_ids ? cpu : cpumask_first(cpu_online_mask);
}

/*
 * Starts workers, each on a CPU of its own if @bind. Even if that fails, they are
 * to be joined. They begin together: one may keep this task from running until
 * another comes.
 */
static inline int start_workers(struct worker *workers, u32 count, bool bind)
{
	int cpu = -1, error = 0;
	u32 i;

	init_completion(&workers[0].all_are_there);
	for (i = 0; i < count; i++)
		workers[i].task = NULL;
	for (i = 0; i < count && !error; i++) {
		if (bind)
			cpu = next_cpu(cpu);
		workers[i].number = i;
		workers[i].start = &workers[0].all_are_there;
		error = worker_start(&workers[i], cpu);
	}
	complete_all(&workers[0].all_are_there);
	return error;
}

/* Waits for the workers that were started, and returns the error of one that failed. */
static inline int join_workers(struct worker *workers, u32 count)
{
	int error = 0;
	u32 i;

	for (i = 0; i < count; i++)
		if (workers[i].task)
			error = worker_join(&workers[i]) ?: error;
	return error;
}

static inline int run_workers(struct worker *workers, u32 count, bool bind)
{
	int error = start_workers(workers, count, bind);

	return join_workers(workers, count) ?: error;
}

static inline int unmap_work(struct worker *worker)
{
	unmap(worker->pool, &objects[worker->first]);
	return 0;
}

/* Another task ends a mapping; on @cpu, unless that is negative. */
static inline int unmap_elsewhere(struct zpool *pool, const struct object *object, int cpu)
{
	struct worker worker = {
		.pool = pool,
		.work = unmap_work,
		.first = object - objects,
	};
	int error = worker_start(&worker, cpu);

	if (error) {
		unmap(pool, object);
		return error;
	}
	return worker_join(&worker);
}

#define SHARED_OBJECTS	2048
#define OPERATIONS	10000

/* Stores, loads and frees, also of objects that another worker stored. */
static inline int churn_work(struct worker *worker)
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

/* --- Running ------------------------------------------------------------- */

struct test {
	const char *name;
	int (*run)(struct zpool *pool);
	u32 flags;
};

/* A script does something before or after the test: it is not one of all. */
#define BY_NAME		BIT(0)
/* It works on what another test left. */
#define NO_POOL		BIT(1)
/* From here on, flags are the module's own. */
#define OWN_FLAG	2

static const struct test *all_tests;
static u32 all_tests_count;

/* What goes around a test, if the module has something to do there. */
static int (*run_with)(const struct test *test, struct zpool *pool);

static inline void run_test(const struct test *test)
{
	struct zpool *pool = NULL;
	int error;

	failed = 0;
	result[0] = '\0';
	if (!(test->flags & NO_POOL)) {
		memset(objects, 0, MAX_OBJECTS * sizeof(*objects));
		pool = CALL(zpool_create_pool)(backend, KBUILD_MODNAME, GFP_KERNEL);
		if (!pool) {
			fail("no pool of %s could be made", backend);
			return;
		}
	}
	error = run_with ? run_with(test, pool) : test->run(pool);
	if (error)
		fail("the test itself failed with %d", error);
	if (pool) {
		drop_all(pool);
		no_pages_left(pool);
		CALL(zpool_destroy_pool)(pool);
	}
	if (!result[0])
		scnprintf(result, sizeof(result), "pass");
}

static inline int set_run(const char *value, const struct kernel_param *param)
{
	u32 i;

	/* Given with insmod, it would come before the module is ready. */
	if (!objects)
		return -EBUSY;
	for (i = 0; i < all_tests_count; i++) {
		if (sysfs_streq(value, all_tests[i].name)) {
			run_test(&all_tests[i]);
			return 0;
		}
	}
	return -ENOENT;
}

static inline int get_tests(char *buffer, const struct kernel_param *param)
{
	int length = 0;
	u32 i;

	for (i = 0; i < all_tests_count; i++)
		if (!(all_tests[i].flags & BY_NAME))
			length += sysfs_emit_at(buffer, length, "%s\n", all_tests[i].name);
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

static inline void tests_exit(void)
{
	vfree(objects);
	vfree(noise);
}

/* @complete: whether the addresses of the module's own functions were given. */
static inline int tests_init(const struct test *tests, u32 count, bool complete)
{
	struct rnd_state random;

	if (!complete || !zpool_create_pool_address || !zpool_destroy_pool_address ||
	    !zpool_malloc_support_movable_address || !zpool_malloc_address ||
	    !zpool_free_address || !zpool_map_handle_address || !zpool_unmap_handle_address ||
	    !zpool_get_total_pages_address) {
		pr_err("give the addresses of all functions, from /proc/kallsyms\n");
		return -EINVAL;
	}
	all_tests = tests;
	all_tests_count = count;
	noise = vmalloc(NOISE_OFFSETS + PAGE_SIZE);
	objects = vcalloc(MAX_OBJECTS, sizeof(*objects));
	if (!noise || !objects) {
		tests_exit();
		return -ENOMEM;
	}
	prandom_seed_state(&random, SEED);
	prandom_bytes_state(&random, noise, NOISE_OFFSETS + PAGE_SIZE);
	return 0;
}

#endif
