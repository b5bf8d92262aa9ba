/*
 * hnsw_rows.h
 *		The heap rows of a node or a posting, with the keys of filter columns.
 *
 * Rows lie column by column: TIDs, a bit mask for each row of the columns that
 * are NULL, and the keys of all rows.  Without filter columns there are TIDs
 * alone.
 */
#ifndef RECSYS_HNSW_ROWS_H
#define RECSYS_HNSW_ROWS_H

#include "hnsw/hnsw_node.h"
#include "index/filter_set.h"

/* A heap row as it goes into the index. */
typedef struct NodeRow
{
	ItemPointerData tid;
	FilterKeys	keys;
} NodeRow;

/* The rows of a slot that the caller has open. */
typedef struct SlotRows
{
	int			n;
	int			max;
	int			nfilters;
	ItemPointerData *tids;
	uint64	   *keys;			/* nfilters a row */
	uint16	   *nulls;			/* a mask a row */
} SlotRows;

StaticAssertDecl(FILTER_MAX_COLUMNS <= 16, "a mask must hold all filter columns");

/* Look at the rows of a slot, which is a posting or else a node. */
extern SlotRows slot_rows(const NodeLayout *layout, const GraphNode *slot);

/* Add a row; false where there is no room. */
extern bool slot_rows_add(const NodeLayout *layout, GraphNode *slot,
						  const NodeRow *row);

extern void slot_rows_get(const SlotRows *rows, int i, NodeRow *row);

/* Let row i take the place of another. */
extern void slot_rows_move(SlotRows *rows, int to, int i);
extern void slot_rows_set_count(GraphNode *slot, int n);

/* Whether a row satisfies a filter, which may be NULL. */
static inline bool
slot_rows_match(const SlotRows *rows, int i, const FilterSet *filter)
{
	return filter == NULL ||
		filter_set_row(filter, rows->keys + i * rows->nfilters, rows->nulls[i]);
}

#endif							/* RECSYS_HNSW_ROWS_H */
