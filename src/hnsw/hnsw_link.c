/*
 * hnsw_link.c
 *		Edges: which neighbours a node gets, and how they learn of it.
 *
 * Candidates are the nodes that one search a measure visits.  Each list of
 * edges is pruned by the diversity rule of HNSW (Malkov, Yashunin 2018,
 * algorithm 4) in its own measure, and filled up from what pruning dropped:
 * without that an inner product list keeps 2 to 6 edges, which makes most items
 * unreachable.
 *
 * An edge back is an edit of one page.  A node remembers which of its edges the
 * rule has kept, so that a new one need be compared with these alone.  Their
 * vectors are read beforehand, without a lock on the neighbour; if its lists
 * have changed by the time of the edit, we compare again.  All edges back of a
 * node are ranked first and then written together, which takes less WAL.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/memutils.h"

#include "hnsw/hnsw_link.h"
#include "hnsw/hnsw_recent.h"
#include "vector/mips.h"

/* Candidates that a list is chosen from, at the most. */
#define LINK_MAX_CANDIDATES 128

/* Nodes visited at the most, dead ones too, as a multiple of ef_construction. */
#define LINK_MAX_VISITS 4

/*
 * Within a cell the nodes linked last are candidates: so many of them for a
 * list, and so many visits fewer, as shares of ef_construction.  See Measured in
 * the README of this folder.
 */
#define CELL_CANDIDATES 0.4
#define CELL_VISITS_SAVED 0.5

/*
 * Share of a list's lanes that a repair leaves open.  Later inserts fill them
 * with their edges back, inserted nodes have that many open at first or more, and
 * a VACUUM that finds few dead rows is cheap: see the README of this folder for
 * the measurement.
 */
#define LINK_OPEN_SHARE 0.5

/* Nodes that a search begins from, at the most. */
#define LINK_POINTS (3 * LINK_ENTRY_POINTS)

/* Attempts at an edge back while others change the same list. */
#define LINK_RETRIES 3

/* A node known to the linker, with a copy of its own vector. */
typedef struct KnownNode
{
	NodeAddr	addr;
	OwnVector	own;			/* codes point into the linker's memory */
	float		norm2;			/* squared length, and */
	float		coordinate;		/* what the augmentation adds to it */
	float		ip;				/* with the vector being linked */
	bool		candidate;		/* visited by a search, and alive */
	bool		linked;			/* already a neighbour, in a repair */
} KnownNode;

/* A candidate of one list. */
typedef struct Choice
{
	float		key;			/* to the node that holds the list */
	uint32		node;			/* in Linker.nodes */
	int			lane;			/* where it is now, or -1 */
} Choice;

struct Linker
{
	GraphStore *store;
	GraphSearch *search;
	GraphQuery *query;
	RecentNodes *recent;		/* of the cell being linked, or NULL */
	int			ef_construction;
	LinkDegree	degree;
	const EdgeList *lists;
	int			nlists;
	uint32		nnodes;
	uint32		max_nodes;
	KnownNode  *nodes;
	int8	   *codes;			/* max_nodes x padded_dim */
	uint32	   *hash;			/* nodes by address */
	uint32		hash_mask;
	Choice	   *choices;		/* max_nodes */
	int			nchosen[MAX_EDGE_LISTS];
	int			ndiverse[MAX_EDGE_LISTS];	/* of these, the first */
	uint32		chosen[MAX_EDGE_LISTS][NODE_DEGREE];	/* nodes */
	bool		linked;			/* an edge leads to the node linked last */
};

/*
 * A build fills all lanes, which costs it nothing but a little time.  An insert
 * logs each edge with 26 bytes and each edge back with 54, and so gives a node a
 * part of the edges: the open lanes take edges back of later nodes.  All rows of a
 * set inserted one by one, inner product, recall of the best 10, 100 and 1,000 at
 * equal visits (to 3%):
 *
 *		chosen		asked		made, 60,000		40,000 of 41k (ALS)
 *		16 and 16	16 and 16	0.999 0.992 0.991	1.000 0.998 0.988
 *		8 and 8		all of them	0.999 0.993 0.990	0.999 0.998 0.987
 *		8 and 8		4 and 4		0.999 0.992 0.987	0.999 0.997 0.986
 *		6 and 6		4 and 4		0.999 0.991 0.987	0.999 0.997 0.985
 *		4 and 6		4 and 4		1.000 0.991 0.988	0.999 0.998 0.986
 *
 * Of 60,000 made rows inserted into an index of as many, each logs 1,716 bytes
 * with the first, lanes without an edge logged too, and 1,020 with the fourth.
 *
 * For the other metrics less is gained by few edges and more is lost: of the made
 * set 0.932, 0.972 and 0.992 with 32 edges each, 0.921, 0.972 and 0.991 with 16,
 * 0.906, 0.963 and 0.991 with 12 of which 8 are asked.
 */
static const EdgeList ip_lists[] = {
	{MEASURE_IP, 0, 16, {16, 6}, {16, 4}},
	{MEASURE_L2, 16, 16, {16, 6}, {16, 4}}
};

static const EdgeList l2_lists[] = {
	{MEASURE_L2, 0, 32, {32, 16}, {32, 16}}
};

StaticAssertDecl(NODE_DEGREE == 32, "lists cover all lanes of a node");

/* The lists that nodes of a metric have; returns their number. */
int
edge_lists(Metric metric, const EdgeList **lists)
{
	if (metric_query_measure(metric) == MEASURE_IP)
	{
		*lists = ip_lists;
		return lengthof(ip_lists);
	}
	*lists = l2_lists;
	return lengthof(l2_lists);
}

Linker *
linker_create(GraphStore *store, int ef_construction, LinkDegree degree)
{
	Linker	   *linker = palloc0(sizeof(Linker));
	uint32		n = 1024;

	/* both searches, all members of all lists that may be ranked, and more */
	while (n < 2 * (uint32) ef_construction + NODE_DEGREE * (NODE_DEGREE + 2))
		n *= 2;
	linker->store = store;
	linker->search = graph_search_create(store);
	linker->query = graph_query_create(&store->layout);
	linker->ef_construction = ef_construction;
	linker->degree = degree;
	linker->nlists = edge_lists(store->metric, &linker->lists);
	linker->max_nodes = n;
	linker->nodes = palloc_extended(sizeof(KnownNode) * n, MCXT_ALLOC_HUGE);
	linker->codes = palloc_extended((Size) n * store->layout.padded_dim,
									MCXT_ALLOC_HUGE);
	linker->choices = palloc(sizeof(Choice) * n);
	linker->hash_mask = 2 * n - 1;
	linker->hash = palloc(sizeof(uint32) * 2 * n);
	return linker;
}

/* ----- nodes known ----- */

#define NO_NODE PG_UINT32_MAX

static uint32 *
known_slot(Linker *linker, NodeAddr addr)
{
	uint32		i = (addr * 0x9E3779B1u) >> 7;

	for (;; i++)
	{
		uint32	   *slot = &linker->hash[i & linker->hash_mask];

		if (*slot == NO_NODE || linker->nodes[*slot].addr == addr)
			return slot;
	}
}

/* Add a node without its codes; NULL where there is no room. */
static KnownNode *
known_add(Linker *linker, NodeAddr addr, uint32 *slot)
{
	KnownNode  *known;

	if (linker->nnodes == linker->max_nodes)
		return NULL;
	known = &linker->nodes[linker->nnodes];
	known->addr = addr;
	known->candidate = false;
	known->linked = false;
	known->own.codes = linker->codes +
		(Size) linker->nnodes * linker->store->layout.padded_dim;
	known->own.fine = NULL;
	*slot = linker->nnodes++;
	return known;
}

/* Set what is known of a node besides its codes. */
static void
known_set(const Linker *linker, KnownNode *known, float scale, float norm,
		  float err)
{
	known->own.scale = scale;
	known->own.norm = norm;
	known->own.err = err;
	known->norm2 = norm * norm;
	known->coordinate = mips_coordinate(known->norm2, linker->store->radius2);
}

/* The number of a node, read if need be; NO_NODE where it is none. */
static uint32
known_fetch(Linker *linker, NodeAddr addr)
{
	GraphStore *store = linker->store;
	uint32	   *slot = known_slot(linker, addr);
	const GraphNode *node;
	KnownNode  *known;
	bool		alive;

	if (*slot != NO_NODE)
		return *slot;
	node = store->ops->read(store, addr);
	alive = node->kind == SLOT_NODE;
	if (alive && (known = known_add(linker, addr, slot)) != NULL)
	{
		known_set(linker, known, node->scale, node->norm, node->err);
		memcpy(known->own.codes, node_own(&store->layout, node),
			   store->layout.padded_dim);
	}
	store->ops->read_end(store);
	return *slot;
}

/* As graph_search_key, for two nodes that are known. */
static inline float
known_key(const Linker *linker, Measure measure, const KnownNode *a,
		  const KnownNode *b)
{
	float		ip = own_dot(&linker->store->layout, a->own.scale, a->own.codes,
							 b->own.scale, b->own.codes);
	float		z = a->coordinate - b->coordinate;

	return measure == MEASURE_IP ? -ip :
		a->norm2 + b->norm2 - 2.0f * ip + z * z;
}

/* ----- finding candidates ----- */

/* Live nodes that a search visits. */
static int
linker_nvisits(const Linker *linker)
{
	int			saved = linker->ef_construction * CELL_VISITS_SAVED;

	return linker->ef_construction -
		(linker->recent != NULL ? Min(recent_count(linker->recent), saved) : 0);
}

/*
 * Visit so many live nodes in one measure, and remember them.  Where VACUUM has
 * not got to all tombstones yet they are visited in addition.
 */
static void
linker_search(Linker *linker, NodeAddr self, int nvisits)
{
	int			nlive = 0;

	for (int i = 0; nlive < nvisits && i < LINK_MAX_VISITS * nvisits; i++)
	{
		Visit		visit;
		KnownNode  *known = &linker->nodes[linker->nnodes];
		int8	   *codes = linker->codes + (Size) linker->nnodes *
		linker->store->layout.padded_dim;
		uint32	   *slot;

		if (linker->nnodes == linker->max_nodes ||
			!graph_search_step(linker->search, &visit, codes))
			break;
		if (visit.header.kind != SLOT_NODE)
			continue;
		nlive++;
		if (visit.addr == self)
			continue;
		slot = known_slot(linker, visit.addr);
		if (*slot != NO_NODE)
			continue;
		known_add(linker, visit.addr, slot);
		known_set(linker, known, visit.header.scale, visit.header.norm,
				  visit.header.err);
		known->ip = visit.ip;
		known->candidate = true;
	}
}

/* Make recent nodes candidates. */
static void
linker_know_recent(Linker *linker, const RecentNode **recent, int n)
{
	for (int i = 0; i < n; i++)
	{
		uint32	   *slot = known_slot(linker, recent[i]->addr);
		const OwnVector *own = &recent[i]->own;
		KnownNode  *known;

		if (*slot != NO_NODE ||
			(known = known_add(linker, recent[i]->addr, slot)) == NULL)
			continue;
		known_set(linker, known, own->scale, own->norm, own->err);
		memcpy(known->own.codes, own->codes, linker->store->layout.padded_dim);
		known->ip = recent[i]->ip;
		known->candidate = true;
	}
}

/* A candidate that holds the very same vector, or INVALID_NODE_ADDR. */
static NodeAddr
linker_duplicate(const Linker *linker, const OwnVector *own)
{
	for (uint32 i = 0; i < linker->nnodes; i++)
	{
		const OwnVector *other = &linker->nodes[i].own;

		if (other->scale == own->scale && other->norm == own->norm &&
			other->err == own->err &&
			memcmp(other->codes, own->codes,
				   linker->store->layout.padded_dim) == 0)
			return linker->nodes[i].addr;
	}
	return INVALID_NODE_ADDR;
}

/* choices_sort(choices, n): by key */
#define ST_SORT choices_sort
#define ST_ELEMENT_TYPE Choice
#define ST_COMPARE(a, b) (((a)->key > (b)->key) - ((a)->key < (b)->key))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Order choices for a list: first those that the diversity rule keeps, then
 * the others, both by key.  The rule keeps a choice that is closer to the
 * list's node than to any kept before it.  At most nwanted are kept.  Choices
 * must be sorted by key.  The order is written to order[]; returns how many are
 * kept.
 */
static int
choices_diversify(const Linker *linker, Measure measure,
				  const Choice *choices, int n, int nwanted, uint16 *order)
{
	int			nkept = 0;
	int			ndropped = 0;
	uint16		dropped[LINK_MAX_CANDIDATES];

	for (int i = 0; i < n; i++)
	{
		const KnownNode *c = &linker->nodes[choices[i].node];
		bool		keep = nkept < nwanted;

		for (int j = 0; keep && j < nkept; j++)
			keep = known_key(linker, measure,
							 &linker->nodes[choices[order[j]].node], c) >
				choices[i].key;
		if (keep)
			order[nkept++] = i;
		else
			dropped[ndropped++] = i;
	}
	memcpy(order + nkept, dropped, sizeof(uint16) * ndropped);
	return nkept;
}

/* Whether a node has been chosen for one of the first nlists lists. */
static bool
linker_is_chosen(const Linker *linker, int nlists, uint32 node)
{
	for (int k = 0; k < nlists; k++)
		for (int i = 0; i < linker->nchosen[k]; i++)
			if (linker->chosen[k][i] == node)
				return true;
	return false;
}

/* Choose the edges of list k among the candidates. */
static void
linker_choose(Linker *linker, const OwnVector *own, int k)
{
	const EdgeList *list = &linker->lists[k];
	uint16		order[LINK_MAX_CANDIDATES];
	int			n = 0;
	int			nwanted;

	for (uint32 i = 0; i < linker->nnodes; i++)
	{
		const KnownNode *known = &linker->nodes[i];

		if (!known->candidate || linker_is_chosen(linker, k, i))
			continue;
		linker->choices[n].key = graph_search_key(linker->store, list->measure,
												  own->norm * own->norm,
												  known->ip, known->own.norm);
		linker->choices[n].node = i;
		linker->choices[n++].lane = -1;
	}
	choices_sort(linker->choices, n);
	n = Min(n, Min(linker->ef_construction, LINK_MAX_CANDIDATES));
	nwanted = Min(n, list->nchosen[linker->degree]);
	linker->ndiverse[k] = choices_diversify(linker, list->measure,
											linker->choices, n, nwanted, order);
	linker->nchosen[k] = nwanted;
	for (int i = 0; i < nwanted; i++)
		linker->chosen[k][i] = linker->choices[order[i]].node;
}

/* Forget all nodes, and set the vector to be linked. */
static void
linker_begin(Linker *linker, const float *rotated)
{
	graph_query_set(&linker->store->layout, linker->store->unit,
					linker->query, rotated);
	linker->nnodes = 0;
	memset(linker->hash, 0xFF, sizeof(uint32) * (linker->hash_mask + 1));
}

/*
 * The nodes that a search begins from: entries, the first that the search before
 * has visited, which are among its best, and the best of the recent ones.
 * Returns their number, at most LINK_POINTS; the entries are there already.
 */
static int
linker_add_points(const Linker *linker, const RecentNode **recent, int nrecent,
				  EntryPoint *points, int n)
{
	uint32		nbefore = Min(linker->nnodes, LINK_ENTRY_POINTS);

	for (uint32 i = 0; i < nbefore; i++)
	{
		const KnownNode *known = &linker->nodes[i];
		EntryPoint	point = {known->addr, known->ip, known->own.norm, 0.0f};

		points[n++] = point;
	}
	for (int i = 0; i < Min(nrecent, LINK_ENTRY_POINTS); i++)
	{
		EntryPoint	point = {recent[i]->addr, recent[i]->ip,
		recent[i]->own.norm, 0.0f};

		points[n++] = point;
	}
	return n;
}

/*
 * Add the candidates of one list to those already known: what a search finds
 * from some entries, for which points has room for more, and the best of the
 * cell's recent nodes, from which it begins too.
 */
static void
linker_search_list(Linker *linker, Measure measure, EntryPoint *points,
				   int npoints, NodeAddr self)
{
	const RecentNode *recent[RECENT_MAX_CHOSEN];
	int			nrecent = 0;
	int			nvisits = linker_nvisits(linker);

	if (linker->recent != NULL)
		nrecent = recent_choose(linker->recent, measure, recent,
								linker->ef_construction * CELL_CANDIDATES);
	npoints = linker_add_points(linker, recent, nrecent, points, npoints);
	graph_search_begin(linker->search, linker->query, measure, nvisits);
	graph_search_enter(linker->search, points, npoints);
	linker_search(linker, self, nvisits);
	linker_know_recent(linker, recent, nrecent);
}

/*
 * Add the candidates for the wanted lists to those already known.  The set is
 * read before any search begins, since it may go away with a relation cache
 * invalidation.
 */
static void
linker_search_lists(Linker *linker, const EntrySet *set, const OwnVector *own,
					NodeAddr self, const bool wanted[MAX_EDGE_LISTS])
{
	EntryPoint	points[MAX_EDGE_LISTS][LINK_POINTS];
	int			npoints[MAX_EDGE_LISTS];
	int			nlists = linker->nlists;
	float		ips[ENTRY_MAX];
	EntryQuery	query = {
		ips, own->norm * own->norm,
		mips_coordinate(own->norm * own->norm, linker->store->radius2)
	};

	Assert(nlists <= MAX_EDGE_LISTS);
	entry_score_own(set, own, ips);
	for (int k = 0; k < nlists; k++)
		npoints[k] = entry_choose(set, linker->lists[k].measure, &query,
								  points[k], LINK_ENTRY_POINTS);
	if (linker->recent != NULL)
		recent_score(linker->recent, own);
	for (int k = 0; k < nlists; k++)
		if (wanted[k])
			linker_search_list(linker, linker->lists[k].measure, points[k],
							   npoints[k], self);
}

/*
 * A cell's nodes are linked from now on: each is a candidate for those after it.
 */
void
linker_begin_cell(Linker *linker)
{
	if (linker->recent == NULL)
		linker->recent = recent_create(linker->store);
	recent_clear(linker->recent);
}

NodeAddr
linker_find(Linker *linker, const EntrySet *set, const float *rotated,
			const OwnVector *own, NodeAddr self)
{
	static const bool all[MAX_EDGE_LISTS] = {true, true};

	linker_begin(linker, rotated);
	linker_search_lists(linker, set, own, self, all);
	for (int k = 0; k < linker->nlists; k++)
		linker_choose(linker, own, k);
	return linker_duplicate(linker, own);
}

void
linker_chosen(const Linker *linker, NodeAddr addrs[NODE_DEGREE])
{
	memset(addrs, 0xFF, sizeof(NodeAddr) * NODE_DEGREE);
	for (int k = 0; k < linker->nlists; k++)
		for (int i = 0; i < linker->nchosen[k]; i++)
			addrs[linker->lists[k].first + i] =
				linker->nodes[linker->chosen[k][i]].addr;
}

/* ----- edges back ----- */

/* The state of a list as read without keeping a lock. */
typedef struct ListSnapshot
{
	NodeAddr	addrs[NODE_DEGREE];
	float		keys[NODE_DEGREE];	/* to the node, in the list's measure */
	uint32		diverse;
	int			free_lane;		/* of the list, or -1 */
	bool		usable;			/* a live node, without the edge */
} ListSnapshot;

/* What a new edge changes in a list. */
typedef struct ListEdit
{
	int			lane;			/* that it takes, or -1 */
	bool		diverse;		/* whether the diversity rule keeps it */
	uint32		lost;			/* lanes that the rule no longer keeps */
} ListEdit;

/* An edge back that is to be written. */
typedef struct BackEdge
{
	ListSnapshot snap;
	ListEdit	edit;
	NodeAddr	addr;			/* of the neighbour */
	uint32		parent;			/* its number in Linker.nodes */
	const EdgeList *list;
} BackEdge;

#define LANE_BIT(lane) ((uint32) 1 << (lane))

/*
 * The keys of a node's edges, from the edges themselves: t tells the inner
 * product, to the precision of a float16.
 */
static void
edge_keys(const Linker *linker, Measure measure, const GraphNode *node,
		  const KnownNode *known, float keys[NODE_DEGREE])
{
	const GraphStore *store = linker->store;
	uint16		factors[EDGE_FACTORS][NODE_DEGREE]; /* t, f and length */
	float		t[NODE_DEGREE];
	float		norms[NODE_DEGREE];
	float		norm2 = own_dot(&store->layout, known->own.scale,
								known->own.codes, known->own.scale,
								known->own.codes);

	kernels->edge_factors(node_lanes(&store->layout, node),
						  store->layout.code_dim / FASTSCAN_GROUP_DIMS, factors);
	kernels->f16_to_f32(factors[0], t, NODE_DEGREE);
	kernels->f16_to_f32(factors[2], norms, NODE_DEGREE);
	for (int lane = 0; lane < NODE_DEGREE; lane++)
		keys[lane] = graph_search_key(store, measure, known->norm2,
									  t[lane] * norm2,
									  norms[lane] * store->unit);
}

static ListSnapshot
list_snapshot(Linker *linker, const KnownNode *known, const EdgeList *list,
			  NodeAddr child)
{
	GraphStore *store = linker->store;
	const GraphNode *node = store->ops->read(store, known->addr);
	ListSnapshot snap;

	memcpy(snap.addrs, node_addrs(&store->layout, node), sizeof(snap.addrs));
	snap.diverse = node->diverse;
	snap.usable = node->kind == SLOT_NODE;
	edge_keys(linker, list->measure, node, known, snap.keys);
	store->ops->read_end(store);

	snap.free_lane = -1;
	for (int lane = 0; lane < NODE_DEGREE; lane++)
	{
		if (snap.addrs[lane] == child)
			snap.usable = false;
		if (snap.addrs[lane] == INVALID_NODE_ADDR && snap.free_lane < 0 &&
			lane >= list->first && lane < list->first + list->size)
			snap.free_lane = lane;
	}
	return snap;
}

/* The vectors of the members that the diversity rule has kept will be read. */
static void
list_prefetch(Linker *linker, const ListSnapshot *snap, const EdgeList *list)
{
	GraphStore *store = linker->store;

	for (int lane = list->first; lane < list->first + list->size; lane++)
		if ((snap->diverse & LANE_BIT(lane)) &&
			snap->addrs[lane] != INVALID_NODE_ADDR &&
			*known_slot(linker, snap->addrs[lane]) == NO_NODE)
			store->ops->prefetch_own(store, snap->addrs[lane]);
}

/*
 * Whether the diversity rule keeps a new member of a list, given those that it
 * has kept, and which of these it would no longer keep beside the new one.
 * What it dropped for the sake of a member that is now lost stays dropped.  A
 * member that is gone gives its lane to the new one.
 */
static ListEdit
list_diversify(Linker *linker, const ListSnapshot *snap, const EdgeList *list,
			   uint32 child, float key)
{
	ListEdit	edit = {snap->free_lane, true, 0};

	for (int closer = 1; closer >= 0; closer--)
		for (int i = 0; edit.diverse && i < list->size; i++)
		{
			int			lane = list->first + i;
			uint32		node;
			float		between;

			if (!(snap->diverse & LANE_BIT(lane)) ||
				snap->addrs[lane] == INVALID_NODE_ADDR ||
				(snap->keys[lane] <= key) != closer)
				continue;
			node = known_fetch(linker, snap->addrs[lane]);
			if (node == NO_NODE)
			{
				edit.lane = lane;
				continue;
			}
			between = known_key(linker, list->measure, &linker->nodes[child],
								&linker->nodes[node]);
			if (closer)
				edit.diverse = between > key;
			else if (between <= snap->keys[lane])
				edit.lost |= LANE_BIT(lane);
		}
	return edit;
}

/* The lane of the largest key among some of a list, or -1 where there is none. */
static int
list_farthest(const ListSnapshot *snap, const EdgeList *list, uint32 among)
{
	int			farthest = -1;

	for (int lane = list->first; lane < list->first + list->size; lane++)
		if ((among & LANE_BIT(lane)) &&
			(farthest < 0 || snap->keys[lane] > snap->keys[farthest]))
			farthest = lane;
	return farthest;
}

/*
 * What a new member changes in a list.  A full list gives up what the
 * diversity rule has dropped, the farthest first, and then the farthest that
 * it has kept.  edit.lane is -1 where the new one would be the first to go;
 * with force it never is.
 */
static ListEdit
list_rank(Linker *linker, const ListSnapshot *snap, const KnownNode *parent,
		  const EdgeList *list, uint32 child, bool force)
{
	float		key = known_key(linker, list->measure, parent,
								&linker->nodes[child]);
	ListEdit	edit = list_diversify(linker, snap, list, child, key);
	uint32		kept = snap->diverse & ~edit.lost;
	int			lane;

	if (edit.lane >= 0)
		return edit;
	lane = list_farthest(snap, list, ~kept);
	if (lane >= 0)
	{
		if (edit.diverse || force || snap->keys[lane] > key)
			edit.lane = lane;
		return edit;
	}
	lane = list_farthest(snap, list, kept);
	if (force || (edit.diverse && snap->keys[lane] > key))
		edit.lane = lane;
	return edit;
}

/* Read the list that an edge back goes to; false where there is none. */
static bool
back_edge_read(Linker *linker, BackEdge *back, uint32 child)
{
	const KnownNode *known = &linker->nodes[back->parent];

	back->addr = known->addr;
	back->snap = list_snapshot(linker, known, back->list,
							   linker->nodes[child].addr);
	return back->snap.usable;
}

/* Rank an edge back; false where the neighbour does not take it. */
static bool
back_edge_rank(Linker *linker, BackEdge *back, uint32 child, bool force)
{
	back->edit = list_rank(linker, &back->snap, &linker->nodes[back->parent],
						   back->list, child, force);
	return back->edit.lane >= 0;
}

/*
 * Put an edge into its list if the node is still as in the snapshot.  Returns
 * false where others were faster.
 */
static bool
back_edge_put(Linker *linker, const BackEdge *back, uint32 child)
{
	GraphStore *store = linker->store;
	const KnownNode *known = &linker->nodes[child];
	GraphNode  *node = store->ops->edit(store, back->addr);
	const NodeAddr *addrs = node_addrs(&store->layout, node);
	EdgeCode	edge;
	bool		same = node->kind == SLOT_NODE &&
	node->diverse == back->snap.diverse &&
	memcmp(addrs, back->snap.addrs, sizeof(back->snap.addrs)) == 0;

	if (same)
	{
		edge_encode(&store->layout, store->unit, node, &known->own, &edge);
		edge.addr = known->addr;
		edge.diverse = back->edit.diverse;
		node->diverse &= ~back->edit.lost;
		node_edge_set(&store->layout, node, back->edit.lane, &edge);
	}
	store->ops->edit_end(store, same);
	return same;
}

/* Give a neighbour the edge back; returns whether it took it. */
static bool
linker_link_back(Linker *linker, uint32 parent, const EdgeList *list,
				 uint32 child, bool force)
{
	BackEdge	back = {.parent = parent,.list = list};

	for (int attempt = 0; attempt < LINK_RETRIES; attempt++)
	{
		if (!back_edge_read(linker, &back, child) ||
			!back_edge_rank(linker, &back, child, force))
			return false;
		if (back_edge_put(linker, &back, child))
			return true;
	}
	return false;
}

/* back_edges_sort(edges, n): by address, so that those of a page meet */
#define ST_SORT back_edges_sort
#define ST_ELEMENT_TYPE BackEdge
#define ST_COMPARE(a, b) (((a)->addr > (b)->addr) - ((a)->addr < (b)->addr))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Write edges back together; returns how many were taken.  For neighbours that
 * have changed meanwhile it is tried again.
 */
static int
linker_put_back(Linker *linker, BackEdge *back, int n, uint32 child)
{
	GraphStore *store = linker->store;
	bool		done[NODE_DEGREE];
	int			ndone = 0;

	back_edges_sort(back, n);
	store->ops->collect(store);
	for (int i = 0; i < n; i++)
		done[i] = back_edge_put(linker, &back[i], child);
	store->ops->collect_end(store);
	for (int i = 0; i < n; i++)
		ndone += done[i] || linker_link_back(linker, back[i].parent,
											 back[i].list, child, false);
	return ndone;
}

/* Write the chosen edges into an open node. */
static void
linker_fill_lanes(const Linker *linker, GraphNode *node)
{
	GraphStore *store = linker->store;

	for (int k = 0; k < linker->nlists; k++)
		for (int i = 0; i < linker->lists[k].size; i++)
		{
			int			lane = linker->lists[k].first + i;
			EdgeCode	edge;

			if (i >= linker->nchosen[k])
			{
				node_edge_clear(&store->layout, node, lane);
				continue;
			}
			edge_encode(&store->layout, store->unit, node,
						&linker->nodes[linker->chosen[k][i]].own, &edge);
			edge.addr = linker->nodes[linker->chosen[k][i]].addr;
			edge.diverse = i < linker->ndiverse[k];
			node_edge_set(&store->layout, node, lane, &edge);
		}
}

/* Write the node itself; returns its address. */
static NodeAddr
linker_write(Linker *linker, const OwnVector *own, NodeAddr self,
			 const NodeRow *row)
{
	GraphStore *store = linker->store;
	GraphNode  *node;

	if (self != INVALID_NODE_ADDR)
		node = store->ops->edit(store, self);
	else
	{
		node = store->ops->alloc(store, &self);
		node_init(&store->layout, node, own);
		slot_rows_add(&store->layout, node, row);
	}
	linker_fill_lanes(linker, node);
	/* readers of an arena hold no lock: edges first */
	pg_write_barrier();
	node->kind = SLOT_NODE;
	store->ops->edit_end(store, true);
	return self;
}

/* Make the vector being linked a known node itself; returns its number. */
static uint32
linker_know_self(Linker *linker, const OwnVector *own, NodeAddr self)
{
	uint32	   *slot = known_slot(linker, self);
	KnownNode  *known = known_add(linker, self, slot);

	if (known == NULL)
		elog(ERROR, "no room for the node being linked");
	known_set(linker, known, own->scale, own->norm, own->err);
	memcpy(known->own.codes, own->codes, linker->store->layout.padded_dim);
	return *slot;
}

/*
 * Ask chosen neighbours for edges back; returns how many gave one.  All lists
 * are read before the first is ranked, so that the vectors that they are
 * ranked by come to the processor's caches together and not one by one.
 */
static int
linker_link_all_back(Linker *linker, uint32 child)
{
	BackEdge	back[NODE_DEGREE];
	int			nread = 0;
	int			nranked = 0;

	for (int k = 0; k < linker->nlists; k++)
	{
		const EdgeList *list = &linker->lists[k];
		int			nasked = Min(linker->nchosen[k], list->nasked[linker->degree]);

		for (int i = 0; i < nasked; i++)
		{
			back[nread].parent = linker->chosen[k][i];
			back[nread].list = list;
			if (!back_edge_read(linker, &back[nread], child))
				continue;
			list_prefetch(linker, &back[nread].snap, list);
			nread++;
		}
	}
	for (int i = 0; i < nread; i++)
		if (back_edge_rank(linker, &back[i], child, false))
			back[nranked++] = back[i];
	return linker_put_back(linker, back, nranked, child);
}

NodeAddr
linker_link(Linker *linker, const OwnVector *own, NodeAddr self,
			const NodeRow *row)
{
	uint32		child;
	int			nback;

	self = linker_write(linker, own, self, row);
	child = linker_know_self(linker, own, self);
	nback = linker_link_all_back(linker, child);
	/* a node to which no edge leads could never be found */
	for (int k = linker->nlists - 1; nback == 0 && k >= 0; k--)
		for (int i = 0; nback == 0 && i < linker->nchosen[k]; i++)
			nback += linker_link_back(linker, linker->chosen[k][i],
									  &linker->lists[k], child, true);
	linker->linked = nback > 0;
	if (linker->recent != NULL)
		recent_add(linker->recent, self, own);
	return self;
}

bool
linker_is_linked(const Linker *linker)
{
	return linker->linked;
}

/* ----- repair ----- */

/* The neighbours that a node keeps are candidates too. */
static void
linker_know_neighbours(Linker *linker, const NodeEdges *edges)
{
	for (int lane = 0; lane < NODE_DEGREE; lane++)
	{
		uint32		i;
		KnownNode  *known;

		if (edges->addrs[lane] == INVALID_NODE_ADDR || edges->gone[lane])
			continue;
		i = known_fetch(linker, edges->addrs[lane]);
		if (i == NO_NODE)
			continue;
		known = &linker->nodes[i];
		known->ip = known->own.scale *
			kernels->dot_f32_i8(edges->rotated, known->own.codes,
								linker->store->layout.padded_dim);
		known->candidate = true;
		known->linked = true;
	}
}

/* Lanes of a list that are free or whose neighbours are gone. */
static int
list_open_lanes(const EdgeList *list, const NodeEdges *edges)
{
	int			nopen = 0;

	for (int lane = list->first; lane < list->first + list->size; lane++)
		nopen += edges->addrs[lane] == INVALID_NODE_ADDR || edges->gone[lane];
	return nopen;
}

/*
 * Choose the new edges of list k: what the diversity rule would choose for
 * the whole list, less what the list has.
 */
static void
linker_choose_more(Linker *linker, const NodeEdges *edges, int k)
{
	const EdgeList *list = &linker->lists[k];
	uint16		order[LINK_MAX_CANDIDATES];
	int			nopen = list_open_lanes(list, edges);
	int			nkept;
	int			n = 0;

	for (uint32 i = 0; i < linker->nnodes; i++)
	{
		const KnownNode *known = &linker->nodes[i];
		Choice	   *choice = &linker->choices[n];

		if (!known->candidate || linker_is_chosen(linker, k, i))
			continue;
		choice->lane = -1;
		for (int lane = 0; known->linked && lane < NODE_DEGREE; lane++)
			if (edges->addrs[lane] == known->addr)
				choice->lane = lane;
		if (choice->lane >= 0 && (choice->lane < list->first ||
								  choice->lane >= list->first + list->size))
			continue;
		choice->node = i;
		choice->key = graph_search_key(linker->store, list->measure,
									   edges->own.norm * edges->own.norm,
									   known->ip, known->own.norm);
		n++;
	}
	choices_sort(linker->choices, n);
	n = Min(n, LINK_MAX_CANDIDATES);
	nkept = choices_diversify(linker, list->measure, linker->choices, n,
							  Min(n, list->size), order);
	linker->nchosen[k] = 0;
	linker->ndiverse[k] = 0;
	for (int i = 0; i < n && linker->nchosen[k] < nopen; i++)
	{
		if (linker->choices[order[i]].lane >= 0)
			continue;
		linker->chosen[k][linker->nchosen[k]++] = linker->choices[order[i]].node;
		linker->ndiverse[k] += i < nkept;
	}
}

/* Whether an address is among n. */
static bool
addr_is_among(NodeAddr addr, const NodeAddr *addrs, int n)
{
	for (int i = 0; i < n; i++)
		if (addrs[i] == addr)
			return true;
	return false;
}

/* The neighbours of a node that are gone; returns their number. */
static int
edges_gone(const NodeEdges *edges, NodeAddr *gone)
{
	int			n = 0;

	for (int lane = 0; lane < NODE_DEGREE; lane++)
		if (edges->gone[lane])
			gone[n++] = edges->addrs[lane];
	return n;
}

/*
 * Write the new edges.  Inserts may have changed lanes since the node was
 * read, but not to an address that is gone: so what is in a lane now decides.
 */
static void
linker_refill(Linker *linker, const NodeEdges *edges)
{
	GraphStore *store = linker->store;
	NodeAddr	gone[NODE_DEGREE];
	int			ngone = edges_gone(edges, gone);
	GraphNode  *node = store->ops->edit(store, edges->addr);
	NodeAddr   *addrs = node_addrs(&store->layout, node);

	for (int k = 0; k < linker->nlists; k++)
	{
		int			next = 0;

		for (int i = 0; i < linker->lists[k].size; i++)
		{
			int			lane = linker->lists[k].first + i;
			const KnownNode *known = NULL;
			EdgeCode	edge;

			if (addrs[lane] != INVALID_NODE_ADDR &&
				!addr_is_among(addrs[lane], gone, ngone))
				continue;
			while (known == NULL && next < linker->nchosen[k])
			{
				known = &linker->nodes[linker->chosen[k][next++]];
				if (addr_is_among(known->addr, addrs, NODE_DEGREE))
					known = NULL;
			}
			if (known == NULL)
			{
				node_edge_clear(&store->layout, node, lane);
				continue;
			}
			edge_encode(&store->layout, store->unit, node, &known->own, &edge);
			edge.addr = known->addr;
			edge.diverse = next <= linker->ndiverse[k];
			node_edge_set(&store->layout, node, lane, &edge);
		}
	}
	store->ops->edit_end(store, true);
}

void
linker_repair(Linker *linker, const EntrySet *set, const NodeEdges *edges)
{
	bool		fill[MAX_EDGE_LISTS] = {false};
	bool		fill_any = false;

	for (int k = 0; k < linker->nlists; k++)
	{
		fill[k] = list_open_lanes(&linker->lists[k], edges) >
			linker->lists[k].size * LINK_OPEN_SHARE;
		fill_any |= fill[k];
		linker->nchosen[k] = 0;
	}
	if (fill_any)
	{
		linker_begin(linker, edges->rotated);
		linker_know_neighbours(linker, edges);
		linker_search_lists(linker, set, &edges->own, edges->addr, fill);
		for (int k = 0; k < linker->nlists; k++)
			if (fill[k])
				linker_choose_more(linker, edges, k);
	}
	linker_refill(linker, edges);
	if (fill_any)
		linker_link_all_back(linker, linker_know_self(linker, &edges->own,
													  edges->addr));
}

/* ----- several heap rows of one vector ----- */

/* Make a posting of one heap row of a node, followed by next. */
static NodeAddr
posting_create(GraphStore *store, NodeAddr owner, const NodeRow *row,
			   NodeAddr next)
{
	NodeAddr	addr;
	Posting    *posting = (Posting *) store->ops->alloc(store, &addr);

	memset(posting, 0, store->layout.node_size);
	posting->kind = SLOT_POSTING;
	posting->next = next;
	posting->owner = owner;
	slot_rows_add(&store->layout, (GraphNode *) posting, row);
	store->ops->edit_end(store, true);
	return addr;
}

/* Free a posting that nothing points to. */
static void
posting_free(GraphStore *store, NodeAddr addr)
{
	GraphNode  *slot = store->ops->edit(store, addr);

	slot->kind = SLOT_FREE;
	store->ops->edit_end(store, true);
}

/*
 * The row goes to the node, else to its newest posting, else to a new one,
 * which is written before the node points to it.
 */
bool
node_add_row(GraphStore *store, NodeAddr addr, const OwnVector *own,
			 const NodeRow *row)
{
	for (;;)
	{
		GraphNode  *node = store->ops->edit(store, addr);
		bool		same = node_holds(&store->layout, node, own);
		bool		done = same && slot_rows_add(&store->layout, node, row);
		NodeAddr	newest = node->posting;
		NodeAddr	added;

		store->ops->edit_end(store, done);
		if (done || !same)
			return done;
		if (newest != INVALID_NODE_ADDR)
		{
			node = store->ops->edit(store, newest);
			done = node->kind == SLOT_POSTING &&
				((const Posting *) node)->owner == addr &&
				slot_rows_add(&store->layout, node, row);
			store->ops->edit_end(store, done);
			if (done)
				return true;
		}
		added = posting_create(store, addr, row, newest);
		node = store->ops->edit(store, addr);
		done = node->kind == SLOT_NODE && node->posting == newest;
		if (done)
			node->posting = added;
		store->ops->edit_end(store, done);
		if (done)
			return true;
		posting_free(store, added);
	}
}
