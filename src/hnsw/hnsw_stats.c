/*
 * hnsw_stats.c
 *		recsys.index_stats: what an index holds, and what cannot be reached.
 *
 * One pass over all pages counts.  Reachability follows the edges from the
 * entry set in sweeps: a sweep reads, in the order of blocks, those pages that
 * hold a node reached and not yet followed, until none is left.  So memory is
 * four bits a slot, and pages are read in order however large the index is.
 * Pages are read one after the other while others may write: the figures of
 * an index that changes are near the truth, not exact.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "hnsw/hnsw.h"
#include "hnsw/hnsw_inspect.h"
#include "hnsw/hnsw_longlist.h"
#include "index/index_method.h"

PG_FUNCTION_INFO_V1(recsys_index_stats);

typedef struct GraphStats
{
	Inspection	inspection;
	int64		nrows;
	int64		nnodes;
	int64		ntombstones;
	int64		nfree;
	int64		npostings;
	int64		nlong;			/* nodes on the long list */
	int64		nedges;			/* of live nodes */
	int64		nunreachable;
	int64		nno_incoming;
	AddrSet    *live;			/* nodes that are no tombstones */
	AddrSet    *pointed;		/* slots to which an edge leads */
	AddrSet    *reached;
	AddrSet    *open;			/* reached, edges not yet followed */
} GraphStats;

/* Count a node or tombstone, and note where its edges lead. */
static void
stats_count_node(GraphStats *stats, NodeAddr addr, const GraphNode *node)
{
	const Inspection *inspection = &stats->inspection;
	const NodeAddr *addrs = node_addrs(&inspection->layout, node);
	bool		live = node->kind == SLOT_NODE;

	if (live)
	{
		stats->nnodes++;
		stats->nrows += node->ntids;
		addr_set_add(stats->live, addr);
	}
	else
		stats->ntombstones++;
	for (int lane = 0; lane < NODE_DEGREE; lane++)
	{
		if (addrs[lane] == INVALID_NODE_ADDR)
			continue;
		stats->nedges += live;
		if (inspection_holds(inspection, addrs[lane]))
			addr_set_add(stats->pointed, addrs[lane]);
	}
}

static void
stats_count_slot(GraphStats *stats, NodeAddr addr, const GraphNode *slot)
{
	switch ((SlotKind) slot->kind)
	{
		case SLOT_FREE:
			stats->nfree++;
			break;
		case SLOT_NODE:
		case SLOT_TOMBSTONE:
			stats_count_node(stats, addr, slot);
			break;
		case SLOT_POSTING:
			stats->npostings++;
			stats->nrows += ((const Posting *) slot)->ntids;
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" has a slot of unknown kind %u at block %u slot %d",
							RelationGetRelationName(stats->inspection.access.index),
							slot->kind, node_addr_block(addr),
							node_addr_slot(addr)),
					 errhint("REINDEX the index.")));
	}
}

/* Count what is on the page read last. */
static void
stats_count_page(GraphStats *stats, BlockNumber block, int kind)
{
	Inspection *inspection = &stats->inspection;

	if (kind == HNSW_PAGE_NODES)
		for (int slot = 0; slot < inspection->layout.slots_per_page; slot++)
			stats_count_slot(stats, node_addr(block, slot),
							 inspection_slot(inspection, slot));
	else if (kind == HNSW_PAGE_LONG)
		for (int i = 0; i < LONG_PAGE_MAX_BLOCKS; i++)
			stats->nlong +=
				pg_popcount32(long_page(inspection->page.data)->live[i]);
}

static void
stats_count(GraphStats *stats)
{
	for (BlockNumber block = 0; block < stats->inspection.nblocks; block++)
		stats_count_page(stats, block,
						 inspection_read_page(&stats->inspection, block));
}

/* Note that a search can come to a slot. */
static void
stats_reach(GraphStats *stats, NodeAddr addr)
{
	if (addr == INVALID_NODE_ADDR ||
		!inspection_holds(&stats->inspection, addr) ||
		addr_set_has(stats->reached, addr))
		return;
	addr_set_add(stats->reached, addr);
	addr_set_add(stats->open, addr);
}

static void
stats_follow(GraphStats *stats, NodeAddr addr, const GraphNode *node)
{
	addr_set_remove(stats->open, addr);
	if (node->kind == SLOT_NODE || node->kind == SLOT_TOMBSTONE)
		for (int lane = 0; lane < NODE_DEGREE; lane++)
			stats_reach(stats, node_addrs(&stats->inspection.layout, node)[lane]);
}

/* Follow the edges of one page; a page may open slots of itself. */
static void
stats_follow_page(GraphStats *stats, BlockNumber block)
{
	Inspection *inspection = &stats->inspection;
	bool		is_nodes = inspection_read_page(inspection, block) == HNSW_PAGE_NODES;

	while (addr_set_has_block(stats->open, block))
		for (int slot = 0; slot < inspection->layout.slots_per_page; slot++)
		{
			NodeAddr	addr = node_addr(block, slot);

			if (!addr_set_has(stats->open, addr))
				continue;
			if (is_nodes)
				stats_follow(stats, addr, inspection_slot(inspection, slot));
			else
				addr_set_remove(stats->open, addr);
		}
}

/* Find all that can be reached from the entry set. */
static void
stats_walk(GraphStats *stats)
{
	Inspection *inspection = &stats->inspection;
	EntrySet   *set = entry_set_read(inspection->access.index,
									 &inspection->meta);
	bool		again = set->n > 0;

	for (int i = 0; i < set->n; i++)
		if (set->entries[i].kind != ENTRY_NONE)
			stats_reach(stats, set->entries[i].addr);
	while (again)
	{
		again = false;
		for (BlockNumber block = 0; block < inspection->nblocks; block++)
		{
			CHECK_FOR_INTERRUPTS();
			if (!addr_set_has_block(stats->open, block))
				continue;
			stats_follow_page(stats, block);
			again = true;
		}
	}
	pfree(set);
}

/* Count the live nodes that are out of reach. */
static void
stats_count_lost(GraphStats *stats)
{
	for (BlockNumber block = 0; block < stats->inspection.nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int slot = 0; slot < stats->inspection.layout.slots_per_page; slot++)
		{
			NodeAddr	addr = node_addr(block, slot);

			if (!addr_set_has(stats->live, addr))
				continue;
			stats->nunreachable += !addr_set_has(stats->reached, addr);
			stats->nno_incoming += !addr_set_has(stats->pointed, addr);
		}
	}
}

static void
stats_collect(GraphStats *stats)
{
	stats->live = addr_set_create(&stats->inspection);
	stats->pointed = addr_set_create(&stats->inspection);
	stats->reached = addr_set_create(&stats->inspection);
	stats->open = addr_set_create(&stats->inspection);
	if (stats->inspection.meta.dim == 0)
		return;
	stats_count(stats);
	stats_walk(stats);
	stats_count_lost(stats);
}

/* The columns of index_stats, in their order. */
enum
{
	STAT_METRIC,
	STAT_DIMENSIONS,
	STAT_ROWS,
	STAT_NODES,
	STAT_LEVELS,
	STAT_ENTRIES,
	STAT_LONG_NODES,
	STAT_TOMBSTONES,
	STAT_FREE_SLOTS,
	STAT_POSTINGS,
	STAT_BYTES_PER_NODE,
	STAT_AVERAGE_DEGREE,
	STAT_UNREACHABLE,
	STAT_NO_INCOMING,
	STAT_RADIUS,
	STAT_PAGES,
	STAT_SIZE_BYTES,
	STAT_NCOLUMNS
};

/* index_stats(index regclass) */
Datum
recsys_index_stats(PG_FUNCTION_ARGS)
{
	GraphStats *stats = palloc0(sizeof(GraphStats));
	const HnswMeta *meta = &stats->inspection.meta;
	IndexAccess access;
	int64		nblocks;
	TupleDesc	desc;
	Datum		values[STAT_NCOLUMNS] = {0};
	bool		nulls[STAT_NCOLUMNS] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != STAT_NCOLUMNS)
		elog(ERROR, "index_stats is declared with other columns");
	index_access_open(&access, PG_GETARG_OID(0), INDEX_RIGHT_STATS,
					  AccessShareLock);
	index_method_expect(access.index, hnsw_build);
	inspection_begin(&stats->inspection, &access);
	stats_collect(stats);
	nblocks = stats->inspection.nblocks;

	values[STAT_METRIC] = CStringGetTextDatum(metric_name(meta->metric));
	values[STAT_DIMENSIONS] = Int32GetDatum(meta->dim);
	nulls[STAT_DIMENSIONS] = meta->dim == 0;
	values[STAT_ROWS] = Int64GetDatum(stats->nrows);
	values[STAT_NODES] = Int64GetDatum(stats->nnodes);
	values[STAT_LEVELS] = Int32GetDatum(1);
	values[STAT_ENTRIES] = Int32GetDatum(meta->nentries);
	values[STAT_LONG_NODES] = Int64GetDatum(stats->nlong);
	values[STAT_TOMBSTONES] = Int64GetDatum(stats->ntombstones);
	values[STAT_FREE_SLOTS] = Int64GetDatum(stats->nfree);
	values[STAT_POSTINGS] = Int64GetDatum(stats->npostings);
	values[STAT_BYTES_PER_NODE] =
		Int32GetDatum((int32) stats->inspection.layout.node_size);
	nulls[STAT_BYTES_PER_NODE] = meta->dim == 0;
	nulls[STAT_AVERAGE_DEGREE] = stats->nnodes == 0;
	if (stats->nnodes > 0)
		values[STAT_AVERAGE_DEGREE] =
			Float8GetDatum((double) stats->nedges / stats->nnodes);
	values[STAT_UNREACHABLE] = Int64GetDatum(stats->nunreachable);
	values[STAT_NO_INCOMING] = Int64GetDatum(stats->nno_incoming);
	values[STAT_RADIUS] = Float8GetDatum(sqrt(meta->radius2));
	nulls[STAT_RADIUS] = meta->dim == 0 || !access.sees_rows ||
		metric_query_measure(meta->metric) != MEASURE_IP;
	values[STAT_PAGES] = Int64GetDatum(nblocks);
	values[STAT_SIZE_BYTES] = Int64GetDatum(nblocks * BLCKSZ);

	inspection_end(&stats->inspection);
	index_access_close(&access);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
