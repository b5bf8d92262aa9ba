/*
 * hnsw_vacuum.h
 *		What the passes of a VACUUM share.
 */
#ifndef RECSYS_HNSW_VACUUM_H
#define RECSYS_HNSW_VACUUM_H

#include "hnsw/hnsw.h"

/* A set of slots: one bit each, a byte a block. */
typedef struct SlotSet
{
	BlockNumber nblocks;		/* slots of later blocks are not in the set */
	uint8	   *bits;
} SlotSet;

StaticAssertDecl(1 << NODE_SLOT_BITS <= 8, "a byte must hold a block's slots");

static inline bool
slot_set_has(const SlotSet *set, NodeAddr addr)
{
	BlockNumber block = node_addr_block(addr);

	return block < set->nblocks && (set->bits[block] >> node_addr_slot(addr) & 1);
}

static inline void
slot_set_add(SlotSet *set, NodeAddr addr)
{
	Assert(node_addr_block(addr) < set->nblocks);
	set->bits[node_addr_block(addr)] |= (uint8) (1 << node_addr_slot(addr));
}

/* One call of ambulkdelete. */
typedef struct HnswVacuum
{
	IndexVacuumInfo *info;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	Relation	index;
	HnswMeta	meta;
	PageStore	store;
	SlotSet		gone;			/* tombstones, and postings taken out */
	SlotSet		empty;			/* postings without rows */
	uint64		ngone;
	uint64		nempty;
	uint64		nnodes;			/* live nodes */
} HnswVacuum;

/* hnsw_vacuum.c */
extern void *vacuum_alloc(Size size, Size n);
extern void slot_set_create(SlotSet *set, BlockNumber nblocks);
extern bool vacuum_copy_page(HnswVacuum *vac, BlockNumber block, Page copy);

/* hnsw_repair.c */
extern void graph_repair(HnswVacuum *vac);

/* hnsw_entry_repair.c */
typedef struct EntryRepair EntryRepair;
extern EntryRepair *entry_repair_create(const EntrySet *set,
										const HnswMeta *meta,
										const SlotSet *gone, uint64 nnodes);
extern void entry_repair_offer(EntryRepair *repair, NodeAddr addr,
							   const OwnVector *own);
extern EntrySet *entry_repair_write(EntryRepair *repair, Relation index,
									HnswMeta *meta);

#endif							/* RECSYS_HNSW_VACUUM_H */
