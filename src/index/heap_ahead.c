/*
 * heap_ahead.c
 *		Fetch rows of the table into the processor's caches before a scan returns
 *		them.
 *
 * Pages are found by hints and read without a pin, so whatever they say is good
 * for prefetching and for nothing else.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relscan.h"
#include "utils/rel.h"

#include "index/buffer_hint.h"
#include "index/heap_ahead.h"

/* Rows whose line pointers are fetched: the next, and three generations of a heap. */
#define AHEAD_ROWS 7

/* Bytes of a tuple that are fetched; the processor goes on by itself. */
#define AHEAD_BYTES 1024

/* Where a row's page is; NULL where that is not known, or the TID is damaged. */
static inline const char *
row_page(Relation heap, const FoundRow *row)
{
	if (ItemPointerGetOffsetNumberNoCheck(&row->tid) > MaxHeapTuplesPerPage)
		return NULL;
	return buffer_hint_address(heap,
							   ItemPointerGetBlockNumberNoCheck(&row->tid));
}

/* The tuple of a row whose line pointer has been fetched before. */
static void
fetch_tuple(const char *page, const FoundRow *row)
{
	OffsetNumber number = ItemPointerGetOffsetNumberNoCheck(&row->tid);
	ItemId		line = PageGetItemId((Page) page, number);
	Size		begin = ItemIdGetOffset(line);
	Size		end = Min(begin + Min(ItemIdGetLength(line), AHEAD_BYTES), BLCKSZ);

	for (Size at = begin; at < end; at += 64)
		__builtin_prefetch(page + at);
}

static void
fetch_line(const char *page, const FoundRow *row)
{
	OffsetNumber number = ItemPointerGetOffsetNumberNoCheck(&row->tid);

	__builtin_prefetch(page);
	__builtin_prefetch(PageGetItemId((Page) page, number));
}

void
heap_ahead_fetch(IndexScanDesc scan, const FoundRows *found)
{
	Relation	heap = scan->heapRelation;
	IndexFetchHeapData *fetch = (IndexFetchHeapData *) scan->xs_heapfetch;
	const RowHeap *waiting = &found->waiting;

	if (fetch == NULL || heap->rd_tableam != GetHeapamTableAmRoutine())
		return;
	if (BufferIsValid(fetch->xs_cbuf))
		buffer_hint_note(heap, fetch->xs_cbuf);
	for (Size i = 0; i < Min(waiting->n, AHEAD_ROWS); i++)
	{
		const FoundRow *row = &waiting->rows[i];
		const char *page = row_page(heap, row);

		if (page == NULL)
			continue;
		if (i == 0)
			fetch_tuple(page, row);
		else
			fetch_line(page, row);
	}
}
