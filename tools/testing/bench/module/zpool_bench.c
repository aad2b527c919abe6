// SPDX-License-Identifier: GPL-2.0
/*
 * What a zpool backend costs, through the zpool front end that zswap uses.
 *
 * The front end is not exported to modules, nor are two functions of the memory
 * manager, so their addresses are parameters, which the guest's script reads
 * from /proc/kallsyms. A command written to the parameter "run" measures one
 * backend, and the parameter "result" then holds its figures, a line of
 * "name=value" each:
 *
 *	cost BACKEND TRACE OBJECTS
 *	threads BACKEND TRACE OBJECTS THREADS
 *
 * TRACE is a file of little-endian 16-bit sizes. Which sizes and which objects
 * come next is drawn from a generator with a fixed seed, so that every backend
 * gets the same calls in the same order.
 *
 * "cost" takes the clock right before and right after each call, with interrupts
 * off, and takes off what reading the clock takes: neither this loop nor the
 * generator, the copying of the contents or an interrupt is in the figures. What
 * a backend leaves to a work item is, apart, as "background". Where the clock
 * counts instructions, as in an emulator that is told so, they are exact.
 *
 * "threads" reads the clock once before and once after many calls, a few times.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kernel_read_file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/nodemask.h>
#include <linux/prandom.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/timex.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>
#include <linux/zpool.h>

#define ADDRESS_OF(name)						\
	static unsigned long name##_address;				\
	module_param_named(name, name##_address, ulong, 0);		\
	MODULE_PARM_DESC(name, "Address of " #name "()")

ADDRESS_OF(zpool_create_pool);
ADDRESS_OF(zpool_destroy_pool);
ADDRESS_OF(zpool_malloc_support_movable);
ADDRESS_OF(zpool_malloc);
ADDRESS_OF(zpool_free);
ADDRESS_OF(zpool_map_handle);
ADDRESS_OF(zpool_unmap_handle);
ADDRESS_OF(zpool_get_total_pages);
ADDRESS_OF(drain_all_pages);
ADDRESS_OF(drop_slab);

/* The front end's function itself, with its own type. */
#define CALL(name) ((typeof(name) *)name##_address)

#define SEED		20131212
#define MAX_OBJECTS	1000000
#define MAX_THREADS	64
#define MAX_TRACE_BYTES	(8 << 20)
/* Costs up to here are told apart exactly; beyond, only the largest is known. */
#define BINS		65536
/* Each object is replaced so often on average. */
#define REPLACEMENTS	2
/* How long a pool is left alone. */
#define IDLE_SECONDS	2
/* For work items that are due at once. */
#define SETTLE_MS	20

/* Operations of each thread, enough for tenths of a second. */
#define THREAD_LOADS	100000
#define THREAD_REPLACES	50000
#define THREAD_ROUNDS	3

struct object {
	unsigned long handle;
	u16 size;
	bool stored;
};

struct cost {
	u64 total;
	u64 count;
	u64 largest;
	u32 *bins;
};

enum { STORE, LOAD, FREE, RESTORE, CLEAR, MALLOC, MAP, COSTS };

static const char * const cost_names[COSTS] = {
	/* malloc, map and unmap of a pool that fills. */
	[STORE] = "store",
	/* map and unmap. */
	[LOAD] = "load",
	/* While objects are replaced by others of random sizes. */
	[FREE] = "free",
	[RESTORE] = "restore",
	/* While all objects are freed in the order in which they were stored. */
	[CLEAR] = "clear",
	/* Parts of the above. */
	[MALLOC] = "malloc",
	[MAP] = "map",
};

static struct cost costs[COSTS];
static u32 bins[COSTS][BINS];

struct bench {
	const char *backend;
	struct zpool *pool;
	gfp_t gfp;
	struct object *objects;
	u32 count;
	const u16 *trace;
	size_t sizes;
	/* Of the machine, before there was a pool. */
	s64 free_pages;
};

/* One who stores and loads objects: the command itself, or one of its threads. */
struct worker {
	const struct bench *bench;
	struct rnd_state random;
	/* Where objects are copied from and to. */
	u8 *buffer;
	/* Its objects: each step-th, from the first on. */
	u32 first;
	u32 step;
	struct completion done;
};

static u64 clock_cost;

static char result[PAGE_SIZE];
static int result_length;

static __printf(1, 2) void report(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	result_length += vscnprintf(result + result_length, sizeof(result) - result_length,
				    format, args);
	va_end(args);
}

static __always_inline u64 clock(void)
{
#ifdef CONFIG_UML
	u32 low, high;

	/* The processor is the host's, but this architecture has no cycles to get. */
	asm volatile("rdtsc" : "=a" (low), "=d" (high));
	return (u64)high << 32 | low;
#else
	return get_cycles();
#endif
}

static __always_inline u64 since(u64 start)
{
	u64 elapsed = clock() - start;

	/* Where cycles are counted, no two readings take the same. */
	return elapsed > clock_cost ? elapsed - clock_cost : 0;
}

/* The least of many, for the first readings are of cold code. */
static u64 cost_of_clock(void)
{
	u64 least = U64_MAX;
	int i;

	for (i = 0; i < 1000; i++) {
		u64 start = clock();

		least = min(least, clock() - start);
	}
	return least;
}

static void add_cost(struct cost *cost, u64 cycles)
{
	cost->total += cycles;
	cost->count++;
	cost->largest = max(cost->largest, cycles);
	if (cycles < BINS)
		cost->bins[cycles]++;
}

static u64 percentile(const struct cost *cost, u32 per_100000)
{
	u64 wanted = DIV_ROUND_UP_ULL(cost->count * per_100000, 100000);
	u64 seen = 0;
	u32 i;

	for (i = 0; i < BINS; i++) {
		seen += cost->bins[i];
		if (seen >= wanted)
			return i;
	}
	return cost->largest;
}

static void report_cost(int index)
{
	const struct cost *cost = &costs[index];
	const char *name = cost_names[index];

	report("%s.mean_x100=%llu\n%s.p50=%llu\n%s.p99=%llu\n%s.p999=%llu\n%s.max=%llu\n",
	       name, div64_u64(cost->total * 100, max(cost->count, 1ULL)),
	       name, percentile(cost, 50000), name, percentile(cost, 99000),
	       name, percentile(cost, 99900), name, cost->largest);
}

static u16 random_size(struct worker *worker)
{
	const struct bench *bench = worker->bench;

	return bench->trace[prandom_u32_state(&worker->random) % bench->sizes];
}

static struct object *random_object(struct worker *worker)
{
	u32 own = worker->bench->count / worker->step;

	return &worker->bench->objects[worker->first +
				       prandom_u32_state(&worker->random) % own * worker->step];
}

/*
 * Stores an object of a random size. @total is the cost to add to, and NULL
 * where the clock is not to be read; then interrupts stay on.
 */
static __always_inline int store(struct worker *worker, struct object *object,
				 struct cost *total)
{
	const struct bench *bench = worker->bench;
	u64 start = 0, malloc_cost = 0, map_cost = 0, unmap_cost = 0;
	unsigned long flags = 0;
	void *address;
	int error;

	object->size = random_size(worker);
	if (total) {
		local_irq_save(flags);
		start = clock();
	}
	error = CALL(zpool_malloc)(bench->pool, object->size, bench->gfp, &object->handle);
	if (total)
		malloc_cost = since(start);
	if (error)
		goto out;
	object->stored = true;

	if (total)
		start = clock();
	address = CALL(zpool_map_handle)(bench->pool, object->handle, ZPOOL_MM_WO);
	if (total)
		map_cost = since(start);
	memcpy(address, worker->buffer, object->size);
	if (total)
		start = clock();
	CALL(zpool_unmap_handle)(bench->pool, object->handle);
	if (total)
		unmap_cost = since(start);
out:
	if (total) {
		local_irq_restore(flags);
		if (!error) {
			add_cost(total, malloc_cost + map_cost + unmap_cost);
			add_cost(&costs[MALLOC], malloc_cost);
		}
	}
	return error;
}

static __always_inline void load(struct worker *worker, const struct object *object,
				 struct cost *total)
{
	const struct bench *bench = worker->bench;
	u64 start = 0, map_cost = 0, unmap_cost = 0;
	unsigned long flags = 0;
	void *address;

	if (total) {
		local_irq_save(flags);
		start = clock();
	}
	address = CALL(zpool_map_handle)(bench->pool, object->handle, ZPOOL_MM_RO);
	if (total)
		map_cost = since(start);
	memcpy(worker->buffer, address, object->size);
	if (total)
		start = clock();
	CALL(zpool_unmap_handle)(bench->pool, object->handle);
	if (total) {
		unmap_cost = since(start);
		local_irq_restore(flags);
		add_cost(total, map_cost + unmap_cost);
		add_cost(&costs[MAP], map_cost);
	}
}

static __always_inline void drop(const struct bench *bench, struct object *object,
				 struct cost *total)
{
	unsigned long flags = 0;
	u64 start = 0, cycles;

	if (total) {
		local_irq_save(flags);
		start = clock();
	}
	CALL(zpool_free)(bench->pool, object->handle);
	if (total) {
		cycles = since(start);
		local_irq_restore(flags);
		add_cost(total, cycles);
	}
	object->stored = false;
}

static __always_inline int replace(struct worker *worker, struct cost *free_cost,
				   struct cost *store_cost)
{
	struct object *object = random_object(worker);
	int error;

	if (object->stored)
		drop(worker->bench, object, free_cost);
	error = store(worker, object, store_cost);
	/* Some backends take no object that needs a whole page. */
	return error == -ENOSPC ? 0 : error;
}

static int fill(struct worker *worker, struct cost *cost)
{
	const struct bench *bench = worker->bench;
	u32 i;

	for (i = 0; i < bench->count; i++) {
		int error = store(worker, &bench->objects[i], cost);

		if (error && error != -ENOSPC)
			return error;
		cond_resched();
	}
	return 0;
}

/* What the memory manager has in no header for modules. */
static void drain_cpu_caches(void)
{
	((void (*)(struct zone *))drain_all_pages_address)(NULL);
}

static void call_shrinkers(void)
{
	((void (*)(void))drop_slab_address)();
}

/* Free pages of the machine, with none hidden in a cache of a CPU. */
static s64 count_free_pages(void)
{
	s64 pages = 0;
	int nid, i;

	rcu_barrier();
	msleep(SETTLE_MS);
	drain_cpu_caches();
	for_each_online_node(nid) {
		struct zone *zones = NODE_DATA(nid)->node_zones;

		for (i = 0; i < MAX_NR_ZONES; i++)
			if (populated_zone(&zones[i]))
				pages += zone_page_state_snapshot(&zones[i], NR_FREE_PAGES);
	}
	return pages;
}

/* For how long others than this task had the only CPU. */
struct others {
	u64 start;
	u64 own;
};

/* The scheduler brings a task's own time up to date when the task sleeps. */
static u64 own_time(void)
{
	schedule_timeout_uninterruptible(1);
	return current->se.sum_exec_runtime;
}

static void watch_others(struct others *others)
{
	others->own = own_time();
	others->start = ktime_get_ns();
}

/* Work items that were left come to an end before the figure is taken. */
static void report_others(const struct others *others, const char *name, u32 operations)
{
	s64 elapsed = ktime_get_ns() - others->start;
	s64 time = elapsed - (s64)(own_time() - others->own);

	report("%s.background_x100=%lld\n", name, div_s64(time * 100, operations));
}

/* Bytes stored, and all memory that was taken for them. */
static void report_density(const struct bench *bench, const char *when)
{
	s64 pages = bench->free_pages - count_free_pages();
	u64 bytes = 0;
	u32 i;

	for (i = 0; i < bench->count; i++)
		if (bench->objects[i].stored)
			bytes += bench->objects[i].size;
	report("%s.bytes=%llu\n%s.taken=%lld\n%s.pool=%llu\n", when, bytes,
	       when, pages * PAGE_SIZE,
	       when, CALL(zpool_get_total_pages)(bench->pool) * PAGE_SIZE);
}

static u64 count_refused(const struct bench *bench)
{
	u64 refused = 0;
	u32 i;

	for (i = 0; i < bench->count; i++)
		refused += !bench->objects[i].stored;
	return refused;
}

static void drop_all(const struct bench *bench, struct cost *cost)
{
	u32 i;

	for (i = 0; i < bench->count; i++) {
		if (bench->objects[i].stored)
			drop(bench, &bench->objects[i], cost);
		cond_resched();
	}
}

static int measure_cost(struct worker *worker)
{
	const struct bench *bench = worker->bench;
	struct others others;
	int error;
	u64 start;
	u32 i;

	watch_others(&others);
	error = fill(worker, &costs[STORE]);
	if (error)
		return error;
	report_others(&others, "store", bench->count);
	report("refused=%llu\n", count_refused(bench));
	report_density(bench, "fresh");

	for (i = 0; i < bench->count; i++) {
		struct object *object = random_object(worker);

		if (object->stored)
			load(worker, object, &costs[LOAD]);
		cond_resched();
	}
	watch_others(&others);
	for (i = 0; i < REPLACEMENTS * bench->count; i++) {
		error = replace(worker, &costs[FREE], &costs[RESTORE]);
		if (error)
			return error;
		cond_resched();
	}
	report_others(&others, "replace", REPLACEMENTS * bench->count);
	report_density(bench, "churned");

	for (i = 0; i < bench->count; i++) {
		if (prandom_u32_state(&worker->random) % 2 && bench->objects[i].stored)
			drop(bench, &bench->objects[i], NULL);
		cond_resched();
	}
	report_density(bench, "halved");
	ssleep(IDLE_SECONDS);
	report_density(bench, "idle");
	start = ktime_get_ns();
	call_shrinkers();
	report("shrink.us=%llu\n", div_u64(ktime_get_ns() - start, NSEC_PER_USEC));
	report_density(bench, "shrunk");

	drop_all(bench, NULL);
	error = fill(worker, NULL);
	if (error)
		return error;
	msleep(SETTLE_MS);
	watch_others(&others);
	drop_all(bench, &costs[CLEAR]);
	report_others(&others, "clear", bench->count);
	return 0;
}

static int run_cost(struct bench *bench)
{
	struct worker worker = { .bench = bench, .step = 1 };
	int error, i;

	worker.buffer = kzalloc(PAGE_SIZE, GFP_KERNEL);
	if (!worker.buffer)
		return -ENOMEM;
	prandom_seed_state(&worker.random, SEED);
	memset(bins, 0, sizeof(bins));
	for (i = 0; i < COSTS; i++)
		costs[i] = (struct cost){ .bins = bins[i] };
	clock_cost = cost_of_clock();
	error = measure_cost(&worker);
	for (i = 0; i < COSTS && !error; i++)
		report_cost(i);
	kfree(worker.buffer);
	return error;
}

static DECLARE_WAIT_QUEUE_HEAD(start_line);
static bool started;
static int (*thread_work)(struct worker *worker);
static atomic_t thread_error;

static int load_many(struct worker *worker)
{
	int i;

	for (i = 0; i < THREAD_LOADS; i++) {
		struct object *object = random_object(worker);

		if (object->stored)
			load(worker, object, NULL);
		cond_resched();
	}
	return 0;
}

static int replace_many(struct worker *worker)
{
	int error = 0;
	int i;

	for (i = 0; i < THREAD_REPLACES && !error; i++) {
		error = replace(worker, NULL, NULL);
		cond_resched();
	}
	return error;
}

static int thread(void *data)
{
	struct worker *worker = data;
	int error;

	wait_event(start_line, READ_ONCE(started));
	error = thread_work(worker);
	if (error)
		atomic_set(&thread_error, error);
	kthread_complete_and_exit(&worker->done, 0);
}

/* Has all threads do their work at once, and returns how many nanoseconds that took. */
static s64 time_threads(struct worker *workers, int count, int (*work)(struct worker *worker))
{
	s64 start;
	int i;

	started = false;
	thread_work = work;
	for (i = 0; i < count; i++) {
		struct task_struct *task;

		init_completion(&workers[i].done);
		task = kthread_run(thread, &workers[i], "zpool_bench/%d", i);
		if (IS_ERR(task)) {
			atomic_set(&thread_error, PTR_ERR(task));
			complete(&workers[i].done);
		}
	}
	start = ktime_get_ns();
	WRITE_ONCE(started, true);
	wake_up_all(&start_line);
	for (i = 0; i < count; i++)
		wait_for_completion(&workers[i].done);
	return ktime_get_ns() - start;
}

/*
 * The best of a few rounds: in the others, the guest's processors may have had to
 * share the host's. What an emulator has to translate, it has translated in the
 * first.
 */
static u64 threads_per_second(struct worker *workers, int count, int (*work)(struct worker *worker),
			      u64 operations)
{
	s64 best = S64_MAX;
	int i;

	for (i = 0; i < THREAD_ROUNDS; i++)
		best = min(best, time_threads(workers, count, work));
	return div64_u64(operations * count * NSEC_PER_SEC, best);
}

static int run_threads(struct bench *bench, int count)
{
	struct worker *workers;
	int error = 0, i;

	workers = kcalloc(count, sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		workers[i] = (struct worker){ .bench = bench, .first = i, .step = count };
		prandom_seed_state(&workers[i].random, SEED + i);
		workers[i].buffer = kzalloc(PAGE_SIZE, GFP_KERNEL);
		if (!workers[i].buffer)
			error = -ENOMEM;
	}
	atomic_set(&thread_error, 0);
	error = error ?: fill(&workers[0], NULL);
	if (!error) {
		report("loads_per_second=%llu\n",
		       threads_per_second(workers, count, load_many, THREAD_LOADS));
		report("replaces_per_second=%llu\n",
		       threads_per_second(workers, count, replace_many, THREAD_REPLACES));
		error = atomic_read(&thread_error);
	}
	for (i = 0; i < count; i++)
		kfree(workers[i].buffer);
	kfree(workers);
	return error;
}

static int run_on_pool(struct bench *bench, int threads)
{
	int error, i;
	bool movable;

	/* What can be freed is freed now, and not while something is measured. */
	call_shrinkers();
	bench->free_pages = count_free_pages();
	bench->pool = CALL(zpool_create_pool)(bench->backend, "zpool_bench", GFP_KERNEL);
	if (!bench->pool) {
		pr_err("no pool of %s could be made\n", bench->backend);
		return -ENODEV;
	}
	/* The flags that zswap allocates with. */
	movable = CALL(zpool_malloc_support_movable)(bench->pool);
	bench->gfp = __GFP_NORETRY | __GFP_NOWARN | __GFP_KSWAPD_RECLAIM;
	if (movable)
		bench->gfp |= __GFP_HIGHMEM | __GFP_MOVABLE;

	error = threads ? run_threads(bench, threads) : run_cost(bench);

	drop_all(bench, NULL);
	/* Pages may be given back by a work item. */
	for (i = 0; i < 100 && CALL(zpool_get_total_pages)(bench->pool); i++)
		msleep(SETTLE_MS);
	report("left=%llu\n", CALL(zpool_get_total_pages)(bench->pool) * PAGE_SIZE);
	CALL(zpool_destroy_pool)(bench->pool);
	return error;
}

static int read_trace(struct bench *bench, const char *path)
{
	void *buffer = NULL;
	ssize_t bytes;
	size_t i;

	bytes = kernel_read_file_from_path(path, 0, &buffer, MAX_TRACE_BYTES, NULL,
					   READING_UNKNOWN);
	if (bytes < 0)
		return bytes;
	bench->trace = buffer;
	bench->sizes = bytes / sizeof(*bench->trace);
	for (i = 0; i < bench->sizes; i++)
		if (!bench->trace[i] || bench->trace[i] > PAGE_SIZE)
			break;
	if (!bench->sizes || i < bench->sizes) {
		pr_err("%s is no list of sizes\n", path);
		vfree(buffer);
		return -EINVAL;
	}
	return 0;
}

static int set_run(const char *value, const struct kernel_param *param)
{
	char mode[16], backend[32], path[256];
	struct bench bench = { .backend = backend };
	int fields, threads = 0, error;

	if (!zpool_create_pool_address || !zpool_destroy_pool_address ||
	    !zpool_malloc_support_movable_address || !zpool_malloc_address ||
	    !zpool_free_address || !zpool_map_handle_address || !zpool_unmap_handle_address ||
	    !zpool_get_total_pages_address || !drain_all_pages_address || !drop_slab_address) {
		pr_err("give the addresses of all functions, from /proc/kallsyms\n");
		return -EINVAL;
	}
	fields = sscanf(value, "%15s %31s %255s %u %d", mode, backend, path, &bench.count,
			&threads);
	if (fields < 4 || bench.count > MAX_OBJECTS || threads < 0 || threads > MAX_THREADS)
		return -EINVAL;
	if (!strcmp(mode, "threads") ? !threads || bench.count < threads :
				       strcmp(mode, "cost") || threads || !bench.count)
		return -EINVAL;
	result_length = 0;
	result[0] = '\0';
	error = read_trace(&bench, path);
	if (error)
		return error;
	bench.objects = vcalloc(bench.count, sizeof(*bench.objects));
	error = bench.objects ? run_on_pool(&bench, threads) : -ENOMEM;
	vfree(bench.objects);
	vfree(bench.trace);
	return error;
}

static int get_result(char *buffer, const struct kernel_param *param)
{
	return strscpy(buffer, result, PAGE_SIZE);
}

static const struct kernel_param_ops run_ops = {
	.set = set_run,
};
module_param_cb(run, &run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "Write a command to measure a backend");

static const struct kernel_param_ops result_ops = {
	.get = get_result,
};
module_param_cb(result, &result_ops, NULL, 0400);
MODULE_PARM_DESC(result, "The figures of the last command");

MODULE_DESCRIPTION("Measures what a zpool backend costs");
MODULE_LICENSE("GPL");
