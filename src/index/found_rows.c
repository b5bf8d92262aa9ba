/*
 * found_rows.c
 *		Rows that a scan has found and not yet returned, best first.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "index/found_rows.h"

void
found_rows_init(FoundRows *found)
{
	Size		memory = (Size) work_mem * 1024 / 2;

	memset(found, 0, sizeof(FoundRows));
	row_heap_init(&found->waiting, memory);
	row_heap_init(&found->late, memory);
	found->last_bound = -INFINITY;
}

void
found_rows_close(FoundRows *found)
{
	row_heap_close(&found->waiting);
	row_heap_close(&found->late);
}

void
found_rows_add(FoundRows *found, double bound, const ItemPointerData *tid)
{
	FoundRow	row = {bound, *tid, 0};

	row_heap_add(&found->waiting, row);
	found->nadded++;
}

const FoundRow *
found_rows_first(const FoundRows *found)
{
	return row_heap_first(&found->waiting);
}

bool
found_rows_put_aside(FoundRows *found)
{
	const FoundRow *first = found_rows_first(found);

	if (first == NULL || first->bound >= found->last_bound)
		return false;
	row_heap_add(&found->late, row_heap_take(&found->waiting));
	found->nlate++;
	return true;
}

bool
found_rows_is_ready(const FoundRows *found)
{
	const FoundRow *first = found_rows_first(found);

	return first != NULL && !found_bound_is_last(first->bound);
}

bool
found_rows_next(FoundRows *found, bool found_all, FoundRow *row)
{
	while (found_rows_put_aside(found))
		;
	if (found_rows_first(found) == NULL ||
		!(found_all || found_rows_is_ready(found)))
		return false;
	*row = row_heap_take(&found->waiting);
	found->last_bound = row->bound;
	return true;
}

bool
found_rows_next_late(FoundRows *found, FoundRow *row)
{
	Assert(found_rows_first(found) == NULL);
	if (row_heap_first(&found->late) == NULL)
		return false;
	*row = row_heap_take(&found->late);
	return true;
}
