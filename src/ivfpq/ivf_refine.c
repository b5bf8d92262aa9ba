/*
 * ivf_refine.c
 *		The candidates of a scan get their true scores, or nearly.
 *
 * With a tape each candidate's record is read and scored, page by page in the
 * order of blocks.  A tape page that by now is of another kind, or for other
 * slots, has been freed by VACUUM: its rows were dead to everyone, and are left
 * out.  A record that was written again is scored as it is now, under the TID
 * of the old row, which no snapshot can see any more.
 *
 * Without a tape the rows of the table are read, as the scan's snapshot sees
 * them, and the operator computes the distance.  Then it is exact, and the
 * executor need not compute it again.
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "index/buffer_hint.h"
#include "ivfpq/ivf_coder.h"
#include "ivfpq/ivf_scan.h"
#include "ivfpq/ivf_tape.h"

/* A row has been scored: note it, and how far the estimate was off. */
static void
refine_add(IvfScan *so, const Candidate *candidate, double bound, float score)
{
	double		error = (double) score - candidate->score;

	found_rows_add(&so->found, bound, &candidate->tid);
	so->nrefined++;
	if (found_bound_is_last(bound))
		return;
	if (so->nscores == so->max_scores)
	{
		so->max_scores = so->max_scores == 0 ? 256 : so->max_scores * 2;
		so->scores = so->scores == NULL ?
			palloc(sizeof(float) * so->max_scores) :
			repalloc_huge(so->scores, sizeof(float) * (Size) so->max_scores);
	}
	so->scores[so->nscores++] = score;
	so->error2 += error * error;
}

/* ----- by the tape ----- */

/* In the order of their records. */
static int
compare_places(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->tape != y->tape)
		return x->tape < y->tape ? -1 : 1;
	return (int) x->slot - (int) y->slot;
}

static void
refine_by_record(IvfScan *so, const Candidate *candidate,
				 const TapeRecord *record)
{
	Metric		metric = so->model->metric;
	ScoredVector scored = {.query_norm = so->query_norm};
	float		score;

	tape_record_score(&so->model->layout, record, so->query, &scored);
	score = scored.ip;
	if (ivf_metric_is_centred(metric))
		score -= (so->norm2 + scored.norm * scored.norm) / 2.0;
	refine_add(so, candidate, metric_lower_bound(metric, &scored), score);
}

/* Refine n candidates whose records share a page. */
static void
refine_tape_page(IvfScan *so, const Candidate *candidates, int n)
{
	const IvfLayout *layout = &so->model->layout;
	Buffer		buffer;
	Page		page;

	page_check_block(so->index, candidates[0].tape, &so->nblocks);
	buffer = buffer_hint_read(so->index, candidates[0].tape);
	page = BufferGetPage(buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (!PageIsNew(page) && page_tag(page)->kind == IVF_PAGE_TAPE)
	{
		page_check(so->index, buffer, ivf_tag(IVF_PAGE_TAPE));
		for (int i = 0; i < n; i++)
			if (tape_page(page)->first_slot ==
				candidates[i].slot / layout->tape_slots * layout->tape_slots)
				refine_by_record(so, &candidates[i],
								 tape_page_record(layout, page,
												  candidates[i].slot));
	}
	UnlockReleaseBuffer(buffer);
}

/*
 * Records lie anywhere in memory, and waiting for them took more than half of
 * the time; so they are fetched this many candidates ahead.
 */
#define PREFETCH_DISTANCE 6

static void
refine_prefetch(IvfScan *so, const Candidate *candidate)
{
	const IvfLayout *layout = &so->model->layout;
	const char *page = buffer_hint_address(so->index, candidate->tape);
	const char *record;

	if (page == NULL)
		return;
	__builtin_prefetch(page);
	record = tape_page_record(layout, (Page) page, candidate->slot);
	for (Size off = 0; off < layout->tape_record; off += 64)
		__builtin_prefetch(record + off);
}

static void
refine_by_tape(IvfScan *so, Candidate *items, int n)
{
	int			end;

	qsort(items, n, sizeof(Candidate), compare_places);
	for (int i = 0; i < n; i = end)
	{
		CHECK_FOR_INTERRUPTS();
		for (end = i + 1; end < n && items[end].tape == items[i].tape; end++)
			;
		for (int j = i; j < end; j++)
			if (j + PREFETCH_DISTANCE < n)
				refine_prefetch(so, &items[j + PREFETCH_DISTANCE]);
		refine_tape_page(so, &items[i], end - i);
	}
}

/* ----- by the table ----- */

struct HeapRefine
{
	Relation	heap;
	Snapshot	snapshot;
	IndexInfo  *info;
	EState	   *estate;
	TupleTableSlot *slot;
	IndexFetchTableData *fetch;
	ScanKey		orderby;
};

static void
heap_refine_begin(IndexScanDesc scan, IvfScan *so)
{
	HeapRefine *heap = palloc0(sizeof(HeapRefine));

	if (scan->heapRelation == NULL)
		elog(ERROR, "index \"%s\" cannot be scanned without its table",
			 RelationGetRelationName(so->index));
	heap->heap = scan->heapRelation;
	heap->snapshot = scan->xs_snapshot;
	heap->info = BuildIndexInfo(so->index);
	heap->estate = CreateExecutorState();
	heap->slot = table_slot_create(heap->heap, NULL);
	heap->fetch = table_index_fetch_begin(heap->heap);
	heap->orderby = &scan->orderByData[0];
	GetPerTupleExprContext(heap->estate)->ecxt_scantuple = heap->slot;
	so->heap = heap;
	so->exact = true;
}

/* The operator's result for the row in the slot, in the memory of the row. */
static float8
heap_refine_distance(IvfScan *so)
{
	HeapRefine *heap = so->heap;
	MemoryContext old =
	MemoryContextSwitchTo(GetPerTupleMemoryContext(heap->estate));
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	float8		distance = 0.0;

	FormIndexDatum(heap->info, heap->slot, heap->estate, values, isnull);
	if (isnull[0])
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" holds a row whose vector is NULL, at (%u,%u)",
						RelationGetRelationName(so->index),
						ItemPointerGetBlockNumber(&heap->slot->tts_tid),
						ItemPointerGetOffsetNumber(&heap->slot->tts_tid)),
				 errhint("REINDEX the index.")));
	if (!so->null_query)
		distance = DatumGetFloat8(FunctionCall2Coll(&heap->orderby->sk_func,
													heap->orderby->sk_collation,
													values[0],
													heap->orderby->sk_argument));
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(heap->estate);
	/* which is no number for zero vectors, and sorts last */
	return isnan(distance) ? INFINITY : distance;
}

/* In the order of the table. */
static int
compare_tids(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) &((const Candidate *) a)->tid,
							  (ItemPointer) &((const Candidate *) b)->tid);
}

/* The score that goes with a distance. */
static float
distance_score(const IvfScan *so, float8 distance)
{
	switch (so->model->metric)
	{
		case METRIC_IP:
			return so->query_norm > 0.0 ? -distance / so->query_norm : 0.0;
		case METRIC_L2:
			return -distance * distance / 2.0;
		case METRIC_COSINE:
			return 1.0 - distance;
	}
	return 0.0f;
}

static void
refine_by_table(IvfScan *so, Candidate *items, int n)
{
	HeapRefine *heap = so->heap;

	qsort(items, n, sizeof(Candidate), compare_tids);
	for (int i = 0; i < n; i++)
	{
		ItemPointerData tid = items[i].tid;
		bool		again = false;
		float8		distance;

		CHECK_FOR_INTERRUPTS();
		page_check_tid(so->index, heap->heap, &tid, &so->heap_blocks);
		if (!table_index_fetch_tuple(heap->fetch, &tid, heap->snapshot,
									 heap->slot, &again, NULL))
			continue;
		distance = heap_refine_distance(so);
		refine_add(so, &items[i], distance,
				   isinf(distance) ? items[i].score :
				   distance_score(so, distance));
	}
	ExecClearTuple(heap->slot);
	table_index_fetch_reset(heap->fetch);
}

/* ----- either ----- */

void
ivf_refine_begin(IndexScanDesc scan, IvfScan *so)
{
	if (so->model->layout.tape_record == 0)
		heap_refine_begin(scan, so);
}

void
ivf_refine(IvfScan *so, int first, int n)
{
	Candidate  *items = so->pool->items + first;

	if (so->heap != NULL)
		refine_by_table(so, items, n);
	else
		refine_by_tape(so, items, n);
}

void
ivf_refine_end(IvfScan *so)
{
	if (so->heap == NULL)
		return;
	table_index_fetch_end(so->heap->fetch);
	ExecDropSingleTupleTableSlot(so->heap->slot);
	FreeExecutorState(so->heap->estate);
	so->heap = NULL;
}
