/*
 * hnsw_repair.c
 *		VACUUM's second pass: no edge may lead to a tombstone any more.
 *
 * Edges to tombstones go, and where a list loses too many of them it is filled
 * up by the code that links a new node; the node's other edges stay as they
 * are.  Then the nodes that have come out of reach of the entry set get an
 * edge, else they could only be found by reading all pages.  All this reads
 * pages in order and works on copies, so that no lock is held while a node's
 * neighbours are looked for.
 *
 * The caller has waited for the inserts that may have seen a tombstone alive,
 * so from now on nobody adds an edge to one.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
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
	SlotSet		reached;		/* nodes that a search can come to */
	SlotSet		open;			/* those whose edges are to be followed */
	uint64		nopen;
	uint16	   *indegrees;		/* two bits a slot; NULL until needed */
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

/* ----- what can be reached ----- */

/* Note that a search can come to a node. */
static void
reach(Repair *repair, NodeAddr addr)
{
	if (node_addr_block(addr) >= repair->reached.nblocks ||
		node_addr_slot(addr) >= repair->store->layout.slots_per_page ||
		slot_set_has(&repair->reached, addr))
		return;
	slot_set_add(&repair->reached, addr);
	slot_set_add(&repair->open, addr);
	repair->nopen++;
}

/* Follow the edges of a page's open nodes, which may open others of them. */
static void
reach_follow_page(Repair *repair, BlockNumber block)
{
	const NodeLayout *layout = &repair->store->layout;
	PGAlignedBlock copy;
	bool		is_nodes = vacuum_copy_page(repair->vac, block, copy.data);

	while (repair->open.bits[block] != 0)
	{
		int			slot = pg_rightmost_one_pos32(repair->open.bits[block]);
		const GraphNode *node = page_slot(layout, copy.data, slot);

		repair->open.bits[block] &= ~(1 << slot);
		repair->nopen--;
		for (int lane = 0; lane < NODE_DEGREE; lane++)
			if (is_nodes && node->kind == SLOT_NODE &&
				node_addrs(layout, node)[lane] != INVALID_NODE_ADDR)
				reach(repair, node_addrs(layout, node)[lane]);
	}
}

/*
 * Follow edges until no new node is found, page by page in order: most of a
 * graph is found by three or four such rounds.
 */
static void
reach_follow(Repair *repair)
{
	while (repair->nopen > 0)
		for (BlockNumber block = 0; block < repair->open.nblocks; block++)
		{
			if (repair->open.bits[block] == 0)
				continue;
			compat_vacuum_delay_point();
			reach_follow_page(repair, block);
		}
}

/* ----- nodes out of reach ----- */

/*
 * Edges into a node are counted up to three, in two bits.  A node that has
 * three can spare one.
 */
#define SPARE_INDEGREE 3

static int
indegree_get(const Repair *repair, NodeAddr addr)
{
	BlockNumber block = node_addr_block(addr);

	if (block >= repair->reached.nblocks)
		return 0;
	return repair->indegrees[block] >> (2 * node_addr_slot(addr)) & 3;
}

static void
indegree_add(Repair *repair, NodeAddr addr, int change)
{
	BlockNumber block = node_addr_block(addr);
	int			count = indegree_get(repair, addr) + change;

	if (block < repair->reached.nblocks &&
		count >= 0 && count <= SPARE_INDEGREE)
		repair->indegrees[block] += (uint16)
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
	/* the only way to its node, which others must not displace soon */
	code.diverse = true;
	node_edge_set(layout, node, spare, &code);
	return true;
}

/* Let one of the given nodes, if it is in reach, lead an edge to a node. */
static bool
adopt_node(Repair *repair, const NodeEdges *edges,
		   const NodeAddr parents[NODE_DEGREE])
{
	GraphStore *store = repair->store;

	for (int i = NODE_DEGREE - 1; i >= 0; i--)
	{
		GraphNode  *parent;
		bool		done;

		if (parents[i] == INVALID_NODE_ADDR || parents[i] == edges->addr ||
			!slot_set_has(&repair->reached, parents[i]))
			continue;
		parent = store->ops->edit(store, parents[i]);
		done = spare_edge(repair, parent, edges);
		store->ops->edit_end(store, done);
		if (done)
			return true;
	}
	return false;
}

/*
 * Bring a node into reach, through its own neighbours, or where these are out
 * of reach too through those that a search finds.
 */
static void
connect_node(Repair *repair, NodeAddr addr, const GraphNode *node)
{
	NodeEdges	edges;
	NodeAddr	found[NODE_DEGREE];

	if (node_addr_block(addr) >= repair->reached.nblocks ||
		slot_set_has(&repair->reached, addr))
		return;
	if (repair->indegrees == NULL)
	{
		repair->indegrees = vacuum_alloc(sizeof(uint16),
										 repair->reached.nblocks);
		repair_walk(repair, count_edges);
	}
	edges = node_edges(repair, addr, node);
	if (!adopt_node(repair, &edges, edges.addrs))
	{
		node_own_decode(&repair->store->layout, node, repair->rotated);
		linker_find(repair->linker, repair->set, repair->rotated, &edges.own,
					addr);
		linker_chosen(repair->linker, found);
		if (!adopt_node(repair, &edges, found))
			return;
	}
	indegree_add(repair, addr, 1);
	reach(repair, addr);
	reach_follow(repair);
}

/*
 * Bring the nodes into reach that no search can come to any more.  An edge
 * taken away may cut off another node, though we only take edges to nodes that
 * have more; a scan then finds that node by its sweep, and the next VACUUM
 * connects it.
 */
static void
repair_connect(Repair *repair)
{
	slot_set_create(&repair->reached,
					RelationGetNumberOfBlocks(repair->vac->index));
	slot_set_create(&repair->open, repair->reached.nblocks);
	for (int i = 0; i < repair->set->n; i++)
		if (repair->set->entries[i].kind != ENTRY_NONE)
			reach(repair, repair->set->entries[i].addr);
	reach_follow(repair);
	repair_walk(repair, connect_node);
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
	repair.linker = linker_create(store, hnsw_ef_construction(vac->index),
								  LINK_SPARSE);
	repair.rotated = palloc(sizeof(float) * store->layout.padded_dim);
	repair_walk(&repair, repair_node);

	LockPage(vac->index, HNSW_INSERT_LOCK_PAGE, ExclusiveLock);
	repair.set = entry_repair_write(repair.entries, vac->index, &vac->meta);
	UnlockPage(vac->index, HNSW_INSERT_LOCK_PAGE, ExclusiveLock);
	store->radius2 = vac->meta.radius2;
	repair_connect(&repair);
}
