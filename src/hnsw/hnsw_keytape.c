/*
 * hnsw_keytape.c
 *		The key tape: the keys of filter columns of all heap rows, close
 *		together, and short codes of their vectors.
 *
 * Callers hold no page lock.  A page of codes is locked only while the page of
 * keys of its unit is, and never two pages of codes at a time.  Adding units
 * takes the relation extension lock first, so that one process does it for all
 * that wait, and the pages of a run are next to each other.
 */
#include "postgres.h"

#include <math.h>

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

/* Share of its units by which the tape grows, and the least number. */
#define KEY_RUN_SHARE 16
#define KEY_RUN_MIN 8

/* Pages that an estimate reads. */
#define SAMPLE_PAGES 16

void
key_layout_init(KeyLayout *layout, int nfilters, int padded_dim)
{
	layout->nfilters = nfilters;
	layout->addrs_off = filter_block_size(nfilters);
	layout->tids_off = layout->addrs_off + FASTSCAN_LANES * sizeof(NodeAddr);
	layout->block_size = layout->tids_off +
		FASTSCAN_LANES * sizeof(ItemPointerData);
	layout->blocks_per_page = Min((PAGE_CONTENT_SIZE - sizeof(KeyPage)) /
								  layout->block_size, KEY_PAGE_MAX_BLOCKS);
	layout->rows_per_page = layout->blocks_per_page * FASTSCAN_LANES;
	tape_code_layout_init(&layout->code, padded_dim);
	layout->codes_per_page = PAGE_CONTENT_SIZE / layout->code.block_size;
	layout->unit_pages = 1 + (layout->blocks_per_page - 1) /
		layout->codes_per_page + 1;
}

/* The layout of an index that has dimensions. */
static void
key_layout_of(KeyLayout *layout, const HnswMeta *meta)
{
	key_layout_init(layout, meta->nfilters, node_padded_dim(meta->dim));
}

/* ----- pages ----- */

uint32
key_tape_nunits(const HnswMeta *meta)
{
	uint32		nunits = 0;

	for (int i = 0; i < meta->nkey_runs; i++)
		nunits += meta->key_runs[i].n;
	return nunits;
}

BlockNumber
key_tape_block(const KeyLayout *layout, const HnswMeta *meta, uint32 number)
{
	for (int i = 0; i < meta->nkey_runs; i++)
	{
		if (number < meta->key_runs[i].n)
			return meta->key_runs[i].first + number * layout->unit_pages;
		number -= meta->key_runs[i].n;
	}
	return InvalidBlockNumber;
}

/* A unit that has been added. */
typedef struct NewUnit
{
	const KeyLayout *layout;
	BlockNumber first;
} NewUnit;

static bool
meta_add_unit(HnswMeta *meta, void *arg)
{
	const NewUnit *unit = arg;
	KeyRun	   *end = &meta->key_runs[meta->nkey_runs];

	if (meta->nkey_runs > 0 && end[-1].first + end[-1].n *
		unit->layout->unit_pages == unit->first)
	{
		end[-1].n++;
		return true;
	}
	if (meta->nkey_runs == KEY_MAX_RUNS)
		return false;
	end->first = unit->first;
	end->n = 1;
	meta->nkey_runs++;
	return true;
}

/* Add an empty page to the index; returns its block. */
static BlockNumber
key_tape_add_page(Relation index, PageWal wal, HnswPageKind kind)
{
	Buffer		buffer = compat_extend_relation(index, MAIN_FORKNUM);
	BlockNumber block = BufferGetBlockNumber(buffer);
	PageEdit	edit;

	page_format(page_edit_begin(&edit, index, buffer, wal), hnsw_tag(kind));
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
	return block;
}

/* Add a unit to the tape; the caller has the relation extension lock. */
static void
key_tape_add_unit(Relation index, PageWal wal, HnswMeta *meta,
				  const KeyLayout *layout)
{
	uint32		nunits = key_tape_nunits(meta);
	NewUnit		unit = {.layout = layout};

	unit.first = key_tape_add_page(index, wal, HNSW_PAGE_KEYS);
	for (int i = 1; i < layout->unit_pages; i++)
		if (key_tape_add_page(index, wal, HNSW_PAGE_CODES) != unit.first + i)
			elog(ERROR, "pages of index \"%s\" are not next to each other",
				 RelationGetRelationName(index));
	hnsw_meta_update(index, wal, meta, meta_add_unit, &unit);
	if (key_tape_nunits(meta) == nunits)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the filter keys of index \"%s\" are in too many pieces",
						RelationGetRelationName(index)),
				 errhint("REINDEX the index.")));
}

void
key_tape_extend(Relation index, PageWal wal, HnswMeta *meta, uint32 nunits)
{
	KeyLayout	layout;

	LockRelationForExtension(index, ExclusiveLock);
	hnsw_meta_read(index, meta);
	key_layout_of(&layout, meta);
	if (meta->key_fill >= key_tape_nunits(meta))
		for (uint32 i = 0; i < nunits; i++)
			key_tape_add_unit(index, wal, meta, &layout);
	UnlockRelationForExtension(index, ExclusiveLock);
}

/* Pin and lock a page of the tape. */
static Buffer
key_tape_lock(Relation index, BlockNumber block, HnswPageKind kind, int mode)
{
	Buffer		buffer = ReadBuffer(index, block);

	LockBuffer(buffer, mode);
	page_check(index, buffer, hnsw_tag(kind));
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
key_page_put(const KeyLayout *layout, Page page, int place, const TapeRow *row)
{
	int			lane = place % FASTSCAN_LANES;
	uint8	   *block = key_page_block(layout, page, place / FASTSCAN_LANES);

	filter_block_put(block, layout->nfilters, lane, &row->row.keys);
	key_block_addrs(layout, block)[lane] = row->addr;
	key_block_tids(layout, block)[lane] = row->row.tid;
	key_page(page)->live[place / FASTSCAN_LANES] |= UINT32_C(1) << lane;
}

/* Put the code of a free place of a locked page of keys. */
static void
key_tape_put_code(Relation index, PageWal wal, const KeyLayout *layout,
				  BlockNumber first, int place, const TapeCode *code)
{
	int			i = place / FASTSCAN_LANES;
	Buffer		buffer = key_tape_lock(index,
									   first + key_unit_code_page(layout, i),
									   HNSW_PAGE_CODES, BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, wal);

	tape_code_put(&layout->code, code_page_block(layout, page, i),
				  place % FASTSCAN_LANES, code);
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/* Put a row into a unit of the tape; false where it is full. */
static bool
key_tape_try_unit(Relation index, PageWal wal, const HnswMeta *meta,
				  const KeyLayout *layout, const TapeRow *row)
{
	BlockNumber first = key_tape_block(layout, meta, meta->key_fill);
	Buffer		buffer = key_tape_lock(index, first, HNSW_PAGE_KEYS,
									   BUFFER_LOCK_EXCLUSIVE);
	int			place = key_page_free_place(layout, BufferGetPage(buffer));
	PageEdit	edit;

	if (place >= 0)
	{
		key_tape_put_code(index, wal, layout, first, place, &row->code);
		key_page_put(layout, page_edit_begin(&edit, index, buffer, wal), place,
					 row);
		page_edit_end(&edit, true);
	}
	UnlockReleaseBuffer(buffer);
	return place >= 0;
}

/* Let inserts go on to the next unit, unless they have. */
static bool
meta_move_on(HnswMeta *meta, void *arg)
{
	if (meta->key_fill != *(uint32 *) arg)
		return false;
	meta->key_fill++;
	return true;
}

void
key_tape_add(Relation index, PageWal wal, HnswMeta *meta, const TapeRow *row)
{
	KeyLayout	layout;

	key_layout_of(&layout, meta);
	for (;;)
	{
		uint32		nunits = key_tape_nunits(meta);
		uint32		full = meta->key_fill;

		CHECK_FOR_INTERRUPTS();
		if (full >= nunits)
			key_tape_extend(index, wal, meta,
							Max(nunits / KEY_RUN_SHARE, KEY_RUN_MIN));
		else if (key_tape_try_unit(index, wal, meta, &layout, row))
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

/* Let inserts begin with a unit that has room, unless they are before it. */
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
	uint32		nunits = key_tape_nunits(meta);
	uint32		first_open = nunits;
	KeyLayout	layout;

	if (nunits == 0)
		return;
	key_layout_of(&layout, meta);
	for (uint32 number = nunits; number-- > 0;)
	{
		compat_vacuum_delay_point();
		if (key_page_remove_dead(info, &layout,
								 key_tape_block(&layout, meta, number),
								 callback, callback_state))
			first_open = number;
	}
	if (first_open < nunits)
		hnsw_meta_update(info->index, PAGE_WAL_GENERIC, meta, meta_go_back,
						 &first_open);
}

/* ----- finding rows ----- */

/* A pass over the tape. */
typedef struct TapePass
{
	Relation	index;
	const HnswMeta *meta;
	const FilterSet *filter;
	const TapeQuery *query;
	KeyMatches *matches;
	KeyLayout	layout;
	uint32		asked;			/* units that the stream has been asked for */
} TapePass;

static void
matches_reserve(KeyMatches *matches, int n)
{
	if (matches->n + n <= matches->max)
		return;
	matches->max = Max(matches->max * 2, 1024);
	matches->rows = matches->rows == NULL ?
		palloc(sizeof(KeyMatch) * matches->max) :
		repalloc_huge(matches->rows, mul_size(sizeof(KeyMatch), matches->max));
}

/*
 * Add the rows of a block that a mask has.  A score that is no number, which
 * only damage explains, counts as the best.
 */
static void
pass_add_block(TapePass *pass, const uint8 *keys, const uint8 *codes,
			   uint32 mask)
{
	const NodeAddr *addrs = key_block_addrs(&pass->layout, keys);
	const ItemPointerData *tids = key_block_tids(&pass->layout, keys);
	float		scores[FASTSCAN_LANES];
	uint32		numbers = kernels->code_scan_block(codes, &pass->query->scan,
												   scores);

	matches_reserve(pass->matches, FASTSCAN_LANES);
	for (; mask != 0; mask &= mask - 1)
	{
		int			lane = pg_rightmost_one_pos32(mask);
		KeyMatch   *match = &pass->matches->rows[pass->matches->n++];

		match->score = numbers >> lane & 1 ? scores[lane] : INFINITY;
		match->addr = addrs[lane];
		match->tid = tids[lane];
	}
}

/* Bring codes to the processor's caches. */
static void
code_block_prefetch(const KeyLayout *layout, const uint8 *block)
{
	for (Size off = 0; off < layout->code.block_size; off += 64)
		__builtin_prefetch(block + off);
}

/* Add the rows that masks have of a locked page of keys, from its pages of codes. */
static void
pass_add_masks(TapePass *pass, BlockNumber first, Page keys,
			   const uint32 *masks)
{
	const KeyLayout *layout = &pass->layout;
	Buffer		buffer = InvalidBuffer;
	int			current = 0;

	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		int			wanted = key_unit_code_page(layout, i);

		if (masks[i] == 0)
			continue;
		if (wanted != current)
		{
			if (BufferIsValid(buffer))
				UnlockReleaseBuffer(buffer);
			buffer = key_tape_lock(pass->index, first + wanted, HNSW_PAGE_CODES,
								   BUFFER_LOCK_SHARE);
			current = wanted;
			for (int j = i; j < layout->blocks_per_page &&
				 key_unit_code_page(layout, j) == current; j++)
				if (masks[j] != 0)
					code_block_prefetch(layout, code_page_block(layout,
																BufferGetPage(buffer), j));
		}
		pass_add_block(pass, key_page_block(layout, keys, i),
					   code_page_block(layout, BufferGetPage(buffer), i),
					   masks[i]);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

/* Find the rows of a unit, whose page of keys is locked. */
static void
pass_match_unit(TapePass *pass, BlockNumber first, Page keys)
{
	const KeyLayout *layout = &pass->layout;
	uint32		masks[KEY_PAGE_MAX_BLOCKS] = {0};
	uint32		any = 0;

	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		uint32		live = key_page(keys)->live[i];

		masks[i] = filter_set_block(pass->filter,
									key_page_block(layout, keys, i), live);
		pass->matches->nrejected += pg_popcount32(live & ~masks[i]);
		any |= masks[i];
	}
	if (any != 0)
		pass_add_masks(pass, first, keys, masks);
}

/* Bring what is read of a page to the processor's caches, if it is in a buffer. */
static void
pass_prefetch(TapePass *pass, uint32 number)
{
	BlockNumber block = key_tape_block(&pass->layout, pass->meta, number);
	Page		page = (Page) buffer_hint_address(pass->index, block);

	if (block == InvalidBlockNumber || page == NULL)
		return;
	__builtin_prefetch(page);
	for (int i = 0; i < pass->layout.blocks_per_page; i++)
		filter_set_prefetch(pass->filter,
							key_page_block(&pass->layout, page, i));
}

/* The pages of keys in their order. */
static BlockNumber
pass_next_block(void *arg)
{
	TapePass   *pass = arg;

	return key_tape_block(&pass->layout, pass->meta, pass->asked++);
}

void
key_tape_match(Relation index, const HnswMeta *meta, const FilterSet *filter,
			   const TapeQuery *query, KeyMatches *matches)
{
	TapePass	pass = {.index = index,.meta = meta,.filter = filter,.query = query,
	.matches = matches};
	PageStream *stream;
	Buffer		buffer;
	uint32		next = 1;

	memset(matches, 0, sizeof(KeyMatches));
	key_layout_of(&pass.layout, meta);
	stream = page_stream_begin(index, pass_next_block, &pass);
	while ((buffer = page_stream_next(stream)) != InvalidBuffer)
	{
		CHECK_FOR_INTERRUPTS();
		pass_prefetch(&pass, next++);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page_check(index, buffer, hnsw_tag(HNSW_PAGE_KEYS));
		pass_match_unit(&pass, BufferGetBlockNumber(buffer),
						BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
	}
	page_stream_end(stream);
}

void
key_tape_sample(Relation index, const HnswMeta *meta, const FilterSet *filter,
				double *nrows, double *nmatching)
{
	uint32		nunits = key_tape_nunits(meta);
	uint32		nsampled = Min(nunits, SAMPLE_PAGES);
	KeyLayout	layout;
	int64		nlive = 0;
	int64		npassed = 0;

	if (nunits > 0)
		key_layout_of(&layout, meta);
	for (uint32 i = 0; i < nsampled; i++)
	{
		uint32		number = (uint32) ((uint64) nunits * i / nsampled);
		Buffer		buffer = key_tape_lock(index,
										   key_tape_block(&layout, meta, number),
										   HNSW_PAGE_KEYS, BUFFER_LOCK_SHARE);
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
	*nrows = nsampled > 0 ? (double) nlive * nunits / nsampled : 0.0;
	*nmatching = nsampled > 0 ? (double) npassed * nunits / nsampled : 0.0;
}
