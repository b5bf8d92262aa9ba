/*
 * hnsw_rows.c
 *		The heap rows of a node or a posting, with the keys of filter columns.
 */
#include "postgres.h"

#include "hnsw/hnsw_rows.h"

/* A damaged slot may count more rows than it has room for: it has no more. */
SlotRows
slot_rows(const NodeLayout *layout, const GraphNode *slot)
{
	bool		is_posting = slot->kind == SLOT_POSTING;
	int			n = is_posting ? ((const Posting *) slot)->ntids : slot->ntids;
	Size		begin = is_posting ? offsetof(Posting, tids) :
	offsetof(GraphNode, tids);
	char	   *base = (char *) slot;
	SlotRows	rows;

	rows.max = is_posting ? layout->posting_tids : layout->node_tids;
	rows.n = Min(n, rows.max);
	rows.nfilters = layout->nfilters;
	rows.tids = (ItemPointerData *) (base + begin);
	rows.nulls = (uint16 *) (rows.tids + rows.max);
	rows.keys = (uint64 *) (base + slot_keys_offset(begin, rows.max));
	return rows;
}

void
slot_rows_set_count(GraphNode *slot, int n)
{
	if (slot->kind == SLOT_POSTING)
		((Posting *) slot)->ntids = (uint16) n;
	else
		slot->ntids = (uint8) n;
}

bool
slot_rows_add(const NodeLayout *layout, GraphNode *slot, const NodeRow *row)
{
	SlotRows	rows = slot_rows(layout, slot);

	if (rows.n == rows.max)
		return false;
	rows.tids[rows.n] = row->tid;
	if (rows.nfilters > 0)
	{
		memcpy(rows.keys + rows.n * rows.nfilters, row->keys.keys,
			   sizeof(uint64) * rows.nfilters);
		rows.nulls[rows.n] = (uint16) row->keys.nulls;
	}
	slot_rows_set_count(slot, rows.n + 1);
	return true;
}

void
slot_rows_get(const SlotRows *rows, int i, NodeRow *row)
{
	row->tid = rows->tids[i];
	row->keys.nulls = rows->nfilters > 0 ? rows->nulls[i] : 0;
	memcpy(row->keys.keys, rows->keys + i * rows->nfilters,
		   sizeof(uint64) * rows->nfilters);
}

void
slot_rows_move(SlotRows *rows, int to, int i)
{
	rows->tids[to] = rows->tids[i];
	if (rows->nfilters == 0)
		return;
	memmove(rows->keys + to * rows->nfilters, rows->keys + i * rows->nfilters,
			sizeof(uint64) * rows->nfilters);
	rows->nulls[to] = rows->nulls[i];
}
