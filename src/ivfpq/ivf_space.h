/*
 * ivf_space.h
 *		Pages taken from the free space map or the end of the index, and given
 *		back.
 */
#ifndef RECSYS_IVF_SPACE_H
#define RECSYS_IVF_SPACE_H

#include "ivfpq/ivf_page.h"

/*
 * A page for the caller to format, pinned and exclusively locked.  It is a new
 * one, or of kind IVF_PAGE_FREE.
 */
extern Buffer ivf_page_take(Relation index);

/*
 * Make a page free that nothing points to any more; the caller holds its
 * exclusive lock, and vacuums the free space map later.
 */
extern void ivf_page_give(Relation index, Buffer buffer, PageWal wal);

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
} ListSlot;

extern void ivf_slot_fill(const ListSlot *at, Page page, const IvfRow *row);

#endif							/* RECSYS_IVF_SPACE_H */
