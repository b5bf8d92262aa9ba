/*
 * hnsw_entry_repair.c
 *		VACUUM's part in the entry set: entries whose node is gone.
 *
 * VACUUM offers all live nodes while it reads them, and then writes the set.
 * For inner product an entry of the largest norms goes to the next largest,
 * and a cell to the largest norm among its live items; a cell without any is
 * dropped, which makes room for the directions of later rows.  For the other
 * metrics live nodes, spread evenly over the pages, take the places.
 */
#include "postgres.h"

#include <math.h>

#include "hnsw/hnsw_vacuum.h"
#include "vector/mips.h"

/* Norms that M is taken from. */
#define NORM_SAMPLE 4096

/* A live node that may become an entry. */
typedef struct Champion
{
	NodeAddr	addr;			/* or INVALID_NODE_ADDR */
	OwnVector	own;			/* codes are the repair's */
} Champion;

struct EntryRepair
{
	const EntrySet *set;		/* as VACUUM found it */
	const SlotSet *gone;
	NodeLayout	layout;
	bool		by_norm;		/* inner product */
	int			ngone_cells;
	uint64		nnodes;			/* that are expected to be offered */
	uint64		noffered;
	int		   *gone_cells;		/* entries of cells whose champion is gone */
	Champion   *champions;		/* their new ones, by entry */
	int			nspare;			/* live nodes that are no cell's champion: */
	int			max_spare;		/* the largest norms, or an even sample */
	Champion   *spare;
	int			nnorms;
	float	   *norms;			/* NORM_SAMPLE */
};

static Champion *
champions_alloc(const NodeLayout *layout, int n)
{
	Champion   *champions = palloc0(sizeof(Champion) * (n + 1));
	int8	   *codes = palloc((Size) layout->padded_dim * (n + 1));

	for (int i = 0; i < n; i++)
	{
		champions[i].addr = INVALID_NODE_ADDR;
		champions[i].own.codes = codes + (Size) i * layout->padded_dim;
	}
	return champions;
}

static void
champion_set(const EntryRepair *repair, Champion *champion, NodeAddr addr,
			 const OwnVector *own)
{
	champion->addr = addr;
	champion->own.scale = own->scale;
	champion->own.norm = own->norm;
	champion->own.err = own->err;
	memcpy(champion->own.codes, own->codes, repair->layout.padded_dim);
}

/*
 * Begin, in the current memory context.  set and gone must stay; nnodes is
 * about the number of live nodes.
 */
EntryRepair *
entry_repair_create(const EntrySet *set, const HnswMeta *meta,
					const SlotSet *gone, uint64 nnodes)
{
	EntryRepair *repair = palloc0(sizeof(EntryRepair));
	int			ntops = 0;

	repair->set = set;
	repair->gone = gone;
	repair->nnodes = Max(nnodes, 1);
	repair->by_norm =
		metric_query_measure((Metric) meta->metric) == MEASURE_IP;
	node_layout_init(&repair->layout, meta->dim, meta->nfilters);
	repair->gone_cells = palloc(sizeof(int) * (set->n + 1));
	for (int i = 0; i < set->n; i++)
	{
		if (set->entries[i].kind == ENTRY_TOP)
			ntops++;
		else if (set->entries[i].kind == ENTRY_CELL &&
				 slot_set_has(gone, set->entries[i].addr))
			repair->gone_cells[repair->ngone_cells++] = i;
	}
	repair->max_spare = repair->by_norm ? ntops : repair->ngone_cells;
	repair->spare = champions_alloc(&repair->layout, repair->max_spare);
	repair->champions = champions_alloc(&repair->layout, set->n);
	repair->norms = palloc(sizeof(float) * NORM_SAMPLE);
	return repair;
}

/* ----- offers ----- */

/*
 * Whether the node that is being offered belongs to an even sample of n: the
 * share of n that is due grows past a whole number with it.
 */
static bool
sample_takes(const EntryRepair *repair, uint64 n)
{
	return (repair->noffered + 1) * n / repair->nnodes >
		repair->noffered * n / repair->nnodes;
}

/* Keep the nodes of largest norm. */
static void
offer_top(EntryRepair *repair, NodeAddr addr, const OwnVector *own)
{
	Champion   *smallest = repair->spare;

	if (repair->nspare < repair->max_spare)
	{
		champion_set(repair, &repair->spare[repair->nspare++], addr, own);
		return;
	}
	for (int i = 1; i < repair->nspare; i++)
		if (repair->spare[i].own.norm < smallest->own.norm)
			smallest = &repair->spare[i];
	if (repair->nspare > 0 && own->norm > smallest->own.norm)
		champion_set(repair, smallest, addr, own);
}

/*
 * Let a node try for its cell, if that has lost its champion.  The cells
 * concerned are looked at first, as they are often few.
 */
static void
offer_cell(EntryRepair *repair, NodeAddr addr, const OwnVector *own)
{
	const EntrySet *set = repair->set;
	float		best_cosine = -INFINITY;
	int			best = -1;

	for (int i = 0; i < repair->ngone_cells; i++)
	{
		int			cell = repair->gone_cells[i];
		float		cosine = set->entries[cell].inverse_length *
		kernels->dot_i8(own->codes, entry_direction(set, cell),
						set->padded_dim);

		if (cosine > best_cosine)
		{
			best_cosine = cosine;
			best = cell;
		}
	}
	if (best < 0 || (repair->champions[best].addr != INVALID_NODE_ADDR &&
					 repair->champions[best].own.norm >= own->norm))
		return;
	if (entry_nearest_cell(set, own->codes) == best)
		champion_set(repair, &repair->champions[best], addr, own);
}

/* Tell of a live node. */
void
entry_repair_offer(EntryRepair *repair, NodeAddr addr, const OwnVector *own)
{
	/* what is damaged must not come to the metapage, for which all would fail */
	if (!isfinite(own->scale) || !isfinite(own->norm))
		return;
	if (repair->by_norm)
	{
		if (repair->nnorms < NORM_SAMPLE && sample_takes(repair, NORM_SAMPLE))
			repair->norms[repair->nnorms++] = own->norm;
		offer_top(repair, addr, own);
		offer_cell(repair, addr, own);
	}
	else if (repair->nspare < repair->max_spare &&
			 sample_takes(repair, repair->max_spare))
		champion_set(repair, &repair->spare[repair->nspare++], addr, own);
	repair->noffered++;
}

/* ----- the new set ----- */

static bool
set_has(const EntrySet *set, EntryKind kind, NodeAddr addr)
{
	for (int i = 0; i < set->n; i++)
		if (set->entries[i].kind == kind && set->entries[i].addr == addr)
			return true;
	return false;
}

/* Take a spare node that is no entry of the kind yet; false without one. */
static bool
take_spare(EntryRepair *repair, EntrySet *set, int i, EntryKind kind)
{
	while (repair->nspare > 0)
	{
		const Champion *spare = &repair->spare[--repair->nspare];

		if (set_has(set, kind, spare->addr))
			continue;
		entry_fill(set, i, kind, spare->addr, &spare->own);
		return true;
	}
	return false;
}

/* Give an entry whose node is gone to another node; false without one. */
static bool
replace_entry(EntryRepair *repair, EntrySet *set, int i)
{
	const Champion *champion = &repair->champions[i];

	if (set->entries[i].kind == ENTRY_TOP || !repair->by_norm)
		return take_spare(repair, set, i, set->entries[i].kind);
	if (i >= repair->set->n || champion->addr == INVALID_NODE_ADDR)
		return false;
	entry_set_champion(set, i, champion->addr, &champion->own);
	return true;
}

/* By norm, the largest last. */
static int
compare_champions(const void *a, const void *b)
{
	float		x = ((const Champion *) a)->own.norm;
	float		y = ((const Champion *) b)->own.norm;

	return (x > y) - (x < y);
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

static bool
meta_set_radius2(HnswMeta *meta, void *arg)
{
	meta->radius2 = *(float *) arg;
	meta->entry_version++;		/* copies hold coordinates that follow M */
	return true;
}

/* Take M anew from the norms of the live nodes. */
static void
write_radius(EntryRepair *repair, Relation index, HnswMeta *meta)
{
	float		radius;
	float		radius2;

	if (repair->nnorms == 0)
		return;
	qsort(repair->norms, repair->nnorms, sizeof(float), compare_floats);
	radius = repair->norms[(int) (repair->nnorms * MIPS_NORM_QUANTILE)];
	radius2 = radius * radius;
	hnsw_meta_update(index, PAGE_WAL_GENERIC, meta, meta_set_radius2, &radius2);
}

/*
 * Write the set without entries whose node is gone, and return it.  *meta is
 * brought up to date.  The caller keeps inserts out: what they have changed in
 * the set since it was read stays.
 */
EntrySet *
entry_repair_write(EntryRepair *repair, Relation index, HnswMeta *meta)
{
	EntrySet   *set;
	EntrySet   *written;
	bool		changed = false;

	hnsw_meta_read(index, meta);
	write_radius(repair, index, meta);
	set = entry_set_read(index, meta);
	if (repair->by_norm)
		qsort(repair->spare, repair->nspare, sizeof(Champion),
			  compare_champions);
	for (int i = 0; i < set->n; i++)
	{
		if (set->entries[i].kind == ENTRY_NONE ||
			!slot_set_has(repair->gone, set->entries[i].addr))
			continue;
		changed = true;
		if (!replace_entry(repair, set, i))
			set->entries[i].kind = ENTRY_NONE;
	}
	if (!changed)
		return set;
	written = entry_set_compact(set);
	entry_set_augment(written, meta->radius2);
	entry_set_write(index, meta, PAGE_WAL_GENERIC, written);
	pfree(set);
	return written;
}
