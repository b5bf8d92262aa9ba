/*
 * kernels_bench.c
 *		Prints what a call of each kernel takes, for every table that this CPU
 *		can run, beside the speed at which the machine reads memory.
 *
 * Build and run: make -C test/kernels bench
 */
#define _GNU_SOURCE

#include "kernels/kernels.h"
#include "linalg/rotation.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_N 4096
#define MEMORY_BYTES ((size_t) 256 << 20)
#define MEASURE_SECONDS 0.05

/* Codes, t and f of a block for 128 dimensions; the pages of an index. */
#define SCAN_GROUPS 32
#define SCAN_BYTES (SCAN_GROUPS * FASTSCAN_GROUP_BYTES + 4 * FASTSCAN_LANES)
#define PAGE_BYTES 8192

/* Inputs and outputs, all in the first-level cache. */
typedef struct Workspace
{
	float		a[MAX_N];
	float		b[MAX_N];
	float		out[MAX_N];
	uint16_t	halves[MAX_N];
	int8_t		codes[2][MAX_N];
	uint8_t		block[FASTSCAN_LANES * EDGE_BYTES(MAX_N / FASTSCAN_GROUP_DIMS)];
	uint8_t		lut[MAX_N / FASTSCAN_GROUP_DIMS * FASTSCAN_GROUP_ENTRIES];
	uint32_t	sums[FASTSCAN_LANES];
	uint16_t	factors[EDGE_FACTORS][FASTSCAN_LANES];
	float		scores[FASTSCAN_LANES];
	uint8_t		bits[MAX_N / 8];
} Workspace;

typedef void (*Call) (const Kernels *k, Workspace *w, size_t n);

typedef struct Benchmark
{
	const char *name;
	Call		call;
	double		bytes;			/* read for each of the n elements */
} Benchmark;

static Workspace work;

/* Where results go, so that no call can be left out. */
static volatile float float_sink;
static volatile int32_t int_sink;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void
call_dot_f32(const Kernels *k, Workspace *w, size_t n)
{
	float_sink = k->dot_f32(w->a, w->b, n);
}

static void
call_l2sq_f32(const Kernels *k, Workspace *w, size_t n)
{
	float_sink = k->l2sq_f32(w->a, w->b, n);
}

static void
call_l1_f32(const Kernels *k, Workspace *w, size_t n)
{
	float_sink = k->l1_f32(w->a, w->b, n);
}

static void
call_dot_f32_i8(const Kernels *k, Workspace *w, size_t n)
{
	float_sink = k->dot_f32_i8(w->a, w->codes[0], n);
}

static void
call_dot_f32_f16(const Kernels *k, Workspace *w, size_t n)
{
	float_sink = k->dot_f32_f16(w->a, w->halves, n);
}

static void
call_dot_i8(const Kernels *k, Workspace *w, size_t n)
{
	int_sink = k->dot_i8(w->codes[0], w->codes[1], n);
}

static void
call_f32_to_f16(const Kernels *k, Workspace *w, size_t n)
{
	k->f32_to_f16(w->a, w->halves, n);
}

static void
call_f16_to_f32(const Kernels *k, Workspace *w, size_t n)
{
	k->f16_to_f32(w->halves, w->out, n);
}

static void
call_edge_sums(const Kernels *k, Workspace *w, size_t n)
{
	k->edge_sums(w->block, w->lut, n / FASTSCAN_GROUP_DIMS, w->sums);
}

static void
call_edge_factors(const Kernels *k, Workspace *w, size_t n)
{
	k->edge_factors(w->block, n / FASTSCAN_GROUP_DIMS, w->factors);
}

static void
call_edge_scores(const Kernels *k, Workspace *w, size_t n)
{
	const EdgeScale scale = {0.5f, 0.25f, -3.0f};

	k->edge_scores(w->sums, w->halves, w->halves + FASTSCAN_LANES, &scale,
				   w->scores);
}

static void
call_code_scan_block(const Kernels *k, Workspace *w, size_t n)
{
	const CodeScan scan = {w->lut, n / FASTSCAN_GROUP_DIMS,
	{0.5f, 0.25f, -3.0f}, 1e30f};

	int_sink = k->code_scan_block(w->block, &scan, w->scores);
}

/* Any bytes will do as keys. */
static void
call_keys_in_range(const Kernels *k, Workspace *w, size_t n)
{
	int_sink = k->keys_in_range((const uint64_t *) w->a, n, UINT64_MAX - n);
}

static void
call_edge_residual(const Kernels *k, Workspace *w, size_t n)
{
	const EdgeInput edge = {w->codes[0], w->codes[1], 0.5f, 0.4f};
	EdgeOutput	out = {.bits = w->bits};

	k->edge_residual(&edge, n, n, &out);
	float_sink = out.sum + out.norm2;
}

/* Of 32 codes and their table, 16 bytes each for four dimensions. */
static const Benchmark benchmarks[] = {
	{"dot_f32", call_dot_f32, 8},
	{"l2sq_f32", call_l2sq_f32, 8},
	{"l1_f32", call_l1_f32, 8},
	{"dot_f32_i8", call_dot_f32_i8, 5},
	{"dot_f32_f16", call_dot_f32_f16, 6},
	{"dot_i8", call_dot_i8, 2},
	{"f32_to_f16", call_f32_to_f16, 4},
	{"f16_to_f32", call_f16_to_f32, 2},
	{"edge_sums", call_edge_sums, 8},
	{"edge_factors", call_edge_factors, 0},
	{"edge_scores", call_edge_scores, 0},
	{"code_scan_block", call_code_scan_block, 8},
	{"keys_in_range", call_keys_in_range, 0},
	{"edge_residual", call_edge_residual, 2},
};

static void
workspace_fill(Workspace *w)
{
	for (size_t i = 0; i < sizeof(w->block); i++)
		w->block[i] = (uint8_t) rand();
	for (size_t i = 0; i < sizeof(w->lut); i++)
		w->lut[i] = (uint8_t) rand();
	for (int i = 0; i < MAX_N; i++)
	{
		w->a[i] = (float) rand() / (float) RAND_MAX - 0.5f;
		w->b[i] = (float) rand() / (float) RAND_MAX - 0.5f;
		w->codes[0][i] = (int8_t) (rand() % 255 - 127);
		w->codes[1][i] = (int8_t) (rand() % 255 - 127);
	}
	kernels_scalar()->f32_to_f16(w->a, w->halves, MAX_N);
}

/* Nanoseconds of one call: the best of several runs. */
static double
call_time(const Benchmark *benchmark, const Kernels *k, size_t n)
{
	double		best = 1e9;
	double		end = now() + MEASURE_SECONDS;

	while (now() < end)
	{
		double		start = now();

		for (int i = 0; i < 1000; i++)
			benchmark->call(k, &work, n);
		if ((now() - start) * 1e6 < best)
			best = (now() - start) * 1e6;
	}
	return best;
}

/* Where blocks lie in memory. */
typedef struct ScanLayout
{
	const char *name;
	size_t		bytes;
	size_t		page;			/* 0: no pages */
	size_t		offset;			/* of the first block of a page */
	size_t		stride;
} ScanLayout;

static const ScanLayout scan_layouts[] = {
	{"256 kB", (size_t) 256 << 10, 0, 0, SCAN_BYTES},
	{"64 MB", (size_t) 64 << 20, 0, 0, SCAN_BYTES},
	{"pages, 64 MB", (size_t) 64 << 20, PAGE_BYTES, 280, SCAN_BYTES + 192},
};

/* Calls the kernel on every block of the layout; returns their number. */
static size_t
scan_all(const Kernels *k, const ScanLayout *layout, const uint8_t *memory,
		 const CodeScan *scan)
{
	size_t		page = layout->page == 0 ? layout->bytes : layout->page;
	size_t		nblocks = 0;
	uint32_t	hits = 0;

	for (size_t start = 0; start + page <= layout->bytes; start += page)
	{
		const uint8_t *block = memory + start + layout->offset;
		const uint8_t *end = memory + start + page;

		for (; block + layout->stride <= end; block += layout->stride)
		{
			hits |= k->code_scan_block(block, scan, work.scores);
			nblocks++;
		}
	}
	int_sink = hits;
	return nblocks;
}

/* Codes a nanosecond of one table and layout: the best of several runs. */
static double
scan_speed(const Kernels *k, const ScanLayout *layout)
{
	CodeScan	scan = {work.lut, SCAN_GROUPS, {0.0f, 1.0f, 0.0f}, 0.0f};
	uint8_t    *memory = aligned_alloc(PAGE_BYTES, layout->bytes);
	double		best = 0;
	double		end;

	if (memory == NULL)
		return 0;
	for (size_t i = 0; i < layout->bytes; i++)
		memory[i] = (uint8_t) rand() & 0xbb;	/* no half is 2 or above */

	scan.threshold = 2 * 255 * SCAN_GROUPS + 1; /* no score reaches it */
	end = now() + 8 * MEASURE_SECONDS;
	do
	{
		double		start = now();
		size_t		nblocks = scan_all(k, layout, memory, &scan);
		double		speed = nblocks * FASTSCAN_LANES / (now() - start) * 1e-9;

		if (speed > best)
			best = speed;
	} while (now() < end);
	free(memory);
	return best;
}

static void
print_scan_speeds(const Kernels *k)
{
	for (size_t i = 0; i < sizeof(scan_layouts) / sizeof(scan_layouts[0]); i++)
		printf("%-8s code_scan_block, %d groups, %s: %.2f codes/ns\n", k->name,
			   SCAN_GROUPS, scan_layouts[i].name, scan_speed(k, &scan_layouts[i]));
}

static void
print_rotation(int n)
{
	Rotation   *rotation = rotation_create(n, n);
	double		best = 1e9;

	for (int run = 0; run < 20; run++)
	{
		double		start = now();

		for (int i = 0; i < 1000; i++)
			rotation_apply(rotation, work.a, work.out);
		if ((now() - start) * 1e6 < best)
			best = (now() - start) * 1e6;
	}
	printf("rotation of %d dimensions: %.0f ns\n", n, best);
	free(rotation);
}

/* One thread that sums up 256 MB, which no cache holds, by the best table. */
static void
print_memory_speed(void)
{
	float	   *memory = malloc(MEMORY_BYTES);
	double		best = 1e9;

	if (memory == NULL)
		return;
	memset(memory, 1, MEMORY_BYTES);	/* 0 would leave it unmapped */
	for (int run = 0; run < 5; run++)
	{
		size_t		half = MEMORY_BYTES / sizeof(float) / 2;
		double		start = now();

		float_sink = kernels->dot_f32(memory, memory + half, half);
		if (now() - start < best)
			best = now() - start;
	}
	printf("memory, read by one thread with %s dot_f32: %.1f GB/s\n",
		   kernels->name, MEMORY_BYTES / best * 1e-9);
	free(memory);
}

int
main(void)
{
	const Kernels *tables[] = {kernels_scalar(), kernels_neon(),
	kernels_avx2(), kernels_avx512()};
	const size_t lengths[] = {128, 768};

	workspace_fill(&work);
	kernels_init();
	printf("%-8s %-15s %4s %9s %8s\n", "table", "kernel", "n", "ns/call",
		   "GB/s");
	for (int t = 0; t < 4; t++)
	{
		for (size_t i = 0; tables[t] != NULL &&
			 i < sizeof(benchmarks) / sizeof(benchmarks[0]); i++)
		{
			for (int l = 0; l < 2; l++)
			{
				double		ns = call_time(&benchmarks[i], tables[t], lengths[l]);

				printf("%-8s %-15s %4zu %9.1f %8.1f\n", tables[t]->name,
					   benchmarks[i].name, lengths[l], ns,
					   benchmarks[i].bytes * lengths[l] / ns);
			}
		}
	}
	for (int t = 0; t < 4; t++)
	{
		if (tables[t] != NULL)
			print_scan_speeds(tables[t]);
	}
	print_rotation(128);
	print_rotation(768);
	print_memory_speed();
	return 0;
}
