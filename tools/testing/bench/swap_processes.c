// SPDX-License-Identifier: GPL-2.0
/*
 * Swap memory of several processes out, in, and away, all at the same time.
 *
 *	swap_processes PROCESSES MEGABYTES TRACE
 *
 * Each process fills its memory with pages that compress to sizes of TRACE, a
 * list of 16-bit numbers, and pages it out with MADV_PAGEOUT. Then it faults the
 * first half of it in, page by page, and unmaps the second half while it is
 * swapped out, as a process that exits does.
 *
 * Prints "name=value" lines: how many pages zswap took, and how many pages of
 * all processes together went through each step in a second.
 */

#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* As many pages as reclaim takes in one go. */
#define PAGES_PER_CALL 32

/*
 * A page with more bytes of noise may not compress, and would go to the disk. Its
 * compressed size is a little above the noise.
 */
#define MOST_NOISE 3500

struct job {
	size_t page_size;
	/* Of each process. */
	size_t pages;
	const uint16_t *trace;
	size_t sizes;
	pthread_barrier_t *barrier;
};

static double seconds(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		err(1, "clock_gettime");
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static unsigned long long event_count(const char *wanted)
{
	FILE *file = fopen("/proc/vmstat", "r");
	unsigned long long value;
	char name[64];

	if (!file)
		err(1, "/proc/vmstat");
	while (fscanf(file, "%63s %llu", name, &value) == 2) {
		if (!strcmp(name, wanted)) {
			fclose(file);
			return value;
		}
	}
	errx(1, "/proc/vmstat: no line '%s'", wanted);
}

static void wait_for_all(const struct job *job)
{
	int error = pthread_barrier_wait(job->barrier);

	if (error && error != PTHREAD_BARRIER_SERIAL_THREAD)
		errx(1, "pthread_barrier_wait: %s", strerror(error));
}

static void write_pages(const struct job *job, char *memory, uint32_t seed)
{
	size_t page, i;

	for (page = 0; page < job->pages; page++) {
		char *start = memory + page * job->page_size;
		size_t noise = job->trace[(page + seed) % job->sizes];

		if (noise > MOST_NOISE)
			noise = MOST_NOISE;
		for (i = 0; i < noise; i++) {
			seed = seed * 1664525 + 1013904223;
			start[i] = (char)(seed >> 24);
		}
	}
}

/* The steps, each between two meetings with all others. */
static void child(const struct job *job, unsigned int number)
{
	const size_t size = job->pages * job->page_size;
	const size_t step = PAGES_PER_CALL * job->page_size;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t offset;

	if (memory == MAP_FAILED)
		err(1, "mmap of %zu bytes", size);
	/* A huge page would be split first, which is not what is measured. */
	if (madvise(memory, size, MADV_NOHUGEPAGE))
		err(1, "madvise(MADV_NOHUGEPAGE)");
	write_pages(job, memory, number * 2654435761u);
	wait_for_all(job);
	for (offset = 0; offset < size; offset += step) {
		size_t rest = size - offset;

		if (madvise(memory + offset, rest < step ? rest : step, MADV_PAGEOUT))
			err(1, "madvise(MADV_PAGEOUT)");
	}
	wait_for_all(job);
	/* The empty asm keeps the compiler from leaving the read out. */
	for (offset = 0; offset < size / 2; offset += job->page_size)
		asm volatile("" : : "r" (memory[offset]));
	wait_for_all(job);
	if (munmap(memory + size / 2, size / 2))
		err(1, "munmap");
	wait_for_all(job);
	_exit(0);
}

static void read_trace(struct job *job, const char *path)
{
	struct stat file;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &file))
		err(1, "%s", path);
	job->sizes = (size_t)file.st_size / sizeof(*job->trace);
	if (!job->sizes)
		errx(1, "%s is empty", path);
	job->trace = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (job->trace == MAP_FAILED)
		err(1, "%s", path);
	close(fd);
}

static double end_of_step(const struct job *job)
{
	wait_for_all(job);
	return seconds();
}

int main(int argc, char **argv)
{
	struct job job = { .page_size = (size_t)sysconf(_SC_PAGESIZE) };
	double written, out, in, unmapped;
	unsigned long long zswpout;
	pthread_barrierattr_t attributes;
	unsigned int processes, i;
	int status, failed = 0;
	size_t all;

	if (argc != 4) {
		fprintf(stderr, "usage: swap_processes PROCESSES MEGABYTES TRACE\n");
		return 2;
	}
	processes = (unsigned int)strtoul(argv[1], NULL, 10);
	/* Two halves of the same size. */
	job.pages = strtoul(argv[2], NULL, 10) * ((1 << 20) / job.page_size) & ~(size_t)1;
	if (!processes || !job.pages)
		errx(2, "PROCESSES and MEGABYTES are positive numbers");
	read_trace(&job, argv[3]);
	all = job.pages * processes;

	job.barrier = mmap(NULL, sizeof(*job.barrier), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (job.barrier == MAP_FAILED)
		err(1, "mmap");
	if (pthread_barrierattr_init(&attributes) ||
	    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) ||
	    pthread_barrier_init(job.barrier, &attributes, processes + 1))
		errx(1, "no barrier could be made");
	for (i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (!pid)
			child(&job, i);
	}

	zswpout = event_count("zswpout");
	written = end_of_step(&job);
	out = end_of_step(&job);
	in = end_of_step(&job);
	unmapped = end_of_step(&job);
	zswpout = event_count("zswpout") - zswpout;
	printf("taken=%.4f\n", (double)zswpout / (double)all);
	printf("out_per_second=%.0f\n", (double)all / (out - written));
	printf("in_per_second=%.0f\n", (double)all / 2 / (in - out));
	printf("unmap_per_second=%.0f\n", (double)all / 2 / (unmapped - in));
	while (wait(&status) > 0)
		failed |= status;
	return failed ? 1 : 0;
}
