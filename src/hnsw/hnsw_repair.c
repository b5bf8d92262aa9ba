/*
 * hnsw_repair.c
 *		VACUUM's second pass: no edge may lead to a tombstone any more.
 *
 * Every edge to a tombstone is replaced by the code that links a new node; the
 * node's other edges stay as they are.  Then each node to which no edge leads
 * gets one, else it could only be found by reading all pages.  Both read the
 * pages in order and work on a copy, so that no lock is held while a node's
 * neighbours are looked for.
 *
 * The caller has waited for the inserts that may have seen a tombstone alive,
 * so from now on nobody adds an edge to one.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

#include "base/compat.h"
#include "hnsw/hnsw_vacuum.h"

/* State of the pass. */
typedef struct Repair
{
	HnswVacuum *vac;
	GraphStore *store;
	Linker	   *linker;
	EntrySet   *set;			/* where the linker enters the graph */
	EntryRepair *entries;
	float	   *rotated;		/* of the node at hand */
	BlockNumber nblocks;		/* pages that edges are counted on */
	uint16	   *indegrees;		/* two bits a slot, a block each */
} Repair;

/* Run a function for each live node of the index, on a copy of its page. */
static void
repair_walk(Repair *repair,
			void (*visit) (Repair *repair, NodeAddr addr, const GraphNode *node))
{
	const NodeLayout *layout = &repair->store->layout;
	BlockNumber nblocks = RelationGetNumberOfBlocks(repair->vac->index);
	PGAlignedBlock copy;

	for (BlockNumber block = HNSW_META_BLOCK + 1; block < nblocks; block++)
	{
		compat_vacuum_delay_point();
		if (!vacuum_copy_page(repair->vac, block, copy.data))
			continue;
		for (int slot = 0; slot < layout->slots_per_page; slot++)
		{
			const GraphNode *node = page_slot(layout, copy.data, slot);

			if (node->kind == SLOT_NODE)
				visit(repair, node_addr(block, slot), node);
		}
	}
}

/* What the linker needs to know of a node. */
static NodeEdges
node_edges(Repair *repair, NodeAddr addr, const GraphNode *node)
{
	const NodeLayout *layout = &repair->store->layout;
	NodeEdges	edges;

	edges.addr = addr;
	edges.own.scale = node->scale;
	edges.own.norm = node->norm;
	edges.own.err = node->err;
	edges.own.codes = node_own(layout, node);
	edges.own.fine = node_fine(layout, node);
	edges.ngone = 0;
	for (int lane = 0; lane < NODE_DEGREE; lane++)
	{
		NodeAddr	to = node_addrs(layout, node)[lane];

		edges.addrs[lane] = to;
		edges.gone[lane] = to != INVALID_NODE_ADDR &&
			slot_set_has(&repair->vac->gone, to);
		edges.ngone += edges.gone[lane];
	}
	return edges;
}

/* ----- edges to tombstones ----- */

/* Replace a node's edges to tombstones. */
static void
repair_node(Repair *repair, NodeAddr addr, const GraphNode *node)
{
	NodeEdges	edges = node_edges(repair, addr, node);

	entry_repair_offer(repair->entries, addr, &edges.own);
	if (edges.ngone == 0)
		return;
	node_own_decode(&repair->store->layout, node, repair->rotated);
	edges.rotated = repair->rotated;
	linker_repair(repair->linker, repair->set, &edges);
}

/* ----- nodes to which no edge leads ----- */

/*
 * Edges into a node are counted up to three, in two bits.  A node that has
 * three can spare one.
 */
#define SPARE_INDEGREE 3

static int
indegree_get(const Repair *repair, NodeAddr addr)
{
	BlockNumber block = node_addr_block(addr);

	if (block >= repair->nblocks)
		return 0;
	return repair->indegrees[block] >> (2 * node_addr_slot(addr)) & 3;
}

static void
indegree_add(Repair *repair, NodeAddr addr, int change)
{
	int			count = indegree_get(repair, addr) + change;

	if (node_addr_block(addr) < repair->nblocks &&
		count >= 0 && count <= SPARE_INDEGREE)
		repair->indegrees[node_addr_block(addr)] += (uint16)
			(change * (1 << (2 * node_addr_slot(addr))));
}

static void
count_edges(Repair *repair, NodeAddr addr, const GraphNode *node)
{
	const NodeAddr *addrs = node_addrs(&repair->store->layout, node);

	for (int lane = 0; lane < NODE_DEGREE; lane++)
		if (addrs[lane] != INVALID_NODE_ADDR)
			indegree_add(repair, addrs[lane], 1);
}

/*
 * Lead an edge from an open node to another, in a lane that it can spare: a
 * free one, or the last one to a node with enough others.  Lists end with
 * their least useful edges.
 */
static bool
spare_edge(Repair *repair, GraphNode *node, const NodeEdges *to)
{
	const NodeLayout *layout = &repair->store->layout;
	NodeAddr   *addrs = node_addrs(layout, node);
	EdgeCode	code;
	int			spare = -1;

	if (node->kind != SLOT_NODE)
		return false;
	for (int lane = 0; lane < NODE_DEGREE; lane++)
	{
		if (addrs[lane] == to->addr)
			return false;
		if (addrs[lane] == INVALID_NODE_ADDR ||
			indegree_get(repair, addrs[lane]) == SPARE_INDEGREE)
			spare = lane;
	}
	if (spare < 0)
		return false;
	if (addrs[spare] != INVALID_NODE_ADDR)
		indegree_add(repair, addrs[spare], -1);
	edge_encode(layout, repair->store->unit, node, &to->own, &code);
	code.addr = to->addr;
	node_edge_set(layout, node, spare, &code);
	return true;
}

/* Let one of a node's neighbours lead an edge back to it. */
static bool
adopt_node(Repair *repair, const NodeEdges *edges)
{
	GraphStore *store = repair->store;

	for (int lane = NODE_DEGREE - 1; lane >= 0; lane--)
	{
		GraphNode  *parent;
		bool		done;

		if (edges->addrs[lane] == INVALID_NODE_ADDR || edges->gone[lane])
			continue;
		parent = store->ops->edit(store, edges->addrs[lane]);
		done = spare_edge(repair, parent, edges);
		store->ops->edit_end(store, done);
		if (done)
			return true;
	}
	return false;
}

/* Adopt a node that needs it; one without neighbours is linked anew. */
static void
connect_node(Repair *repair, NodeAddr addr, const GraphNode *node)
{
	NodeEdges	edges;

	if (node_addr_block(addr) >= repair->nblocks ||
		indegree_get(repair, addr) > 0)
		return;
	edges = node_edges(repair, addr, node);
	if (adopt_node(repair, &edges))
	{
		indegree_add(repair, addr, 1);
		return;
	}
	node_own_decode(&repair->store->layout, node, repair->rotated);
	edges.rotated = repair->rotated;
	linker_repair(repair->linker, repair->set, &edges);
}

/* Count the edges into each node, and connect those that have none. */
static void
repair_connect(Repair *repair)
{
	repair->nblocks = RelationGetNumberOfBlocks(repair->vac->index);
	repair->indegrees = vacuum_alloc(sizeof(uint16), repair->nblocks);
	repair_walk(repair, count_edges);
	for (int i = 0; i < repair->set->n; i++)
		if (repair->set->entries[i].kind != ENTRY_NONE)
			indegree_add(repair, repair->set->entries[i].addr, 1);
	repair_walk(repair, connect_node);
	pfree(repair->indegrees);
}

/* ----- the pass ----- */

/*
 * Replace all edges and entries that lead to slots of vac->gone, which then
 * nothing refers to but the copies of the entry set in other backends.
 */
void
graph_repair(HnswVacuum *vac)
{
	GraphStore *store = &vac->store.base;
	Repair		repair = {0};

	repair.vac = vac;
	repair.store = store;
	hnsw_meta_read(vac->index, &vac->meta);
	store->radius2 = vac->meta.radius2;
	repair.set = entry_set_read(vac->index, &vac->meta);
	repair.entries = entry_repair_create(repair.set, &vac->meta, &vac->gone,
										 vac->nnodes);
	repair.linker = linker_create(store, hnsw_ef_construction(vac->index));
	repair.rotated = palloc(sizeof(float) * store->layout.padded_dim);
	repair_walk(&repair, repair_node);

	LockPage(vac->index, HNSW_INSERT_LOCK_PAGE, ExclusiveLock);
	repair.set = entry_repair_write(repair.entries, vac->index, &vac->meta);
	UnlockPage(vac->index, HNSW_INSERT_LOCK_PAGE, ExclusiveLock);
	store->radius2 = vac->meta.radius2;
	repair_connect(&repair);
}
