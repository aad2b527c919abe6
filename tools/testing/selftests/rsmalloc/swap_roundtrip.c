// SPDX-License-Identifier: GPL-2.0
/*
 * Fills memory with varied data, has it swapped out, and compares every byte
 * when it comes back.
 *
 * The contents of a page follow from its number and the seed, so that nothing
 * needs to be remembered in memory that is not swapped itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define PAGEMAP_SWAPPED (1ULL << 62)
#define PAGEMAP_PRESENT (1ULL << 63)

/* A prime, far beyond what readahead brings in with a page. */
#define STRIDE 7919

static size_t page_size;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fill_text(char *page, uint64_t *random)
{
	static const char * const words[] = {
		"page ", "slot ", "class ", "swap ", "the ", "of ", "zspage\n", "compressed ",
		"memory ", "handle, ", "free. ", "mapping ", "and ", "object ", "lock ", "a ",
	};
	size_t length = 0;

	while (length < page_size) {
		const char *word = words[next_random(random) % 16];
		size_t size = strlen(word);

		if (size > page_size - length)
			size = page_size - length;
		memcpy(page + length, word, size);
		length += size;
	}
}

static void fill_sparse(char *page, uint64_t *random)
{
	memset(page, 0, page_size);
	for (int i = 0; i < 20; i++)
		page[next_random(random) % page_size] = next_random(random);
}

/* Like a heap: records of pointers, counters and padding. */
static void fill_binary(char *page, uint64_t *random)
{
	for (size_t i = 0; i < page_size; i += 32) {
		uint64_t record[4] = {
			0x00007f0000000000 + next_random(random) % 0xfffffff0,
			next_random(random) % 1000,
			0,
			i,
		};

		memcpy(page + i, record, sizeof(record));
	}
}

static void fill_random(char *page, uint64_t *random)
{
	for (size_t i = 0; i < page_size; i += sizeof(uint64_t)) {
		uint64_t value = next_random(random);

		memcpy(page + i, &value, sizeof(value));
	}
}

/* Compressed sizes all the way up to a page: the more of it is random, the larger. */
static void fill_partly(char *page, uint64_t *random)
{
	size_t zeroes = next_random(random) % page_size;

	fill_random(page, random);
	memset(page + page_size - zeroes, 0, zeroes);
}

static void fill_same(char *page, uint64_t *random)
{
	memset(page, next_random(random), page_size);
}

static void fill(char *page, uint64_t number, uint64_t seed)
{
	static void (* const kinds[])(char *page, uint64_t *random) = {
		fill_text, fill_sparse, fill_binary, fill_partly, fill_text, fill_binary,
		fill_partly, fill_random, fill_same,
	};
	const size_t count = sizeof(kinds) / sizeof(*kinds);
	uint64_t random = (number + 1) * 0x9e3779b97f4a7c15 ^ (seed + 1) * 0xd1342543de82ef95;

	next_random(&random);
	kinds[number % count](page, &random);
}

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

/* The number of pages of the memory that are in swap and not in memory. */
static size_t count_swapped(const char *memory, size_t pages)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	size_t swapped = 0;

	if (pagemap < 0)
		fail("opening /proc/self/pagemap");
	for (size_t i = 0; i < pages; i++) {
		off_t index = (uintptr_t)memory / page_size + i;
		uint64_t entry;

		if (pread(pagemap, &entry, sizeof(entry), index * sizeof(entry)) != sizeof(entry))
			fail("reading /proc/self/pagemap");
		if ((entry & PAGEMAP_SWAPPED) && !(entry & PAGEMAP_PRESENT))
			swapped++;
	}
	close(pagemap);
	return swapped;
}

static void swap_out(char *memory, size_t pages)
{
	/* Up to 31 pages wait on each CPU to be put on the list that they are taken from. */
	size_t waiting = 31 * sysconf(_SC_NPROCESSORS_ONLN);
	size_t missing = pages / 10 > waiting ? pages / 10 : waiting;
	size_t swapped = 0;

	/* A page that happens to be in use is passed over: ask again. */
	for (int i = 0; i < 10; i++) {
		if (madvise(memory, pages * page_size, MADV_PAGEOUT))
			fail("madvise(MADV_PAGEOUT)");
		swapped = count_swapped(memory, pages);
		if (swapped && swapped + missing >= pages)
			return;
	}
	printf("only %zu of %zu pages were swapped out\n", swapped, pages);
	exit(1);
}

static void compare(const char *memory, size_t pages, uint64_t seed)
{
	char *expected = malloc(page_size);

	if (!expected)
		fail("malloc");
	for (size_t i = 0; i < pages; i++) {
		size_t number = i * STRIDE % pages;
		const char *page = memory + number * page_size;

		fill(expected, number, seed);
		if (!memcmp(page, expected, page_size))
			continue;
		for (size_t j = 0; j < page_size; j++) {
			if (page[j] != expected[j]) {
				printf("byte %zu of page %zu is %#x instead of %#x\n", j, number,
				       page[j] & 0xff, expected[j] & 0xff);
				exit(1);
			}
		}
	}
	free(expected);
}

static void wait_for_input(void)
{
	char line[16];

	puts("swapped out");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin) && ferror(stdin))
		fail("reading the standard input");
}

int main(int argc, char **argv)
{
	unsigned long megabytes, processes, rounds;
	bool wait_between, drop;
	size_t pages;
	int failed = 0;

	if (argc < 4 || argc > 5) {
		fprintf(stderr,
			"Usage: %s MEGABYTES PROCESSES ROUNDS [--wait | --drop]\n"
			"  --wait  say 'swapped out' and wait for a line before comparing\n"
			"  --drop  exit without reading the memory back\n", argv[0]);
		return 2;
	}
	megabytes = strtoul(argv[1], NULL, 10);
	processes = strtoul(argv[2], NULL, 10);
	rounds = strtoul(argv[3], NULL, 10);
	wait_between = argc == 5 && !strcmp(argv[4], "--wait");
	drop = argc == 5 && !strcmp(argv[4], "--drop");
	page_size = sysconf(_SC_PAGESIZE);
	if (!megabytes || !processes || !rounds || (argc == 5 && !wait_between && !drop)) {
		fprintf(stderr, "%s: wrong argument\n", argv[0]);
		return 2;
	}
	pages = (megabytes << 20) / processes / page_size;
	/* compare() visits every page if the number has no factor in common with its stride. */
	if (pages % STRIDE == 0)
		pages++;

	for (unsigned long process = 0; process < processes; process++) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (child)
			continue;

		char *memory = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			fail("mmap");
		for (unsigned long round = 0; round < rounds; round++) {
			uint64_t seed = process << 32 | round;

			for (size_t i = 0; i < pages; i++)
				fill(memory + i * page_size, i, seed);
			swap_out(memory, pages);
			if (wait_between)
				wait_for_input();
			if (!drop)
				compare(memory, pages, seed);
		}
		/* exit() would flush what the parent had not yet written, again. */
		fflush(stdout);
		_exit(0);
	}
	for (unsigned long process = 0; process < processes; process++) {
		int status;

		if (wait(&status) < 0)
			fail("wait");
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			failed = 1;
	}
	return failed;
}
