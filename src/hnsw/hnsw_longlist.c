/*
 * hnsw_longlist.c
 *		The long list on its pages: what is written to it and taken out.
 *
 * Callers hold no page lock.  One page is locked at a time.  Pages are added,
 * and the list is cut, under the relation extension lock, so that one process
 * does it for all that wait.  Whatever is interrupted leaves a list that lacks
 * nodes, which the graph finds all the same.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "hnsw/hnsw_longlist.h"
#include "index/buffer_hint.h"

/*
 * The list has LONG_FACTOR times the square root of the number of nodes, so that
 * reading it grows as the graph's part of a scan does, or slowly faster.  Below
 * LONG_MIN_NODES the entry set has them all.
 */
#define LONG_FACTOR 16.0
#define LONG_MIN_NODES 1024.0

/* Share of its pages by which the list grows. */
#define LONG_RUN_SHARE 4

/*
 * By how much a node may be longer than its code says, which is of the coarse
 * digits alone; and the largest length that a code can have, in units.
 */
#define LENGTH_ERROR 1.02f
#define MOST_LENGTH2 65504.0f

void
long_layout_init(LongLayout *layout, int padded_dim)
{
	Size		addrs_size = FASTSCAN_LANES * sizeof(NodeAddr);
	Size		room = PAGE_CONTENT_SIZE - sizeof(LongPage);

	tape_code_layout_init(&layout->code, padded_dim, room - addrs_size);
	layout->addrs_off = layout->code.block_size;
	layout->block_size = layout->addrs_off + addrs_size;
	layout->blocks_per_page = Min(room / layout->block_size,
								  LONG_PAGE_MAX_BLOCKS);
	layout->nodes_per_page = layout->blocks_per_page * FASTSCAN_LANES;
}

uint32
long_list_due(Metric metric, double nnodes)
{
	if (metric_query_measure(metric) != MEASURE_IP || nnodes < LONG_MIN_NODES)
		return 0;
	return (uint32) (LONG_FACTOR * sqrt(nnodes));
}

/* ----- pages ----- */

uint32
long_list_npages(const HnswMeta *meta)
{
	return page_runs_count(meta->long_runs, meta->nlong_runs);
}

BlockNumber
long_list_block(const HnswMeta *meta, uint32 number)
{
	return page_runs_block(meta->long_runs, meta->nlong_runs, 1, number);
}

Buffer
long_list_lock(Relation index, BlockNumber block, int mode)
{
	Buffer		buffer = buffer_hint_read(index, block);

	LockBuffer(buffer, mode);
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_LONG));
	return buffer;
}

static bool
meta_add_page(HnswMeta *meta, void *arg)
{
	return page_runs_add(meta->long_runs, &meta->nlong_runs, LONG_MAX_RUNS, 1,
						 *(BlockNumber *) arg);
}

/* Add empty pages; the caller has the relation extension lock. */
static void
long_list_extend(Relation index, PageWal wal, HnswMeta *meta, uint32 npages)
{
	for (uint32 i = 0; i < npages; i++)
	{
		BlockNumber block = hnsw_page_add(index, wal, HNSW_PAGE_LONG);

		CHECK_FOR_INTERRUPTS();
		hnsw_meta_update(index, wal, meta, meta_add_page, &block);
	}
}

/* ----- nodes ----- */

void
long_node_init(const LongLayout *layout, float unit, NodeAddr addr,
			   const OwnVector *own, LongNode *node)
{
	node->addr = addr;
	tape_code_encode(&layout->code, unit, own->scale, own->codes, &node->code);
}

static void
long_page_put(const LongLayout *layout, Page page, int place,
			  const LongNode *node)
{
	int			lane = place % FASTSCAN_LANES;
	uint8	   *block = long_page_block(layout, page, place / FASTSCAN_LANES);

	tape_code_put(&layout->code, block, lane, &node->code);
	long_block_addrs(layout, block)[lane] = node->addr;
	long_page(page)->live[place / FASTSCAN_LANES] |= UINT32_C(1) << lane;
}

/* A free place of a page, or -1. */
static int
long_page_free_place(const LongLayout *layout, Page page)
{
	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		uint32		open = ~long_page(page)->live[i];

		if (open != 0)
			return i * FASTSCAN_LANES + pg_rightmost_one_pos32(open);
	}
	return -1;
}

/* Put a node into a page of the list; false where it is full. */
static bool
long_page_try(Relation index, PageWal wal, const LongLayout *layout,
			  BlockNumber block, const LongNode *node)
{
	Buffer		buffer = long_list_lock(index, block, BUFFER_LOCK_EXCLUSIVE);
	int			place = long_page_free_place(layout, BufferGetPage(buffer));
	PageEdit	edit;

	if (place >= 0)
	{
		long_page_put(layout, page_edit_begin(&edit, index, buffer, wal),
					  place, node);
		page_edit_end(&edit, true);
	}
	UnlockReleaseBuffer(buffer);
	return place >= 0;
}

/* ----- taking out ----- */

typedef bool (*LongLaneIsOut) (void *arg, const LongLayout *layout,
							   const uint8 *block, int lane);

/*
 * Take out of a page the nodes of which is_out(arg, layout, block, lane) is true.
 * Returns how many the page could then hold beside those that are left.
 */
static int
long_page_remove(Relation index, PageWal wal, const LongLayout *layout,
				 BlockNumber number, LongLaneIsOut is_out, void *arg)
{
	Buffer		buffer = long_list_lock(index, number, BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, wal);
	bool		changed = false;
	int			nfree = layout->nodes_per_page;

	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		const uint8 *block = long_page_block(layout, page, i);
		uint32		live = long_page(page)->live[i];

		for (; live != 0; live &= live - 1)
		{
			int			lane = pg_rightmost_one_pos32(live);

			if (!is_out(arg, layout, block, lane))
				continue;
			long_page(page)->live[i] &= ~(UINT32_C(1) << lane);
			changed = true;
		}
		nfree -= pg_popcount32(long_page(page)->live[i]);
	}
	page_edit_end(&edit, changed);
	UnlockReleaseBuffer(buffer);
	return nfree;
}

/* ----- cutting the list ----- */

/* What is shorter goes, and of those as long as this what is too many. */
typedef struct LongCut
{
	uint16		length;			/* squared, as codes have it */
	uint32		nequal;			/* such nodes that stay */
	float		norm;			/* the same length */
	float		whole;			/* all nodes that are longer stay */
} LongCut;

static bool
lane_is_cut(void *arg, const LongLayout *layout, const uint8 *block, int lane)
{
	LongCut    *cut = arg;
	uint16		length = tape_code_length(&layout->code, block, lane);

	if (length != cut->length)
		return length < cut->length;
	if (cut->nequal == 0)
		return true;
	cut->nequal--;
	return false;
}

static int
compare_lengths(const void *a, const void *b)
{
	return (int) *(const uint16 *) a - (int) *(const uint16 *) b;
}

/* The squared lengths of all nodes; returns their number. */
static uint32
long_list_lengths(Relation index, const HnswMeta *meta,
				  const LongLayout *layout, uint16 *lengths)
{
	uint32		n = 0;

	for (uint32 number = 0; number < long_list_npages(meta); number++)
	{
		Buffer		buffer = long_list_lock(index,
											long_list_block(meta, number),
											BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);

		for (int i = 0; i < layout->blocks_per_page; i++)
		{
			const uint8 *block = long_page_block(layout, page, i);
			uint32		live = long_page(page)->live[i];

			for (; live != 0; live &= live - 1)
				lengths[n++] = tape_code_length(&layout->code, block,
												pg_rightmost_one_pos32(live));
		}
		UnlockReleaseBuffer(buffer);
	}
	return n;
}

/*
 * Inserts begin with the first page, and add what is longer.  What had been left
 * out before this is still not there.
 */
static bool
meta_cut(HnswMeta *meta, void *arg)
{
	const LongCut *cut = arg;

	meta->long_sorted = 0;
	meta->long_fill = 0;
	meta->long_norm = Max(meta->long_norm, cut->norm);
	meta->long_whole = Max(meta->long_whole, cut->whole);
	return true;
}

/* What the length of a cut, in units and squared, means. */
static void
long_cut_set_norm(LongCut *cut, float unit)
{
	float		length;

	kernels->f16_to_f32(&cut->length, &length, 1);
	cut->norm = unit * sqrtf(Min(length, MOST_LENGTH2));
	cut->whole = length < MOST_LENGTH2 ? cut->norm * LENGTH_ERROR : FLT_MAX;
	cut->whole = Min(cut->whole, FLT_MAX);
}

/* Leave the longer half of what the pages hold. */
static void
long_list_cut(Relation index, PageWal wal, HnswMeta *meta,
			  const LongLayout *layout)
{
	uint32		npages = long_list_npages(meta);
	uint16	   *lengths = palloc(sizeof(uint16) * npages *
								 layout->nodes_per_page);
	uint32		n = long_list_lengths(index, meta, layout, lengths);
	uint32		keep = npages * layout->nodes_per_page / 2;
	LongCut		cut = {0};

	if (n > keep)
	{
		qsort(lengths, n, sizeof(uint16), compare_lengths);
		cut.length = lengths[n - keep];
		for (uint32 i = n - keep; i < n && lengths[i] == cut.length; i++)
			cut.nequal++;
		long_cut_set_norm(&cut, meta->unit);
		for (uint32 number = 0; number < npages; number++)
			long_page_remove(index, wal, layout, long_list_block(meta, number),
							 lane_is_cut, &cut);
	}
	pfree(lengths);
	hnsw_meta_update(index, wal, meta, meta_cut, &cut);
}

/* ----- inserts ----- */

/*
 * See to it that there is a page that may have room; *meta is read anew.  False
 * where the index has too few nodes for a list.
 */
static bool
long_list_make_room(Relation index, PageWal wal, HnswMeta *meta,
					const LongLayout *layout)
{
	NodeLayout	nodes;
	uint32		npages;
	uint32		most;

	Assert(layout->nodes_per_page > 0);
	LockRelationForExtension(index, ExclusiveLock);
	hnsw_meta_read(index, meta);
	node_layout_init(&nodes, meta->dim, meta->nfilters);
	npages = long_list_npages(meta);
	most = long_list_due((Metric) meta->metric, (double) nodes.slots_per_page *
						 RelationGetNumberOfBlocks(index));
	most = 2 * ((most + layout->nodes_per_page - 1) / layout->nodes_per_page);
	if (meta->long_fill == npages && npages < most &&
		meta->nlong_runs < LONG_MAX_RUNS)
		long_list_extend(index, wal, meta,
						 Min(Max(npages / LONG_RUN_SHARE, 1), most - npages));
	else if (meta->long_fill == npages && npages > 0)
		long_list_cut(index, wal, meta, layout);
	UnlockRelationForExtension(index, ExclusiveLock);
	return long_list_npages(meta) > 0;
}

/* Let inserts go on from a full page to the next, unless they have. */
static bool
meta_move_on(HnswMeta *meta, void *arg)
{
	if (meta->long_fill != *(uint32 *) arg)
		return false;
	meta->long_fill++;
	return true;
}

void
long_list_offer(Relation index, PageWal wal, HnswMeta *meta, NodeAddr addr,
				const OwnVector *own)
{
	LongLayout	layout;
	LongNode	node;

	if (metric_query_measure((Metric) meta->metric) != MEASURE_IP)
		return;
	long_layout_init(&layout, node_padded_dim(meta->dim));
	long_node_init(&layout, meta->unit, addr, own, &node);
	while (own->norm > meta->long_norm)
	{
		uint32		fill = meta->long_fill;

		CHECK_FOR_INTERRUPTS();
		if (fill >= long_list_npages(meta))
		{
			if (!long_list_make_room(index, wal, meta, &layout))
				return;
		}
		else if (long_page_try(index, wal, &layout,
							   long_list_block(meta, fill), &node))
			return;
		else
			hnsw_meta_update(index, wal, meta, meta_move_on, &fill);
	}
}

/* ----- a build ----- */

/* Fill an empty page. */
static void
long_page_fill(Relation index, PageWal wal, const LongLayout *layout,
			   BlockNumber block, int n, const LongSource *source)
{
	Buffer		buffer = long_list_lock(index, block, BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, wal);
	LongNode	node;

	for (int i = 0; i < n; i++)
	{
		source->next(source->arg, &node);
		long_page_put(layout, page, i, &node);
	}
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/* Inserts go behind what has been written, and add what is longer. */
static bool
meta_set_norm(HnswMeta *meta, void *arg)
{
	meta->long_sorted = long_list_npages(meta);
	meta->long_fill = meta->long_sorted;
	meta->long_norm = *(float *) arg;
	meta->long_whole = meta->long_norm;
	return true;
}

void
long_list_write(Relation index, PageWal wal, HnswMeta *meta,
				const LongSource *source)
{
	LongLayout	layout;
	uint32		npages;
	float		norm = source->norm;

	long_layout_init(&layout, node_padded_dim(meta->dim));
	npages = (source->n + layout.nodes_per_page - 1) / layout.nodes_per_page;
	LockRelationForExtension(index, ExclusiveLock);
	long_list_extend(index, wal, meta, npages);
	UnlockRelationForExtension(index, ExclusiveLock);
	for (uint32 i = 0; i < npages; i++)
		long_page_fill(index, wal, &layout, long_list_block(meta, i),
					   Min(source->n - i * layout.nodes_per_page,
						   layout.nodes_per_page), source);
	hnsw_meta_update(index, wal, meta, meta_set_norm, &norm);
}

/* ----- vacuum ----- */

typedef struct LongVacuum
{
	LongNodeIsGone is_gone;
	void	   *arg;
} LongVacuum;

static bool
lane_is_gone(void *arg, const LongLayout *layout, const uint8 *block, int lane)
{
	const LongVacuum *vacuum = arg;

	return vacuum->is_gone(vacuum->arg,
						   long_block_addrs(layout, block)[lane]);
}

/* What a VACUUM leaves. */
typedef struct LongRoom
{
	uint32		first_open;		/* page */
	bool		refill;			/* the list is less than a quarter full */
} LongRoom;

/*
 * Let inserts begin with a page that has room, unless they are before it.  A list
 * to be filled again takes whatever comes, until it is cut.
 */
static bool
meta_go_back(HnswMeta *meta, void *arg)
{
	const LongRoom *room = arg;

	if (meta->long_fill <= room->first_open && !room->refill)
		return false;
	meta->long_fill = Min(meta->long_fill, room->first_open);
	if (room->refill)
		meta->long_norm = 0.0f;
	return true;
}

void
long_list_vacuum(Relation index, HnswMeta *meta, LongNodeIsGone is_gone,
				 void *arg)
{
	LongVacuum	vacuum = {is_gone, arg};
	LongRoom	room = {0};
	LongLayout	layout;
	uint32		npages;
	uint32		sorted;
	uint64		nfree = 0;

	hnsw_meta_read(index, meta);
	npages = long_list_npages(meta);
	room.first_open = npages;
	sorted = meta->long_sorted;
	long_layout_init(&layout, node_padded_dim(meta->dim));
	for (uint32 number = npages; number-- > 0;)
	{
		int			nhere;

		compat_vacuum_delay_point();
		nhere = long_page_remove(index, PAGE_WAL_GENERIC, &layout,
								 long_list_block(meta, number), lane_is_gone,
								 &vacuum);
		nfree += nhere;
		if (nhere > 0 && number >= sorted)
			room.first_open = number;
	}
	room.refill = nfree > (uint64) npages * layout.nodes_per_page / 4 * 3;
	hnsw_meta_update(index, PAGE_WAL_GENERIC, meta, meta_go_back, &room);
}
