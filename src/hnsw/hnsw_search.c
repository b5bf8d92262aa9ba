/*
 * hnsw_search.c
 *		Best-first search over the graph, on the codes in the nodes.
 *
 * A step visits the unvisited candidate with the best estimated key: it reads
 * one node, takes the almost exact score of the node's own vector, and estimates
 * the keys of all 32 neighbours from their codes.
 *
 * Most of these estimates are never needed, and so they are kept in three ways.
 * Those not below the horizon stay in the block that the visit has written them
 * to.  The others are merged into candidates, which are found by address; a
 * candidate met from several parents keeps the mean of its estimates, weighted
 * by 1/f^2, since the error of an estimate grows with the residual that f
 * measures.  Candidates below the cutoff are in a heap.  When the heap runs dry
 * cutoff and horizon are raised, and the blocks are looked through for what is
 * below the horizon now; when it grows beyond need they are lowered.  Nothing
 * is ever dropped, so a search can go on until it has visited all that can be
 * reached.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "hnsw/hnsw_search.h"
#include "vector/mips.h"

/* Residuals shorter than this share of the unit weigh no more. */
#define SMALLEST_F 1e-6f

/* Candidates that there is room for at first, and for each visit of a budget. */
#define POOL_MIN_CANDIDATES 2048
#define POOL_BUDGET_CANDIDATES NODE_DEGREE

/* Blocks that there is room for at first. */
#define POOL_MIN_BLOCKS 256

/* Smallest number of candidates that the heap is cut down to. */
#define HOT_MIN 64

/*
 * Candidates below the horizon, as a multiple of those below the cutoff.  The
 * nearer the horizon, the fewer estimates are looked up by address; but the more
 * candidates come below the cutoff by a lucky estimate whose others lie beyond.
 * Recall, visits and CPU time, as a share of that without a horizon, inner
 * product, 300 queries of a million made rows and 500 of 41k (ALS):
 *
 *					  1M made							   41k
 *		HORIZON	   K=10		K=100				K=1000				  K=1000
 *		1		   1.18		.949  397  0.79		.955  4866	0.76
 *		1.5		   0.95		.958  449  0.83		.957  4804	0.77	  .989	3090
 *		2		   0.97		.958  436  0.87		.957  4757	0.81	  .989	2931
 *		3		   0.99		.959  435  0.92		.956  4656	0.86	  .989	2618
 *		none	   1		.960  439  1		.957  4667	1		  .989	2611
 */
#define HORIZON 2

/* Keys that cutoff and horizon are chosen by. */
#define SAMPLE_KEYS 2048

/* Candidate.place, where it is not a position in the heap */
#define PLACE_COLD PG_UINT32_MAX
#define PLACE_VISITED (PG_UINT32_MAX - 1)

typedef struct Candidate
{
	NodeAddr	addr;
	uint32		place;
	float		weight;			/* sum of weights */
	float		key;			/* weighted mean of the estimates */
} Candidate;

/* Where the candidate of an address is; INVALID_NODE_ADDR where unused. */
typedef struct HashSlot
{
	NodeAddr	addr;
	uint32		candidate;		/* or CANDIDATE_VISITED */
} HashSlot;

#define CANDIDATE_VISITED PG_UINT32_MAX

typedef struct HeapItem
{
	float		key;
	uint32		candidate;
} HeapItem;

/*
 * The estimates of a visit.  The key of a lane that has no edge, or whose
 * estimate has been merged into a candidate, is infinite.
 */
typedef struct EstimateBlock
{
	NodeAddr	addrs[NODE_DEGREE];
	float		keys[NODE_DEGREE];
	float		f[NODE_DEGREE];
} EstimateBlock;

struct GraphSearch
{
	GraphStore *store;
	const GraphQuery *query;
	Measure		measure;
	EdgeDistance distance;		/* for MEASURE_L2 */
	MemoryContext context;
	int64		nvisited;
	int64		budget;			/* visits that will be made, or 0 */
	float		cutoff;			/* keys of cold candidates are not below it */
	float		horizon;		/* nor estimates in blocks below this */
	uint32		ncandidates;
	uint32		max_candidates; /* in use, at most capacity */
	uint32		capacity;
	uint32		nheap;
	uint32		hash_mask;		/* size of the hash table - 1 */
	uint32		nblocks;
	uint32		max_blocks;
	Candidate  *candidates;
	HeapItem   *heap;			/* capacity */
	HashSlot   *hash;			/* open addressing */
	EstimateBlock *blocks;		/* max_blocks; none is kept with a budget */
};

/* ----- the query ----- */

GraphQuery *
graph_query_create(const NodeLayout *layout)
{
	GraphQuery *query = palloc0(sizeof(GraphQuery));

	query->x = palloc0(sizeof(float) * layout->padded_dim);
	query->lut = palloc0((Size) layout->code_dim / FASTSCAN_GROUP_DIMS *
						 FASTSCAN_GROUP_ENTRIES);
	return query;
}

/*
 * Set the query to a rotated vector and make its lookup table: entry b of
 * group g stands for sum over the four dimensions of +x or -x, as the bits of
 * b say, quantised to a byte with one step for all groups.
 */
void
graph_query_set(const NodeLayout *layout, float unit, GraphQuery *query,
				const float *rotated)
{
	int			ngroups = layout->code_dim / FASTSCAN_GROUP_DIMS;
	float		widest = 0.0f;
	float		total = 0.0f;
	float		inverse;

	memcpy(query->x, rotated, sizeof(float) * layout->padded_dim);
	query->norm2 = kernels->dot_f32(rotated, rotated, layout->padded_dim);
	for (int g = 0; g < ngroups; g++)
	{
		const float *x = rotated + g * FASTSCAN_GROUP_DIMS;
		float		half = fabsf(x[0]) + fabsf(x[1]) + fabsf(x[2]) + fabsf(x[3]);

		widest = Max(widest, half);
		total += half;
	}
	query->scale.delta = unit * 2.0f * widest / 255.0f;
	query->scale.bias = -unit * total;
	inverse = widest > 0.0f ? 255.0f / (2.0f * widest) : 0.0f;
	for (int g = 0; g < ngroups; g++)
	{
		const float *x = rotated + g * FASTSCAN_GROUP_DIMS;
		uint8	   *lut = query->lut + g * FASTSCAN_GROUP_ENTRIES;

		for (int b = 0; b < FASTSCAN_GROUP_ENTRIES; b++)
		{
			float		sum = 0.0f;

			for (int d = 0; d < FASTSCAN_GROUP_DIMS; d++)
				sum += (b >> d & 1) ? fabsf(x[d]) + x[d] : fabsf(x[d]) - x[d];
			lut[b] = (uint8) Min(sum * inverse + 0.5f, 255.0f);
		}
	}
}

float
graph_search_key(const GraphStore *store, Measure measure, float query_norm2,
				 float ip, float norm)
{
	if (measure == MEASURE_IP)
		return -ip;
	return mips_distance2(ip, query_norm2, norm * norm, store->radius2);
}

/* ----- the pool ----- */

/*
 * Work space that an ended search has left for the next in this backend.  A
 * long scan's space has grown to a few megabytes; getting it anew from the
 * system cost a sixth of a scan for 1,000 rows.
 */
static GraphSearch *spare_search = NULL;

/* Candidates and blocks beyond which a search's space is given back to the system. */
#define SPARE_MAX_CANDIDATES (128 * 1024)
#define SPARE_MAX_BLOCKS (16 * 1024)

static void
search_free(GraphSearch *search)
{
	pfree(search->candidates);
	pfree(search->heap);
	pfree(search->hash);
	pfree(search->blocks);
	pfree(search);
}

/* Callback: the memory context that a search was created in goes away. */
static void
search_release(void *arg)
{
	GraphSearch *search = arg;

	if (spare_search == NULL && search->capacity <= SPARE_MAX_CANDIDATES &&
		search->max_blocks <= SPARE_MAX_BLOCKS)
		spare_search = search;
	else
		search_free(search);
}

static GraphSearch *
search_alloc(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	GraphSearch *search = palloc0(sizeof(GraphSearch));

	search->capacity = POOL_MIN_CANDIDATES;
	search->candidates = palloc(sizeof(Candidate) * search->capacity);
	search->heap = palloc(sizeof(HeapItem) * search->capacity);
	search->hash = palloc(sizeof(HashSlot) * 2 * search->capacity);
	search->max_blocks = POOL_MIN_BLOCKS;
	search->blocks = palloc(sizeof(EstimateBlock) * search->max_blocks);
	MemoryContextSwitchTo(old);
	return search;
}

/*
 * A search over a store; it may be begun many times.  It lives as long as the
 * current memory context.
 */
GraphSearch *
graph_search_create(GraphStore *store)
{
	GraphSearch *search = spare_search;
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	spare_search = NULL;
	if (search == NULL)
		search = search_alloc();
	search->store = store;
	search->context = CurrentMemoryContext;
	callback->func = search_release;
	callback->arg = search;
	MemoryContextRegisterResetCallback(search->context, callback);
	return search;
}

/*
 * Forget all candidates and search for another query.  budget, where not 0,
 * is the number of steps that the caller will make: candidates that cannot be
 * among them are then dropped.
 */
void
graph_search_begin(GraphSearch *search, const GraphQuery *query,
				   Measure measure, int budget)
{
	search->query = query;
	search->measure = measure;
	search->distance.unit2 = search->store->unit * search->store->unit;
	search->distance.radius2 = search->store->radius2;
	search->distance.query_norm2 = query->norm2;
	search->distance.query_z = mips_coordinate(query->norm2,
											   search->store->radius2);
	search->nvisited = 0;
	search->budget = budget;
	search->cutoff = INFINITY;
	search->horizon = INFINITY;
	search->ncandidates = 0;
	search->nheap = 0;
	search->nblocks = 0;
	search->max_candidates = POOL_MIN_CANDIDATES;
	while (budget > 0 &&
		   search->max_candidates > POOL_BUDGET_CANDIDATES * (uint32) budget)
		search->max_candidates /= 2;
	search->hash_mask = 2 * search->max_candidates - 1;
	memset(search->hash, 0xFF, sizeof(HashSlot) * (search->hash_mask + 1));
}

int64
graph_search_nvisited(const GraphSearch *search)
{
	return search->nvisited;
}

Size
graph_search_size(const GraphSearch *search)
{
	return (Size) search->ncandidates *
		(sizeof(Candidate) + sizeof(HeapItem) + 2 * sizeof(HashSlot)) +
		(Size) search->nblocks * sizeof(EstimateBlock);
}

/* The hash slot of an address: where it is, or where it would go. */
static inline HashSlot *
hash_slot(const GraphSearch *search, NodeAddr addr)
{
	uint32		i = (addr * 0x9E3779B1u) >> 7;

	for (;; i++)
	{
		HashSlot   *slot = &search->hash[i & search->hash_mask];

		if (slot->addr == addr || slot->addr == INVALID_NODE_ADDR)
			return slot;
	}
}

static inline void
hash_set(HashSlot *slot, NodeAddr addr, uint32 candidate)
{
	slot->addr = addr;
	slot->candidate = candidate;
}

/* Double the room for candidates, which may be there already. */
static void
pool_grow(GraphSearch *search)
{
	Size		n = (Size) search->max_candidates * 2;

	if (n > PG_UINT32_MAX / 4)
		elog(ERROR, "too many candidates in an index scan");
	if (n > search->capacity)
	{
		search->candidates = repalloc_huge(search->candidates,
										   n * sizeof(Candidate));
		search->heap = repalloc_huge(search->heap, n * sizeof(HeapItem));
		search->hash = repalloc_huge(search->hash, 2 * n * sizeof(HashSlot));
		search->capacity = (uint32) n;
	}
	search->max_candidates = (uint32) n;
	search->hash_mask = (uint32) (2 * n - 1);
	memset(search->hash, 0xFF, 2 * n * sizeof(HashSlot));
	for (uint32 i = 0; i < search->ncandidates; i++)
	{
		const Candidate *c = &search->candidates[i];

		hash_set(hash_slot(search, c->addr), c->addr,
				 c->place == PLACE_VISITED ? CANDIDATE_VISITED : i);
	}
}

/* A new candidate, cold, for a free hash slot; the caller sets its estimate. */
static Candidate *
pool_add(GraphSearch *search, NodeAddr addr, HashSlot *slot)
{
	Candidate  *c;

	if (search->ncandidates == search->max_candidates)
	{
		pool_grow(search);
		slot = hash_slot(search, addr);
	}
	hash_set(slot, addr, search->ncandidates);
	c = &search->candidates[search->ncandidates++];
	c->addr = addr;
	c->place = PLACE_COLD;
	return c;
}

static inline void
heap_put(GraphSearch *search, uint32 place, HeapItem item)
{
	search->heap[place] = item;
	search->candidates[item.candidate].place = place;
}

static inline void
heap_sift_up(GraphSearch *search, uint32 place, HeapItem item)
{
	while (place > 0)
	{
		uint32		parent = (place - 1) / 2;

		if (search->heap[parent].key <= item.key)
			break;
		heap_put(search, place, search->heap[parent]);
		place = parent;
	}
	heap_put(search, place, item);
}

static void
heap_sift_down(GraphSearch *search, uint32 place, HeapItem item)
{
	for (;;)
	{
		uint32		child = 2 * place + 1;

		if (child >= search->nheap)
			break;
		if (child + 1 < search->nheap &&
			search->heap[child + 1].key < search->heap[child].key)
			child++;
		if (search->heap[child].key >= item.key)
			break;
		heap_put(search, place, search->heap[child]);
		place = child;
	}
	heap_put(search, place, item);
}

/* Put a candidate whose key has changed into its place. */
static inline void
pool_place(GraphSearch *search, Candidate *c)
{
	HeapItem	item = {c->key, (uint32) (c - search->candidates)};

	if (c->place == PLACE_COLD)
	{
		if (c->key < search->cutoff)
			heap_sift_up(search, search->nheap++, item);
	}
	else if (c->key < search->heap[c->place].key)
		heap_sift_up(search, c->place, item);
	else
		heap_sift_down(search, c->place, item);
}

/* The k-th smallest of n floats (k from 0), which are reordered. */
static float
select_kth(float *keys, uint32 n, uint32 k)
{
	uint32		lo = 0;
	uint32		hi = n - 1;

	while (lo < hi)
	{
		float		pivot = keys[lo + (hi - lo) / 2];
		uint32		i = lo;
		uint32		j = hi;

		while (i <= j)
		{
			while (keys[i] < pivot)
				i++;
			while (keys[j] > pivot)
				j--;
			if (i > j)
				break;
			{
				float		swap = keys[i];

				keys[i++] = keys[j];
				keys[j] = swap;
			}
			if (j == 0)
				break;
			j--;
		}
		if (k <= j)
			hi = j;
		else if (k >= i)
			lo = i;
		else
			break;
	}
	return keys[k];
}

/* Merge an estimate into what is known of a node. */
static inline void
pool_merge(GraphSearch *search, NodeAddr addr, float key, float f)
{
	HashSlot   *slot = hash_slot(search, addr);
	float		weight;
	Candidate  *c;

	if (slot->addr == addr && slot->candidate == CANDIDATE_VISITED)
		return;
	f = Max(f, SMALLEST_F);
	weight = 1.0f / (f * f);
	if (slot->addr == INVALID_NODE_ADDR)
	{
		c = pool_add(search, addr, slot);
		c->weight = weight;
		c->key = key;
	}
	else
	{
		c = &search->candidates[slot->candidate];
		c->weight += weight;
		c->key += (key - c->key) * (weight / c->weight);
	}
	pool_place(search, c);
}

/* Merge the estimates of a block that are below the horizon. */
static inline void
pool_merge_block(GraphSearch *search, EstimateBlock *block)
{
	uint32		lanes = kernels->floats_below(block->keys, search->horizon);

	for (; lanes != 0; lanes &= lanes - 1)
	{
		int			lane = pg_rightmost_one_pos32(lanes);

		pool_merge(search, block->addrs[lane], block->keys[lane],
				   block->f[lane]);
		block->keys[lane] = INFINITY;
	}
}

/* Room for the estimates of the next visit. */
static inline EstimateBlock *
pool_next_block(GraphSearch *search)
{
	if (search->nblocks == search->max_blocks)
	{
		search->blocks = repalloc_huge(search->blocks, sizeof(EstimateBlock) *
									   2 * search->max_blocks);
		search->max_blocks *= 2;
	}
	return &search->blocks[search->nblocks];
}

/* Take what has been written there; with a budget what remains is not needed. */
static inline void
pool_take_block(GraphSearch *search, EstimateBlock *block)
{
	pool_merge_block(search, block);
	if (search->budget == 0)
		search->nblocks++;
}

/* Candidates that should be hot: all that a budget can need, else a share. */
static inline int64
pool_wanted(const GraphSearch *search)
{
	return search->budget > 0 ?
		Max(search->budget - search->nvisited, 0) + 8 :
		search->nvisited + HOT_MIN;
}

/*
 * Copy every stride-th of the keys that may be visited yet; returns their
 * number.  Damaged edges may have keys that are no numbers; those are never
 * visited.
 */
static uint32
pool_sample(const GraphSearch *search, uint32 stride, float *keys)
{
	uint64		nestimates = (uint64) search->nblocks * NODE_DEGREE;
	uint32		n = 0;

	for (uint64 i = 0; i < search->ncandidates; i += stride)
	{
		const Candidate *c = &search->candidates[i];

		keys[n] = c->key;
		n += c->place != PLACE_VISITED && c->key < INFINITY;
	}
	for (uint64 i = 0; i < nestimates; i += stride)
	{
		keys[n] = search->blocks[i / NODE_DEGREE].keys[i % NODE_DEGREE];
		n += keys[n] < INFINITY;
	}
	return n;
}

/* Set cutoff and horizon, and fill the heap with what is below the cutoff. */
static void
pool_divide(GraphSearch *search, float cutoff, float horizon)
{
	search->cutoff = cutoff;
	search->horizon = horizon;
	search->nheap = 0;
	for (uint32 i = 0; i < search->ncandidates; i++)
	{
		Candidate  *c = &search->candidates[i];

		if (c->place == PLACE_VISITED)
			continue;
		c->place = PLACE_COLD;
		pool_place(search, c);
	}
	for (uint32 i = 0; i < search->nblocks; i++)
		pool_merge_block(search, &search->blocks[i]);
}

/* The k-th smallest of n keys, or infinity where there are no more than k. */
static float
limit_of(float *keys, uint32 n, uint32 k)
{
	return k < n ? select_kth(keys, n, k) : INFINITY;
}

/*
 * Divide anew, so that about the wanted number of keys lies below the cutoff.
 * With a budget what lies beyond is never needed, and the horizon is the cutoff.
 */
static void
pool_rebalance(GraphSearch *search)
{
	uint64		nkeys = search->ncandidates +
	(uint64) search->nblocks * NODE_DEGREE;

	/* odd, so that all lanes are sampled */
	uint32		stride = (uint32) (nkeys / SAMPLE_KEYS) | 1;
	float	   *keys = MemoryContextAllocHuge(search->context, sizeof(float) *
											  (nkeys / stride + 3));
	uint32		n = pool_sample(search, stride, keys);
	uint32		want = (uint32) Min(Max(pool_wanted(search) / stride, 1), n);
	uint32		known = search->budget > 0 ? want : (uint32) (HORIZON * want);
	float		horizon = limit_of(keys, n, known);

	/* what has been selected lies before the rest */
	pool_divide(search, limit_of(keys, Min(n, known + 1), want), horizon);
	pfree(keys);
	/* equal keys may leave nothing strictly below the cutoff */
	if (search->nheap == 0)
		pool_divide(search, INFINITY, INFINITY);
}

/* Whether the heap's first is not the best unvisited candidate, or may not be. */
static inline bool
pool_is_stale(const GraphSearch *search)
{
	return search->nheap == 0 || search->heap[0].key >= search->cutoff ||
		search->nheap > 3 * pool_wanted(search);
}

/* Take the best unvisited candidate, or NULL where all have been visited. */
static Candidate *
pool_pop(GraphSearch *search)
{
	Candidate  *c;

	if (pool_is_stale(search))
		pool_rebalance(search);
	if (search->nheap == 0)
		return NULL;
	c = &search->candidates[search->heap[0].candidate];
	c->place = PLACE_VISITED;
	hash_slot(search, c->addr)->candidate = CANDIDATE_VISITED;
	search->nheap--;
	if (search->nheap > 0)
		heap_sift_down(search, 0, search->heap[search->nheap]);
	return c;
}

/* ----- the walk ----- */

/* Let nodes be candidates of which there are estimates. */
void
graph_search_suggest(GraphSearch *search, const Estimate *estimates, int n)
{
	for (; n > 0; n -= NODE_DEGREE, estimates += NODE_DEGREE)
	{
		EstimateBlock *block = pool_next_block(search);

		for (int i = 0; i < NODE_DEGREE; i++)
		{
			block->addrs[i] = i < n ? estimates[i].addr : INVALID_NODE_ADDR;
			block->keys[i] = i < n ? estimates[i].key : INFINITY;
			block->f[i] = i < n ? estimates[i].f : 0.0f;
		}
		pool_take_block(search, block);
	}
}

/* The same of nodes whose exact scores are known. */
void
graph_search_enter(GraphSearch *search, const EntryPoint *points, int n)
{
	Estimate	estimates[NODE_DEGREE];

	for (; n > 0; n -= NODE_DEGREE, points += NODE_DEGREE)
	{
		int			nhere = Min(n, NODE_DEGREE);

		for (int i = 0; i < nhere; i++)
		{
			estimates[i].addr = points[i].addr;
			estimates[i].key = graph_search_key(search->store, search->measure,
												search->query->norm2,
												points[i].ip, points[i].norm);
			estimates[i].f = 0.0f;
		}
		graph_search_suggest(search, estimates, nhere);
	}
}

/* Whether a step has visited a node. */
bool
graph_search_has_visited(const GraphSearch *search, NodeAddr addr)
{
	const HashSlot *slot = hash_slot(search, addr);

	return slot->addr == addr && slot->candidate == CANDIDATE_VISITED;
}

/* The heap rows in an open node that satisfy a filter, a bit each. */
static uint32
matching_rows(const NodeLayout *layout, const GraphNode *node,
			  const FilterSet *filter)
{
	SlotRows	rows;
	uint32		matching = 0;

	if (filter == NULL)
		return PG_UINT32_MAX;
	rows = slot_rows(layout, node);
	for (int i = 0; i < rows.n; i++)
		matching |= (uint32) slot_rows_match(&rows, i, filter) << i;
	return matching;
}

/*
 * Estimate the keys of an open node's neighbours, whose own score is known.  A
 * key is linear in the inner product, so a mean of keys is the key of the mean.
 */
static void
estimate_edges(const GraphSearch *search, const GraphNode *node, float own_ip,
			   EstimateBlock *block)
{
	const NodeLayout *layout = &search->store->layout;
	const uint8 *lanes = node_lanes(layout, node);
	int			ngroups = layout->code_dim / FASTSCAN_GROUP_DIMS;
	EdgeScale	scale = search->query->scale;
	uint32		sums[NODE_DEGREE];
	uint16		factors[EDGE_FACTORS][NODE_DEGREE]; /* t, f and length */

	scale.qp = own_ip;
	kernels->edge_sums(lanes, search->query->lut, ngroups, sums);
	kernels->edge_factors(lanes, ngroups, factors);
	if (search->measure == MEASURE_IP)
	{
		/* the key is minus the score, and the score linear in these */
		scale.qp = -scale.qp;
		scale.delta = -scale.delta;
		scale.bias = -scale.bias;
		kernels->edge_scores(sums, factors[0], factors[1], &scale, block->keys);
	}
	else
	{
		float		scores[NODE_DEGREE];

		kernels->edge_scores(sums, factors[0], factors[1], &scale, scores);
		kernels->edge_distances(scores, factors[2], &search->distance,
								block->keys);
	}
	kernels->f16_to_f32(factors[1], block->f, NODE_DEGREE);
	memcpy(block->addrs, node_addrs(layout, node), sizeof(block->addrs));
	for (int i = 0; i < NODE_DEGREE; i++)
		block->keys[i] = block->addrs[i] == INVALID_NODE_ADDR ? INFINITY :
			block->keys[i];
}

/*
 * Visit the best unvisited candidate and tell what it is; returns false when
 * no candidate is left.  The visit may be of a slot that is no node any more.
 * own, where not NULL, receives a copy of the own vector's coarse digits, and
 * the score then goes by them alone.
 */
bool
graph_search_step(GraphSearch *search, Visit *visit, int8 *own)
{
	GraphStore *store = search->store;
	const NodeLayout *layout = &store->layout;
	Candidate  *c = pool_pop(search);
	EstimateBlock *block;
	const GraphNode *node;
	float		coarse;

	if (c == NULL)
		return false;
	CHECK_FOR_INTERRUPTS();
	search->nvisited++;
	visit->addr = c->addr;
	/* the next step's node, unless this one leads to a better */
	if (search->nheap > 0)
		store->ops->prefetch(store,
							 search->candidates[search->heap[0].candidate].addr);
	node = store->ops->read(store, visit->addr);
	visit->header = *node;
	if (node->kind != SLOT_NODE && node->kind != SLOT_TOMBSTONE)
	{
		store->ops->read_end(store);
		return true;
	}
	coarse = node->scale * kernels->dot_f32_i8(search->query->x,
											   node_own(layout, node),
											   layout->padded_dim);
	visit->ip = coarse;
	if (own == NULL)
		visit->ip += node_fine_ip(layout, node, search->query->x);
	else
		memcpy(own, node_own(layout, node), layout->padded_dim);
	visit->matching = matching_rows(layout, node, search->query->filter);
	block = pool_next_block(search);
	estimate_edges(search, node, coarse, block);
	store->ops->read_end(store);

	visit->key = graph_search_key(store, search->measure, search->query->norm2,
								  visit->ip, visit->header.norm);
	pool_take_block(search, block);
	return true;
}
