/*
 * hnsw_check.c
 *		What recsys.check_index does: walk every page and edge, find the first
 *		fault.
 *
 * A ShareLock on the table keeps writers and VACUUM out for as long as it
 * takes, since most of what is checked holds between pages.  On a standby no
 * such lock can be had; see index_check_standby.
 *
 * The first pass looks at each page by itself and notes what its slots are.
 * The second follows the edges and the chains of postings, and collects the
 * heap rows.  Then come the key tape (hnsw_check_keys.c), the entry set, the
 * long list (hnsw_check_long.c), and the rows of the heap (hnsw_check_rows.c).
 * Memory: less than three bytes a slot, 12 bytes a row, and with filter columns
 * 80 more and all summaries.
 *
 * These are no faults, since a crash or a cancelled statement leaves them
 * behind: pages of zeros, a page of entries, keys, codes, summaries or the long
 * list that the metapage does not name, a posting in no chain, a node without
 * edges to it, a node without rows, a dead row in its node or on the tape alone.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw.h"
#include "hnsw/hnsw_check.h"
#include "hnsw/hnsw_keytape.h"

/* ----- each page by itself ----- */

/* What reading the metapage does not check. */
static void
check_meta(HnswCheck *check)
{
	Relation	index = check->inspection.access.index;
	const HnswMeta *meta = &check->inspection.meta;

	if (meta->nentries > meta->nentry_blocks *
		(int32) (PAGE_CONTENT_SIZE / sizeof(Entry)))
		page_meta_fault(index, "it has more entries than its pages hold");
	for (int i = 0; i < meta->nentry_blocks; i++)
		for (int j = 0; j < i; j++)
			if (meta->entry_blocks[i] == meta->entry_blocks[j])
				page_meta_fault(index, "a page of entries is listed twice");
}

/* Whether n float16 numbers are finite. */
static bool
all_finite(const uint16 *numbers, int n)
{
	for (int i = 0; i < n; i++)
		if ((numbers[i] & 0x7C00) == 0x7C00)
			return false;
	return true;
}

static void
check_node(HnswCheck *check, NodeAddr addr, const GraphNode *node)
{
	const NodeLayout *layout = &check->inspection.layout;
	float		length;

	if (node->ntids > layout->node_tids)
		check_fault(check, addr, "it counts %d heap rows of at most %d",
					node->ntids, layout->node_tids);
	if (!isfinite(node->scale) || node->scale < 0.0f ||
		!isfinite(node->norm) || node->norm < 0.0f ||
		!isfinite(node->err) || node->err < 0.0f)
		check_fault(check, addr, "its scale, length or error is no number");
	for (int lane = 0; lane < NODE_DEGREE; lane++)
		if (node_addrs(layout, node)[lane] != INVALID_NODE_ADDR &&
			!all_finite((uint16 *) node_edge_factors(layout, node, lane),
						EDGE_FACTORS))
			check_fault(check, addr, "a factor of edge %d is no number", lane);
	addr_set_add(check->nodes, addr);
	length = node->norm / check->inspection.meta.unit;
	kernels->f32_to_f16(&length, &check->lengths[addr], 1);
}

static void
check_slot(HnswCheck *check, NodeAddr addr, const GraphNode *slot)
{
	const Posting *posting = (const Posting *) slot;
	const char *page = check->inspection.page.data;
	Size		end = (const char *) slot - page + check->inspection.layout.node_size;

	/* an edit that is logged would make it zero */
	if (slot->kind != SLOT_FREE && end > ((const PageHeaderData *) page)->pd_lower)
		check_fault(check, addr, "it lies behind what is in use of its page");
	switch ((SlotKind) slot->kind)
	{
		case SLOT_FREE:
			break;
		case SLOT_NODE:
		case SLOT_TOMBSTONE:
			check_node(check, addr, slot);
			break;
		case SLOT_POSTING:
			if (posting->ntids > check->inspection.layout.posting_tids)
				check_fault(check, addr, "it counts %d heap rows of at most %d",
							posting->ntids,
							check->inspection.layout.posting_tids);
			addr_set_add(check->postings, addr);
			break;
		default:
			check_fault(check, addr, "it is of unknown kind %u", slot->kind);
	}
}

static void
check_pages(HnswCheck *check)
{
	Inspection *inspection = &check->inspection;

	for (BlockNumber block = 0; block < inspection->nblocks; block++)
	{
		if (inspection_read_page(inspection, block) != HNSW_PAGE_NODES)
			continue;
		if (inspection->meta.dim == 0)
			check_fault(check, node_addr(block, 0),
						"the index has nodes but no dimensions");
		for (int slot = 0; slot < inspection->layout.slots_per_page; slot++)
			check_slot(check, node_addr(block, slot),
					   inspection_slot(inspection, slot));
	}
}

/* ----- between pages ----- */

/* What a slot is that should be a node. */
static const char *
describe_slot(const HnswCheck *check, NodeAddr addr)
{
	if (!inspection_holds(&check->inspection, addr))
		return "which does not exist";
	if (addr_set_has(check->postings, addr))
		return "which is a posting";
	return "which is free";
}

/*
 * Check one edge: it leads to a node, of the length that the edge's codes
 * were made for.  An edge that outlived its node would lead to another one.
 * That of a tombstone may: nothing is returned for it, and nobody links to it.
 */
static void
check_edge(HnswCheck *check, NodeAddr addr, const GraphNode *node, int lane)
{
	const NodeLayout *layout = &check->inspection.layout;
	const NodeAddr *addrs = node_addrs(layout, node);
	NodeAddr	to = addrs[lane];

	if (to == addr)
		check_fault(check, addr, "edge %d leads to the node itself", lane);
	for (int i = 0; i < lane; i++)
		if (addrs[i] == to)
			check_fault(check, addr, "edges %d and %d lead to the same node",
						i, lane);
	/* an interrupted VACUUM has freed some tombstones, and others may be left */
	if (node->kind == SLOT_TOMBSTONE && inspection_holds(&check->inspection, to))
		return;
	if (!inspection_holds(&check->inspection, to) ||
		!addr_set_has(check->nodes, to))
	{
		index_check_standby(&check->base);
		check_fault(check, addr, "edge %d leads to block %u slot %d, %s",
					lane, node_addr_block(to), node_addr_slot(to),
					describe_slot(check, to));
	}
	if (node_edge_factors(layout, node, lane)->norm != check->lengths[to])
	{
		index_check_standby(&check->base);
		check_fault(check, addr,
					"edge %d was made for another node than that at block %u slot %d",
					lane, node_addr_block(to), node_addr_slot(to));
	}
}

/*
 * Follow the postings of a node, which is their owner.  No posting may be met
 * twice: it would be in two chains, or the chain would go round.
 */
static void
check_chain(HnswCheck *check, NodeAddr node, NodeAddr next)
{
	GraphStore *store = &check->store.base;
	NodeAddr	from = node;

	while (next != INVALID_NODE_ADDR)
	{
		NodeAddr	addr = next;
		NodeAddr	owner = node;
		const Posting *posting;

		CHECK_FOR_INTERRUPTS();
		if (!inspection_holds(&check->inspection, addr) ||
			!addr_set_has(check->postings, addr))
		{
			index_check_standby(&check->base);
			check_fault(check, from,
						"it is followed by block %u slot %d, which is no posting",
						node_addr_block(addr), node_addr_slot(addr));
		}
		if (addr_set_has(check->chained, addr))
		{
			index_check_standby(&check->base);
			check_fault(check, from,
						"it is followed by block %u slot %d, which follows another",
						node_addr_block(addr), node_addr_slot(addr));
		}
		addr_set_add(check->chained, addr);
		posting = (const Posting *) store->ops->read(store, addr);
		next = INVALID_NODE_ADDR;
		if (posting->kind == SLOT_POSTING)
		{
			next = posting->next;
			owner = posting->owner;
			index_check_add_rows(&check->base, node_place(addr),
								 node_place(node), posting->tids,
								 Min(posting->ntids, store->layout.posting_tids));
			check_keys_of_slot(check, node, (const GraphNode *) posting);
		}
		store->ops->read_end(store);
		if (owner != node)
		{
			index_check_standby(&check->base);
			check_fault(check, from,
						"it is followed by block %u slot %d, which belongs to another node",
						node_addr_block(addr), node_addr_slot(addr));
		}
		from = addr;
	}
}

/* Follow the edges of all nodes and the chains of those that have rows. */
static void
check_links(HnswCheck *check)
{
	Inspection *inspection = &check->inspection;

	page_store_init(&check->store, inspection->access.index,
					&inspection->meta, PAGE_WAL_GENERIC);
	for (BlockNumber block = 0; block < inspection->nblocks; block++)
	{
		if (inspection_read_page(inspection, block) != HNSW_PAGE_NODES)
			continue;
		for (int slot = 0; slot < inspection->layout.slots_per_page; slot++)
		{
			NodeAddr	addr = node_addr(block, slot);
			const GraphNode *node = inspection_slot(inspection, slot);

			if (!addr_set_has(check->nodes, addr) ||
				(node->kind != SLOT_NODE && node->kind != SLOT_TOMBSTONE))
				continue;
			for (int lane = 0; lane < NODE_DEGREE; lane++)
				if (node_addrs(&inspection->layout, node)[lane] !=
					INVALID_NODE_ADDR)
					check_edge(check, addr, node, lane);
			if (node->kind != SLOT_NODE)
				continue;
			index_check_add_rows(&check->base, node_place(addr),
								 node_place(addr), node->tids,
								 Min(node->ntids, inspection->layout.node_tids));
			check_keys_of_slot(check, addr, node);
			check_chain(check, addr, node->posting);
		}
	}
}

/* ----- the entry set ----- */

static void
check_entry_fault(const HnswCheck *check, int entry, NodeAddr addr,
				  const char *what)
{
	index_check_standby(&check->base);
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" has an entry %d to block %u slot %d, %s",
					RelationGetRelationName(check->inspection.access.index),
					entry, node_addr_block(addr), node_addr_slot(addr), what),
			 errhint("REINDEX the index.")));
}

/* Whether an entry's own vector is that of its node. */
static bool
entry_agrees(HnswCheck *check, const EntrySet *set, int i)
{
	GraphStore *store = &check->store.base;
	const Entry *entry = &set->entries[i];
	const GraphNode *node = store->ops->read(store, entry->addr);
	bool		agrees;

	agrees = entry->scale == node->scale && entry->norm == node->norm &&
		memcmp(entry_own(set, i), node_own(&store->layout, node),
			   store->layout.padded_dim) == 0;
	store->ops->read_end(store);
	return agrees;
}

static void
check_entries(HnswCheck *check)
{
	Inspection *inspection = &check->inspection;
	EntrySet   *set = entry_set_read(inspection->access.index,
									 &inspection->meta);

	for (int i = 0; i < set->n; i++)
	{
		const Entry *entry = &set->entries[i];

		CHECK_FOR_INTERRUPTS();
		if (entry->kind == ENTRY_NONE)
			continue;
		if (!inspection_holds(inspection, entry->addr) ||
			!addr_set_has(check->nodes, entry->addr))
			check_entry_fault(check, i, entry->addr,
							  describe_slot(check, entry->addr));
		if (!entry_agrees(check, set, i))
			check_entry_fault(check, i, entry->addr,
							  "which holds another vector");
	}
	pfree(set);
}

/* ----- the check ----- */

/* See IndexMethod. */
void
hnsw_check(const IndexAccess *access)
{
	HnswCheck  *check = palloc0(sizeof(HnswCheck));
	Size		nslots;

	index_check_begin(&check->base, access);
	inspection_begin(&check->inspection, access);
	check_meta(check);
	nslots = mul_size(check->inspection.nblocks, 1 << NODE_SLOT_BITS);
	check->nodes = addr_set_create(&check->inspection);
	check->postings = addr_set_create(&check->inspection);
	check->chained = addr_set_create(&check->inspection);
	check->lengths = MemoryContextAllocHuge(CurrentMemoryContext,
											mul_size(nslots, sizeof(uint16)));
	check_pages(check);
	if (check->inspection.meta.dim > 0)
	{
		check_links(check);
		check_keys_of_tape(check);
		check_entries(check);
		check_long_list(check);
	}
	hnsw_check_rows(check);
	if (check->inspection.meta.dim > 0)
		page_store_close(&check->store);
	inspection_end(&check->inspection);
	index_check_end(&check->base);
}
