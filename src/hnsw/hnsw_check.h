/*
 * hnsw_check.h
 *		The state of a check_index, and how a fault is reported.
 */
#ifndef RECSYS_HNSW_CHECK_H
#define RECSYS_HNSW_CHECK_H

#include "access/xlogdefs.h"

#include "hnsw/hnsw_coder.h"
#include "hnsw/hnsw_inspect.h"

/* A heap row that the index holds, and the node where it does. */
typedef struct IndexedRow
{
	ItemPointerData tid;
	NodeAddr	node;
} IndexedRow;

typedef struct IndexCheck
{
	Inspection	inspection;
	Snapshot	snapshot;		/* rows that it sees must be in the index */
	XLogRecPtr	replayed;		/* on a standby, when the check began */
	BlockNumber heap_blocks;	/* of the table */
	AddrSet    *nodes;			/* nodes and tombstones */
	AddrSet    *postings;
	AddrSet    *chained;		/* postings found in a chain */
	uint16	   *lengths;		/* float16 of each node, in units; by address */
	IndexedRow *rows;
	Size		nrows;
	Size		max_rows;
	PageStore	store;			/* the rest is for the heap's rows */
	VectorCoder *coder;
	float	   *decoded;		/* padded_dim */
	MemoryContext row_context;
} IndexCheck;

/*
 * Raise ERRCODE_INDEX_CORRUPTED for a slot.  check_standby comes first where
 * it takes two pages to show the fault: see there.
 */
extern void check_fault(const IndexCheck *check, NodeAddr addr,
						const char *format,...)
			pg_attribute_printf(3, 4);
extern void check_standby(const IndexCheck *check);

/* hnsw_check_rows.c */
extern void check_rows_add(IndexCheck *check, NodeAddr addr, NodeAddr node,
						   const ItemPointerData *tids, int n);
extern void check_rows_heap(IndexCheck *check);

#endif							/* RECSYS_HNSW_CHECK_H */
