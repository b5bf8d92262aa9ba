/*
 * hnsw_keytape.h
 *		The key tape: the keys of filter columns of all heap rows, close
 *		together, and short codes of their vectors.
 *
 * Nodes are a kilobyte apart, so the rows that satisfy a filter are looked for
 * here, and those of them that may be near the query.  An index with filter
 * columns has units of a page of keys and some pages of codes behind it.  Both
 * have blocks of 32 rows each; block i of the codes is of the rows of block i of
 * the keys:
 *
 *		| KeyPage | block | block | ...				| block | block | ...
 *
 *		keys: | keys and which are NULL (filter_key.h) | 32 addresses | 32 TIDs |
 *		codes: see hnsw_tapecode.h
 *
 * A block of keys is 584 bytes with one column, 416 rows a page, and 840 with
 * two, 288 rows; one of codes 1,152 at 128 dimensions, 224 rows.  The metapage
 * lists the units as runs of consecutive ones; a unit's number is its place in
 * that order.  A new run has a sixteenth of the units that there are, so runs
 * are few.
 *
 * Units that a build has filled have summaries, by which a scan chooses what to
 * read (hnsw_summary.h).
 *
 * A row of the tape is found by its TID alone: VACUUM takes it out when it
 * takes the TID out of its node, and inserts use its place again.  A row whose
 * insert was interrupted may be missing or lead to a node that is another's by
 * now; its TID is dead.
 */
#ifndef RECSYS_HNSW_KEYTAPE_H
#define RECSYS_HNSW_KEYTAPE_H

#include "access/genam.h"

#include "hnsw/hnsw_meta.h"
#include "hnsw/hnsw_rows.h"
#include "hnsw/hnsw_tapecode.h"

#define KEY_PAGE_MAX_BLOCKS 14

typedef struct KeyPage
{
	uint32		live[KEY_PAGE_MAX_BLOCKS];	/* a bit a row */
} KeyPage;

StaticAssertDecl(sizeof(KeyPage) == 56, "KeyPage is part of the disk format");

/*
 * Sizes and offsets of units, which follow from the number of columns and of
 * dimensions.
 */
typedef struct KeyLayout
{
	int			nfilters;
	Size		addrs_off;		/* in a block of keys */
	Size		tids_off;
	Size		block_size;
	int			blocks_per_page;
	int			rows_per_page;
	TapeCodeLayout code;
	int			codes_per_page; /* blocks of codes on a page of them */
	int			unit_pages;
} KeyLayout;

extern void key_layout_init(KeyLayout *layout, int nfilters, int padded_dim);

/* The layout of an index that has dimensions. */
extern void key_layout_of(KeyLayout *layout, const HnswMeta *meta);

static inline KeyPage *
key_page(Page page)
{
	return (KeyPage *) page_content(page);
}

static inline uint8 *
key_page_block(const KeyLayout *layout, Page page, int i)
{
	return (uint8 *) page_content(page) + sizeof(KeyPage) +
		i * layout->block_size;
}

static inline NodeAddr *
key_block_addrs(const KeyLayout *layout, const uint8 *block)
{
	return (NodeAddr *) (block + layout->addrs_off);
}

static inline ItemPointerData *
key_block_tids(const KeyLayout *layout, const uint8 *block)
{
	return (ItemPointerData *) (block + layout->tids_off);
}

static inline uint8 *
code_page_block(const KeyLayout *layout, Page page, int i)
{
	return (uint8 *) page_content(page) +
		i % layout->codes_per_page * layout->code.block_size;
}

/* The page of codes for block i of the keys: so many behind that of the keys. */
static inline int
key_unit_code_page(const KeyLayout *layout, int i)
{
	return 1 + i / layout->codes_per_page;
}

/* Units of the tape, and the block of the first page of one. */
extern uint32 key_tape_nunits(const HnswMeta *meta);
extern BlockNumber key_tape_block(const KeyLayout *layout, const HnswMeta *meta,
								  uint32 number);

/* Pin and lock a page of the tape. */
extern Buffer key_tape_lock(Relation index, BlockNumber block,
							HnswPageKind kind, int mode);

/*
 * Add so many units to the tape if it has no room for a row.  *meta is read
 * anew.
 */
extern void key_tape_extend(Relation index, PageWal wal, HnswMeta *meta,
							uint32 nunits);

/* A row as it goes to the tape. */
typedef struct TapeRow
{
	NodeAddr	addr;
	NodeRow		row;
	TapeCode	code;
} TapeRow;

/* Add a row.  *meta may be old, and is brought up to date where that matters. */
extern void key_tape_add(Relation index, PageWal wal, HnswMeta *meta,
						 const TapeRow *row);

/* Fill an empty unit with rows, in a build; there is room for them. */
extern void key_tape_fill_unit(Relation index, PageWal wal,
							   const HnswMeta *meta, uint32 number,
							   const TapeRow *rows, int nrows);

/* Take out the rows whose TIDs are dead. */
extern void key_tape_vacuum(IndexVacuumInfo *info, HnswMeta *meta,
							IndexBulkDeleteCallback callback,
							void *callback_state);

#endif							/* RECSYS_HNSW_KEYTAPE_H */
