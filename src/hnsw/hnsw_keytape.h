/*
 * hnsw_keytape.h
 *		The key tape: the keys of filter columns of all heap rows, close
 *		together.
 *
 * Nodes are a kilobyte apart, so a filter that few rows satisfy is looked for
 * here.  An index with filter columns has pages of blocks of 32 rows each:
 *
 *		| KeyPage | block | block | ...
 *
 *		block: | keys and which are NULL (filter_key.h) | 32 addresses | 32 TIDs |
 *
 * which is 584 bytes with one column, 416 rows a page, and 844 with two, 288
 * rows.  The metapage lists the pages as runs of consecutive blocks; a page's
 * number is its place in that order.  A new run has a sixteenth of the pages
 * that there are, so runs are few.
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

#define KEY_PAGE_MAX_BLOCKS 14

typedef struct KeyPage
{
	uint32		live[KEY_PAGE_MAX_BLOCKS];	/* a bit a row */
} KeyPage;

StaticAssertDecl(sizeof(KeyPage) == 56, "KeyPage is part of the disk format");

/* Sizes and offsets of a block, which follow from the number of columns. */
typedef struct KeyLayout
{
	int			nfilters;
	Size		addrs_off;
	Size		tids_off;
	Size		block_size;
	int			blocks_per_page;
	int			rows_per_page;
} KeyLayout;

extern void key_layout_init(KeyLayout *layout, int nfilters);

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

/* Pages of the tape, and the block of one. */
extern uint32 key_tape_npages(const HnswMeta *meta);
extern BlockNumber key_tape_block(const HnswMeta *meta, uint32 number);

/*
 * Add so many pages to the tape if it has no room for a row.  *meta is read
 * anew.
 */
extern void key_tape_extend(Relation index, PageWal wal, HnswMeta *meta,
							uint32 npages);

/* Add a row.  *meta may be old, and is brought up to date where that matters. */
extern void key_tape_add(Relation index, PageWal wal, HnswMeta *meta,
						 NodeAddr addr, const NodeRow *row);

/* Take out the rows whose TIDs are dead. */
extern void key_tape_vacuum(IndexVacuumInfo *info, HnswMeta *meta,
							IndexBulkDeleteCallback callback,
							void *callback_state);

/* Where a heap row that satisfies a filter is. */
typedef struct KeyMatch
{
	NodeAddr	addr;
	ItemPointerData tid;
} KeyMatch;

typedef struct KeyMatches
{
	KeyMatch   *rows;			/* ascending by address */
	Size		n;
	Size		max;
	int64		nrejected;		/* rows that do not satisfy it */
} KeyMatches;

/* Find the rows that satisfy a filter, in the current memory context. */
extern void key_tape_match(Relation index, const HnswMeta *meta,
						   const FilterSet *filter, KeyMatches *matches);

/*
 * Estimate from a few pages how many rows there are, and how many of them
 * satisfy a filter.
 */
extern void key_tape_sample(Relation index, const HnswMeta *meta,
							const FilterSet *filter, double *nrows,
							double *nmatching);

#endif							/* RECSYS_HNSW_KEYTAPE_H */
