/*
 * ivf_space.h
 *		Pages taken from the free space map or the end of the index, and given
 *		back.
 */
#ifndef RECSYS_IVF_SPACE_H
#define RECSYS_IVF_SPACE_H

#include "base/compat.h"
#include "ivfpq/ivf_page.h"

/* Raise ERRCODE_INDEX_CORRUPTED: "... a list page at block N that WHAT". */
pg_noreturn extern void ivf_list_fault(Relation index, BlockNumber block,
									   const char *what);

/*
 * A page for the caller to format, pinned and exclusively locked.  It is a new
 * one, or of kind IVF_PAGE_FREE.
 */
extern Buffer ivf_page_take(Relation index);

/*
 * Make a page that is being edited free.  Its content stays, which nobody
 * reads, so that the change is small.
 */
static inline void
ivf_page_set_free(Page page)
{
	page_tag(page)->kind = IVF_PAGE_FREE;
}

/*
 * Make a page free that nothing points to any more; the caller holds its
 * exclusive lock, and vacuums the free space map later.
 */
extern void ivf_page_give(Relation index, Buffer buffer, PageWal wal);

/* A set of blocks, a bit each; none is in it from nblocks on. */
typedef struct BlockSet
{
	BlockNumber nblocks;
	uint8	   *bits;
} BlockSet;

static inline void
block_set_create(BlockSet *set, BlockNumber nblocks)
{
	set->nblocks = nblocks;
	set->bits = palloc0(nblocks / 8 + 1);
}

static inline bool
block_set_has(const BlockSet *set, BlockNumber block)
{
	return block < set->nblocks && ((set->bits[block / 8] >> block % 8) & 1) != 0;
}

static inline void
block_set_add(BlockSet *set, BlockNumber block)
{
	if (block < set->nblocks)
		set->bits[block / 8] |= (uint8) (1 << block % 8);
}

/*
 * Put a row into a slot of a list page: its record to the tape first, which
 * may take a page, then its code.  page is the open edit of the list page in
 * buffer, exclusively locked.
 */
typedef struct ListSlot
{
	Relation	index;
	const IvfLayout *layout;
	Metric		metric;
	PageWal		wal;
	Buffer		buffer;			/* of the list page */
	int			slot;
	BlockNumber *nblocks;		/* of the index, see page_check_block */
} ListSlot;

extern void ivf_slot_fill(const ListSlot *at, Page page, const IvfRow *row);

#endif							/* RECSYS_IVF_SPACE_H */
