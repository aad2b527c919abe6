// SPDX-License-Identifier: GPL-2.0
/*
 * Swap the pages of an image file out into zswap and in again.
 *
 *	swap_pages IMAGE CGROUP
 *
 * The image is loaded into anonymous memory, paged out with MADV_PAGEOUT,
 * looked at through zswap's and the memory cgroup's statistics while it is
 * out, faulted in page by page, and compared with the file byte by byte.
 * CGROUP is the folder of the cgroup that this program runs in: its
 * memory.stat is the kernel's only account of the compressed bytes.
 *
 * Prints key=value lines. The exit status is 1 if a step failed, with the
 * reason on standard error; what the figures say is for the reader to judge.
 *
 * Times are CLOCK_MONOTONIC, not the CPU time of this program, so that work
 * which a backend leaves to a kernel thread counts when it takes the CPU away.
 */

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ZSWAP_STATS "/sys/kernel/debug/zswap/"

/* The highest bit of a pagemap entry: the page is in memory and mapped. */
#define PAGEMAP_PRESENT 63

/* As many pages as reclaim takes in one go: what a loaded machine would do. */
#define PAGES_PER_CALL 32

/* Pages that were busy at the first attempt get another one. */
#define PAGEOUT_PASSES 5

/* memory.stat is brought up to date every two seconds at the latest. */
#define SETTLE_TRIES 100
#define SETTLE_INTERVAL_NS 100000000L

static unsigned long long nanoseconds(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		err(1, "clock_gettime");
	return (unsigned long long)now.tv_sec * 1000000000 +
	       (unsigned long long)now.tv_nsec;
}

/* The number that follows @key in @path, or the file's only one if no key. */
static unsigned long long read_number(const char *path, const char *key)
{
	FILE *file = fopen(path, "r");
	unsigned long long value;
	char name[64];
	int fields;

	if (!file)
		err(1, "%s", path);
	if (!key) {
		fields = fscanf(file, "%llu", &value);
		fclose(file);
		if (fields != 1)
			errx(1, "%s: not a number", path);
		return value;
	}
	while (fscanf(file, "%63s %llu", name, &value) == 2) {
		if (!strcmp(name, key)) {
			fclose(file);
			return value;
		}
	}
	errx(1, "%s: no line '%s'", path, key);
}

static void read_fully(int fd, void *buffer, size_t size, const char *path)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = read(fd, (char *)buffer + done, size - done);

		if (got < 0)
			err(1, "%s", path);
		if (!got)
			errx(1, "%s: shorter than it was", path);
		done += (size_t)got;
	}
}

/*
 * How many pages the page table still maps. mincore() would count the pages
 * that zswap refused as well: they stay in the swap cache for a while.
 */
static size_t mapped_pages(const char *memory, size_t pages, size_t page_size)
{
	static const char path[] = "/proc/self/pagemap";
	off_t start = (off_t)((uintptr_t)memory / page_size * sizeof(uint64_t));
	size_t mapped = 0;
	uint64_t entry;
	FILE *pagemap;
	size_t i;

	pagemap = fopen(path, "r");
	if (!pagemap || fseeko(pagemap, start, SEEK_SET))
		err(1, "%s", path);
	for (i = 0; i < pages; i++) {
		if (fread(&entry, sizeof(entry), 1, pagemap) != 1)
			err(1, "%s", path);
		mapped += entry >> PAGEMAP_PRESENT;
	}
	fclose(pagemap);
	return mapped;
}

static unsigned long long page_out(char *memory, size_t size, size_t page_size)
{
	const size_t step = PAGES_PER_CALL * page_size;
	unsigned long long start = nanoseconds();
	size_t offset;

	for (offset = 0; offset < size; offset += step) {
		size_t length = size - offset < step ? size - offset : step;

		if (madvise(memory + offset, length, MADV_PAGEOUT))
			err(1, "madvise(MADV_PAGEOUT)");
	}
	return nanoseconds() - start;
}

static unsigned long long page_in(const char *memory, size_t size,
				  size_t page_size)
{
	unsigned long long start = nanoseconds();
	size_t offset;

	/* The empty asm keeps the compiler from leaving the read out. */
	for (offset = 0; offset < size; offset += page_size)
		asm volatile("" : : "r" (memory[offset]));
	return nanoseconds() - start;
}

static size_t count_mismatches(const char *memory, size_t pages,
			       size_t page_size, const char *path)
{
	char *expected = malloc(page_size);
	size_t mismatches = 0;
	size_t i;
	int fd;

	if (!expected)
		err(1, "malloc");
	fd = open(path, O_RDONLY);
	if (fd < 0)
		err(1, "%s", path);
	for (i = 0; i < pages; i++) {
		read_fully(fd, expected, page_size, path);
		if (memcmp(memory + i * page_size, expected, page_size))
			mismatches++;
	}
	close(fd);
	free(expected);
	return mismatches;
}

/*
 * Wait until the cgroup's account has caught up with zswap's: both must then
 * speak of the same pages, and all of them are ours.
 */
static void wait_for_statistics(const char *memory_stat, size_t page_size)
{
	const struct timespec interval = { .tv_nsec = SETTLE_INTERVAL_NS };
	unsigned long long stored, charged;
	int try;

	for (try = 0; try < SETTLE_TRIES; try++) {
		stored = read_number(ZSWAP_STATS "stored_pages", NULL);
		charged = read_number(memory_stat, "zswapped") / page_size;
		if (stored == charged)
			return;
		nanosleep(&interval, NULL);
	}
	errx(1, "zswap stores %llu pages, %s speaks of %llu",
	     stored, memory_stat, charged);
}

static void print_number(const char *key, unsigned long long value)
{
	printf("%s=%llu\n", key, value);
}

int main(int argc, char **argv)
{
	const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	unsigned long long slab, zswpout, zswpin, out_ns, in_ns;
	char memory_stat[4096];
	struct stat image;
	size_t pages, size;
	char *memory;
	int fd, pass;

	if (argc != 3) {
		fprintf(stderr, "usage: swap_pages IMAGE CGROUP\n");
		return 2;
	}
	if (snprintf(memory_stat, sizeof(memory_stat), "%s/memory.stat",
		     argv[2]) >= (int)sizeof(memory_stat))
		errx(1, "%s: name too long", argv[2]);

	fd = open(argv[1], O_RDONLY);
	if (fd < 0 || fstat(fd, &image))
		err(1, "%s", argv[1]);
	pages = (size_t)image.st_size / page_size;
	size = pages * page_size;
	if (!pages || size != (size_t)image.st_size)
		errx(1, "%s: not a whole number of pages", argv[1]);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap of %zu bytes", size);
	read_fully(fd, memory, size, argv[1]);
	close(fd);

	slab = read_number("/proc/vmstat", "nr_slab_unreclaimable");
	zswpout = read_number("/proc/vmstat", "zswpout");
	zswpin = read_number("/proc/vmstat", "zswpin");

	out_ns = page_out(memory, size, page_size);
	for (pass = 1; pass < PAGEOUT_PASSES; pass++) {
		if (!mapped_pages(memory, pages, page_size))
			break;
		out_ns += page_out(memory, size, page_size);
	}

	wait_for_statistics(memory_stat, page_size);
	print_number("pages", pages);
	print_number("page_size", page_size);
	print_number("mapped_pages", mapped_pages(memory, pages, page_size));
	print_number("stored_pages",
		     read_number(ZSWAP_STATS "stored_pages", NULL));
	print_number("compressed_bytes", read_number(memory_stat, "zswap"));
	print_number("pool_bytes",
		     read_number(ZSWAP_STATS "pool_total_size", NULL));
	/* Signed: slab pages that others gave back meanwhile count, too. */
	printf("slab_bytes=%lld\n", (long long)page_size *
	       ((long long)read_number("/proc/vmstat", "nr_slab_unreclaimable") -
		(long long)slab));

	in_ns = page_in(memory, size, page_size);
	print_number("zswpout", read_number("/proc/vmstat", "zswpout") - zswpout);
	print_number("zswpin", read_number("/proc/vmstat", "zswpin") - zswpin);
	print_number("out_ns", out_ns);
	print_number("in_ns", in_ns);
	print_number("mismatches",
		     count_mismatches(memory, pages, page_size, argv[1]));
	return 0;
}
