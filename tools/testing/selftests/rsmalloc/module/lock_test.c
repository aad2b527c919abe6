// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of page migration, and of the lock that mappings and migration share.
 * How a script runs one is told in objects.h.
 *
 * Pages of a pool are isolated and migrated on purpose, by the functions that
 * compaction uses. What happens while a page is being copied is seen through a
 * kprobe on the function of rsmalloc that does it, see struct section.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debug_locks.h>
#include <linux/highmem.h>
#include <linux/kprobes.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>

#include "objects.h"

FUNCTION(isolate_movable_page);
FUNCTION(migrate_pages);
FUNCTION(putback_movable_pages);

#define MAX_PAGES	16384
/* The pages that the running test moves. */
static struct page **pages;

/*
 * Sizes of which a zspage has many objects in one page or in several, a few, or
 * one, and in which objects cross pages or do not.
 */
static const u32 sizes[] = { 36, 64, 100, 500, 600, 1000, 1500, 2000, 2700, 3000, 3500, 4096 };

/* The descriptor: the slot number is in the low bits of a handle. */
static unsigned long zspage_of(const struct object *object)
{
	return object->handle & ~63UL;
}

/*
 * Stores objects of @size, from objects[0] on, that fill @zspages zspages, and
 * returns how many go into one, or 0 on failure.
 */
static u32 fill_zspages(struct zpool *pool, u32 size, u32 zspages)
{
	u32 count, made = 0;

	for (count = 0; count < MAX_OBJECTS; count++) {
		if (store(pool, &objects[count], size, count))
			return 0;
		if ((!count || zspage_of(&objects[count]) != zspage_of(&objects[count - 1])) &&
		    made++ == zspages) {
			drop(pool, &objects[count]);
			return count / zspages;
		}
		cond_resched();
	}
	fail("%u objects of %u bytes do not fill %u zspages", count, size, zspages);
	return 0;
}

/* --- Pages --------------------------------------------------------------- */

/* Whether the page has an owner that would be asked to move it. */
static bool is_movable(const struct page *page)
{
	return __PageMovable(page) && page_movable_ops((struct page *)page);
}

static u32 add_page(u32 first, u32 count, const void *address)
{
	struct page *page = virt_to_page(address);
	u32 i;

	/* A bounce buffer is not movable. */
	if (!is_movable(page) || count == MAX_PAGES)
		return count;
	for (i = count; i > first; i--)
		if (pages[i - 1] == page)
			return count;
	pages[count] = page;
	return count + 1;
}

/*
 * Puts the pages of @count objects that are not mapped through a bounce buffer
 * into pages[], from pages[@first] on, and returns the index after the last.
 */
static u32 find_pages(struct zpool *pool, const struct object *object, u32 count, u32 first)
{
	u32 end = first;

	for (; count; count--, object++) {
		u8 *address = map(pool, object, ZPOOL_MM_RO);

		if (!address)
			return 0;
		end = add_page(first, end, address);
		end = add_page(first, end, address + object->size - 1);
		unmap(pool, object);
		cond_resched();
	}
	return end;
}

struct move {
	gfp_t gfp;
	/* The page that took the place of the last one. */
	struct page *to;
};

/*
 * A page whose neighbour is free: so of those that were moved no two are
 * adjacent, and objects that cross two of them need a bounce buffer.
 */
static struct folio *lonely_folio(struct folio *from, unsigned long private)
{
	struct move *move = (struct move *)private;
	struct page *page = alloc_pages(move->gfp, 1);

	if (!page)
		return NULL;
	split_page(page, 1);
	__free_page(page + 1);
	move->to = page;
	return page_folio(page);
}

static bool isolate(struct page *page, struct list_head *isolated)
{
	int i;

	/* The kernel's own compaction may have the page locked for a moment. */
	for (i = 0; i < PATIENCE * 100; i++) {
		if (CALL(isolate_movable_page)(page, 0)) {
			list_add(&page->lru, isolated);
			return true;
		}
		if (!is_movable(page))
			break;
		fsleep(10000);
	}
	return false;
}

/*
 * As compaction does when it may not wait: who is refused is told at once. What
 * could not be migrated is put back.
 */
static int migrate(struct list_head *isolated, struct move *move)
{
	int left = CALL(migrate_pages)(isolated, lonely_folio, NULL, (unsigned long)move,
				       MIGRATE_ASYNC, MR_COMPACTION, NULL);

	if (list_empty(isolated))
		return 0;
	CALL(putback_movable_pages)(isolated);
	return left < 0 ? left : -EAGAIN;
}

/*
 * Drops a reference to a page that nobody else should have one to. The kernel's
 * own compaction may, while it looks what page it is.
 */
static int put_last_reference(struct page *page, const char *what)
{
	int i, count, error = 0;

	for (i = 0; i < PATIENCE * 100 && page_count(page) > 1; i++)
		fsleep(10000);
	count = page_count(page);
	if (count != 1)
		error = fail("%s has %d references", what, count);
	else if (is_movable(page) || page_private(page))
		error = fail("%s still leads to its zspage", what);
	put_page(page);
	return error;
}

static int move_page_with(struct page **page, gfp_t gfp)
{
	struct move move = { .gfp = gfp };
	struct page *from = *page;
	LIST_HEAD(isolated);
	int error;

	if (!get_page_unless_zero(from))
		return -EBUSY;
	error = isolate(from, &isolated) ? migrate(&isolated, &move) : -EBUSY;
	if (error) {
		put_page(from);
		return error;
	}
	*page = move.to;
	return put_last_reference(from, "a page whose contents were moved away");
}

/* Has the kernel move a page, and notes where to. */
static int move_page(struct page **page)
{
	return move_page_with(page, GFP_HIGHUSER_MOVABLE);
}

static int move_test_pages(u32 first, u32 end)
{
	u32 i;

	for (i = first; i < end; i++) {
		int error = move_page(&pages[i]);

		if (error)
			return fail("a page that nobody uses could not be moved: %d", error);
		cond_resched();
	}
	return 0;
}

/*
 * Asks the owner of a page once to move it; migrate_pages() asks up to ten
 * times. Before that, with both pages locked, @meanwhile may happen.
 */
static int move_once(struct page **page, struct zpool *pool,
		     void (*meanwhile)(struct zpool *pool, struct page *to))
{
	struct move move = { .gfp = GFP_HIGHUSER_MOVABLE };
	struct page *from = *page;
	LIST_HEAD(isolated);
	int error = 0;

	if (!isolate(from, &isolated))
		return -EBUSY;
	if (!lonely_folio(page_folio(from), (unsigned long)&move)) {
		CALL(putback_movable_pages)(&isolated);
		return -ENOMEM;
	}
	lock_page(from);
	lock_page(move.to);
	if (meanwhile)
		meanwhile(pool, move.to);
	if (is_movable(from))
		error = page_movable_ops(from)->migrate_page(move.to, from, MIGRATE_SYNC);
	if (!error)
		ClearPageIsolated(from);
	unlock_page(move.to);
	put_page(move.to);
	unlock_page(from);
	if (error) {
		CALL(putback_movable_pages)(&isolated);
		return error;
	}
	list_del(&from->lru);
	put_page(from);
	*page = move.to;
	return 0;
}

/* --- Inside the section in which a page is moved -------------------------- */

/*
 * A kprobe on rsmalloc_copy_page() leads to copy_page_here() instead, which
 * runs in its place: after the breakpoint, in the task that migrates, with the
 * zspage lock held by a writer. Nothing of the kprobe is left in its
 * preempt_count.
 */
struct section {
	u32 entered;
	int min_depth;
	int max_depth;
	bool irqs_off;
};

static DEFINE_PER_CPU(struct section, sections);

/* What else to do there. */
static void (*in_section)(void);

/* Is not called by name, and gets what rsmalloc_copy_page() was called with. */
static noinline void copy_page_here(struct page *to, struct page *from)
{
	int depth = preempt_count();
	struct section *section = this_cpu_ptr(&sections);
	void (*also)(void) = READ_ONCE(in_section);

	section->min_depth = section->entered ? min(section->min_depth, depth) : depth;
	section->max_depth = section->entered ? max(section->max_depth, depth) : depth;
	section->irqs_off |= irqs_disabled();
	section->entered++;
	if (also)
		also();
	copy_highpage(to, from);
}

static int lead_there(struct kprobe *probe, struct pt_regs *regs)
{
	instruction_pointer_set(regs, (unsigned long)copy_page_here);
	/* Do not go on where the breakpoint is. */
	return 1;
}

/* Only keeps the breakpoint from being replaced by a jump, which cannot lead elsewhere. */
static void no_jump(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static void forget_sections(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		memset(per_cpu_ptr(&sections, cpu), 0, sizeof(struct section));
}

static u32 sections_entered(void)
{
	u32 entered = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		entered += per_cpu_ptr(&sections, cpu)->entered;
	return entered;
}

static bool wait_for(atomic_t *count, int wanted)
{
	unsigned long end = jiffies + PATIENCE * HZ;

	while (atomic_read(count) < wanted) {
		if (time_after(jiffies, end))
			return false;
		cpu_relax();
	}
	return true;
}

/* --- The depth of preempt_count ------------------------------------------ */

/* Has a breakpoint like rsmalloc_copy_page(), and is called at a known depth. */
static noinline void probed(struct page *to, struct page *from)
{
	/* Or the compiler, which does not see who else is led from here, leaves them out. */
	barrier_data(to);
	barrier_data(from);
}

/* A measurement that would see nothing: the depth where it is known. */
static int test_probe(struct zpool *pool)
{
	static struct kprobe probe = {
		.addr = (kprobe_opcode_t *)probed,
		.pre_handler = lead_there,
		.post_handler = no_jump,
	};
	static const int depths[] = { 0, 1, 2, 64, 113 };
	struct page *to = alloc_page(GFP_KERNEL), *from = alloc_page(GFP_KERNEL);
	int error, i, j;

	if (!to || !from)
		return -ENOMEM;
	if (!IS_ENABLED(CONFIG_PREEMPT_COUNT))
		return skip_test("this kernel does not count preempt_disable()");
	error = register_kprobe(&probe);
	if (error)
		return fail("no kprobe on this module's own function: %d", error);
	for (i = 0; i < ARRAY_SIZE(depths); i++) {
		const struct section *section;

		forget_sections();
		migrate_disable();
		section = this_cpu_ptr(&sections);
		for (j = 0; j < depths[i]; j++)
			preempt_disable();
		probed(to, from);
		for (j = 0; j < depths[i]; j++)
			preempt_enable();
		if (section->entered != 1 || section->irqs_off || section->min_depth != depths[i])
			error = fail("at depth %d, %u sections at depth %d were seen, irqs off %d",
				     depths[i], section->entered, section->min_depth,
				     section->irqs_off);
		migrate_enable();
	}
	unregister_kprobe(&probe);
	__free_page(to);
	__free_page(from);
	return error;
}

static atomic_t inside;

/* Until a page is being moved on every CPU. */
static void meet(void)
{
	int all = num_online_cpus();

	if (atomic_read(&inside) == all)
		return;
	atomic_inc(&inside);
	if (!wait_for(&inside, all))
		fail("pages were being moved on %d of %d CPUs at once", atomic_read(&inside), all);
}

/* The worker's part is one of pages[]. */
static int move_work(struct worker *worker)
{
	return move_test_pages(worker->first, worker->end);
}

/*
 * A lock taken for each object of the zspage whose page is moved: one zspage of
 * each kind is moved on every CPU at the same moment, and preempt_count is one
 * higher in there than outside. It catches a second lock as well as none.
 */
static int test_depth(struct zpool *pool)
{
	u32 cpus = num_online_cpus(), i, j, largest = 0;
	struct worker *workers;
	int error = 0, cpu;

	if (!IS_ENABLED(CONFIG_PREEMPT_COUNT))
		return skip_test("this kernel does not count preempt_disable()");
	workers = kcalloc(cpus, sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(sizes) && !error; i++) {
		u32 slots = fill_zspages(pool, sizes[i], cpus), end = 0;

		if (!slots) {
			error = -EINVAL;
			break;
		}
		largest = max(largest, slots);
		for (j = 0; j < cpus; j++) {
			workers[j].pool = pool;
			workers[j].work = move_work;
			workers[j].first = end;
			end = find_pages(pool, &objects[j * slots], slots, end);
			workers[j].end = end;
		}
		if (!shrinks_to(pool, end) || end != CALL(zpool_get_total_pages)(pool)) {
			error = fail("%u of %llu pages found", end,
				     CALL(zpool_get_total_pages)(pool));
			break;
		}
		forget_sections();
		atomic_set(&inside, 0);
		in_section = meet;
		error = run_workers(workers, cpus, true);
		in_section = NULL;
		for_each_online_cpu(cpu) {
			const struct section *section = per_cpu_ptr(&sections, cpu);

			if (error)
				break;
			if (!section->entered)
				error = fail("CPU %d moved no page", cpu);
			else if (section->min_depth != 1 || section->max_depth != 1)
				error = fail("%u objects of %u bytes, CPU %d: depth %d to %d",
					     slots, sizes[i], cpu, section->min_depth,
					     section->max_depth);
			else if (section->irqs_off)
				error = fail("interrupts are off while a page is moved");
		}
		error = error ?: load_all(pool);
		drop_all(pool);
	}
	kfree(workers);
	tell("depth 1 on %u CPUs at once, with 1 to %u objects in a zspage", cpus, largest);
	return error;
}

/* --- Mappings and migration ---------------------------------------------- */

static void nothing(void)
{
}

static void faults_off(void)
{
	pagefault_disable();
}

static void faults_on(void)
{
	pagefault_enable();
}

static void moving_off(void)
{
	migrate_disable();
}

static void moving_on(void)
{
	migrate_enable();
}

#ifndef CONFIG_PREEMPT_RT
static void preemption_off(void)
{
	preempt_disable();
}

static void preemption_on(void)
{
	preempt_enable();
}

static void softirqs_off(void)
{
	local_bh_disable();
}

static void softirqs_on(void)
{
	local_bh_enable();
}

static void irqs_off(void)
{
	local_irq_disable();
}

static void irqs_on(void)
{
	local_irq_enable();
}
#endif

/* In what state a mapping may be made. On PREEMPT_RT, spinlocks exclude more of them. */
static const struct {
	const char *name;
	void (*enter)(void);
	void (*leave)(void);
} callers[] = {
	{ "all on", nothing, nothing },
	{ "page faults off", faults_off, faults_on },
	{ "migration off", moving_off, moving_on },
#ifndef CONFIG_PREEMPT_RT
	{ "preemption off", preemption_off, preemption_on },
	{ "softirqs off", softirqs_off, softirqs_on },
	{ "interrupts off", irqs_off, irqs_on },
#endif
};

/* Maps @object in state @caller and has it changed, through a buffer or not: counts[]. */
static int map_in_state(struct zpool *pool, struct object *object, int caller,
			enum zpool_mapmode mode, u32 *counts)
{
	struct context before;
	int error = 0;
	u8 *address;

	callers[caller].enter();
	before = context_now();
	address = map(pool, object, mode);
	if (address) {
		error = check_context(&before, "while", callers[caller].name, object->size);
		counts[is_movable(virt_to_page(address))]++;
		if (mode != ZPOOL_MM_WO)
			error = error ?: compare(object, address);
		if (mode != ZPOOL_MM_RO) {
			object->seed += PAGE_SIZE;
			memcpy(address, contents(object), object->size);
		}
		unmap(pool, object);
	}
	error = error ?: check_context(&before, "after", callers[caller].name, object->size);
	callers[caller].leave();
	return address ? error : -EINVAL;
}

/*
 * A mapping through a bounce buffer that is felt by its holder, or leaves
 * something behind: every page of a pool is moved away from its neighbours, and
 * every size and mode is mapped, whatever is off at that moment.
 */
static int test_context(struct zpool *pool)
{
	u32 i, j, end, counts[2] = {};
	enum zpool_mapmode mode;
	int error;

	error = store_every_size(pool);
	end = error ? 0 : find_pages(pool, objects, PAGE_SIZE, 0);
	error = error ?: move_test_pages(0, end);
	for (i = 0; i < PAGE_SIZE && !error; i++) {
		for (j = 0; j < ARRAY_SIZE(callers) && !error; j++)
			for (mode = ZPOOL_MM_RW; mode <= ZPOOL_MM_WO && !error; mode++)
				error = map_in_state(pool, &objects[i], j, mode, counts);
		cond_resched();
	}
	tell("%u mappings were direct and %u through a buffer", counts[true], counts[false]);
	if (!error && (!counts[true] || !counts[false]))
		error = fail("%u mappings were direct and %u through a buffer", counts[true],
			     counts[false]);
	return error ?: load_all(pool);
}

/* A full zspage: its objects are objects[0] to [slots - 1], its pages are pages[0] to [end - 1]. */
struct zspage {
	u32 slots;
	u32 end;
	/* Which of sizes[] it is of. */
	u32 number;
};

/* Does a part of a test with a full zspage of each kind, one after the other. */
static int on_each_kind(struct zpool *pool, int (*part)(struct zpool *pool, struct zspage *zspage))
{
	struct zspage zspage;
	int error = 0;

	for (zspage.number = 0; zspage.number < ARRAY_SIZE(sizes) && !error; zspage.number++) {
		zspage.slots = fill_zspages(pool, sizes[zspage.number], 1);
		zspage.end = find_pages(pool, objects, zspage.slots, 0);
		if (!zspage.end)
			return -EINVAL;
		error = part(pool, &zspage) ?: load_all(pool);
		drop_all(pool);
		error = no_pages_left(pool) ?: error;
	}
	return error;
}

/* While @object is mapped, no page of its zspage moves; afterwards each does. */
static int check_mapped(struct zpool *pool, struct object *object, enum zpool_mapmode mode, u32 end)
{
	u32 i, before = sections_entered();
	int error = 0;
	u8 *address;

	address = map(pool, object, mode);
	if (!address)
		return -EINVAL;
	if (mode == ZPOOL_MM_WO)
		memcpy(address, contents(object), object->size);
	for (i = 0; i < end && !error; i++) {
		int once = move_once(&pages[i], pool, NULL);
		int often = move_page(&pages[i]);

		if (once != -EAGAIN || often != -EAGAIN)
			error = fail("moving a page of a mapped object of %u bytes gave %d and %d",
				     object->size, once, often);
	}
	if (!error && sections_entered() != before)
		error = fail("a page of a mapped object was copied");
	error = error ?: compare(object, address);
	if (mode != ZPOOL_MM_RO) {
		object->seed += MAX_OBJECTS;
		memcpy(address, contents(object), object->size);
	}
	unmap(pool, object);
	error = error ?: move_test_pages(0, end);
	if (!error && sections_entered() != before + end)
		error = fail("%u pages were moved, and %u copied", end,
			     sections_entered() - before);
	return error;
}

static int map_and_move(struct zpool *pool, struct zspage *zspage)
{
	enum zpool_mapmode mode;
	int error = 0;
	u32 i;

	/* At first the pages are adjacent, later they are not. */
	for (i = 0; i < zspage->slots && !error; i += max(1U, zspage->slots / 3))
		for (mode = ZPOOL_MM_RW; mode <= ZPOOL_MM_WO && !error; mode++)
			error = check_mapped(pool, &objects[i], mode, zspage->end);
	return error;
}

/*
 * A page that is moved although an object in its zspage is mapped, in whatever
 * page of the zspage and whatever way, or that cannot be moved any more when it
 * is not.
 */
static int test_mapped(struct zpool *pool)
{
	forget_sections();
	return on_each_kind(pool, map_and_move);
}

static atomic_t stop, passes, moved, refused;

/* Moves its part of pages[] again and again, but for those that the kernel itself has moved. */
static int move_all_work(struct worker *worker)
{
	u32 i;

	while (!atomic_read(&stop)) {
		for (i = worker->first; i < worker->end && !atomic_read(&stop); i++) {
			int error = move_page(&pages[i]);

			if (!error)
				atomic_inc(&moved);
			else if (error == -EAGAIN)
				atomic_inc(&refused);
			cond_resched();
		}
		atomic_inc(&passes);
		/* On PREEMPT_RT and one CPU, nobody else would come to run. */
		fsleep(100);
	}
	return 0;
}

/* Runs @workers while @movers move pages. */
static int run_while_moving(struct worker *workers, u32 count,
			    struct worker *movers, u32 mover_count)
{
	int error;

	atomic_set(&stop, 0);
	atomic_set(&passes, 0);
	atomic_set(&moved, 0);
	atomic_set(&refused, 0);
	error = start_workers(movers, mover_count, false);
	error = error ?: run_workers(workers, count, false);
	atomic_set(&stop, 1);
	error = join_workers(movers, mover_count) ?: error;
	tell("%d pages were moved meanwhile, %d held", atomic_read(&moved), atomic_read(&refused));
	if (!error && !atomic_read(&moved))
		error = fail("no page was moved");
	return error;
}

static int change_cpu(void)
{
	int cpu = next_cpu(task_cpu(current));
	int error = set_cpus_allowed_ptr(current, cpumask_of(cpu));

	if (error)
		return fail("no way to CPU %d: %d", cpu, error);
	if (task_cpu(current) != cpu)
		return fail("on CPU %d instead of %d", task_cpu(current), cpu);
	return 0;
}

#define SLEEPS 100

static int sleep_work(struct worker *worker)
{
	struct rnd_state random;
	int error = 0;
	u32 i;

	prandom_seed_state(&random, SEED + worker->number);
	for (i = 0; i < SLEEPS && !error; i++) {
		u32 number = prandom_u32_state(&random) % (worker->end - worker->first);
		struct object *object = &objects[worker->first + number];
		enum zpool_mapmode mode = i % 2 ? ZPOOL_MM_RO : ZPOOL_MM_RW;
		struct context before = context_now();
		u8 *address = map(worker->pool, object, mode);

		if (!address)
			return -EINVAL;
		might_sleep();
		error = compare(object, address) ?: change_cpu();
		fsleep(500);
		error = error ?: compare(object, address);
		if (mode == ZPOOL_MM_RW) {
			object->seed += MAX_OBJECTS;
			memcpy(address, contents(object), object->size / 2);
			error = error ?: change_cpu();
			fsleep(100);
			memcpy(address, contents(object), object->size);
		}
		if (i % 10 == 9)
			error = unmap_elsewhere(worker->pool, object, -1) ?: error;
		else
			unmap(worker->pool, object);
		error = error ?: check_context(&before, "after", "slept", object->size);
		error = error ?: load(worker->pool, object);
	}
	return error;
}

#define HELD 64

/* Many mappings of one task, held until all pages were tried twice. */
static int hold_work(struct worker *worker)
{
	u32 stride = (worker->end - worker->first) / HELD, i, mapped;
	u8 *addresses[HELD];
	int error = 0, end;

	for (mapped = 0; mapped < HELD; mapped++) {
		addresses[mapped] = map(worker->pool, &objects[worker->first + mapped * stride],
					ZPOOL_MM_RO);
		if (!addresses[mapped])
			return -EINVAL;
	}
	end = atomic_read(&passes) + 3;
	for (i = 0; i < PATIENCE * 100 && atomic_read(&passes) < end; i++)
		fsleep(10000);
	if (atomic_read(&passes) < end)
		error = fail("no two rounds over all pages");
	for (i = 0; i < HELD; i++) {
		const struct object *object = &objects[worker->first + i * stride];

		error = error ?: compare(object, addresses[i]);
		unmap(worker->pool, object);
	}
	return error;
}

/*
 * A mapping that is lost or moved while its holder sleeps, changes CPU or has
 * somebody else end it, while every page that can be moved is being moved.
 */
static int test_sleep(struct zpool *pool)
{
	const u32 sleepers = 4, each = PAGE_SIZE / (sleepers + 1);
	struct worker workers[5] = {}, mover = { .pool = pool, .work = move_all_work };
	int error;
	u32 i;

	BUILD_BUG_ON(ARRAY_SIZE(workers) != sleepers + 1);
	error = store_every_size(pool);
	if (error)
		return error;
	mover.end = find_pages(pool, objects, PAGE_SIZE, 0);
	for (i = 0; i <= sleepers; i++) {
		workers[i].pool = pool;
		workers[i].work = i < sleepers ? sleep_work : hold_work;
		workers[i].first = i * each;
		workers[i].end = (i + 1) * each;
	}
	error = run_while_moving(workers, ARRAY_SIZE(workers), &mover, 1);
	if (!error && !atomic_read(&refused))
		error = fail("no page was held");
	return error ?: load_all(pool);
}

/* Moves the pages of random objects, which may have been freed by then. */
static int move_some_work(struct worker *worker)
{
	struct rnd_state random;

	/* Not the objects that one of the others takes at the same moment. */
	prandom_seed_state(&random, SEED - 1 - worker->number);
	while (!atomic_read(&stop)) {
		struct object *object = &objects[prandom_u32_state(&random) % SHARED_OBJECTS];
		struct page *page = NULL;

		cond_resched();
		if (test_and_set_bit_lock(0, &object->in_hand))
			continue;
		if (object->stored) {
			u8 *address = map(worker->pool, object, ZPOOL_MM_RO);

			if (address)
				page = virt_to_page(address);
			unmap(worker->pool, object);
		}
		clear_bit_unlock(0, &object->in_hand);
		if (page) {
			LIST_HEAD(isolated);
			struct move move = { .gfp = GFP_HIGHUSER_MOVABLE };

			if (!CALL(isolate_movable_page)(page, 0))
				continue;
			list_add(&page->lru, &isolated);
			atomic_inc(migrate(&isolated, &move) ? &refused : &moved);
		}
	}
	return 0;
}

/* Any store, load or free that a page migration disturbs, on all CPUs. */
static int test_churn(struct zpool *pool)
{
	struct worker workers[4] = {}, movers[2] = {};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(movers); i++) {
		movers[i].pool = pool;
		movers[i].work = move_some_work;
	}
	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i].pool = pool;
		workers[i].work = churn_work;
	}
	return run_while_moving(workers, ARRAY_SIZE(workers), movers, ARRAY_SIZE(movers)) ?:
	       load_all(pool);
}

/* --- Races, one after the other ------------------------------------------ */

/*
 * Two tasks on a CPU each: one moves a page, and in the middle of that waits for
 * the other.
 */
static atomic_t writer_is_in, other_is_there;

/* The other is about to do something that has to wait, so it can only say so before. */
static void until_other_waits(void)
{
	/* Only the first of them waits. */
	if (atomic_cmpxchg(&writer_is_in, 0, 1))
		return;
	if (!wait_for(&other_is_there, 1))
		fail("nobody came while a page was being moved");
	udelay(200);
	atomic_set(&writer_is_in, 2);
}

/* The other does something that need not wait. */
static void until_other_is_done(void)
{
	if (atomic_cmpxchg(&writer_is_in, 0, 1))
		return;
	if (!wait_for(&other_is_there, 1))
		fail("what must not wait for a page that is being moved does");
}

static int move_first_work(struct worker *worker)
{
	int error = move_page(&pages[0]);

	return error ? fail("the page was not moved: %d", error) : 0;
}

static int race(struct zpool *pool, void (*in_there)(void), int (*other)(struct worker *worker))
{
	struct worker workers[2] = {
		{ .pool = pool, .work = move_first_work },
		{ .pool = pool, .work = other },
	};
	int error;

	atomic_set(&writer_is_in, 0);
	atomic_set(&other_is_there, 0);
	in_section = in_there;
	error = run_workers(workers, ARRAY_SIZE(workers), true);
	in_section = NULL;
	return error;
}

static int map_work(struct worker *worker)
{
	u8 *address;
	int error;

	if (!wait_for(&writer_is_in, 1))
		return fail("no page was being moved");
	atomic_set(&other_is_there, 1);
	address = map(worker->pool, &objects[0], ZPOOL_MM_RO);
	if (!address)
		return -EINVAL;
	error = atomic_read(&writer_is_in) == 2 ? 0 : fail("mapped while the page was being moved");
	error = error ?: compare(&objects[0], address);
	unmap(worker->pool, &objects[0]);
	return error;
}

static int map_ten_times(struct zpool *pool, struct zspage *zspage)
{
	int error = 0;
	u32 round;

	/* pages[0] is that of objects[0]. */
	for (round = 0; round < 10 && !error; round++)
		error = race(pool, until_other_waits, map_work);
	return error;
}

/* A mapping that is made while the page is being copied, or made to the old page. */
static int test_map_while_moving(struct zpool *pool)
{
	return on_each_kind(pool, map_ten_times);
}

static struct zpool *pool_with_waiting;

/* A reader waits, and the pool stays: with it, what lock_stat counted of its locks would go. */
static int test_leave_waiting(struct zpool *none)
{
	struct zpool *pool = CALL(zpool_create_pool)(backend, "lock_test_waiting", GFP_KERNEL);
	int error;

	if (!pool)
		return fail("no pool could be made");
	pool_with_waiting = pool;
	error = store(pool, &objects[0], 100, 0);
	if (!error && find_pages(pool, objects, 1, 0) != 1)
		error = fail("an object of 100 bytes is not in one page");
	error = error ?: race(pool, until_other_waits, map_work);
	drop_all(pool);
	return error;
}

static int test_end_waiting(struct zpool *none)
{
	CALL(zpool_destroy_pool)(pool_with_waiting);
	return 0;
}

static int move_other_work(struct worker *worker)
{
	int error;

	if (!wait_for(&writer_is_in, 1))
		return fail("no page was being moved");
	error = move_once(&pages[1], worker->pool, NULL);
	atomic_set(&other_is_there, 1);
	if (error != -EAGAIN)
		return fail("moving a second page meanwhile gave %d", error);
	return 0;
}

static int move_two(struct zpool *pool, struct zspage *zspage)
{
	if (zspage->end < 2)
		return 0;
	return race(pool, until_other_is_done, move_other_work) ?: move_test_pages(0, zspage->end);
}

/* Two pages of one zspage that are moved at once: the page numbers are written by both. */
static int test_two_pages(struct zpool *pool)
{
	return on_each_kind(pool, move_two);
}

static int free_work(struct worker *worker)
{
	if (!wait_for(&writer_is_in, 1))
		return fail("no page was being moved");
	atomic_set(&other_is_there, 1);
	drop(worker->pool, &objects[0]);
	return 0;
}

static int free_in_section(struct zpool *pool, struct zspage *zspage)
{
	u32 i;

	for (i = 1; i < zspage->slots; i++)
		drop(pool, &objects[i]);
	/* The first page or the last, if there are several. */
	if (zspage->number % 2)
		swap(pages[0], pages[zspage->end - 1]);
	return race(pool, until_other_waits, free_work);
}

/*
 * The last object of a zspage is freed while one of its pages is being moved:
 * the page that took its place must go as well.
 */
static int test_free_while_moving(struct zpool *pool)
{
	return on_each_kind(pool, free_in_section);
}

static int free_one_locked(struct zpool *pool, struct zspage *zspage)
{
	struct page *page = pages[zspage->number % zspage->end];
	int error = 0, i;
	u64 left;

	get_page(page);
	lock_page(page);
	drop_all(pool);
	/* Long enough for a work item that does not wait for the page lock, also on a busy host. */
	for (i = 0; i < 40; i++) {
		fsleep(50000);
		left = CALL(zpool_get_total_pages)(pool);
		if (left == 1)
			break;
	}
	if (left != 1)
		error = fail("%llu of %u pages are left while one is locked", left, zspage->end);
	if (!is_movable(page))
		error = fail("a page was given back that somebody had locked");
	unlock_page(page);
	put_page(page);
	return error;
}

/*
 * The last object of a zspage is freed while somebody holds the page lock of one
 * of its pages: the others go at once, that one when it is unlocked, and free
 * does not wait for it.
 */
static int test_free_while_locked(struct zpool *pool)
{
	return on_each_kind(pool, free_one_locked);
}

static void free_meanwhile(struct zpool *pool, struct page *to)
{
	get_page(to);
	drop_all(pool);
	/* Long enough for the work item to wait for the page that is about to be moved. */
	fsleep(50000);
}

static int free_then_move(struct zpool *pool, struct zspage *zspage)
{
	struct page *page = pages[zspage->number % zspage->end];
	int error = move_once(&page, pool, free_meanwhile);

	if (error)
		return fail("a page without objects could not be moved: %d", error);
	error = no_pages_left(pool);
	return put_last_reference(page, "a page that was given back") ?: error;
}

/*
 * The last object of a zspage is freed just before one of its pages is moved,
 * with the page lock held: who waits for that lock must see that the page was
 * moved meanwhile, and give back the one that took its place.
 */
static int test_free_before_moving(struct zpool *pool)
{
	return on_each_kind(pool, free_then_move);
}

static int destroy_work(struct worker *worker)
{
	CALL(zpool_destroy_pool)(worker->pool);
	return 0;
}

static struct worker destroyer;

static void destroy_meanwhile(struct zpool *pool, struct page *to)
{
	int i;

	free_meanwhile(pool, to);
	destroyer = (struct worker) { .pool = pool, .work = destroy_work };
	if (worker_start(&destroyer, -1))
		return;
	/* Long enough for one that does not wait for the page that is about to be moved. */
	for (i = 0; i < 50 && !completion_done(&destroyer.done); i++)
		fsleep(10000);
	if (completion_done(&destroyer.done))
		fail("a pool was destroyed while one of its pages was locked");
}

/*
 * A pool that is destroyed while one of its pages is about to be moved: it must
 * wait for that, or the work that gives back the page finds no pool any more.
 */
static int test_destroy_while_moving(struct zpool *pool)
{
	int error = 0;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(sizes) && !error; i++) {
		struct zpool *owner = CALL(zpool_create_pool)(backend, "lock_test_other",
							      GFP_KERNEL);
		struct page *page;
		u32 slots, end;

		if (!owner)
			return fail("no second pool could be made");
		slots = fill_zspages(owner, sizes[i], 1);
		end = find_pages(owner, objects, slots, 0);
		if (!end)
			return -EINVAL;
		page = pages[i % end];
		destroyer.task = NULL;
		error = move_once(&page, owner, destroy_meanwhile);
		if (error)
			error = fail("a page without objects could not be moved: %d", error);
		if (!destroyer.task)
			return -EINVAL;
		worker_join(&destroyer);
		error = put_last_reference(page, "a page of a pool that was destroyed") ?: error;
	}
	return error;
}

/* Isolates all pages of a zspage and frees its objects. */
static int isolate_and_free(struct zpool *pool, u32 size, struct list_head *isolated)
{
	u32 slots = fill_zspages(pool, size, 1), end, i;

	if (!slots)
		return -EINVAL;
	end = find_pages(pool, objects, slots, 0);
	for (i = 0; i < end; i++)
		if (!isolate(pages[i], isolated))
			return fail("a page could not be isolated");
	drop_all(pool);
	return 0;
}

/* What becomes of isolated pages: they are migrated or put back. */
static int finish_isolated(struct list_head *isolated, bool migrated)
{
	u32 before = sections_entered();
	struct move move = { .gfp = GFP_HIGHUSER_MOVABLE };
	int error = 0;

	if (migrated)
		error = migrate(isolated, &move);
	else
		CALL(putback_movable_pages)(isolated);
	if (error)
		return fail("pages without an owner could not be migrated: %d", error);
	if (sections_entered() != before)
		return fail("pages without an owner were copied");
	return 0;
}

static int outlive_zspage(struct zpool *pool, bool destroy)
{
	struct zpool *owner = pool;
	LIST_HEAD(isolated);
	int error = 0;
	u32 i;

	for (i = 0; i < 2 * ARRAY_SIZE(sizes) && !error; i++) {
		if (destroy)
			owner = CALL(zpool_create_pool)(backend, "lock_test_other", GFP_KERNEL);
		if (!owner)
			return fail("no second pool could be made");
		error = isolate_and_free(owner, sizes[i / 2], &isolated);
		if (destroy)
			CALL(zpool_destroy_pool)(owner);
		else
			error = no_pages_left(pool) ?: error;
		error = finish_isolated(&isolated, i % 2) ?: error;
	}
	return error;
}

/*
 * The last object of a zspage is freed while its pages are isolated. They must
 * not stay, nor lead the kernel to a zspage that is gone.
 */
static int test_free_while_isolated(struct zpool *pool)
{
	return outlive_zspage(pool, false);
}

/* The same, and the pool is gone before they are migrated or put back. */
static int test_destroy_while_isolated(struct zpool *pool)
{
	return outlive_zspage(pool, true);
}

static LIST_HEAD(left_isolated);

/* The same, and the module is gone: the script unloads it between the two halves of this test. */
static int test_leave_isolated(struct zpool *pool)
{
	return isolate_and_free(pool, 500, &left_isolated) ?:
	       isolate_and_free(pool, 4096, &left_isolated);
}

static int test_put_back_isolated(struct zpool *pool)
{
	struct page *first;
	LIST_HEAD(isolated);

	if (list_empty(&left_isolated))
		return fail("no page is isolated");
	first = list_first_entry(&left_isolated, struct page, lru);
	list_move(&first->lru, &isolated);
	return finish_isolated(&isolated, true) ?: finish_isolated(&left_isolated, false);
}

/* --- Accounting ---------------------------------------------------------- */

#if IS_ENABLED(CONFIG_ZSMALLOC) && IS_ENABLED(CONFIG_ZONE_DMA)
/* A page whose zone counts it although it was moved to another: the sum alone would not show it. */
static int test_zones(struct zpool *pool)
{
	struct zone *from_zone = NULL, *to_zone = NULL;
	unsigned long from_before, to_before;
	const u32 wanted = 32;
	u32 end, i, count = 0;
	int error;

	error = store_every_size(pool);
	if (error)
		return error;
	end = find_pages(pool, objects, PAGE_SIZE, 0);
	for (i = 0; i < end && count < wanted; i++) {
		if (zone_idx(page_zone(pages[i])) == ZONE_DMA)
			continue;
		if (from_zone && page_zone(pages[i]) != from_zone)
			continue;
		from_zone = page_zone(pages[i]);
		pages[count++] = pages[i];
	}
	if (!count)
		return skip_test("all memory of this machine is in one zone");
	if (count < wanted)
		return fail("only %u pages are above the DMA zone", count);
	to_zone = &page_pgdat(pages[0])->node_zones[ZONE_DMA];
	from_before = zone_page_state_snapshot(from_zone, NR_ZSPAGES);
	to_before = zone_page_state_snapshot(to_zone, NR_ZSPAGES);
	for (i = 0; i < count && !error; i++) {
		error = move_page_with(&pages[i], GFP_DMA | __GFP_NOWARN);
		if (error)
			error = fail("a page could not be moved to the DMA zone: %d", error);
	}
	if (!error && (zone_page_state_snapshot(from_zone, NR_ZSPAGES) != from_before - count ||
		       zone_page_state_snapshot(to_zone, NR_ZSPAGES) != to_before + count))
		error = fail("%u pages were moved from a zone of %lu to one of %lu: %lu and %lu",
			     count, from_before, to_before,
			     zone_page_state_snapshot(from_zone, NR_ZSPAGES),
			     zone_page_state_snapshot(to_zone, NR_ZSPAGES));
	error = error ?: load_all(pool);
	drop_all(pool);
	error = error ?: no_pages_left(pool);
	if (!error && zone_page_state_snapshot(to_zone, NR_ZSPAGES) != to_before)
		error = fail("the zone counts %lu pages instead of %lu when all were freed",
			     zone_page_state_snapshot(to_zone, NR_ZSPAGES), to_before);
	return error;
}
#else
static int test_zones(struct zpool *pool)
{
	return skip_test("this kernel does not count zspages in two zones");
}
#endif

/* --- How long a writer is kept out --------------------------------------- */

#define MOVES		100
#define MAX_ATTEMPTS	100

enum reading { ONE_BY_ONE, OVERLAPPING, SLEEPING };

static enum reading reading;

static int read_work(struct worker *worker)
{
	struct rnd_state random;
	struct object *held = NULL;
	u32 count = 0;

	prandom_seed_state(&random, SEED + worker->number);
	while (!atomic_read(&stop)) {
		struct object *object = &objects[prandom_u32_state(&random) % worker->end];

		if (!map(worker->pool, object, ZPOOL_MM_RO))
			return -EINVAL;
		if (reading == SLEEPING)
			fsleep(1000);
		if (reading == OVERLAPPING)
			swap(held, object);
		if (object)
			unmap(worker->pool, object);
		/* Readers that take turns with everybody else on their CPU. */
		if (!(++count % 64))
			cond_resched();
	}
	if (held)
		unmap(worker->pool, held);
	return 0;
}

/* The attempts that moving the page took, or MAX_ATTEMPTS if none succeeded. */
static u32 count_attempts(struct page **page)
{
	u32 attempts;

	for (attempts = 1; attempts < MAX_ATTEMPTS; attempts++) {
		if (!move_once(page, NULL, NULL))
			break;
		cond_resched();
	}
	return attempts;
}

static int compare_counts(const void *a, const void *b)
{
	return *(const u32 *)a < *(const u32 *)b ? -1 : *(const u32 *)a > *(const u32 *)b;
}

/*
 * How many attempts it takes to move a page whose objects are mapped all the
 * time. That is reported, and not judged: nobody promises it. But it must never
 * succeed while readers overlap, and always at once when they are gone: a
 * reader that is not counted, or one whose mark is left behind.
 */
static int measure_hot(struct zpool *pool, const char *name, enum reading how, u32 readers)
{
	static u32 attempts[MOVES];
	u32 slots = fill_zspages(pool, 36, 1), moves = how == ONE_BY_ONE ? MOVES : 1, i, after;
	struct worker *workers;
	int error;

	workers = kcalloc(readers, sizeof(*workers), GFP_KERNEL);
	if (!slots || !workers || find_pages(pool, objects, slots, 0) != 1) {
		kfree(workers);
		return fail("no full zspage of one page");
	}
	reading = how;
	atomic_set(&stop, 0);
	for (i = 0; i < readers; i++) {
		workers[i].pool = pool;
		workers[i].work = read_work;
		workers[i].end = slots;
	}
	error = start_workers(workers, readers, false);
	/* Until they read. */
	fsleep(100000);
	for (i = 0; i < moves; i++) {
		attempts[i] = count_attempts(&pages[0]);
		cond_resched();
	}
	atomic_set(&stop, 1);
	error = join_workers(workers, readers) ?: error;
	kfree(workers);
	after = count_attempts(&pages[0]);
	if (after != 1)
		error = fail("%s: %u attempts without a reader", name, after);
	if (how == OVERLAPPING && attempts[0] != MAX_ATTEMPTS)
		error = fail("%s: the page was moved while it was mapped", name);
	sort(attempts, moves, sizeof(*attempts), compare_counts, NULL);
	tell("%u %s: %u/%u/%u/%u attempts (median, 90 %%, 99 %%, largest)", readers, name,
	     attempts[moves / 2], attempts[moves * 9 / 10], attempts[moves * 99 / 100],
	     attempts[moves - 1]);
	error = error ?: load_all(pool);
	drop_all(pool);
	return error;
}

static int test_hot_zspage(struct zpool *pool)
{
	return measure_hot(pool, "reader", ONE_BY_ONE, 1) ?:
	       measure_hot(pool, "readers", ONE_BY_ONE, num_online_cpus()) ?:
	       measure_hot(pool, "sleeping reader", SLEEPING, 1) ?:
	       measure_hot(pool, "overlapping reader", OVERLAPPING, 1);
}

/* --- lockdep ------------------------------------------------------------- */

static DEFINE_RAW_SPINLOCK(unrelated_lock);

static void take_unrelated_lock(void)
{
	raw_spin_lock(&unrelated_lock);
	raw_spin_unlock(&unrelated_lock);
}

/*
 * A zspage lock that lockdep does not know. Here it is taken within another
 * lock, and that lock within it: lockdep must say that this can deadlock. It
 * says so once, and then is off until the next boot.
 */
static int test_inversion(struct zpool *pool)
{
	int error = store(pool, &objects[0], 100, 0);

	if (error || find_pages(pool, objects, 1, 0) != 1)
		return fail("no object to map");
#ifdef CONFIG_PROVE_LOCKING
	if (!debug_locks)
		return fail("lockdep was off before this test");
#endif
	raw_spin_lock(&unrelated_lock);
	error = load(pool, &objects[0]);
	raw_spin_unlock(&unrelated_lock);
	in_section = take_unrelated_lock;
	error = error ?: move_page(&pages[0]);
	in_section = NULL;
#ifdef CONFIG_PROVE_LOCKING
	if (!error && debug_locks)
		error = fail("lockdep did not notice that two locks are taken in both orders");
#endif
	return error;
}

/* --- Running ------------------------------------------------------------- */

/* To see into the section in which a page is moved. */
#define PROBE	BIT(OWN_FLAG)
/* Two of them. */
#define CPUS	BIT(OWN_FLAG + 1)

static const struct test tests[] = {
	{ "probe", test_probe },
	{ "depth", test_depth, PROBE },
	{ "context", test_context },
	{ "mapped", test_mapped, PROBE },
	{ "sleep", test_sleep },
	{ "churn", test_churn },
	{ "map_while_moving", test_map_while_moving, PROBE | CPUS },
	{ "two_pages", test_two_pages, PROBE | CPUS },
	{ "free_while_moving", test_free_while_moving, PROBE | CPUS },
	{ "free_while_locked", test_free_while_locked },
	{ "free_before_moving", test_free_before_moving },
	{ "destroy_while_moving", test_destroy_while_moving },
	{ "free_while_isolated", test_free_while_isolated, PROBE },
	{ "destroy_while_isolated", test_destroy_while_isolated, PROBE },
	{ "zones", test_zones },
	{ "hot_zspage", test_hot_zspage },
	{ "leave_isolated", test_leave_isolated, BY_NAME },
	{ "put_back_isolated", test_put_back_isolated, BY_NAME | NO_POOL },
	{ "leave_waiting", test_leave_waiting, PROBE | CPUS | BY_NAME | NO_POOL },
	{ "end_waiting", test_end_waiting, BY_NAME | NO_POOL },
	{ "inversion", test_inversion, PROBE | BY_NAME },
};

static int run_probed(const struct test *test, struct zpool *pool)
{
	/* A kprobe that was used is not used again. */
	struct kprobe probe = {
		.symbol_name = "rsmalloc_copy_page",
		.pre_handler = lead_there,
		.post_handler = no_jump,
	};
	int error;

	if (test->flags & CPUS && num_online_cpus() < 2)
		return skip_test("there is but one CPU");
	if (!(test->flags & PROBE))
		return test->run(pool);
	error = register_kprobe(&probe);
	if (error)
		return fail("no kprobe on rsmalloc_copy_page(): %d", error);
	error = test->run(pool);
	unregister_kprobe(&probe);
	return error;
}

static int __init lock_test_init(void)
{
	int error;

	pages = vcalloc(MAX_PAGES, sizeof(*pages));
	if (!pages)
		return -ENOMEM;
	run_with = run_probed;
	error = tests_init(tests, ARRAY_SIZE(tests),
			   isolate_movable_page_address && migrate_pages_address &&
			   putback_movable_pages_address);
	if (error)
		vfree(pages);
	return error;
}
module_init(lock_test_init);

static void __exit lock_test_exit(void)
{
	tests_exit();
	vfree(pages);
}
module_exit(lock_test_exit);

MODULE_DESCRIPTION("Tests of page migration and of the zspage lock");
MODULE_LICENSE("GPL");
