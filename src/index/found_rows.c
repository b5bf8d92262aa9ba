/*
 * found_rows.c
 *		Rows that a scan has found and not yet returned, best first.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "index/found_rows.h"

/* Rows that there is room for at first. */
#define FIRST_ROOM 256

void
found_rows_init(FoundRows *found)
{
	memset(found, 0, sizeof(FoundRows));
	found->context = CurrentMemoryContext;
	found->last_bound = -INFINITY;
}

/* Make room for one row at the end of an array. */
static FoundRow *
array_extend(FoundRows *found, FoundRowArray *array)
{
	if (array->n == array->max)
	{
		array->max = array->max == 0 ? FIRST_ROOM : array->max * 2;
		array->rows = array->rows == NULL ?
			MemoryContextAlloc(found->context, sizeof(FoundRow) * array->max) :
			repalloc_huge(array->rows, sizeof(FoundRow) * array->max);
	}
	return &array->rows[array->n++];
}

void
found_rows_add(FoundRows *found, FoundRow row)
{
	FoundRowArray *heap = &found->waiting;
	Size		i;

	Assert(found->nlate_returned == 0);
	array_extend(found, heap);
	for (i = heap->n - 1;
		 i > 0 && heap->rows[(i - 1) / 2].bound > row.bound;
		 i = (i - 1) / 2)
		heap->rows[i] = heap->rows[(i - 1) / 2];
	heap->rows[i] = row;
}

const FoundRow *
found_rows_first(const FoundRows *found)
{
	return found->waiting.n > 0 ? &found->waiting.rows[0] : NULL;
}

/* Take the first row of a heap that is not empty. */
static FoundRow
heap_pop(FoundRowArray *heap)
{
	FoundRow	top = heap->rows[0];
	FoundRow	last = heap->rows[--heap->n];
	Size		i = 0;

	for (;;)
	{
		Size		child = 2 * i + 1;

		if (child >= heap->n)
			break;
		if (child + 1 < heap->n &&
			heap->rows[child + 1].bound < heap->rows[child].bound)
			child++;
		if (heap->rows[child].bound >= last.bound)
			break;
		heap->rows[i] = heap->rows[child];
		i = child;
	}
	if (heap->n > 0)
		heap->rows[i] = last;
	return top;
}

bool
found_rows_put_aside(FoundRows *found)
{
	const FoundRow *first = found_rows_first(found);

	if (first == NULL || first->bound >= found->last_bound)
		return false;
	*array_extend(found, &found->late) = heap_pop(&found->waiting);
	return true;
}

bool
found_rows_next(FoundRows *found, FoundRow *row)
{
	while (found_rows_put_aside(found))
		;
	if (found->waiting.n == 0)
		return false;
	*row = heap_pop(&found->waiting);
	found->last_bound = row->bound;
	return true;
}

static int
compare_rows(const void *a, const void *b, void *arg)
{
	double		x = ((const FoundRow *) a)->bound;
	double		y = ((const FoundRow *) b)->bound;

	return (x > y) - (x < y);
}

bool
found_rows_next_late(FoundRows *found, FoundRow *row)
{
	FoundRowArray *late = &found->late;

	Assert(found->waiting.n == 0);
	if (found->nlate_returned == 0 && late->n > 1)
		qsort_interruptible(late->rows, late->n, sizeof(FoundRow),
							compare_rows, NULL);
	if (found->nlate_returned == late->n)
		return false;
	*row = late->rows[found->nlate_returned++];
	return true;
}

int64
found_rows_nlate(const FoundRows *found)
{
	return (int64) found->late.n;
}
