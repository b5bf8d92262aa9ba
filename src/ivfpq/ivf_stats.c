/*
 * ivf_stats.c
 *		recsys.ivfpq_stats: what an index holds.
 *
 * Pages are read in the order of blocks, but for tape pages that a list page
 * read before has named: after a build these are nearly all of them.  Others
 * may write meanwhile: the figures of an index that changes are near the
 * truth, not exact.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/index_method.h"
#include "ivfpq/ivf.h"
#include "ivfpq/ivf_inspect.h"
#include "ivfpq/ivf_tape.h"

PG_FUNCTION_INFO_V1(recsys_ivfpq_stats);

typedef struct IvfStats
{
	IvfInspection inspection;	/* seen: tape pages that have been counted */
	int64	   *list_rows;		/* of each list */
	int64		nlist_pages;
	int64		ntape_pages;
	int64		nfree_pages;
	int64		nfree_slots;
	PGAlignedBlock page;
} IvfStats;

static void
stats_count_tape(IvfStats *stats, BlockNumber block)
{
	BlockSet   *seen = &stats->inspection.seen;

	if (block < seen->nblocks && !block_set_has(seen, block))
		stats->ntape_pages++;
	block_set_add(seen, block);
}

static void
stats_count_list_page(IvfStats *stats, BlockNumber block)
{
	const IvfLayout *layout = &stats->inspection.layout;
	const ListPage *head = list_page(stats->page.data);

	if (head->list >= stats->inspection.meta.nlists)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has a page of list %u of %d at block %u",
						RelationGetRelationName(stats->inspection.access.index),
						head->list, stats->inspection.meta.nlists, block),
				 errhint("REINDEX the index.")));
	stats->nlist_pages++;
	stats->list_rows[head->list] += head->nlive;
	stats->nfree_slots += layout->slots_per_page - head->nlive;
	for (int i = 0; i < layout->tapes; i++)
		stats_count_tape(stats, head->tapes[i]);
}

static void
stats_count(IvfStats *stats)
{
	IvfInspection *inspection = &stats->inspection;

	stats->list_rows = palloc0(mul_size(sizeof(int64),
										Max(inspection->meta.nlists, 1)));
	if (inspection->meta.dim == 0)
		return;
	for (BlockNumber block = IVF_META_BLOCK + 1; block < inspection->nblocks;
		 block++)
	{
		if (block_set_has(&inspection->seen, block))
			continue;
		switch (ivf_inspection_read(inspection, block, stats->page.data))
		{
			case IVF_PAGE_LIST:
				stats_count_list_page(stats, block);
				break;
			case IVF_PAGE_TAPE:
				stats_count_tape(stats, block);
				break;
			case 0:
			case IVF_PAGE_FREE:
				stats->nfree_pages++;
				break;
			default:
				break;
		}
	}
}

/* The columns of ivfpq_stats, in their order. */
enum
{
	STAT_METRIC,
	STAT_DIMENSIONS,
	STAT_ROWS,
	STAT_LISTS,
	STAT_EMPTY_LISTS,
	STAT_LARGEST_LIST,
	STAT_TRAINED,
	STAT_SAMPLE,
	STAT_SUBQUANTIZERS,
	STAT_ROTATION,
	STAT_REFINE,
	STAT_BYTES_PER_ROW,
	STAT_FREE_SLOTS,
	STAT_LIST_PAGES,
	STAT_TAPE_PAGES,
	STAT_FREE_PAGES,
	STAT_RADIUS,
	STAT_PAGES,
	STAT_SIZE_BYTES,
	STAT_NCOLUMNS
};

/* Columns that are NULL until the dimensions are known. */
static void
stats_fill_model(const IvfStats *stats, Datum *values, bool *nulls)
{
	const IvfMeta *meta = &stats->inspection.meta;
	const IvfLayout *layout = &stats->inspection.layout;
	static const int columns[] = {STAT_DIMENSIONS, STAT_SUBQUANTIZERS,
	STAT_ROTATION, STAT_REFINE, STAT_BYTES_PER_ROW, STAT_RADIUS};

	if (meta->dim == 0)
	{
		for (int i = 0; i < lengthof(columns); i++)
			nulls[columns[i]] = true;
		return;
	}
	values[STAT_DIMENSIONS] = Int32GetDatum(meta->dim);
	values[STAT_SUBQUANTIZERS] = Int32GetDatum(meta->nsub);
	values[STAT_ROTATION] =
		CStringGetTextDatum(meta->learned ? "learned" : "random");
	values[STAT_REFINE] = CStringGetTextDatum(refine_name((Refine) meta->refine));
	values[STAT_BYTES_PER_ROW] =
		Float8GetDatum((double) layout->block_size / FASTSCAN_LANES +
					   layout->tape_record);
	values[STAT_RADIUS] = Float8GetDatum(sqrt(meta->radius2));
	nulls[STAT_RADIUS] = meta->radius2 == 0.0f ||
		!stats->inspection.access.sees_rows;
}

static void
stats_fill_lists(const IvfStats *stats, Datum *values)
{
	int64		nrows = 0;
	int64		largest = 0;
	int32		nempty = 0;

	for (int i = 0; i < stats->inspection.meta.nlists; i++)
	{
		nrows += stats->list_rows[i];
		largest = Max(largest, stats->list_rows[i]);
		nempty += stats->list_rows[i] == 0;
	}
	values[STAT_ROWS] = Int64GetDatum(nrows);
	values[STAT_LISTS] = Int32GetDatum(stats->inspection.meta.nlists);
	values[STAT_EMPTY_LISTS] = Int32GetDatum(nempty);
	values[STAT_LARGEST_LIST] = Int64GetDatum(largest);
}

/* ivfpq_stats(index regclass) */
Datum
recsys_ivfpq_stats(PG_FUNCTION_ARGS)
{
	IvfStats   *stats = palloc0(sizeof(IvfStats));
	const IvfMeta *meta = &stats->inspection.meta;
	IndexAccess access;
	int64		nblocks;
	TupleDesc	desc;
	Datum		values[STAT_NCOLUMNS] = {0};
	bool		nulls[STAT_NCOLUMNS] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != STAT_NCOLUMNS)
		elog(ERROR, "ivfpq_stats is declared with other columns");
	index_access_open(&access, PG_GETARG_OID(0), INDEX_RIGHT_STATS,
					  AccessShareLock);
	index_method_expect(access.index, ivf_build);
	ivf_inspection_begin(&stats->inspection, &access);
	stats_count(stats);
	nblocks = stats->inspection.nblocks;

	values[STAT_METRIC] = CStringGetTextDatum(metric_name(meta->metric));
	values[STAT_TRAINED] = BoolGetDatum(meta->trained != 0);
	values[STAT_SAMPLE] = Int64GetDatum(meta->sample);
	stats_fill_model(stats, values, nulls);
	stats_fill_lists(stats, values);
	values[STAT_FREE_SLOTS] = Int64GetDatum(stats->nfree_slots);
	values[STAT_LIST_PAGES] = Int64GetDatum(stats->nlist_pages);
	values[STAT_TAPE_PAGES] = Int64GetDatum(stats->ntape_pages);
	values[STAT_FREE_PAGES] = Int64GetDatum(stats->nfree_pages);
	values[STAT_PAGES] = Int64GetDatum(nblocks);
	values[STAT_SIZE_BYTES] = Int64GetDatum(nblocks * BLCKSZ);

	ivf_inspection_end(&stats->inspection);
	index_access_close(&access);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
