/*
 * hnsw_check.h
 *		The state of a check_index, and how a fault is reported.
 */
#ifndef RECSYS_HNSW_CHECK_H
#define RECSYS_HNSW_CHECK_H

#include "hnsw/hnsw_coder.h"
#include "hnsw/hnsw_inspect.h"
#include "hnsw/hnsw_rows.h"
#include "index/index_check.h"

/* The filter keys of a heap row, as a node or the key tape has them. */
typedef struct IndexedKeys
{
	ItemPointerData tid;
	NodeAddr	addr;			/* of the node */
	uint32		unit;			/* of the tape */
	uint64		hash;
	uint64		code;			/* hash of the code, on the tape */
	IndexPlace	place;			/* of a row of the tape */
} IndexedKeys;

typedef struct KeyList
{
	IndexedKeys *rows;
	Size		n;
	Size		max;
} KeyList;

typedef struct HnswCheck
{
	IndexCheck	base;
	Inspection	inspection;
	AddrSet    *nodes;			/* nodes and tombstones */
	AddrSet    *postings;
	AddrSet    *chained;		/* postings found in a chain */
	uint16	   *lengths;		/* float16 of each node, in units; by address */
	PageStore	store;			/* the rest is for the table's rows */
	VectorCoder *coder;
	float	   *decoded;		/* padded_dim */
	KeyList		node_keys;
	KeyList		tape_keys;
	char	   *summaries;		/* of all units that have one */
	int8	   *own;			/* coarse digits of the node of a row of the
								 * table, and their scale */
	float		own_scale;
	FilterEncoder *filters;		/* NULL without filter columns */
} HnswCheck;

static inline IndexPlace
node_place(NodeAddr addr)
{
	IndexPlace	place = {node_addr_block(addr), node_addr_slot(addr)};

	return place;
}

/* Raise a fault of a slot. */
#define check_fault(check, addr, ...) \
	index_check_fault(&(check)->base, node_place(addr), __VA_ARGS__)

/* hnsw_check_keys.c: collect keys, first of all nodes and postings */
extern void check_keys_of_slot(HnswCheck *check, NodeAddr node,
							   const GraphNode *slot);
extern void check_keys_of_tape(HnswCheck *check);

/*
 * Compare a row of the table with what has been collected, with the hash of the
 * code that its node has, and with the summary of its unit.
 */
extern void check_keys_of_row(HnswCheck *check, const CheckedRow *row,
							  uint64 code);

/* What the tape's code of a node's rows must be, as a hash. */
extern uint64 check_code_of_node(const HnswCheck *check, const GraphNode *node);

/* hnsw_check_long.c */
extern void check_long_list(HnswCheck *check);

/* hnsw_check_rows.c */
extern void hnsw_check_rows(HnswCheck *check);

#endif							/* RECSYS_HNSW_CHECK_H */
