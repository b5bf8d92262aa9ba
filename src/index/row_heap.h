/*
 * row_heap.h
 *		Rows by a bound of their distance: any may be added, the least is taken.
 *
 * What does not fit into the memory that the heap may have goes to a temporary
 * file, as a sort's rows do, under the server's temp_file_limit and
 * temp_tablespaces.
 */
#ifndef RECSYS_ROW_HEAP_H
#define RECSYS_ROW_HEAP_H

#include "storage/itemptr.h"

typedef struct FoundRow
{
	double		bound;			/* not above its distance */
	ItemPointerData tid;
	uint16		run;			/* row_heap's own; 0 of a row that is added */
} FoundRow;

typedef struct RowRuns RowRuns;

typedef struct RowHeap
{
	MemoryContext context;		/* holds the arrays */
	FoundRow   *rows;			/* a heap: the smallest bound is first */
	Size		n;
	Size		max;			/* that there is room for */
	Size		limit;			/* of max */
	RowRuns    *runs;			/* in the file; NULL while there is none */
} RowHeap;

/*
 * Begin without rows.  Memory is taken from the current context, about so many
 * bytes; a file belongs to the current resource owner, which must be there for as
 * long as the heap is used.
 */
extern void row_heap_init(RowHeap *heap, Size memory);

/* Give up the file.  The heap may not have been begun, if it is all zero. */
extern void row_heap_close(RowHeap *heap);

extern void row_heap_add(RowHeap *heap, FoundRow row);

/* Take the first of the rows; there must be one. */
extern FoundRow row_heap_take(RowHeap *heap);

/* The first of the rows, or NULL. */
static inline const FoundRow *
row_heap_first(const RowHeap *heap)
{
	return heap->n > 0 ? &heap->rows[0] : NULL;
}

#endif							/* RECSYS_ROW_HEAP_H */
