/*
 * hnsw_inspect.h
 *		What index_stats and check_index share: the opened index, its pages one
 *		by one, sets of nodes.
 */
#ifndef RECSYS_HNSW_INSPECT_H
#define RECSYS_HNSW_INSPECT_H

#include "hnsw/hnsw_entry.h"
#include "index/index_access.h"

typedef struct Inspection
{
	IndexAccess access;			/* the caller's */
	HnswMeta	meta;
	NodeLayout	layout;			/* zeroed while the dimensions are unknown */
	BlockNumber nblocks;		/* when the inspection began */
	BufferAccessStrategy strategy;
	PGAlignedBlock page;		/* copy of the page read last */
} Inspection;

/* Begin with an index of this access method that the caller has opened. */
extern void inspection_begin(Inspection *inspection,
							 const IndexAccess *access);

extern void inspection_end(Inspection *inspection);

/*
 * Copy a page to inspection->page and check its tag.  Returns its kind; 0 for
 * a page of zeros, which a crash can leave at the end of the file.
 */
extern int	inspection_read_page(Inspection *inspection, BlockNumber block);

/* A slot of the page read last, which must be one of nodes. */
static inline const GraphNode *
inspection_slot(const Inspection *inspection, int slot)
{
	return (const GraphNode *) (inspection->page.data + PAGE_CONTENT_OFFSET +
								slot * inspection->layout.node_size);
}

/* Whether an address lies in the file as it was when the inspection began. */
static inline bool
inspection_holds(const Inspection *inspection, NodeAddr addr)
{
	return node_addr_block(addr) != HNSW_META_BLOCK &&
		node_addr_block(addr) < inspection->nblocks &&
		node_addr_slot(addr) < inspection->layout.slots_per_page;
}

/* A set of addresses: one bit for each slot of the file. */
typedef uint64 AddrSet;

extern AddrSet *addr_set_create(const Inspection *inspection);

static inline bool
addr_set_has(const AddrSet *set, NodeAddr addr)
{
	return (set[addr / 64] >> (addr % 64)) & 1;
}

static inline void
addr_set_add(AddrSet *set, NodeAddr addr)
{
	set[addr / 64] |= UINT64CONST(1) << (addr % 64);
}

static inline void
addr_set_remove(AddrSet *set, NodeAddr addr)
{
	set[addr / 64] &= ~(UINT64CONST(1) << (addr % 64));
}

/* Whether a set holds any slot of a block: its slots share one byte. */
static inline bool
addr_set_has_block(const AddrSet *set, BlockNumber block)
{
	NodeAddr	first = node_addr(block, 0);

	return ((set[first / 64] >> (first % 64)) &
			((1 << (1 << NODE_SLOT_BITS)) - 1)) != 0;
}

#endif							/* RECSYS_HNSW_INSPECT_H */
