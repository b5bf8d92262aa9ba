/*
 * ivf_insert.c
 *		Insert one row: into the list of the nearest centroid.
 *
 * The newest page of a list, its head, is tried first.  entry->insert, where
 * it is valid, is where other pages with free slots begin along the chain;
 * VACUUM sets it, and inserts move it on past pages that are full.
 * When the chain's end is reached it becomes invalid, and new pages are made.
 *
 * One page of the list is locked at a time, and none while the directory is
 * searched, so a page may have been freed, and may be another list's, when we
 * come to it.  Then the list is looked up again.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/rotator.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_space.h"

/*
 * Times that a page may be found gone by one insert.  More than once it takes
 * that the page has come back to the list and left it again meanwhile.
 */
#define MAX_GONE 3

struct IvfInserter
{
	Relation	index;
	PageWal		wal;
	MemoryContext context;
	IvfMeta		meta;
	IvfModel   *model;			/* NULL until the first row */
	Rotator    *rotator;
	IvfCoder   *coder;
	FilterEncoder *filters;
	BlockNumber nblocks;		/* see page_check_block */
	BlockNumber gone;			/* page found gone last, and how often */
	int			ngone;
	ListCopy	nearest;
};

IvfInserter *
ivf_inserter_create(Relation index, PageWal wal)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys_ivfpq insert",
												  ALLOCSET_DEFAULT_SIZES);
	IvfInserter *inserter = MemoryContextAllocZero(context,
												   sizeof(IvfInserter));

	inserter->index = index;
	inserter->wal = wal;
	inserter->context = context;
	return inserter;
}

void
ivf_inserter_close(IvfInserter *inserter)
{
	MemoryContextDelete(inserter->context);
}

/* ----- an index without a model ----- */

/*
 * Model and directory of an untrained index: one list, whose centroid is zero,
 * and codewords that need no data.
 */
static void
untrained_start(Relation index, PageWal wal, IvfMeta *meta, void *arg)
{
	const Vector *vector = arg;
	IvfLayout	layout;
	IvfModel   *model;
	IvfList    *entry;
	Buffer		buffer;
	PageEdit	edit;
	Page		page;
	float	   *zero;

	ivf_check_dim(index, vector->dim);
	meta->dim = vector->dim;
	meta->nsub = ivf_nsub(index, (vector->dim + 63) / 64 * 64);
	meta->refine = ivf_options(index).refine;
	meta->nlists = 1;
	ivf_meta_layout(meta, &layout);

	model = ivf_model_create(meta);
	codebook_set_gaussian(model->codebook);
	meta->model_first = ivf_model_write(index, wal, model);
	meta->directory_first = directory_extend(index, wal, meta, &layout);

	zero = palloc0(sizeof(float) * layout.padded_dim);
	buffer = directory_lock(index, meta, &layout, 0, BUFFER_LOCK_EXCLUSIVE);
	page = page_edit_begin(&edit, index, buffer, wal);
	entry = directory_page_list(&layout, page, 0);
	list_set_centroid(&layout, entry, zero, 0.0f);
	entry->head = entry->insert = entry->run_first = InvalidBlockNumber;
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(buffer);
}

/* Read what holds for the index; the first row of all decides it. */
static void
inserter_prepare(IvfInserter *inserter, const Vector *vector)
{
	MemoryContext old = MemoryContextSwitchTo(inserter->context);
	int			d;

	ivf_meta_read(inserter->index, &inserter->meta);
	if (inserter->meta.dim == 0)
		ivf_meta_start(inserter->index, inserter->wal, &inserter->meta,
					   untrained_start, unconstify(Vector *, vector));
	inserter->model = ivf_model_recall(inserter->index, &inserter->meta);
	d = inserter->model->layout.padded_dim;
	inserter->rotator = rotator_create(inserter->meta.dim, d,
									   (Metric) inserter->meta.metric);
	inserter->coder = ivf_coder_create(inserter->model);
	inserter->filters = filter_encoder_create(inserter->index);
	inserter->nearest.centroid = palloc(sizeof(float) * d);
	MemoryContextSwitchTo(old);
}

/* ----- a place for the row ----- */

/*
 * The list page at a block, exclusively locked, or InvalidBuffer if it is none
 * of this list any more.  Error where it is damaged.
 */
static Buffer
lock_list_page(IvfInserter *inserter, BlockNumber block)
{
	Relation	index = inserter->index;
	Buffer		buffer;
	Page		page;

	page_check_block(index, block, &inserter->nblocks);
	buffer = ReadBuffer(index, block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page) && page_tag(page)->kind == IVF_PAGE_LIST)
	{
		page_check(index, buffer, ivf_tag(IVF_PAGE_LIST));
		if (!list_page_is_valid(&inserter->model->layout, page))
			ivf_list_fault(index, block, "does not count its rows right");
		if (list_page(page)->list == inserter->nearest.list)
			return buffer;
	}
	UnlockReleaseBuffer(buffer);
	return InvalidBuffer;
}

/* Fill a slot of a locked list page, which stays locked. */
static void
inserter_fill(IvfInserter *inserter, Buffer buffer, int slot)
{
	ListSlot	at = {inserter->index, &inserter->model->layout,
		inserter->model->metric, inserter->wal, buffer, slot,
	&inserter->nblocks};
	PageEdit	edit;
	Page		page = page_edit_begin(&edit, inserter->index, buffer,
									   inserter->wal);

	ivf_slot_fill(&at, page, &inserter->coder->row);
	page_edit_end(&edit, true);
}

/* What an attempt to use a page came to. */
typedef enum PlaceResult
{
	PLACE_DONE,
	PLACE_FULL,
	PLACE_GONE					/* the page is not of this list any more */
} PlaceResult;

/*
 * Whoever finds a page gone comes to another one when the list has been looked
 * up again, or else a link is damaged.
 */
static PlaceResult
inserter_page_gone(IvfInserter *inserter, BlockNumber block)
{
	inserter->ngone = block == inserter->gone ? inserter->ngone + 1 : 1;
	inserter->gone = block;
	if (inserter->ngone > MAX_GONE)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" leads from list %u to block %u, which does not belong there",
						RelationGetRelationName(inserter->index),
						inserter->nearest.list, block),
				 errhint("REINDEX the index.")));
	return PLACE_GONE;
}

/*
 * Try the page at a block.  *seq is that of the page before it, and becomes its
 * own; *next becomes the page made before it.
 */
static PlaceResult
inserter_try_page(IvfInserter *inserter, BlockNumber block, uint64 *seq,
				  BlockNumber *next)
{
	Buffer		buffer = lock_list_page(inserter, block);
	const ListPage *head;
	int			slot;

	if (!BufferIsValid(buffer))
		return inserter_page_gone(inserter, block);
	head = list_page(BufferGetPage(buffer));
	if (head->seq >= *seq)
	{
		UnlockReleaseBuffer(buffer);
		return inserter_page_gone(inserter, block);
	}
	*seq = head->seq;
	*next = head->next;
	slot = list_page_free_slot(&inserter->model->layout, BufferGetPage(buffer));
	if (slot >= 0)
		inserter_fill(inserter, buffer, slot);
	UnlockReleaseBuffer(buffer);
	return slot >= 0 ? PLACE_DONE : PLACE_FULL;
}

/* Move entry->insert on, unless someone else has. */
static void
inserter_move_on(IvfInserter *inserter, BlockNumber from, BlockNumber to)
{
	const IvfLayout *layout = &inserter->model->layout;
	uint32		list = inserter->nearest.list;
	Buffer		buffer = directory_lock(inserter->index, &inserter->meta,
										layout, list, BUFFER_LOCK_EXCLUSIVE);
	PageEdit	edit;
	Page		page;

	if (directory_page_list(layout, BufferGetPage(buffer), list)->insert == from)
	{
		page = page_edit_begin(&edit, inserter->index, buffer, inserter->wal);
		directory_page_list(layout, page, list)->insert = to;
		page_edit_end(&edit, true);
	}
	UnlockReleaseBuffer(buffer);
}

/*
 * Count the rows of a page that is full into the entry of its list, whose
 * directory page is locked.
 */
static void
inserter_count_head(IvfInserter *inserter, IvfList *entry)
{
	Buffer		buffer = lock_list_page(inserter, entry->head);
	PageEdit	edit;
	ListPage   *head;
	int			nnew;

	if (!BufferIsValid(buffer))
		return;
	head = list_page(page_edit_begin(&edit, inserter->index, buffer,
									 inserter->wal));
	nnew = (int) head->nlive - head->ncounted;
	if (nnew > 0)
	{
		entry->nrows += nnew;
		entry->width2 += (head->width2 - entry->width2) * nnew / entry->nrows;
		head->ncounted = head->nlive;
	}
	page_edit_end(&edit, nnew > 0);
	UnlockReleaseBuffer(buffer);
}

/*
 * Make a new page at the head of the list, with the row on it.  False, having
 * done nothing, where the list has changed meanwhile.
 */
static bool
inserter_extend_list(IvfInserter *inserter)
{
	const IvfLayout *layout = &inserter->model->layout;
	uint32		list = inserter->nearest.list;
	Buffer		buffer = directory_lock(inserter->index, &inserter->meta,
										layout, list, BUFFER_LOCK_EXCLUSIVE);
	IvfList    *entry = directory_page_list(layout, BufferGetPage(buffer), list);
	Buffer		new_buffer;
	PageEdit	edit;
	PageEdit	new_edit;

	if (entry->head != inserter->nearest.entry.head ||
		entry->insert != InvalidBlockNumber)
	{
		UnlockReleaseBuffer(buffer);
		return false;
	}
	new_buffer = ivf_page_take(inserter->index);
	list_page_init(page_edit_begin(&new_edit, inserter->index, new_buffer,
								   inserter->wal),
				   list, entry->seq + 1, entry->head);
	page_edit_end(&new_edit, true);
	inserter_fill(inserter, new_buffer, 0);

	entry = directory_page_list(layout,
								page_edit_begin(&edit, inserter->index, buffer,
												inserter->wal), list);
	if (entry->head != InvalidBlockNumber)
		inserter_count_head(inserter, entry);
	entry->head = BufferGetBlockNumber(new_buffer);
	entry->seq++;
	page_edit_end(&edit, true);
	UnlockReleaseBuffer(new_buffer);
	UnlockReleaseBuffer(buffer);
	return true;
}

/* Look for room along the chain; PLACE_FULL when its end has been reached. */
static PlaceResult
inserter_walk(IvfInserter *inserter)
{
	BlockNumber first = inserter->nearest.entry.insert;
	BlockNumber block = first;
	BlockNumber next = InvalidBlockNumber;
	uint64		seq = PG_UINT64_MAX;
	PlaceResult result = PLACE_FULL;

	while (block != InvalidBlockNumber)
	{
		CHECK_FOR_INTERRUPTS();
		result = inserter_try_page(inserter, block, &seq, &next);
		if (result != PLACE_FULL)
			break;
		block = next;
	}
	if (block != first && result != PLACE_GONE)
		inserter_move_on(inserter, first, block);
	return result;
}

/* Read the entry of the list anew. */
static void
inserter_refresh(IvfInserter *inserter)
{
	const IvfLayout *layout = &inserter->model->layout;
	uint32		list = inserter->nearest.list;
	Buffer		buffer = directory_lock(inserter->index, &inserter->meta,
										layout, list, BUFFER_LOCK_SHARE);

	inserter->nearest.entry = *directory_page_list(layout,
												   BufferGetPage(buffer), list);
	UnlockReleaseBuffer(buffer);
}

/* Put the encoded row on a page of its list. */
static void
inserter_place(IvfInserter *inserter)
{
	IvfList    *entry = &inserter->nearest.entry;
	BlockNumber next;

	inserter->ngone = 0;
	for (;;)
	{
		PlaceResult result = PLACE_FULL;
		uint64		seq = PG_UINT64_MAX;

		CHECK_FOR_INTERRUPTS();
		if (entry->head != InvalidBlockNumber)
			result = inserter_try_page(inserter, entry->head, &seq, &next);
		if (result == PLACE_FULL && entry->insert != InvalidBlockNumber)
			result = inserter_walk(inserter);
		else if (result == PLACE_FULL && inserter_extend_list(inserter))
			return;
		if (result == PLACE_DONE)
			return;
		inserter_refresh(inserter);
	}
}

/* Insert one row, whose vector is not NULL. */
void
ivf_inserter_insert(IvfInserter *inserter, const Datum *values,
					const bool *isnull, ItemPointer tid)
{
	Vector	   *vector = DatumGetVector(values[0]);
	const float *x;

	if (inserter->model == NULL)
		inserter_prepare(inserter, vector);
	rotator_set_item(inserter->rotator, vector);
	x = inserter->rotator->rotated;
	directory_nearest(inserter->index, &inserter->meta,
					  &inserter->model->layout, x, &inserter->nearest);
	ivf_coder_encode(inserter->coder, x, inserter->nearest.centroid,
					 inserter->nearest.entry.norm2);
	inserter->coder->row.tid = *tid;
	filter_encode(inserter->filters, values, isnull,
				  &inserter->coder->row.keys);
	inserter_place(inserter);
	if ((Pointer) vector != DatumGetPointer(values[0]))
		pfree(vector);
}

/* The access method's insert: the inserter lives as long as the statement. */
bool
ivf_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
		   Relation heap, IndexUniqueCheck check_unique, bool index_unchanged,
		   IndexInfo *index_info)
{
	IvfInserter *inserter = index_info->ii_AmCache;

	if (isnull[0])
		return false;
	if (inserter == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(index_info->ii_Context);

		inserter = ivf_inserter_create(index, PAGE_WAL_GENERIC);
		index_info->ii_AmCache = inserter;
		MemoryContextSwitchTo(old);
	}
	ivf_inserter_insert(inserter, values, isnull, tid);
	return false;
}
