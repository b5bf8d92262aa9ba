/*
 * hnsw_keytape.c
 *		The key tape: the keys of filter columns of all heap rows, close
 *		together.
 *
 * Every function locks one page at a time, and callers hold no page lock.
 * Adding pages takes the relation extension lock first, so that one process
 * does it for all that wait, and the pages of a run are next to each other.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw_keytape.h"
#include "index/buffer_hint.h"
#include "index/page_stream.h"

/* Share of its pages by which the tape grows, and the least number. */
#define KEY_RUN_SHARE 16
#define KEY_RUN_MIN 8

/* Pages that an estimate reads. */
#define SAMPLE_PAGES 16

void
key_layout_init(KeyLayout *layout, int nfilters)
{
	layout->nfilters = nfilters;
	layout->addrs_off = filter_block_size(nfilters);
	layout->tids_off = layout->addrs_off + FASTSCAN_LANES * sizeof(NodeAddr);
	layout->block_size = layout->tids_off +
		FASTSCAN_LANES * sizeof(ItemPointerData);
	layout->blocks_per_page = Min((PAGE_CONTENT_SIZE - sizeof(KeyPage)) /
								  layout->block_size, KEY_PAGE_MAX_BLOCKS);
	layout->rows_per_page = layout->blocks_per_page * FASTSCAN_LANES;
}

/* ----- pages ----- */

uint32
key_tape_npages(const HnswMeta *meta)
{
	uint32		npages = 0;

	for (int i = 0; i < meta->nkey_runs; i++)
		npages += meta->key_runs[i].n;
	return npages;
}

BlockNumber
key_tape_block(const HnswMeta *meta, uint32 number)
{
	for (int i = 0; i < meta->nkey_runs; i++)
	{
		if (number < meta->key_runs[i].n)
			return meta->key_runs[i].first + number;
		number -= meta->key_runs[i].n;
	}
	return InvalidBlockNumber;
}

static bool
meta_add_block(HnswMeta *meta, void *arg)
{
	BlockNumber block = *(BlockNumber *) arg;
	KeyRun	   *end = &meta->key_runs[meta->nkey_runs];

	if (meta->nkey_runs > 0 && end[-1].first + end[-1].n == block)
	{
		end[-1].n++;
		return true;
	}
	if (meta->nkey_runs == KEY_MAX_RUNS)
		return false;
	end->first = block;
	end->n = 1;
	meta->nkey_runs++;
	return true;
}

/* Add one page to the tape. */
static void
key_tape_add_page(Relation index, PageWal wal, HnswMeta *meta)
{
	Buffer		buffer = compat_extend_relation(index, MAIN_FORKNUM);
	BlockNumber block = BufferGetBlockNumber(buffer);
	uint32		npages = key_tape_npages(meta);
	PageEdit	edit;

	page_format(page_edit_begin(&edit, index, buffer, wal),
				hnsw_tag(HNSW_PAGE_KEYS));
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
	hnsw_meta_update(index, wal, meta, meta_add_block, &block);
	if (key_tape_npages(meta) == npages)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the filter keys of index \"%s\" are in too many pieces",
						RelationGetRelationName(index)),
				 errhint("REINDEX the index.")));
}

void
key_tape_extend(Relation index, PageWal wal, HnswMeta *meta, uint32 npages)
{
	LockRelationForExtension(index, ExclusiveLock);
	hnsw_meta_read(index, meta);
	if (meta->key_fill >= key_tape_npages(meta))
		for (uint32 i = 0; i < npages; i++)
			key_tape_add_page(index, wal, meta);
	UnlockRelationForExtension(index, ExclusiveLock);
}

/* Pin and lock a page of the tape. */
static Buffer
key_tape_lock(Relation index, const HnswMeta *meta, uint32 number, int mode)
{
	Buffer		buffer = ReadBuffer(index, key_tape_block(meta, number));

	LockBuffer(buffer, mode);
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_KEYS));
	return buffer;
}

/* ----- adding rows ----- */

/* A free place of a page, or -1. */
static int
key_page_free_place(const KeyLayout *layout, Page page)
{
	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		uint32		open = ~key_page(page)->live[i];

		if (open != 0)
			return i * FASTSCAN_LANES + pg_rightmost_one_pos32(open);
	}
	return -1;
}

static void
key_page_put(const KeyLayout *layout, Page page, int place, NodeAddr addr,
			 const NodeRow *row)
{
	int			lane = place % FASTSCAN_LANES;
	uint8	   *block = key_page_block(layout, page, place / FASTSCAN_LANES);

	filter_block_put(block, layout->nfilters, lane, &row->keys);
	key_block_addrs(layout, block)[lane] = addr;
	key_block_tids(layout, block)[lane] = row->tid;
	key_page(page)->live[place / FASTSCAN_LANES] |= UINT32_C(1) << lane;
}

/* Put a row on a page of the tape; false where it is full. */
static bool
key_tape_try_page(Relation index, PageWal wal, const HnswMeta *meta,
				  NodeAddr addr, const NodeRow *row)
{
	Buffer		buffer = key_tape_lock(index, meta, meta->key_fill,
									   BUFFER_LOCK_EXCLUSIVE);
	KeyLayout	layout;
	PageEdit	edit;
	int			place;

	key_layout_init(&layout, meta->nfilters);
	place = key_page_free_place(&layout, BufferGetPage(buffer));
	if (place >= 0)
	{
		key_page_put(&layout, page_edit_begin(&edit, index, buffer, wal), place,
					 addr, row);
		page_edit_end(&edit, true);
	}
	UnlockReleaseBuffer(buffer);
	return place >= 0;
}

/* Let inserts go on to the next page, unless they have. */
static bool
meta_move_on(HnswMeta *meta, void *arg)
{
	if (meta->key_fill != *(uint32 *) arg)
		return false;
	meta->key_fill++;
	return true;
}

void
key_tape_add(Relation index, PageWal wal, HnswMeta *meta, NodeAddr addr,
			 const NodeRow *row)
{
	for (;;)
	{
		uint32		npages = key_tape_npages(meta);
		uint32		full = meta->key_fill;

		CHECK_FOR_INTERRUPTS();
		if (full >= npages)
			key_tape_extend(index, wal, meta,
							Max(npages / KEY_RUN_SHARE, KEY_RUN_MIN));
		else if (key_tape_try_page(index, wal, meta, addr, row))
			return;
		else
			hnsw_meta_update(index, wal, meta, meta_move_on, &full);
	}
}

/* ----- vacuum ----- */

/* Take dead rows out of a page; returns whether it has room then. */
static bool
key_page_remove_dead(IndexVacuumInfo *info, const KeyLayout *layout,
					 BlockNumber block, IndexBulkDeleteCallback callback,
					 void *callback_state)
{
	Buffer		buffer = ReadBufferExtended(info->index, MAIN_FORKNUM, block,
											RBM_NORMAL, info->strategy);
	bool		changed = false;
	PageEdit	edit;
	Page		page;
	bool		has_room;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page_check(info->index, buffer, hnsw_tag(HNSW_PAGE_KEYS));
	page = page_edit_begin(&edit, info->index, buffer, PAGE_WAL_GENERIC);
	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		uint32		live = key_page(page)->live[i];
		ItemPointerData *tids = key_block_tids(layout,
											   key_page_block(layout, page, i));

		while (live != 0)
		{
			int			lane = pg_rightmost_one_pos32(live);

			live &= live - 1;
			if (!callback(&tids[lane], callback_state))
				continue;
			key_page(page)->live[i] &= ~(UINT32_C(1) << lane);
			changed = true;
		}
	}
	has_room = key_page_free_place(layout, page) >= 0;
	page_edit_end(&edit, changed);
	UnlockReleaseBuffer(buffer);
	return has_room;
}

/* Let inserts begin with a page that has room, unless they are before it. */
static bool
meta_go_back(HnswMeta *meta, void *arg)
{
	uint32		open = *(uint32 *) arg;

	if (meta->key_fill <= open)
		return false;
	meta->key_fill = open;
	return true;
}

void
key_tape_vacuum(IndexVacuumInfo *info, HnswMeta *meta,
				IndexBulkDeleteCallback callback, void *callback_state)
{
	uint32		npages = key_tape_npages(meta);
	uint32		first_open = npages;
	KeyLayout	layout;

	key_layout_init(&layout, meta->nfilters);
	for (uint32 number = npages; number-- > 0;)
	{
		compat_vacuum_delay_point();
		if (key_page_remove_dead(info, &layout, key_tape_block(meta, number),
								 callback, callback_state))
			first_open = number;
	}
	if (first_open < npages)
		hnsw_meta_update(info->index, PAGE_WAL_GENERIC, meta, meta_go_back,
						 &first_open);
}

/* ----- finding rows ----- */

/* Add the rows of a block that a mask has. */
static void
matches_add(KeyMatches *matches, const KeyLayout *layout, const uint8 *block,
			uint32 mask)
{
	const NodeAddr *addrs = key_block_addrs(layout, block);
	const ItemPointerData *tids = key_block_tids(layout, block);

	if (matches->n + FASTSCAN_LANES > matches->max)
	{
		matches->max = Max(matches->max * 2, 1024);
		matches->rows = matches->rows == NULL ?
			palloc(sizeof(KeyMatch) * matches->max) :
			repalloc_huge(matches->rows,
						  mul_size(sizeof(KeyMatch), matches->max));
	}
	for (; mask != 0; mask &= mask - 1)
	{
		int			lane = pg_rightmost_one_pos32(mask);
		KeyMatch   *match = &matches->rows[matches->n++];

		match->addr = addrs[lane];
		match->tid = tids[lane];
	}
}

/* Find the rows of a locked page that satisfy a filter. */
static void
key_page_match(const KeyLayout *layout, Page page, const FilterSet *filter,
			   KeyMatches *matches)
{
	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		uint32		live = key_page(page)->live[i];
		uint8	   *block = key_page_block(layout, page, i);
		uint32		mask = filter_set_block(filter, block, live);

		matches->nrejected += pg_popcount32(live & ~mask);
		if (mask != 0)
			matches_add(matches, layout, block, mask);
	}
}

/* Bring what is read of a page to the processor's caches, if it is in a buffer. */
static void
key_page_prefetch(Relation index, BlockNumber block, const KeyLayout *layout,
				  const FilterSet *filter)
{
	Page		page = (Page) buffer_hint_address(index, block);

	if (block == InvalidBlockNumber || page == NULL)
		return;
	__builtin_prefetch(page);
	for (int i = 0; i < layout->blocks_per_page; i++)
		filter_set_prefetch(filter, key_page_block(layout, page, i));
}

/* The pages of the tape in their order. */
typedef struct TapeCursor
{
	const HnswMeta *meta;
	uint32		number;
} TapeCursor;

static BlockNumber
tape_next_block(void *arg)
{
	TapeCursor *cursor = arg;

	return key_tape_block(cursor->meta, cursor->number++);
}

static int
compare_matches(const void *a, const void *b)
{
	const KeyMatch *x = a;
	const KeyMatch *y = b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

/* A build writes the tape in the order of addresses. */
static void
matches_sort(KeyMatches *matches)
{
	for (Size i = 1; i < matches->n; i++)
		if (matches->rows[i].addr < matches->rows[i - 1].addr)
		{
			qsort(matches->rows, matches->n, sizeof(KeyMatch), compare_matches);
			return;
		}
}

void
key_tape_match(Relation index, const HnswMeta *meta, const FilterSet *filter,
			   KeyMatches *matches)
{
	TapeCursor	cursor = {meta, 0};
	PageStream *stream = page_stream_begin(index, tape_next_block, &cursor);
	KeyLayout	layout;
	Buffer		buffer;
	uint32		next = 1;

	memset(matches, 0, sizeof(KeyMatches));
	key_layout_init(&layout, meta->nfilters);
	while ((buffer = page_stream_next(stream)) != InvalidBuffer)
	{
		CHECK_FOR_INTERRUPTS();
		key_page_prefetch(index, key_tape_block(meta, next++), &layout, filter);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page_check(index, buffer, hnsw_tag(HNSW_PAGE_KEYS));
		key_page_match(&layout, BufferGetPage(buffer), filter, matches);
		UnlockReleaseBuffer(buffer);
	}
	page_stream_end(stream);
	matches_sort(matches);
}

void
key_tape_sample(Relation index, const HnswMeta *meta, const FilterSet *filter,
				double *nrows, double *nmatching)
{
	uint32		npages = key_tape_npages(meta);
	uint32		nsampled = Min(npages, SAMPLE_PAGES);
	KeyLayout	layout;
	int64		nlive = 0;
	int64		npassed = 0;

	key_layout_init(&layout, meta->nfilters);
	for (uint32 i = 0; i < nsampled; i++)
	{
		uint32		number = (uint32) ((uint64) npages * i / nsampled);
		Buffer		buffer = key_tape_lock(index, meta, number,
										   BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);

		for (int b = 0; b < layout.blocks_per_page; b++)
		{
			uint32		live = key_page(page)->live[b];

			nlive += pg_popcount32(live);
			npassed += pg_popcount32(filter_set_block(filter,
													  key_page_block(&layout, page, b),
													  live));
		}
		UnlockReleaseBuffer(buffer);
	}
	*nrows = nsampled > 0 ? (double) nlive * npages / nsampled : 0.0;
	*nmatching = nsampled > 0 ? (double) npassed * npages / nsampled : 0.0;
}
