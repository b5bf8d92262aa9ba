/*
 * hnsw_flush.c
 *		From a build's memory to pages.
 *
 * The leader makes every node reachable from the entry set and gives slots
 * places, so that neighbours share pages.  Then all processes write pages of
 * nodes, each some that are next to each other; at last the leader writes the
 * key tape and the long list and lets the metapage name it all.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "hnsw/hnsw_build.h"
#include "hnsw/hnsw_longlist.h"
#include "hnsw/hnsw_summary.h"
#include "hnsw/hnsw_tapeorder.h"

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

/* ----- the key tape ----- */

/* A unit of the tape that is being filled, and what follows from its rows. */
typedef struct TapeFill
{
	Relation	index;
	Arena	   *arena;
	const GraphPlaces *places;
	HnswMeta   *meta;
	KeyLayout	layout;
	BlockNumber first_summary;	/* page */
	uint32		number;			/* of the unit */
	int			n;				/* rows that it has so far */
	TapeRow    *rows;			/* rows_per_page */
	NodeAddr   *owners;			/* of these, in the arena */
	SummarySums sums;
	UnitSummary *summary;
} TapeFill;

/* The slots that have rows, in the order of the tape; *nrows is of them all. */
static OrderedSlot *
order_rows(Arena *arena, const GraphPlaces *places, int unit, uint32 *n,
		   uint64 *nrows)
{
	OrderedSlot *slots = alloc_slots(sizeof(OrderedSlot), places->nplaced);

	*n = 0;
	*nrows = 0;
	for (uint32 i = 0; i < places->nplaced; i++)
	{
		int			nhere = slot_rows(&arena->base.layout,
									  arena_slot(arena, places->placed[i])).n;

		CHECK_FOR_INTERRUPTS();
		*nrows += nhere;
		if (nhere > 0)
			slots[(*n)++].addr = places->placed[i];
	}
	tape_order(arena, slots, *n, unit);
	return slots;
}

/* The distance of the row that is farthest from the centroid. */
static float
fill_radius(const TapeFill *fill)
{
	const NodeLayout *nodes = &fill->arena->base.layout;
	float		radius = 0.0f;

	for (int i = 0; i < fill->n; i++)
	{
		const GraphNode *node = arena_slot(fill->arena, fill->owners[i]);

		radius = Max(radius, summary_distance(fill->summary, nodes->padded_dim,
											  node->scale,
											  node_own(nodes, node)));
	}
	return radius;
}

/* Write the unit, with a summary if it is full, and begin the next. */
static void
fill_write(TapeFill *fill)
{
	CHECK_FOR_INTERRUPTS();
	key_tape_fill_unit(fill->index, PAGE_WAL_AT_END, fill->meta, fill->number,
					   fill->rows, fill->n);
	if (fill->n < fill->layout.rows_per_page)
		return;
	summary_make(&fill->sums, fill->summary);
	fill->summary->radius = fill_radius(fill);
	summary_write(fill->index, PAGE_WAL_AT_END, fill->first_summary,
				  fill->sums.padded_dim, fill->number, fill->summary);
	summary_sums_reset(&fill->sums);
	fill->number++;
	fill->n = 0;
}

/* Add the rows of a slot to the tape. */
static void
fill_add_slot(TapeFill *fill, NodeAddr addr)
{
	const NodeLayout *nodes = &fill->arena->base.layout;
	NodeAddr	owner = slot_owner(fill->arena, addr);
	const GraphNode *node = arena_slot(fill->arena, owner);
	SlotRows	rows = slot_rows(nodes, arena_slot(fill->arena, addr));

	for (int i = 0; i < rows.n; i++)
	{
		TapeRow    *row = &fill->rows[fill->n];

		slot_rows_get(&rows, i, &row->row);
		row->addr = graph_addrs(fill->places)[owner];
		tape_code_encode(&fill->layout.code, fill->meta->unit, node->scale,
						 node_own(nodes, node), &row->code);
		summary_sums_add(&fill->sums, node->scale, node_own(nodes, node));
		fill->owners[fill->n++] = owner;
		if (fill->n == fill->layout.rows_per_page)
			fill_write(fill);
	}
}

static void
fill_begin(TapeFill *fill, uint64 nrows)
{
	int			padded_dim = fill->arena->base.layout.padded_dim;
	int			unit = fill->layout.rows_per_page;
	uint32		nfull = (uint32) (nrows / unit);

	key_tape_extend(fill->index, PAGE_WAL_AT_END, fill->meta, nfull + 1);
	fill->first_summary = summary_reserve(fill->index, PAGE_WAL_AT_END,
										  padded_dim, nfull);
	fill->rows = palloc(sizeof(TapeRow) * unit);
	fill->owners = palloc(sizeof(NodeAddr) * unit);
	fill->summary = palloc0(summary_size(padded_dim));
	summary_sums_init(&fill->sums, padded_dim);
}

/* Inserts go to the first unit that is not full. */
static bool
meta_fill(HnswMeta *meta, void *arg)
{
	const TapeFill *fill = arg;

	meta->key_fill = fill->number;
	meta->nsummaries = fill->number;
	meta->first_summary = fill->first_summary;
	return true;
}

/* Write the key tape, and the summaries of its units. */
static void
flush_keys(Relation index, Arena *arena, const GraphPlaces *places,
		   HnswMeta *meta)
{
	TapeFill	fill = {.index = index,.arena = arena,.places = places,.meta = meta};
	OrderedSlot *slots;
	uint32		n;
	uint64		nrows;

	key_layout_of(&fill.layout, meta);
	slots = order_rows(arena, places, fill.layout.rows_per_page, &n, &nrows);
	fill_begin(&fill, nrows);
	for (uint32 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		fill_add_slot(&fill, slots[i].addr);
	}
	if (fill.n > 0)
		fill_write(&fill);
	pfree(slots);
	hnsw_meta_update(index, PAGE_WAL_AT_END, meta, meta_fill, &fill);
}

/* ----- the long list ----- */

/* A node and its length. */
typedef struct LongItem
{
	float		norm;
	NodeAddr	addr;			/* in the arena */
} LongItem;

/* The longest first. */
static int
compare_items(const void *a, const void *b)
{
	const LongItem *x = a;
	const LongItem *y = b;

	if (x->norm != y->norm)
		return x->norm > y->norm ? -1 : 1;
	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

#define SELECT_NAME select_item
#define SELECT_TYPE LongItem
#define SELECT_BEFORE(a, b) (compare_items(a, b) < 0)
#include "index/quickselect.h"

/* The longest nodes, from where they are in memory to where they are on pages. */
typedef struct LongFill
{
	Arena	   *arena;
	const GraphPlaces *places;
	LongLayout	layout;
	const LongItem *next;
} LongFill;

static void
next_long_node(void *arg, LongNode *node)
{
	LongFill   *fill = arg;
	const NodeLayout *layout = &fill->arena->base.layout;
	NodeAddr	addr = fill->next++->addr;
	GraphNode  *slot = arena_slot(fill->arena, addr);
	OwnVector	own = {slot->scale, slot->norm, slot->err,
	node_own(layout, slot), NULL};

	long_node_init(&fill->layout, fill->arena->base.unit,
				   graph_addrs(fill->places)[addr], &own, node);
}

/* Write the long list. */
static void
flush_long(Relation index, Arena *arena, const GraphPlaces *places,
		   HnswMeta *meta)
{
	uint32		nslots = arena_nslots(arena);
	LongItem   *items = alloc_slots(sizeof(LongItem), nslots);
	LongFill	fill = {.arena = arena,.places = places,.next = items};
	LongSource	source = {.next = next_long_node,.arg = &fill};
	uint32		nnodes = 0;

	for (uint32 addr = 0; addr < nslots; addr++)
	{
		const GraphNode *node = arena_slot(arena, addr);

		CHECK_FOR_INTERRUPTS();
		if (node->kind != SLOT_NODE)
			continue;
		items[nnodes].norm = node->norm;
		items[nnodes++].addr = addr;
	}
	source.n = Min(long_list_due(arena->base.metric, nnodes), nnodes);
	if (source.n > 0)
	{
		select_item(items, 0, (int64) nnodes - 1, (int64) source.n - 1);
		qsort(items, source.n, sizeof(LongItem), compare_items);
		source.norm = items[source.n - 1].norm;
		long_layout_init(&fill.layout, arena->base.layout.padded_dim);
		long_list_write(index, PAGE_WAL_AT_END, meta, &source);
	}
	pfree(items);
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
	flush_long(index, arena, places, &meta);
}
