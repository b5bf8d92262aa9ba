/*
 * found_rows.h
 *		Rows that a scan has found and not yet returned, best first.
 *
 * Rows wait in a heap ordered by a lower bound of their distance.  A row found
 * only after a worse one has been returned would break the order.  Such late
 * rows are put aside until all others have been returned: a query that gets
 * its LIMIT before then sees exact order, and one that does not still sees
 * every row.  They take work_mem, and beyond that temporary files.
 */
#ifndef RECSYS_FOUND_ROWS_H
#define RECSYS_FOUND_ROWS_H

#include <math.h>

#include "index/row_heap.h"

/*
 * Whether rows of this bound come after all others, as those of a zero vector by
 * cosine distance.  They are no answer while others may be found.
 */
static inline bool
found_bound_is_last(double bound)
{
	return bound == INFINITY;
}

typedef struct FoundRows
{
	RowHeap		waiting;
	RowHeap		late;
	int64		nadded;			/* rows so far */
	int64		nlate;			/* of them put aside, those returned included */
	double		last_bound;		/* of the row returned last */
} FoundRows;

/* Begin without rows, in the current memory context and resource owner. */
extern void found_rows_init(FoundRows *found);

/* Give up the files.  What is all zero may not have been begun. */
extern void found_rows_close(FoundRows *found);

/* Add a row.  Not after found_rows_next_late. */
extern void found_rows_add(FoundRows *found, double bound,
						   const ItemPointerData *tid);

/* The best row waiting, be it late or not, or NULL. */
extern const FoundRow *found_rows_first(const FoundRows *found);

/* Whether a row waits that may be returned before all have been found. */
extern bool found_rows_is_ready(const FoundRows *found);

/* If the best row waiting is late, put it aside; false if it is not. */
extern bool found_rows_put_aside(FoundRows *found);

/*
 * Take the best row waiting that is not late; late ones are put aside.  False
 * when none is waiting, but those that come last where not all have been found.
 */
extern bool found_rows_next(FoundRows *found, bool found_all, FoundRow *row);

/*
 * Take the best of the late rows, once no row is waiting and none will be
 * found any more; false when none is left.
 */
extern bool found_rows_next_late(FoundRows *found, FoundRow *row);

#endif							/* RECSYS_FOUND_ROWS_H */
