/*
 * hnsw_flush.c
 *		From a build's memory to pages.
 *
 * Two steps: every node is made reachable from the entry set, and then nodes
 * are given places so that neighbours share pages.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "hnsw/hnsw_build.h"
#include "hnsw/hnsw_keytape.h"

/* Edges into a node below which no edge is taken from it. */
#define SPARE_INDEGREE 2

/* A walk over the whole graph: nodes in the order of their discovery. */
typedef struct GraphWalk
{
	Arena	   *arena;
	uint8	   *seen;			/* one a slot */
	NodeAddr   *order;
	uint32		nfound;
	uint32		nwalked;		/* of order, whose edges have been followed */
} GraphWalk;

static void *
alloc_slots(Size size, uint32 nslots)
{
	return MemoryContextAllocExtended(CurrentMemoryContext,
									  mul_size(size, (Size) nslots + 1),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static void
walk_find(GraphWalk *walk, NodeAddr addr)
{
	if (!walk->seen[addr] && arena_slot(walk->arena, addr)->kind == SLOT_NODE)
	{
		walk->seen[addr] = true;
		walk->order[walk->nfound++] = addr;
	}
}

/* Follow edges until no new node is found. */
static void
walk_on(GraphWalk *walk)
{
	const NodeLayout *layout = &walk->arena->base.layout;

	while (walk->nwalked < walk->nfound)
	{
		NodeAddr	addr = walk->order[walk->nwalked++];
		const NodeAddr *edges = node_addrs(layout, arena_slot(walk->arena, addr));

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < NODE_DEGREE; i++)
			if (edges[i] != INVALID_NODE_ADDR)
				walk_find(walk, edges[i]);
	}
}

static void
walk_begin(GraphWalk *walk, Arena *arena, const EntrySet *set)
{
	uint32		nslots = arena_nslots(arena);

	walk->arena = arena;
	walk->seen = alloc_slots(sizeof(uint8), nslots);
	walk->order = alloc_slots(sizeof(NodeAddr), nslots);
	walk->nfound = 0;
	walk->nwalked = 0;
	for (int i = 0; i < set->n; i++)
		if (set->entries[i].kind != ENTRY_NONE)
			walk_find(walk, set->entries[i].addr);
	walk_on(walk);
}

static void
walk_end(GraphWalk *walk)
{
	pfree(walk->seen);
	pfree(walk->order);
}

/* ----- reachability ----- */

/* Number of edges into each node. */
static uint32 *
count_indegrees(Arena *arena)
{
	const NodeLayout *layout = &arena->base.layout;
	uint32		nslots = arena_nslots(arena);
	uint32	   *indegree = alloc_slots(sizeof(uint32), nslots);

	for (uint32 addr = 0; addr < nslots; addr++)
	{
		const GraphNode *node = arena_slot(arena, addr);

		CHECK_FOR_INTERRUPTS();
		if (node->kind != SLOT_NODE)
			continue;
		for (int i = 0; i < NODE_DEGREE; i++)
			if (node_addrs(layout, node)[i] != INVALID_NODE_ADDR)
				indegree[node_addrs(layout, node)[i]]++;
	}
	return indegree;
}

/* A lane that a node can spare, or -1: a free one, or of a node with others. */
static int
spare_lane(const NodeLayout *layout, const GraphNode *node,
		   const uint32 *indegree)
{
	const NodeAddr *edges = node_addrs(layout, node);
	int			best = -1;
	uint32		most = SPARE_INDEGREE;

	for (int i = 0; i < NODE_DEGREE; i++)
	{
		if (edges[i] == INVALID_NODE_ADDR)
			return i;
		if (indegree[edges[i]] > most)
		{
			most = indegree[edges[i]];
			best = i;
		}
	}
	return best;
}

/* Lead an edge to a node from one of those that it leads to itself. */
static bool
connect_node(GraphWalk *walk, NodeAddr addr, uint32 *indegree)
{
	Arena	   *arena = walk->arena;
	const NodeLayout *layout = &arena->base.layout;
	GraphNode  *node = arena_slot(arena, addr);
	OwnVector	own = {node->scale, node->norm, node->err,
	node_own(layout, node), NULL};

	for (int i = NODE_DEGREE - 1; i >= 0; i--)
	{
		NodeAddr	from = node_addrs(layout, node)[i];
		GraphNode  *parent;
		EdgeCode	edge;
		int			lane;

		if (from == INVALID_NODE_ADDR || !walk->seen[from])
			continue;
		parent = arena_slot(arena, from);
		lane = spare_lane(layout, parent, indegree);
		if (lane < 0)
			continue;
		if (node_addrs(layout, parent)[lane] != INVALID_NODE_ADDR)
			indegree[node_addrs(layout, parent)[lane]]--;
		edge_encode(layout, arena->base.unit, parent, &own, &edge);
		edge.addr = addr;
		/* the only way to its node, which others must not displace soon */
		edge.diverse = true;
		node_edge_set(layout, parent, lane, &edge);
		indegree[addr]++;
		return true;
	}
	return false;
}

/*
 * Make every node reachable from the entry set, as far as spare edges allow.
 * A scan finds the rest too, but only when it has nothing better left.  An
 * edge taken away may cut off another node, so the walk is repeated.
 */
void
graph_connect(Arena *arena, const EntrySet *set)
{
	for (int round = 0; round < 3; round++)
	{
		GraphWalk	walk;
		uint32		nslots = arena_nslots(arena);
		uint32	   *indegree = NULL;

		walk_begin(&walk, arena, set);
		for (uint32 addr = 0; addr < nslots; addr++)
		{
			CHECK_FOR_INTERRUPTS();
			if (walk.seen[addr] || arena_slot(arena, addr)->kind != SLOT_NODE)
				continue;
			if (indegree == NULL)
				indegree = count_indegrees(arena);
			if (connect_node(&walk, addr, indegree))
			{
				walk_find(&walk, addr);
				walk_on(&walk);
			}
		}
		walk_end(&walk);
		if (indegree == NULL)
			break;
		pfree(indegree);
	}
}

/* ----- places ----- */

/*
 * Slots in the order in which they go to pages.  A page takes the next node
 * in the order of discovery and then its neighbours, nearest kind of edges
 * last listed first, as far as they have no place yet.
 */
static uint32
order_slots(Arena *arena, const EntrySet *set, NodeAddr *placed)
{
	const NodeLayout *layout = &arena->base.layout;
	uint32		nslots = arena_nslots(arena);
	uint8	   *done = alloc_slots(sizeof(uint8), nslots);
	uint32		n = 0;
	GraphWalk	walk;

	walk_begin(&walk, arena, set);
	for (uint32 i = 0; i < walk.nfound; i++)
	{
		uint32		page_end = (n / layout->slots_per_page + 1) *
		layout->slots_per_page;
		uint32		next = n;

		CHECK_FOR_INTERRUPTS();
		if (done[walk.order[i]])
			continue;
		done[walk.order[i]] = true;
		placed[n++] = walk.order[i];
		for (; next < n && n < page_end; next++)
		{
			const NodeAddr *edges = node_addrs(layout,
											   arena_slot(arena, placed[next]));

			for (int e = NODE_DEGREE - 1; e >= 0 && n < page_end; e--)
				if (edges[e] != INVALID_NODE_ADDR && !done[edges[e]] &&
					walk.seen[edges[e]])
				{
					done[edges[e]] = true;
					placed[n++] = edges[e];
				}
		}
	}
	for (uint32 addr = 0; addr < nslots; addr++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!done[addr] && arena_slot(arena, addr)->kind != SLOT_FREE)
			placed[n++] = addr;
	}
	walk_end(&walk);
	pfree(done);
	return n;
}

/* Copy a slot to its page, with all addresses translated. */
static void
flush_slot(const NodeLayout *layout, GraphNode *to, const GraphNode *from,
		   const NodeAddr *places)
{
	memcpy(to, from, layout->node_size);
	if (to->kind == SLOT_POSTING)
	{
		Posting    *posting = (Posting *) to;

		if (posting->next != INVALID_NODE_ADDR)
			posting->next = places[posting->next];
		posting->owner = places[posting->owner];
		return;
	}
	if (to->posting != INVALID_NODE_ADDR)
		to->posting = places[to->posting];
	for (int i = 0; i < NODE_DEGREE; i++)
	{
		NodeAddr   *edge = &node_addrs(layout, to)[i];

		if (*edge != INVALID_NODE_ADDR)
			*edge = places[*edge];
	}
}

/* What the build has decided goes to the metapage. */
typedef struct FlushMeta
{
	const Arena *arena;
	BlockNumber insert_block;
} FlushMeta;

static bool
meta_flush(HnswMeta *meta, void *arg)
{
	const FlushMeta *flush = arg;

	meta->dim = flush->arena->base.layout.dim;
	meta->unit = flush->arena->base.unit;
	meta->radius2 = flush->arena->base.radius2;
	meta->insert_block = flush->insert_block;
	return true;
}

/* Write all slots in their order; returns the last block. */
static BlockNumber
flush_pages(Relation index, Arena *arena, const NodeAddr *placed, uint32 n,
			const NodeAddr *places)
{
	const NodeLayout *layout = &arena->base.layout;
	BlockNumber block = InvalidBlockNumber;

	for (uint32 i = 0; i < n; i += layout->slots_per_page)
	{
		Buffer		buffer;
		PageEdit	edit;
		Page		page;

		/* before a page is locked, since a lock holds interrupts off */
		CHECK_FOR_INTERRUPTS();
		buffer = compat_extend_relation(index, MAIN_FORKNUM);
		page = page_edit_begin(&edit, index, buffer, PAGE_WAL_AT_END);
		block = BufferGetBlockNumber(buffer);
		page_format(page, hnsw_tag(HNSW_PAGE_NODES));
		for (uint32 slot = 0; slot < layout->slots_per_page && i + slot < n; slot++)
		{
			NodeAddr	addr = placed[i + slot];
			GraphNode  *to = (GraphNode *)
			(page_content(page) + slot * layout->node_size);

			Assert(places[addr] == node_addr(block, slot));
			flush_slot(layout, to, arena_slot(arena, addr), places);
		}
		page_edit_end(&edit, true);
		UnlockReleaseBuffer(buffer);
	}
	return block;
}

/* Heap rows of the slots that go to pages. */
static uint64
count_rows(Arena *arena, const NodeAddr *placed, uint32 n)
{
	uint64		nrows = 0;

	for (uint32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		nrows += slot_rows(&arena->base.layout,
						   arena_slot(arena, placed[i])).n;
	}
	return nrows;
}

/* Add the rows of a slot to the key tape, with a node's address and code. */
static void
flush_slot_keys(Relation index, HnswMeta *meta, const SlotRows *rows,
				TapeRow *tape)
{
	for (int i = 0; i < rows->n; i++)
	{
		slot_rows_get(rows, i, &tape->row);
		key_tape_add(index, PAGE_WAL_AT_END, meta, tape);
	}
}

/* Write the key tape in the order of the nodes' places. */
static void
flush_keys(Relation index, Arena *arena, HnswMeta *meta,
		   const NodeAddr *placed, uint32 n, const NodeAddr *places)
{
	const NodeLayout *nodes = &arena->base.layout;
	uint64		nrows = count_rows(arena, placed, n);
	KeyLayout	layout;
	TapeRow		tape;

	if (meta->nfilters == 0)
		return;
	key_layout_init(&layout, meta->nfilters, nodes->padded_dim);
	key_tape_extend(index, PAGE_WAL_AT_END, meta,
					(uint32) (nrows / layout.rows_per_page + 1));
	for (uint32 i = 0; i < n; i++)
	{
		const GraphNode *slot = arena_slot(arena, placed[i]);
		NodeAddr	owner = slot->kind == SLOT_POSTING ?
		((const Posting *) slot)->owner : placed[i];
		const GraphNode *node = arena_slot(arena, owner);
		SlotRows	rows = slot_rows(nodes, slot);

		CHECK_FOR_INTERRUPTS();
		tape.addr = places[owner];
		tape_code_encode(&layout.code, meta->unit, node->scale,
						 node_own(nodes, node), &tape.code);
		flush_slot_keys(index, meta, &rows, &tape);
	}
}

/*
 * Write the graph, the entry set, the key tape and the metapage of an index that has only
 * its metapage.  The set's addresses are translated.
 */
void
graph_flush(Relation index, Arena *arena, EntrySet *set)
{
	uint32		nslots = arena_nslots(arena);
	NodeAddr   *placed = alloc_slots(sizeof(NodeAddr), nslots);
	NodeAddr   *places = alloc_slots(sizeof(NodeAddr), nslots);
	uint32		n = order_slots(arena, set, placed);
	int			per_page = arena->base.layout.slots_per_page;
	BlockNumber first;
	FlushMeta	flush = {arena, InvalidBlockNumber};
	EntrySet   *written;
	HnswMeta	meta;

	hnsw_meta_update(index, PAGE_WAL_AT_END, &meta, meta_flush, &flush);
	first = entry_set_reserve(index, &meta, PAGE_WAL_AT_END, set);
	memset(places, 0xFF, sizeof(NodeAddr) * nslots);
	for (uint32 i = 0; i < n; i++)
		places[placed[i]] = node_addr(first + i / per_page, i % per_page);
	for (int i = 0; i < set->n; i++)
	{
		set->entries[i].addr = places[set->entries[i].addr];
		if (set->entries[i].addr == INVALID_NODE_ADDR)
			set->entries[i].kind = ENTRY_NONE;
	}
	written = entry_set_compact(set);
	entry_set_write(index, &meta, PAGE_WAL_AT_END, written);
	pfree(written);
	flush.insert_block = flush_pages(index, arena, placed, n, places);
	hnsw_meta_update(index, PAGE_WAL_AT_END, &meta, meta_flush, &flush);
	flush_keys(index, arena, &meta, placed, n, places);
	pfree(placed);
	pfree(places);
}
