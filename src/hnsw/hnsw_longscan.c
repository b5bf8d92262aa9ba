/*
 * hnsw_longscan.c
 *		What a scan takes from the long list.
 *
 * The list is read page by page; its pages are few, and in shared buffers
 * all connections have the same copy of them in the processor's caches.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "hnsw/hnsw_longscan.h"
#include "index/buffer_hint.h"

/*
 * A candidate keeps the mean of its estimates, weighted by 1/f^2 (hnsw_search.c),
 * where f is the factor of a code of one bit a dimension, whose levels are orthogonal
 * to the vector by 0.603 of their length.  Those of two bits are by 0.343, and
 * their length is 0.939 times as much, so by the same measure their factors count
 * less.
 */
#define TWO_BIT_WEIGHT (0.343f * 0.939f / 0.603f)

/*
 * Pages that are in order are read until a quarter as many as before have shown
 * few of the best.  A million made rows, recall for K = 10 and 100, pages read of
 * index and table and CPU time for K = 10:
 *
 *		0.02	0.991	0.985	99		0.147 ms
 *		0.05	0.979	0.984	78		0.149 ms
 *		0.10	0.965	0.973	51		0.135 ms
 *		0.20	0.959	0.947	44		0.129 ms
 */
#define LOOK_PAGES 4
#define LOOK_SHARE 4
#define FEW_SHARE 0.02

/* Lines of the next page that are fetched ahead. */
#define PREFETCH_LINES 8

typedef struct LongHit
{
	float		score;			/* see TapeQuery */
	uint16		factor;
	NodeAddr	addr;
} LongHit;

struct LongScan
{
	Relation	index;
	const HnswMeta *meta;
	LongLayout	layout;
	TapeQuery	query;
	float		returned;		/* the least score of what has been */
};

#define SELECT_NAME select_hit
#define SELECT_TYPE LongHit
#define SELECT_BEFORE(a, b) ((a)->score > (b)->score)
#include "index/quickselect.h"

LongScan *
long_scan_create(Relation index, const HnswMeta *meta, const float *rotated)
{
	LongScan   *scan = palloc(sizeof(LongScan));

	scan->index = index;
	scan->meta = meta;
	long_layout_init(&scan->layout, node_padded_dim(meta->dim));
	tape_query_set(&scan->layout.code, meta->unit, MEASURE_IP, rotated,
				   &scan->query);
	scan->returned = INFINITY;
	return scan;
}

/* Nodes that are wanted, and room for as many more before they are chosen. */
typedef struct LongHits
{
	uint32		wanted;
	uint32		nfound;			/* so far, of those better than the wanted */
	uint32		n;
	LongHit    *hits;			/* 2 * wanted + FASTSCAN_LANES */
} LongHits;

/* Leave the best; only better ones are hits from now on. */
static void
hits_choose(LongHits *hits, CodeScan *codes)
{
	if (hits->n <= hits->wanted)
		return;
	select_hit(hits->hits, 0, (int64) hits->n - 1, (int64) hits->wanted - 1);
	hits->n = hits->wanted;
	codes->threshold = hits->hits[hits->wanted - 1].score;
}

/* Score the blocks of an open page. */
static void
long_scan_page(LongScan *scan, Page page, LongHits *hits)
{
	const LongLayout *layout = &scan->layout;
	float		scores[FASTSCAN_LANES];

	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		const uint8 *block = long_page_block(layout, page, i);
		const NodeAddr *addrs = long_block_addrs(layout, block);
		uint32		lanes = long_page(page)->live[i];

		if (lanes != 0)
			lanes &= kernels->code_scan_block(block, &scan->query.scan, scores);
		for (; lanes != 0; lanes &= lanes - 1)
		{
			int			lane = pg_rightmost_one_pos32(lanes);
			LongHit    *hit = &hits->hits[hits->n++];

			hit->score = scores[lane];
			hit->factor = tape_code_factor(&layout->code, block, lane);
			hit->addr = addrs[lane];
			hits->nfound++;
		}
		if (hits->n >= 2 * hits->wanted)
			hits_choose(hits, &scan->query.scan);
	}
}

/* Begin to fetch what reading a page begins with. */
static void
long_scan_prefetch(const LongScan *scan, BlockNumber block)
{
	const char *page = buffer_hint_address(scan->index, block);

	if (page == NULL)
		return;
	for (int i = 0; i < PREFETCH_LINES; i++)
		__builtin_prefetch(page + i * 64);
}

/* Read a page of the list, before another. */
static void
long_scan_read(LongScan *scan, uint32 number, LongHits *hits)
{
	Buffer		buffer = long_list_lock(scan->index,
										long_list_block(scan->meta, number),
										BUFFER_LOCK_SHARE);

	if (number + 1 < long_list_npages(scan->meta))
		long_scan_prefetch(scan, long_list_block(scan->meta, number + 1));
	long_scan_page(scan, BufferGetPage(buffer), hits);
	UnlockReleaseBuffer(buffer);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Read the pages that are in no order, and then those that are, until there are as
 * many nodes as are wanted and few of the best are found.
 */
static void
long_scan_find(LongScan *scan, LongHits *hits)
{
	uint32		sorted = scan->meta->long_sorted;
	uint32		look = LOOK_PAGES;
	uint32		nfound = 0;

	for (uint32 i = sorted; i < long_list_npages(scan->meta); i++)
		long_scan_read(scan, i, hits);
	for (uint32 i = 0; i < sorted; i++)
	{
		if (i == look)
		{
			if (hits->n >= hits->wanted &&
				hits->nfound - nfound < FEW_SHARE * hits->wanted)
				break;
			nfound = hits->nfound;
			look += Max(look / LOOK_SHARE, 1);
		}
		long_scan_read(scan, i, hits);
	}
}

uint32
long_scan_best(LongScan *scan, uint32 wanted, Estimate **estimates)
{
	float		weight = scan->layout.code.bits == 1 ? 1.0f : TWO_BIT_WEIGHT;
	uint32		most = long_list_npages(scan->meta) *
	scan->layout.nodes_per_page;
	LongHits	hits = {.wanted = Max(Min(wanted, most), 1)};
	uint32		n = 0;

	*estimates = palloc(sizeof(Estimate) * hits.wanted);
	if (scan->returned == -INFINITY)
		return 0;
	hits.hits = palloc(sizeof(LongHit) * (2 * hits.wanted + FASTSCAN_LANES));
	scan->query.scan.threshold = -INFINITY;
	long_scan_find(scan, &hits);
	hits_choose(&hits, &scan->query.scan);
	for (uint32 i = 0; i < hits.n; i++)
	{
		const LongHit *hit = &hits.hits[i];
		Estimate   *estimate = &(*estimates)[n];

		if (hit->score >= scan->returned)
			continue;
		estimate->addr = hit->addr;
		estimate->key = -hit->score;
		kernels->f16_to_f32(&hit->factor, &estimate->f, 1);
		estimate->f *= weight;
		n++;
	}
	scan->returned = scan->query.scan.threshold;
	pfree(hits.hits);
	return n;
}
