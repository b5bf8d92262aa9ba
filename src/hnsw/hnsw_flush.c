/*
 * hnsw_flush.c
 *		From a build's memory to pages.
 *
 * The leader makes every node reachable from the entry set and gives slots
 * places, so that neighbours share pages.  Then all processes write pages of
 * nodes, each some that are next to each other; at last the leader writes the
 * key tape and lets the metapage name it all.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "hnsw/hnsw_build.h"
#include "hnsw/hnsw_keytape.h"

/* Edges into a node below which no edge is taken from it. */
#define SPARE_INDEGREE 2

/* How often edges are led to what a walk has not found. */
#define CONNECT_ROUNDS 3

/* Nodes of a walk whose edges are on their way to the processor's caches. */
#define WALK_PREFETCH 8

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

/* Edges and entries lead to nodes alone while nothing is deleted. */
static void
walk_find(GraphWalk *walk, NodeAddr addr)
{
	if (!walk->seen[addr])
	{
		walk->seen[addr] = true;
		walk->order[walk->nfound++] = addr;
	}
}

/* The edges of a node will be followed. */
static void
edges_prefetch(Arena *arena, NodeAddr addr)
{
	const char *edges = (const char *) node_addrs(&arena->base.layout,
												  arena_slot(arena, addr));

	__builtin_prefetch(edges);
	__builtin_prefetch(edges + 64);
	__builtin_prefetch(edges + NODE_DEGREE * sizeof(NodeAddr) - 1);
}

/* Follow edges until no new node is found. */
static void
walk_on(GraphWalk *walk)
{
	const NodeLayout *layout = &walk->arena->base.layout;

	while (walk->nwalked < walk->nfound)
	{
		const NodeAddr *edges;
		NodeAddr	addr;

		CHECK_FOR_INTERRUPTS();
		if (walk->nwalked + WALK_PREFETCH < walk->nfound)
			edges_prefetch(walk->arena,
						   walk->order[walk->nwalked + WALK_PREFETCH]);
		addr = walk->order[walk->nwalked++];
		Assert(arena_slot(walk->arena, addr)->kind == SLOT_NODE);
		edges = node_addrs(layout, arena_slot(walk->arena, addr));
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
 * Lead edges to the nodes that a walk has not found, as far as others have
 * edges to spare.  Returns whether there were such nodes.
 */
static bool
walk_connect(GraphWalk *walk)
{
	Arena	   *arena = walk->arena;
	uint32		nslots = arena_nslots(arena);
	uint32	   *indegree = NULL;

	for (uint32 addr = 0; addr < nslots; addr++)
	{
		CHECK_FOR_INTERRUPTS();
		if (walk->seen[addr] || arena_slot(arena, addr)->kind != SLOT_NODE)
			continue;
		if (indegree == NULL)
			indegree = count_indegrees(arena);
		if (connect_node(walk, addr, indegree))
		{
			walk_find(walk, addr);
			walk_on(walk);
		}
	}
	if (indegree == NULL)
		return false;
	pfree(indegree);
	return true;
}

/*
 * Make every node reachable from the entry set, as far as spare edges allow.
 * A scan finds the rest too, but only when it has nothing better left.  An
 * edge taken away may cut off another node, so the walk is repeated.  *walk
 * becomes a walk over the graph as it then is.
 */
static void
graph_connect(GraphWalk *walk, Arena *arena, const EntrySet *set)
{
	walk_begin(walk, arena, set);
	for (int round = 0; round < CONNECT_ROUNDS && walk_connect(walk); round++)
	{
		walk_end(walk);
		walk_begin(walk, arena, set);
	}
}

/* ----- places ----- */

/*
 * Slots in the order in which they go to pages.  A page takes the next node
 * in the order of discovery and then its neighbours, nearest kind of edges
 * last listed first, as far as they have no place yet.  Returns their number.
 */
static uint32
order_slots(const GraphWalk *walk, NodeAddr *placed)
{
	Arena	   *arena = walk->arena;
	const NodeLayout *layout = &arena->base.layout;
	uint32		nslots = arena_nslots(arena);
	uint8	   *done = alloc_slots(sizeof(uint8), nslots);
	uint32		n = 0;

	for (uint32 i = 0; i < walk->nfound; i++)
	{
		uint32		page_end = (n / layout->slots_per_page + 1) *
		layout->slots_per_page;
		uint32		next = n;

		CHECK_FOR_INTERRUPTS();
		if (i + WALK_PREFETCH < walk->nfound &&
			!done[walk->order[i + WALK_PREFETCH]])
			edges_prefetch(arena, walk->order[i + WALK_PREFETCH]);
		if (done[walk->order[i]])
			continue;
		done[walk->order[i]] = true;
		placed[n++] = walk->order[i];
		for (; next < n && n < page_end; next++)
		{
			const NodeAddr *edges = node_addrs(layout,
											   arena_slot(arena, placed[next]));

			for (int e = NODE_DEGREE - 1; e >= 0 && n < page_end; e--)
				if (edges[e] != INVALID_NODE_ADDR && !done[edges[e]] &&
					walk->seen[edges[e]])
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
	pfree(done);
	return n;
}

/* Copy a slot to its page, with all addresses translated. */
static void
flush_slot(const NodeLayout *layout, GraphNode *to, const GraphNode *from,
		   const NodeAddr *addrs)
{
	memcpy(to, from, layout->node_size);
	if (to->kind == SLOT_POSTING)
	{
		Posting    *posting = (Posting *) to;

		if (posting->next != INVALID_NODE_ADDR)
			posting->next = addrs[posting->next];
		posting->owner = addrs[posting->owner];
		return;
	}
	if (to->posting != INVALID_NODE_ADDR)
		to->posting = addrs[to->posting];
	for (int i = 0; i < NODE_DEGREE; i++)
	{
		NodeAddr   *edge = &node_addrs(layout, to)[i];

		if (*edge != INVALID_NODE_ADDR)
			*edge = addrs[*edge];
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

/* Fill a page of nodes with the slots that have their places there. */
static void
flush_page(Relation index, Arena *arena, const GraphPlaces *places,
		   uint32 number)
{
	const NodeLayout *layout = &arena->base.layout;
	uint32		first = number * layout->slots_per_page;
	uint32		end = Min(first + layout->slots_per_page, places->nplaced);
	Buffer		buffer = ReadBufferExtended(index, MAIN_FORKNUM,
											places->first + number,
											RBM_ZERO_AND_LOCK, NULL);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, PAGE_WAL_AT_END);

	page_format(page, hnsw_tag(HNSW_PAGE_NODES));
	for (uint32 i = first; i < end; i++)
		flush_slot(layout, page_slot(layout, page, i - first),
				   arena_slot(arena, places->placed[i]),
				   graph_addrs(places));
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/* Heap rows of the slots that go to pages. */
static uint64
count_rows(Arena *arena, const GraphPlaces *places)
{
	uint64		nrows = 0;

	for (uint32 i = 0; i < places->nplaced; i++)
	{
		CHECK_FOR_INTERRUPTS();
		nrows += slot_rows(&arena->base.layout,
						   arena_slot(arena, places->placed[i])).n;
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
flush_keys(Relation index, Arena *arena, const GraphPlaces *places,
		   HnswMeta *meta)
{
	const NodeLayout *nodes = &arena->base.layout;
	uint64		nrows = count_rows(arena, places);
	KeyLayout	layout;
	TapeRow		tape;

	key_layout_init(&layout, meta->nfilters, nodes->padded_dim);
	key_tape_extend(index, PAGE_WAL_AT_END, meta,
					(uint32) (nrows / layout.rows_per_page + 1));
	for (uint32 i = 0; i < places->nplaced; i++)
	{
		const GraphNode *slot = arena_slot(arena, places->placed[i]);
		NodeAddr	owner = slot->kind == SLOT_POSTING ?
		((const Posting *) slot)->owner : places->placed[i];
		const GraphNode *node = arena_slot(arena, owner);
		SlotRows	rows = slot_rows(nodes, slot);

		CHECK_FOR_INTERRUPTS();
		tape.addr = graph_addrs(places)[owner];
		tape_code_encode(&layout.code, meta->unit, node->scale,
						 node_own(nodes, node), &tape.code);
		flush_slot_keys(index, meta, &rows, &tape);
	}
}

/* ----- the steps of writing ----- */

Size
graph_places_size(uint32 nslots)
{
	return add_size(offsetof(GraphPlaces, placed),
					mul_size(2 * sizeof(NodeAddr), nslots));
}

uint32
graph_npages(const Arena *arena, const GraphPlaces *places)
{
	int			per_page = arena->base.layout.slots_per_page;

	return (places->nplaced + per_page - 1) / per_page;
}

/*
 * The leader's first step, for an index that has only its metapage: make the
 * graph connected, decide all places, and write the entry set.
 */
void
graph_place(Relation index, Arena *arena, const EntrySet *set,
			GraphPlaces *places)
{
	int			per_page = arena->base.layout.slots_per_page;
	FlushMeta	flush = {arena, InvalidBlockNumber};
	GraphWalk	walk;
	NodeAddr   *addrs;
	EntrySet   *written;
	HnswMeta	meta;

	places->nslots = arena_nslots(arena);
	addrs = graph_addrs(places);
	graph_connect(&walk, arena, set);
	places->nplaced = order_slots(&walk, places->placed);
	walk_end(&walk);
	hnsw_meta_update(index, PAGE_WAL_AT_END, &meta, meta_flush, &flush);
	places->first = entry_set_reserve(index, &meta, PAGE_WAL_AT_END, set);
	memset(addrs, 0xFF, sizeof(NodeAddr) * places->nslots);
	for (uint32 i = 0; i < places->nplaced; i++)
		addrs[places->placed[i]] = node_addr(places->first + i / per_page,
											 i % per_page);
	written = entry_set_compact(set);
	for (int i = 0; i < written->n; i++)
		written->entries[i].addr = addrs[written->entries[i].addr];
	entry_set_write(index, &meta, PAGE_WAL_AT_END, written);
	pfree(written);
}

/*
 * All processes: write some of the pages of nodes, first to end - 1.  Any
 * process may do it for any pages: who is ahead extends the index for others.
 */
void
graph_write(Relation index, Arena *arena, const GraphPlaces *places,
			uint32 first, uint32 end)
{
	compat_extend_relation_to(index, MAIN_FORKNUM, places->first + end);
	for (uint32 number = first; number < end; number++)
	{
		/* before a page is locked, since a lock holds interrupts off */
		CHECK_FOR_INTERRUPTS();
		flush_page(index, arena, places, number);
	}
}

/* The leader's last step, when all pages of nodes are written. */
void
graph_finish(Relation index, Arena *arena, const GraphPlaces *places)
{
	FlushMeta	flush = {arena, places->first + graph_npages(arena, places) - 1};
	HnswMeta	meta;

	hnsw_meta_update(index, PAGE_WAL_AT_END, &meta, meta_flush, &flush);
	if (meta.nfilters > 0)
		flush_keys(index, arena, places, &meta);
}
