/*
 * ivf_rowsort.h
 *		Encoded rows into the order of their lists, by the server's tuplesort.
 */
#ifndef RECSYS_IVF_ROWSORT_H
#define RECSYS_IVF_ROWSORT_H

#include "utils/tuplesort.h"

#include "ivfpq/ivf_page.h"

typedef struct RowSort RowSort;

/*
 * Begin to sort within kbytes of memory, in the current memory context.
 * coordinate is that of a parallel sort, or NULL.
 */
extern RowSort *row_sort_begin(const IvfLayout *layout, int kbytes,
							   SortCoordinate coordinate);
extern void row_sort_put(RowSort *sort, uint32 list, const IvfRow *row);

/* All rows have been put. */
extern void row_sort_perform(RowSort *sort);

/*
 * The next row, in the order of lists and then of TIDs; false at the end.
 * row->codes and row->record are the caller's, with room for both.
 */
extern bool row_sort_get(RowSort *sort, uint32 *list, IvfRow *row);
extern void row_sort_end(RowSort *sort);

#endif							/* RECSYS_IVF_ROWSORT_H */
