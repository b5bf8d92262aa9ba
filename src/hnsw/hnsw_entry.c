/*
 * hnsw_entry.c
 *		The entry set: where a search enters the graph.
 *
 * On disk the entries lie on pages of their own, whose blocks the metapage
 * lists; entry i is on page i / per_page.  An insert that changes an entry
 * writes its page first and then raises entry_version in the metapage, so
 * that backends drop their copies.  A copy may be old: an entry whose node is
 * gone is skipped by the search.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw_entry.h"
#include "vector/mips.h"

/* Bytes of own vectors that the set may hold, and its least size. */
#define ENTRY_BYTES (256 * 1024)
#define ENTRY_MIN 64

/* Entries of a kind that an index may have. */
int
entry_capacity(const NodeLayout *layout, Metric metric, EntryKind kind)
{
	int			n = ENTRY_BYTES / layout->padded_dim;
	int			top;

	n = Min(Max(n, ENTRY_MIN), ENTRY_MAX);
	top = metric_query_measure(metric) == MEASURE_IP ? n / 4 : 0;
	return kind == ENTRY_TOP ? top : n - top;
}

/* ----- the set in memory ----- */

Size
entry_set_size(int n, int padded_dim)
{
	return offsetof(EntrySet, entries) +
		(Size) n * (sizeof(Entry) + sizeof(float) + 2 * padded_dim);
}

static float *
entry_coordinates(const EntrySet *set)
{
	return (float *) &set->entries[set->n];
}

int8 *
entry_own(const EntrySet *set, int i)
{
	return (int8 *) (entry_coordinates(set) + set->n) +
		(Size) i * set->padded_dim;
}

int8 *
entry_direction(const EntrySet *set, int i)
{
	return entry_own(set, set->n + i);
}

/* Make an item the champion of an entry. */
void
entry_set_champion(EntrySet *set, int i, NodeAddr addr, const OwnVector *own)
{
	set->entries[i].addr = addr;
	set->entries[i].scale = own->scale;
	set->entries[i].norm = own->norm;
	memcpy(entry_own(set, i), own->codes, set->padded_dim);
}

/* Fill a new entry: the item gives the direction and is its champion. */
void
entry_fill(EntrySet *set, int i, EntryKind kind, NodeAddr addr,
		   const OwnVector *own)
{
	int32		length2 = kernels->dot_i8(own->codes, own->codes,
										  set->padded_dim);

	entry_set_champion(set, i, addr, own);
	set->entries[i].kind = kind;
	set->entries[i].item_norm = own->norm;
	set->entries[i].inverse_length = length2 > 0 ? 1.0f / sqrtf(length2) : 0.0f;
	memcpy(entry_direction(set, i), own->codes, set->padded_dim);
}

/*
 * A copy of a set without its entries of kind ENTRY_NONE, in the current
 * memory context.  Its coordinates of the augmentation are not set.
 */
EntrySet *
entry_set_compact(const EntrySet *set)
{
	EntrySet   *copy = palloc0(entry_set_size(set->n, set->padded_dim));
	int			n = 0;

	for (int i = 0; i < set->n; i++)
		copy->n += set->entries[i].kind != ENTRY_NONE;
	copy->version = set->version;
	copy->padded_dim = set->padded_dim;
	for (int i = 0; i < set->n; i++)
	{
		if (set->entries[i].kind == ENTRY_NONE)
			continue;
		copy->entries[n] = set->entries[i];
		memcpy(entry_own(copy, n), entry_own(set, i), set->padded_dim);
		memcpy(entry_direction(copy, n), entry_direction(set, i),
			   set->padded_dim);
		n++;
	}
	return copy;
}

/* The cell whose direction is nearest to a vector, or -1 without cells. */
int
entry_nearest_cell(const EntrySet *set, const int8 *codes)
{
	int			best = -1;
	float		best_cosine = -INFINITY;

	for (int i = 0; i < set->n; i++)
	{
		float		cosine;

		if (set->entries[i].kind != ENTRY_CELL)
			continue;
		cosine = set->entries[i].inverse_length *
			kernels->dot_i8(codes, entry_direction(set, i), set->padded_dim);
		if (cosine > best_cosine)
		{
			best_cosine = cosine;
			best = i;
		}
	}
	return best;
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return (x > y) - (x < y);
}

/* M^2 from the sample of norms that the cells' directions are. */
static float
entry_set_radius2(const EntrySet *set)
{
	float	   *norms = palloc(sizeof(float) * (set->n + 1));
	int			n = 0;
	float		radius;

	for (int i = 0; i < set->n; i++)
		if (set->entries[i].kind == ENTRY_CELL)
			norms[n++] = set->entries[i].item_norm;
	norms[n] = 0.0f;
	qsort(norms, n, sizeof(float), compare_floats);
	radius = norms[Min((int) (n * MIPS_NORM_QUANTILE), Max(n - 1, 0))];
	pfree(norms);
	return radius * radius;
}

/* Compute the champions' coordinates of the augmentation. */
void
entry_set_augment(EntrySet *set, float radius2)
{
	for (int i = 0; i < set->n; i++)
		entry_coordinates(set)[i] =
			mips_coordinate(set->entries[i].norm * set->entries[i].norm, radius2);
}

/* ips[i] = <rotated, champion i>. */
void
entry_score_query(const EntrySet *set, const float *rotated, float *ips)
{
	for (int i = 0; i < set->n; i++)
		ips[i] = set->entries[i].scale *
			kernels->dot_f32_i8(rotated, entry_own(set, i), set->padded_dim);
}

/* The same for a vector of which the coarse digits are enough. */
void
entry_score_own(const EntrySet *set, const OwnVector *own, float *ips)
{
	for (int i = 0; i < set->n; i++)
		ips[i] = set->entries[i].scale * own->scale *
			kernels->dot_i8(own->codes, entry_own(set, i), set->padded_dim);
}

/* Put a point into its place among the best, unless its node is there. */
static int
points_insert(EntryPoint *points, int n, int max, EntryPoint p)
{
	int			place;

	for (place = 0; place < n; place++)
		if (points[place].addr == p.addr)
			return n;
	for (place = Min(n, max - 1);
		 place > 0 && points[place - 1].key > p.key; place--)
		points[place] = points[place - 1];
	points[place] = p;
	return Min(n + 1, max);
}

/*
 * The best distinct entries of a scored set, best first, at most max; returns
 * their number.
 */
int
entry_choose(const EntrySet *set, Measure measure, const EntryQuery *query,
			 EntryPoint *points, int max)
{
	const float *coordinates = entry_coordinates(set);
	int			n = 0;

	for (int i = 0; i < set->n; i++)
	{
		const Entry *e = &set->entries[i];
		float		key = -query->ips[i];

		if (measure == MEASURE_L2)
		{
			float		z = query->coordinate - coordinates[i];

			key = query->norm2 + e->norm * e->norm + 2.0f * key + z * z;
		}
		if (e->kind != ENTRY_NONE &&
			(n < max || key < points[n - 1].key))
		{
			EntryPoint	p = {e->addr, query->ips[i], e->norm, key};

			n = points_insert(points, n, max, p);
		}
	}
	return n;
}

/* ----- the set on pages ----- */

static Size
entry_slot_size(int padded_dim)
{
	return sizeof(Entry) + 2 * padded_dim;
}

static int
entries_per_page(int padded_dim)
{
	return PAGE_CONTENT_SIZE / entry_slot_size(padded_dim);
}

static Entry *
entry_on_page(Page page, int padded_dim, int i)
{
	return (Entry *) (page_content(page) + entry_slot_size(padded_dim) *
					  (i % entries_per_page(padded_dim)));
}

/* Pin and lock the page of entry i. */
static Buffer
entry_page_lock(Relation index, const HnswMeta *meta, int padded_dim, int i,
				int mode)
{
	int			page = i / entries_per_page(padded_dim);
	Buffer		buffer;

	if (page >= meta->nentry_blocks)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has no page for entry %d",
						RelationGetRelationName(index), i),
				 errhint("REINDEX the index.")));
	buffer = ReadBuffer(index, meta->entry_blocks[page]);
	LockBuffer(buffer, mode);
	page_check(index, buffer, hnsw_tag(HNSW_PAGE_ENTRY));
	return buffer;
}

/* Copy an entry between the set in memory and its slot on a page. */
static void
entry_load(EntrySet *set, int i, const Entry *slot)
{
	const int8 *vectors = (const int8 *) (slot + 1);

	set->entries[i] = *slot;
	memcpy(entry_own(set, i), vectors, set->padded_dim);
	memcpy(entry_direction(set, i), vectors + set->padded_dim, set->padded_dim);
}

static void
entry_store(const EntrySet *set, int i, Entry *slot)
{
	int8	   *vectors = (int8 *) (slot + 1);

	*slot = set->entries[i];
	memcpy(vectors, entry_own(set, i), set->padded_dim);
	memcpy(vectors + set->padded_dim, entry_direction(set, i), set->padded_dim);
}

/* Error unless an entry that has been loaded is one, or free. */
static void
entry_check(Relation index, const EntrySet *set, int i, BlockNumber block)
{
	const Entry *e = &set->entries[i];

	if (e->kind > ENTRY_CELL || !isfinite(e->scale) || !isfinite(e->norm) ||
		!isfinite(e->inverse_length) || !isfinite(e->item_norm))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has an entry %d at block %u whose kind, length or direction is invalid",
						RelationGetRelationName(index), i, block),
				 errhint("REINDEX the index.")));
}

/* Read the set from its pages into a new piece of the current context. */
EntrySet *
entry_set_read(Relation index, const HnswMeta *meta)
{
	NodeLayout	layout;
	EntrySet   *set;
	Buffer		buffer = InvalidBuffer;

	node_layout_init(&layout, meta->dim, meta->nfilters);
	set = palloc0(entry_set_size(meta->nentries, layout.padded_dim));
	set->version = meta->entry_version;
	set->n = meta->nentries;
	set->padded_dim = layout.padded_dim;
	for (int i = 0; i < set->n; i++)
	{
		if (i % entries_per_page(set->padded_dim) == 0)
		{
			if (BufferIsValid(buffer))
				UnlockReleaseBuffer(buffer);
			buffer = entry_page_lock(index, meta, set->padded_dim, i,
									 BUFFER_LOCK_SHARE);
		}
		entry_load(set, i, entry_on_page(BufferGetPage(buffer),
										 set->padded_dim, i));
		entry_check(index, set, i, BufferGetBlockNumber(buffer));
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
	entry_set_augment(set, meta->radius2);
	return set;
}

/*
 * The backend's copy of the set, read anew where the metapage says that it
 * has changed.  It may go away with the next relation cache invalidation:
 * use it at once.  An error while it is read leaves nothing in the relation
 * cache's memory.
 */
const EntrySet *
entry_set_cached(Relation index, const HnswMeta *meta)
{
	EntrySet   *set = index->rd_amcache;
	EntrySet   *fresh;
	Size		size;

	if (set != NULL && set->version == meta->entry_version &&
		set->n == meta->nentries)
		return set;
	fresh = entry_set_read(index, meta);
	if (index->rd_amcache != NULL)
	{
		pfree(index->rd_amcache);
		index->rd_amcache = NULL;
	}
	size = entry_set_size(fresh->n, fresh->padded_dim);
	set = MemoryContextAlloc(index->rd_indexcxt, size);
	memcpy(set, fresh, size);
	pfree(fresh);
	index->rd_amcache = set;
	return set;
}

/* Write entry i of a set to its page. */
static void
entry_write(Relation index, const HnswMeta *meta, PageWal wal,
			const EntrySet *set, int i, bool only_if_longer)
{
	Buffer		buffer = entry_page_lock(index, meta, set->padded_dim, i,
										 BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, wal);
	Entry	   *slot = entry_on_page(page, set->padded_dim, i);
	bool		change = !only_if_longer || slot->kind == ENTRY_NONE ||
	slot->norm < set->entries[i].norm;

	if (change)
		entry_store(set, i, slot);
	page_edit_end(&edit, change);
	UnlockReleaseBuffer(buffer);
}

/* Arguments of the metapage updates below. */
typedef struct EntryMetaChange
{
	int			padded_dim;
	BlockNumber block;			/* new page, or InvalidBlockNumber */
	int			reserved;		/* result: entry number, or -1 */
	float		radius2;		/* new M^2, or -1 to keep it */
} EntryMetaChange;

/* Reserve the number of a new entry, where there is a page for it. */
static bool
meta_reserve_entry(HnswMeta *meta, void *arg)
{
	EntryMetaChange *change = arg;

	if (change->block != InvalidBlockNumber &&
		meta->nentry_blocks < ENTRY_MAX_BLOCKS)
		meta->entry_blocks[meta->nentry_blocks++] = change->block;
	change->reserved = -1;
	if (meta->nentries < ENTRY_MAX && meta->nentries <
		meta->nentry_blocks * entries_per_page(change->padded_dim))
		change->reserved = meta->nentries++;
	return change->reserved >= 0;
}

/* Tell all backends that the set has changed. */
static bool
meta_raise_version(HnswMeta *meta, void *arg)
{
	EntryMetaChange *change = arg;

	meta->entry_version++;
	if (change->radius2 >= 0.0f)
		meta->radius2 = change->radius2;
	return true;
}

/*
 * Reserve a new entry; returns its number, or -1 where all pages are taken.
 * Two backends may each add a page; the second serves later entries.
 */
static int
entry_reserve(Relation index, HnswMeta *meta, PageWal wal, int padded_dim)
{
	EntryMetaChange change = {padded_dim, InvalidBlockNumber, -1, -1.0f};

	hnsw_meta_update(index, wal, meta, meta_reserve_entry, &change);
	if (change.reserved < 0 && meta->nentry_blocks < ENTRY_MAX_BLOCKS)
	{
		change.block = hnsw_page_add(index, wal, HNSW_PAGE_ENTRY);
		hnsw_meta_update(index, wal, meta, meta_reserve_entry, &change);
	}
	return change.reserved;
}

/* What entry_offer has decided to do. */
typedef struct EntryPlan
{
	bool		add_top;
	bool		add_cell;
	int			replace_top;	/* entry, or -1 */
	int			replace_cell;
	float		radius2;
} EntryPlan;

/* Decide which entries an item of an inner product index should take. */
static EntryPlan
entry_plan(const EntrySet *set, const NodeLayout *layout, Metric metric,
		   const OwnVector *own)
{
	EntryPlan	plan = {false, false, -1, -1, -1.0f};
	bool		by_norm = metric_query_measure(metric) == MEASURE_IP;
	bool		full = set->n >= ENTRY_MAX;
	int			ntop = 0;
	int			ncells = 0;
	float		smallest = INFINITY;

	for (int i = 0; i < set->n; i++)
	{
		const Entry *e = &set->entries[i];

		if (e->kind == ENTRY_CELL)
			ncells++;
		else if (e->kind == ENTRY_TOP)
		{
			ntop++;
			if (e->norm < smallest)
			{
				smallest = e->norm;
				plan.replace_top = i;
			}
		}
	}
	plan.add_cell = !full &&
		ncells < entry_capacity(layout, metric, ENTRY_CELL);
	plan.add_top = !full && ntop < entry_capacity(layout, metric, ENTRY_TOP);
	if (plan.add_top || own->norm <= smallest)
		plan.replace_top = -1;
	if (by_norm && !plan.add_cell)
	{
		plan.replace_cell = entry_nearest_cell(set, own->codes);
		if (plan.replace_cell >= 0 &&
			set->entries[plan.replace_cell].norm >= own->norm)
			plan.replace_cell = -1;
	}
	if (by_norm && plan.add_cell && ncells > 0)
		plan.radius2 = entry_set_radius2(set);
	return plan;
}

/*
 * Let a new node take its place in the entry set, if it has one.  The node
 * must have been written.  *meta is brought up to date.  Returns whether it has
 * been added to the set, which then has grown.
 */
bool
entry_offer(Relation index, HnswMeta *meta, PageWal wal, NodeAddr addr,
			const OwnVector *own)
{
	NodeLayout	layout;
	EntrySet   *one;
	EntryPlan	plan;
	EntryMetaChange change = {0, InvalidBlockNumber, -1, -1.0f};
	bool		added = false;

	node_layout_init(&layout, meta->dim, meta->nfilters);
	plan = entry_plan(entry_set_cached(index, meta), &layout,
					  (Metric) meta->metric, own);
	if (!plan.add_top && !plan.add_cell &&
		plan.replace_top < 0 && plan.replace_cell < 0)
		return false;
	one = entry_set_read(index, meta);
	if (plan.replace_top >= 0)
		entry_fill(one, plan.replace_top, ENTRY_TOP, addr, own);
	if (plan.replace_cell >= 0)
		entry_set_champion(one, plan.replace_cell, addr, own);
	if (plan.replace_top >= 0)
		entry_write(index, meta, wal, one, plan.replace_top, true);
	if (plan.replace_cell >= 0)
		entry_write(index, meta, wal, one, plan.replace_cell, true);
	for (EntryKind kind = ENTRY_TOP; kind <= ENTRY_CELL; kind++)
	{
		int			i;

		if (!(kind == ENTRY_TOP ? plan.add_top : plan.add_cell))
			continue;
		i = entry_reserve(index, meta, wal, layout.padded_dim);
		if (i < 0)
			continue;
		pfree(one);
		one = entry_set_read(index, meta);
		entry_fill(one, i, kind, addr, own);
		entry_write(index, meta, wal, one, i, true);
		added = true;
	}
	pfree(one);
	change.radius2 = plan.radius2;
	hnsw_meta_update(index, wal, meta, meta_raise_version, &change);
	return added;
}

/* ----- entries whose node is dead ----- */

static bool
node_is_alive(GraphStore *store, NodeAddr addr)
{
	bool		alive = store->ops->read(store, addr)->kind == SLOT_NODE;

	store->ops->read_end(store);
	return alive;
}

/*
 * Put a node into the place of the entry of another; false where that has lost
 * it meanwhile.  No entry goes to a slot before VACUUM has rewritten the set, so
 * the address tells whether the entry is still the same.
 */
static bool
entry_displace(PageStore *store, const HnswMeta *meta, NodeAddr old,
			   NodeAddr addr, const OwnVector *own)
{
	EntrySet   *set = entry_set_read(store->index, meta);
	bool		done = false;

	for (int i = 0; !done && i < set->n; i++)
	{
		Buffer		buffer;
		PageEdit	edit;
		Page		page;
		Entry	   *slot;

		if (set->entries[i].addr != old || set->entries[i].kind == ENTRY_NONE)
			continue;
		entry_fill(set, i, set->entries[i].kind, addr, own);
		buffer = entry_page_lock(store->index, meta, set->padded_dim, i,
								 BUFFER_LOCK_EXCLUSIVE);
		page = page_edit_begin(&edit, store->index, buffer, store->wal);
		slot = entry_on_page(page, set->padded_dim, i);
		done = slot->addr == old && slot->kind == set->entries[i].kind;
		if (done)
			entry_store(set, i, slot);
		page_edit_end(&edit, done);
		UnlockReleaseBuffer(buffer);
	}
	pfree(set);
	return done;
}

/*
 * Let a new node to which no edge leads take the place of an entry whose node is
 * dead.  It has found no live neighbour, since VACUUM, which may have been
 * interrupted, has not got to the tombstones that searches meet; so the entries
 * nearest to it are among these.  *meta is brought up to date.
 */
void
entry_replace_dead(PageStore *store, HnswMeta *meta, NodeAddr addr,
				   const OwnVector *own)
{
	const EntrySet *set = entry_set_cached(store->index, meta);
	EntryMetaChange change = {0, InvalidBlockNumber, -1, -1.0f};
	EntryPoint	points[LINK_ENTRY_POINTS];
	float		ips[ENTRY_MAX];
	float		norm2 = own->norm * own->norm;
	EntryQuery	query = {ips, norm2, mips_coordinate(norm2, meta->radius2)};
	int			npoints;

	entry_score_own(set, own, ips);
	npoints = entry_choose(set, MEASURE_L2, &query, points, LINK_ENTRY_POINTS);
	for (int i = 0; i < npoints; i++)
		if (!node_is_alive(&store->base, points[i].addr) &&
			entry_displace(store, meta, points[i].addr, addr, own))
		{
			hnsw_meta_update(store->index, store->wal, meta,
							 meta_raise_version, &change);
			return;
		}
}

/* ----- the whole set ----- */

/* Number of entries and pages that a whole set takes. */
static bool
meta_set_entries(HnswMeta *meta, void *arg)
{
	const EntrySet *set = arg;

	meta->nentries = set->n;
	meta->entry_version++;
	return true;
}

static bool
meta_add_entry_block(HnswMeta *meta, void *arg)
{
	meta->entry_blocks[meta->nentry_blocks++] = *(BlockNumber *) arg;
	return true;
}

/*
 * Add pages until there is room for a whole set; returns the number of blocks
 * that the index then has.
 */
BlockNumber
entry_set_reserve(Relation index, HnswMeta *meta, PageWal wal,
				  const EntrySet *set)
{
	while (meta->nentry_blocks * entries_per_page(set->padded_dim) < set->n)
	{
		BlockNumber block = hnsw_page_add(index, wal, HNSW_PAGE_ENTRY);

		hnsw_meta_update(index, wal, meta, meta_add_entry_block, &block);
	}
	return RelationGetNumberOfBlocks(index);
}

/* Forget entry i on its page, so that whatever takes it next is longer. */
static void
entry_clear(Relation index, const HnswMeta *meta, PageWal wal, int padded_dim,
			int i)
{
	Buffer		buffer = entry_page_lock(index, meta, padded_dim, i,
										 BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, index, buffer, wal);

	memset(entry_on_page(page, padded_dim, i), 0, entry_slot_size(padded_dim));
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/*
 * Write a whole set in place of the one on disk.  Used by a build and by
 * VACUUM, which keep out inserts meanwhile.
 */
void
entry_set_write(Relation index, HnswMeta *meta, PageWal wal,
				const EntrySet *set)
{
	entry_set_reserve(index, meta, wal, set);
	for (int i = 0; i < set->n; i++)
		entry_write(index, meta, wal, set, i, false);
	for (int i = set->n; i < meta->nentries; i++)
		entry_clear(index, meta, wal, set->padded_dim, i);
	hnsw_meta_update(index, wal, meta, meta_set_entries, (void *) set);
}
