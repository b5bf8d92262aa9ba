/*
 * hnsw_insert.c
 *		Insert a row: find its neighbours, write its node, link it, and add its
 *		keys to the key tape.
 *
 * A row whose vector a node already holds is added to that node.
 */
#include "postgres.h"

#include <math.h>

#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hnsw/hnsw.h"
#include "hnsw/hnsw_keytape.h"
#include "hnsw/hnsw_longlist.h"

/* What inserts into one index keep from row to row. */
struct Inserter
{
	Relation	index;
	PageWal		wal;
	HnswMeta	meta;
	MemoryContext context;
	FilterEncoder *filters;
	PageStore	store;			/* these three from the first row on */
	Linker	   *linker;
	VectorCoder *coder;
};

/* An inserter in a memory context of its own below the current one. */
Inserter *
inserter_create(Relation index, PageWal wal)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys_hnsw insert",
												  ALLOCSET_DEFAULT_SIZES);
	Inserter   *inserter = MemoryContextAllocZero(context, sizeof(Inserter));
	MemoryContext old;

	inserter->index = index;
	inserter->wal = wal;
	inserter->context = context;
	old = MemoryContextSwitchTo(context);
	inserter->filters = filter_encoder_create(index);
	MemoryContextSwitchTo(old);
	return inserter;
}

void
inserter_close(Inserter *inserter)
{
	if (inserter->linker != NULL)
		page_store_close(&inserter->store);
	MemoryContextDelete(inserter->context);
}

typedef struct MetaStart
{
	int			dim;
	float		norm;
} MetaStart;

/*
 * What the first vector decides about an index: its dimensions, the unit and
 * a first M.
 */
static bool
meta_start(HnswMeta *meta, void *arg)
{
	const MetaStart *start = arg;

	if (meta->dim != 0)
		return false;
	meta->dim = start->dim;
	meta->unit = node_unit(start->norm);
	if (metric_query_measure((Metric) meta->metric) == MEASURE_IP)
		meta->radius2 = start->norm * start->norm;
	return true;
}

/* Read the metapage; the first vector of all fills it in. */
static void
inserter_read_meta(Inserter *inserter, const Vector *vector)
{
	hnsw_meta_read(inserter->index, &inserter->meta);
	if (inserter->meta.dim == 0)
	{
		VectorCoder *coder;
		MetaStart	start;

		coder_check_dim(inserter->index, vector->dim);
		coder = coder_create(vector->dim, inserter->meta.nfilters,
							 (Metric) inserter->meta.metric);
		coder_encode(coder, vector);
		start.dim = vector->dim;
		start.norm = coder->own.norm;
		hnsw_meta_update(inserter->index, inserter->wal, &inserter->meta,
						 meta_start, &start);
	}
}

/* Set up what needs the dimensions. */
static void
inserter_prepare(Inserter *inserter)
{
	MemoryContext old = MemoryContextSwitchTo(inserter->context);

	page_store_init(&inserter->store, inserter->index, &inserter->meta,
					inserter->wal);
	inserter->coder = coder_create(inserter->meta.dim, inserter->meta.nfilters,
								   (Metric) inserter->meta.metric);
	inserter->linker = linker_create(&inserter->store.base,
									 hnsw_ef_construction(inserter->index),
									 inserter->wal == PAGE_WAL_GENERIC ?
									 LINK_SPARSE : LINK_FULL);
	MemoryContextSwitchTo(old);
}

/* Put the encoded vector's row into the graph; returns its node. */
static NodeAddr
inserter_add_row(Inserter *inserter, const NodeRow *row)
{
	VectorCoder *coder = inserter->coder;
	NodeAddr	addr;

	addr = linker_find(inserter->linker,
					   entry_set_cached(inserter->index, &inserter->meta),
					   coder->rotator->rotated, &coder->own, INVALID_NODE_ADDR);
	if (addr != INVALID_NODE_ADDR &&
		node_add_row(&inserter->store.base, addr, &coder->own, row))
		return addr;
	addr = linker_link(inserter->linker, &coder->own, INVALID_NODE_ADDR, row);
	if (!entry_offer(inserter->index, &inserter->meta, inserter->wal, addr,
					 &coder->own) &&
		!linker_is_linked(inserter->linker))
		entry_replace_dead(&inserter->store, &inserter->meta, addr, &coder->own);
	long_list_offer(inserter->index, inserter->wal, &inserter->meta, addr,
					&coder->own);
	return addr;
}

/* Put the encoded vector's row on the key tape. */
static void
inserter_add_to_tape(Inserter *inserter, NodeAddr addr, const NodeRow *row)
{
	const OwnVector *own = &inserter->coder->own;
	TapeRow		tape = {.addr = addr,.row = *row};
	KeyLayout	layout;

	key_layout_of(&layout, &inserter->meta);
	tape_code_encode(&layout.code, inserter->meta.unit, own->scale, own->codes,
					 &tape.code);
	key_tape_add(inserter->index, inserter->wal, &inserter->meta, &tape);
}

/* Insert one row.  The caller holds the insert lock in share mode. */
void
inserter_insert(Inserter *inserter, const Vector *vector, const NodeRow *row)
{
	NodeAddr	addr;

	inserter_read_meta(inserter, vector);
	if (inserter->linker == NULL)
		inserter_prepare(inserter);
	inserter->store.base.radius2 = inserter->meta.radius2;
	coder_encode(inserter->coder, vector);
	addr = inserter_add_row(inserter, row);
	if (inserter->meta.nfilters > 0)
		inserter_add_to_tape(inserter, addr, row);
}

/* The access method's insert: the inserter lives as long as the statement. */
bool
hnsw_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
			Relation heap, IndexUniqueCheck check_unique,
			bool index_unchanged, IndexInfo *index_info)
{
	Inserter   *inserter = index_info->ii_AmCache;
	Vector	   *vector;
	NodeRow		row;

	if (isnull[0])
		return false;
	if (inserter == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(index_info->ii_Context);

		inserter = inserter_create(index, PAGE_WAL_GENERIC);
		index_info->ii_AmCache = inserter;
		MemoryContextSwitchTo(old);
	}
	vector = DatumGetVector(values[0]);
	row.tid = *tid;
	filter_encode(inserter->filters, values, isnull, &row.keys);
	LockPage(index, HNSW_INSERT_LOCK_PAGE, ShareLock);
	inserter_insert(inserter, vector, &row);
	if (inserter->linker != NULL)
		page_store_close(&inserter->store);
	UnlockPage(index, HNSW_INSERT_LOCK_PAGE, ShareLock);
	if ((Pointer) vector != DatumGetPointer(values[0]))
		pfree(vector);
	return false;
}
