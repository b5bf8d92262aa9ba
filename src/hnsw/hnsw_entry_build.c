/*
 * hnsw_entry_build.c
 *		The choice of a build's entry set, unit and M, from all loaded rows.
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"

#include "hnsw/hnsw_build.h"
#include "linalg/blas.h"
#include "vector/mips.h"

/* The same rows in the same order give the same entry set. */
#define ENTRY_SEED UINT64CONST(0x7265637379735f31)

/* Norms that M and the unit are taken from, at the most. */
#define NORM_SAMPLE 100000

/*
 * Share of the items, by norm, that are looked at for champions.  A cell that
 * has none among them keeps the item that gave its direction.
 */
#define CHAMPION_QUANTILE 0.7

/* Entries by each measure that the nodes of a cell are linked from. */
#define CELL_ENTRY_POINTS 64

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

/* A sorted sample of the norms; *n receives its size. */
static float *
norm_sample(Arena *arena, uint32 *n)
{
	uint32		nslots = arena_nslots(arena);
	uint32		step = nslots / NORM_SAMPLE + 1;
	float	   *norms = palloc(sizeof(float) * (nslots / step + 1));

	*n = 0;
	for (uint32 i = 0; i < nslots; i += step)
		norms[(*n)++] = arena_slot(arena, i)->norm;
	qsort(norms, *n, sizeof(float), compare_floats);
	return norms;
}

static OwnVector
slot_own(Arena *arena, NodeAddr addr)
{
	const GraphNode *node = arena_slot(arena, addr);
	OwnVector	own = {node->scale, node->norm, node->err,
	node_own(&arena->base.layout, node), node_fine(&arena->base.layout, node)};

	return own;
}

/* Random items as directions, from entry first on. */
static void
choose_directions(Arena *arena, EntrySet *set, int first)
{
	uint32		nslots = arena_nslots(arena);
	int			ncells = set->n - first;
	pg_prng_state prng;

	pg_prng_seed(&prng, ENTRY_SEED);
	for (int i = 0; i < ncells; i++)
	{
		/* one from each of ncells equal parts of the rows */
		uint64		lo = (uint64) nslots * i / ncells;
		uint64		hi = (uint64) nslots * (i + 1) / ncells;
		NodeAddr	addr = (NodeAddr) (lo + pg_prng_uint64(&prng) % (hi - lo));
		OwnVector	own = slot_own(arena, addr);

		entry_fill(set, first + i, ENTRY_CELL, addr, &own);
	}
}

/* A loaded item and its norm. */
typedef struct Longest
{
	float		norm;
	NodeAddr	addr;
} Longest;

static int
compare_longest(const void *a, const void *b, void *arg)
{
	return compare_floats(&((const Longest *) b)->norm,
						  &((const Longest *) a)->norm);
}

/* The items of largest norm, as entries from 0 on. */
static void
choose_tops(Arena *arena, EntrySet *set, int ntop)
{
	uint32		nslots = arena_nslots(arena);
	Longest    *items = palloc_extended(sizeof(Longest) * (Size) nslots,
										MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < nslots; i++)
	{
		CHECK_FOR_INTERRUPTS();
		items[i].norm = arena_slot(arena, i)->norm;
		items[i].addr = i;
	}
	qsort_interruptible(items, nslots, sizeof(Longest), compare_longest, NULL);
	for (int i = 0; i < ntop; i++)
	{
		OwnVector	own = slot_own(arena, items[i].addr);

		entry_fill(set, i, ENTRY_TOP, items[i].addr, &own);
	}
	pfree(items);
}

/*
 * Begin the entry set of a loaded arena, in the current memory context, and
 * set the arena's unit and M.  There is at least one row.  Its cells have
 * directions, but no champions yet: these are items of at least
 * *champion_norm.
 */
EntrySet *
entry_set_begin(Arena *arena, float *champion_norm)
{
	const NodeLayout *layout = &arena->base.layout;
	Metric		metric = arena->base.metric;
	uint32		nslots = arena_nslots(arena);
	uint32		nnorms;
	float	   *norms = norm_sample(arena, &nnorms);
	int			ntop = Min(entry_capacity(layout, metric, ENTRY_TOP), nslots);
	int			ncells = Min(entry_capacity(layout, metric, ENTRY_CELL), nslots);
	EntrySet   *set = palloc0(entry_set_size(ntop + ncells, layout->padded_dim));

	set->n = ntop + ncells;
	set->padded_dim = layout->padded_dim;
	arena->shared->unit = node_unit(norms[nnorms / 2]);
	*champion_norm = INFINITY;
	choose_directions(arena, set, ntop);
	if (ntop > 0)
	{
		float		radius = norms[(uint32) (nnorms * MIPS_NORM_QUANTILE)];

		arena->shared->radius2 = radius * radius;
		*champion_norm = norms[(uint32) (nnorms * CHAMPION_QUANTILE)];
		choose_tops(arena, set, ntop);
	}
	pfree(norms);
	return set;
}

/* ----- cells ----- */

/* Finds the nearest cells of many vectors at once, by a matrix product. */
struct CellFinder
{
	int			first;			/* entry of the first cell */
	int			ncells;
	int			padded_dim;
	float	   *directions;		/* ncells x padded_dim, of length 1 */
	float	   *vectors;		/* CELL_BATCH x padded_dim */
	float	   *cosines;		/* CELL_BATCH x ncells, times the lengths */
};

/* A finder over a set, all of whose cells come last. */
CellFinder *
cell_finder_create(const EntrySet *set)
{
	CellFinder *finder = palloc(sizeof(CellFinder));
	int			dim = set->padded_dim;

	finder->first = 0;
	while (set->entries[finder->first].kind != ENTRY_CELL)
		finder->first++;
	finder->ncells = set->n - finder->first;
	finder->padded_dim = dim;
	finder->directions = palloc(sizeof(float) * finder->ncells * dim);
	finder->vectors = palloc(sizeof(float) * CELL_BATCH * dim);
	finder->cosines = palloc(sizeof(float) * CELL_BATCH * finder->ncells);
	for (int i = 0; i < finder->ncells; i++)
	{
		const int8 *codes = entry_direction(set, finder->first + i);
		float		scale = set->entries[finder->first + i].inverse_length;

		for (int d = 0; d < dim; d++)
			finder->directions[(Size) i * dim + d] = scale * codes[d];
	}
	return finder;
}

/* The entry whose direction is nearest to each of n slots from first on. */
void
cell_finder_find(CellFinder *finder, Arena *arena, NodeAddr first, int n,
				 int *cells)
{
	int			dim = finder->padded_dim;
	BlasShape	shape = {.rows = n,.outputs = finder->ncells,.inputs = dim};

	for (int i = 0; i < n; i++)
	{
		const int8 *codes = node_own(&arena->base.layout,
									 arena_slot(arena, first + i));

		for (int d = 0; d < dim; d++)
			finder->vectors[(Size) i * dim + d] = codes[d];
	}
	blas_gemm(finder->directions, finder->vectors, NULL, finder->cosines, shape);
	for (int i = 0; i < n; i++)
	{
		const float *cosines = finder->cosines + (Size) i * finder->ncells;
		int			best = 0;

		for (int c = 1; c < finder->ncells; c++)
			if (cosines[c] > cosines[best])
				best = c;
		cells[i] = finder->first + best;
	}
}

void
cell_finder_free(CellFinder *finder)
{
	pfree(finder->directions);
	pfree(finder->vectors);
	pfree(finder->cosines);
	pfree(finder);
}

/* ----- champions ----- */

/*
 * Let an item try for its cell.  A champion is the bits of its length, which
 * are in the order of lengths, and the complement of its address, so that the
 * longest wins and then the first; 0 is none.
 */
void
champion_offer(pg_atomic_uint64 *champion, float norm, NodeAddr addr)
{
	uint64		known = pg_atomic_read_u64(champion);
	uint64		offer;
	uint32		bits;

	memcpy(&bits, &norm, sizeof(bits));
	offer = (uint64) bits << 32 | (NodeAddr) ~addr;
	while (offer > known &&
		   !pg_atomic_compare_exchange_u64(champion, &known, offer))
		;
}

/* Give the cells of a set their champions, each with its entry's number. */
void
entry_set_finish(EntrySet *set, Arena *arena, pg_atomic_uint64 *champions)
{
	for (int i = 0; i < set->n; i++)
	{
		uint64		champion = pg_atomic_read_u64(&champions[i]);
		NodeAddr	addr = ~(NodeAddr) champion;
		OwnVector	own;

		if (champion == 0)
			continue;
		own = slot_own(arena, addr);
		if (own.norm > set->entries[i].norm)
			entry_set_champion(set, i, addr, &own);
	}
	entry_set_augment(set, arena->base.radius2);
}

/* ----- the entries of one cell ----- */

/* Mark the entries that are among some points with a kind other than ENTRY_NONE. */
static void
keep_points(EntrySet *copy, const EntrySet *set, const EntryPoint *points,
			int npoints)
{
	for (int i = 0; i < npoints; i++)
		for (int j = 0; j < set->n; j++)
			if (set->entries[j].addr == points[i].addr)
				copy->entries[j].kind = set->entries[j].kind;
}

/*
 * The part of the entry set from which the nodes of a cell are linked: the
 * best for the cell's direction in each measure.  In the current memory context.
 */
EntrySet *
entry_set_of_cell(const Arena *arena, const EntrySet *set, int cell)
{
	const Entry *e = &set->entries[cell];
	OwnVector	direction = {e->item_norm * e->inverse_length, e->item_norm, 0,
	entry_direction(set, cell), NULL};
	float		radius2 = arena->base.radius2;
	float		ips[ENTRY_MAX];
	EntryQuery	query = {ips, e->item_norm * e->item_norm,
	mips_coordinate(e->item_norm * e->item_norm, radius2)};
	EntryPoint	points[CELL_ENTRY_POINTS];
	EntrySet   *copy = palloc(entry_set_size(set->n, set->padded_dim));
	EntrySet   *part;
	const EdgeList *lists;
	int			nlists = edge_lists(arena->base.metric, &lists);

	memcpy(copy, set, entry_set_size(set->n, set->padded_dim));
	for (int i = 0; i < set->n; i++)
		copy->entries[i].kind = ENTRY_NONE;
	entry_score_own(set, &direction, ips);
	for (int k = 0; k < nlists; k++)
		keep_points(copy, set, points,
					entry_choose(set, lists[k].measure, &query, points,
								 CELL_ENTRY_POINTS));
	part = entry_set_compact(copy);
	entry_set_augment(part, radius2);
	pfree(copy);
	return part;
}
