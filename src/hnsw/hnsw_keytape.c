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
#include "hnsw/hnsw_summary.h"
#include "index/buffer_hint.h"

/* Share of its units by which the tape grows, and the least number. */
#define KEY_RUN_SHARE 16
#define KEY_RUN_MIN 8

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
	tape_code_layout_init(&layout->code, padded_dim, PAGE_CONTENT_SIZE);
	layout->codes_per_page = PAGE_CONTENT_SIZE / layout->code.block_size;
	layout->unit_pages = 1 + (layout->blocks_per_page - 1) /
		layout->codes_per_page + 1;
}

void
key_layout_of(KeyLayout *layout, const HnswMeta *meta)
{
	key_layout_init(layout, meta->nfilters, node_padded_dim(meta->dim));
}

/* ----- pages ----- */

uint32
key_tape_nunits(const HnswMeta *meta)
{
	return page_runs_count(meta->key_runs, meta->nkey_runs);
}

BlockNumber
key_tape_block(const KeyLayout *layout, const HnswMeta *meta, uint32 number)
{
	return page_runs_block(meta->key_runs, meta->nkey_runs, layout->unit_pages,
						   number);
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

	return page_runs_add(meta->key_runs, &meta->nkey_runs, KEY_MAX_RUNS,
						 unit->layout->unit_pages, unit->first);
}

/* Add a unit to the tape; the caller has the relation extension lock. */
static void
key_tape_add_unit(Relation index, PageWal wal, HnswMeta *meta,
				  const KeyLayout *layout)
{
	uint32		nunits = key_tape_nunits(meta);
	NewUnit		unit = {.layout = layout};

	unit.first = hnsw_page_add(index, wal, HNSW_PAGE_KEYS);
	for (int i = 1; i < layout->unit_pages; i++)
		if (hnsw_page_add(index, wal, HNSW_PAGE_CODES) != unit.first + i)
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

Buffer
key_tape_lock(Relation index, BlockNumber block, HnswPageKind kind, int mode)
{
	Buffer		buffer = buffer_hint_read(index, block);

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

/*
 * Put a row into a unit of the tape; false where it is full, or has a summary,
 * which speaks for the rows of the build alone.
 */
static bool
key_tape_try_unit(Relation index, PageWal wal, const HnswMeta *meta,
				  const KeyLayout *layout, const TapeRow *row)
{
	BlockNumber first = key_tape_block(layout, meta, meta->key_fill);
	Buffer		buffer;
	int			place;
	PageEdit	edit;

	if (summary_covers(index, meta, meta->key_fill))
		return false;
	buffer = key_tape_lock(index, first, HNSW_PAGE_KEYS, BUFFER_LOCK_EXCLUSIVE);
	place = key_page_free_place(layout, BufferGetPage(buffer));
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

/* Let inserts go on from a unit to another, unless they have. */
typedef struct KeyMove
{
	uint32		from;
	uint32		to;
} KeyMove;

static bool
meta_move_on(HnswMeta *meta, void *arg)
{
	const KeyMove *move = arg;

	if (meta->key_fill != move->from)
		return false;
	meta->key_fill = move->to;
	return true;
}

/* The next unit to which rows may be added, if it has room. */
static uint32
key_tape_next_unit(Relation index, const HnswMeta *meta, uint32 number)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		number++;
	} while (summary_covers(index, meta, number));
	return number;
}

void
key_tape_add(Relation index, PageWal wal, HnswMeta *meta, const TapeRow *row)
{
	KeyLayout	layout;

	key_layout_of(&layout, meta);
	for (;;)
	{
		uint32		nunits = key_tape_nunits(meta);
		KeyMove		move = {.from = meta->key_fill};

		CHECK_FOR_INTERRUPTS();
		if (move.from >= nunits)
			key_tape_extend(index, wal, meta,
							Max(nunits / KEY_RUN_SHARE, KEY_RUN_MIN));
		else if (key_tape_try_unit(index, wal, meta, &layout, row))
			return;
		else
		{
			move.to = key_tape_next_unit(index, meta, move.from);
			hnsw_meta_update(index, wal, meta, meta_move_on, &move);
		}
	}
}

/* Put the codes of rows, which are those of a unit from place 0 on. */
static void
key_tape_put_codes(Relation index, PageWal wal, const KeyLayout *layout,
				   BlockNumber first, const TapeRow *rows, int nrows)
{
	int			per_page = layout->codes_per_page * FASTSCAN_LANES;

	for (int begin = 0; begin < nrows; begin += per_page)
	{
		Buffer		buffer = key_tape_lock(index,
										   first + 1 + begin / per_page,
										   HNSW_PAGE_CODES,
										   BUFFER_LOCK_EXCLUSIVE);
		PageEdit	edit;
		Page		page = page_edit_begin(&edit, index, buffer, wal);

		for (int i = begin; i < Min(begin + per_page, nrows); i++)
			tape_code_put(&layout->code,
						  code_page_block(layout, page, i / FASTSCAN_LANES),
						  i % FASTSCAN_LANES, &rows[i].code);
		page_edit_end(&edit, true);
		UnlockReleaseBuffer(buffer);
	}
}

void
key_tape_fill_unit(Relation index, PageWal wal, const HnswMeta *meta,
				   uint32 number, const TapeRow *rows, int nrows)
{
	KeyLayout	layout;
	BlockNumber first;
	Buffer		buffer;
	PageEdit	edit;
	Page		page;

	key_layout_of(&layout, meta);
	Assert(nrows <= layout.rows_per_page);
	first = key_tape_block(&layout, meta, number);
	buffer = key_tape_lock(index, first, HNSW_PAGE_KEYS, BUFFER_LOCK_EXCLUSIVE);
	key_tape_put_codes(index, wal, &layout, first, rows, nrows);
	page = page_edit_begin(&edit, index, buffer, wal);
	for (int i = 0; i < nrows; i++)
		key_page_put(&layout, page, i, &rows[i]);
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/* ----- vacuum ----- */

/*
 * Take dead rows out of a page; returns how many it could hold beside those
 * that are left.
 */
static int
key_page_remove_dead(IndexVacuumInfo *info, const KeyLayout *layout,
					 BlockNumber block, IndexBulkDeleteCallback callback,
					 void *callback_state)
{
	Buffer		buffer = ReadBufferExtended(info->index, MAIN_FORKNUM, block,
											RBM_NORMAL, info->strategy);
	bool		changed = false;
	PageEdit	edit;
	Page		page;
	int			nfree = layout->rows_per_page;

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
		nfree -= pg_popcount32(key_page(page)->live[i]);
	}
	page_edit_end(&edit, changed);
	UnlockReleaseBuffer(buffer);
	return nfree;
}

/*
 * Whether inserts may use a unit that has so many free places.  The summary of
 * one that is half empty is given up, so that the tape does not grow without end.
 */
static bool
key_tape_unit_is_open(IndexVacuumInfo *info, const HnswMeta *meta,
					  const KeyLayout *layout, uint32 number, int nfree)
{
	if (nfree == 0)
		return false;
	if (!summary_covers(info->index, meta, number))
		return true;
	if (nfree < layout->rows_per_page / 2)
		return false;
	summary_drop(info->index, meta, number);
	return true;
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
		int			nfree;

		compat_vacuum_delay_point();
		nfree = key_page_remove_dead(info, &layout,
									 key_tape_block(&layout, meta, number),
									 callback, callback_state);
		if (key_tape_unit_is_open(info, meta, &layout, number, nfree))
			first_open = number;
	}
	if (first_open < nunits)
		hnsw_meta_update(info->index, PAGE_WAL_GENERIC, meta, meta_go_back,
						 &first_open);
}
