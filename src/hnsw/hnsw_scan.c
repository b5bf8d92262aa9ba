/*
 * hnsw_scan.c
 *		Scan: rows in the order of their distance, for as long as asked.
 *
 * The scan grows in stages.  A stage promises a number of rows and visits
 * nodes until it has found enough (hnsw_saturation.c) before it returns the
 * first of them; the next stage is three times as large.  Where a LIMIT is known
 * (index/scan_limit.h), the first promises what it wants, and further ones what
 * the rows that have come through so far tell that it takes.  Visited rows
 * wait in a heap ordered by a lower bound of their distance; the executor
 * computes the true one and makes the order exact.
 *
 * Once the visits wanted cost more than the exact way (hnsw_exact.c), the scan
 * goes that way and has all rows, those of nodes to which no edge leads too.
 * Thus a scan never ends before it has returned every row, and never costs
 * more than about twice the exact way, with a filter two and a half times.
 *
 * With a filter, only visits of nodes that have a row that satisfies it count.
 *
 * Rows found too late for the order come last (found_rows.h).
 */
#include "postgres.h"

#include <math.h>

#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/guc.h"
#include "hnsw/hnsw.h"
#include "hnsw/hnsw_scan.h"
#include "index/heap_ahead.h"
#include "index/rotator.h"
#include "index/scan_limit.h"
#include "index/scan_report.h"

/*
 * The stages.  A row that a later stage finds and an earlier one should have
 * returned is late, so stages must be few, and a scan for K rows must not end
 * just past a stage's end, where it pays for a whole further stage.  The ends
 * are 12, 37, 112, 340, 1038 ...: the executor asks for one row beyond LIMIT
 * before it returns the last, so 10, 100 and 1000 rows each end within one.
 *
 * Recall and pages read on 41k items of 128 dimensions (implicit ALS, inner
 * product), 100 queries, with 2.2 visits a row in each stage:
 *
 *		                                    K=10      K=100      K=1000
 *		each row once 1.5 visits a row    0.995 58  0.955 202  0.88 1700
 *		  have been made, no stages
 *		stages three times as large       0.995 54  0.985 267  0.98 2180
 */
#define FIRST_STAGE_ROWS 12.0
#define STAGE_GROWTH 3.05

/*
 * The rows of the first stage where the LIMIT is known.  The executor asks for
 * one beyond it, and for some more while their bounds are not past the last.
 * Recall and visits, 300 queries of a million made rows and 500 of 41k:
 *
 *					 1M made				 41k
 *		K			 100		1000		 100		 1000
 *		not known	 .958 436	.957 4757	 .998 235	 .989 2931
 *		known		 .965 403	.970 4635	 .998 221	 .990 2743
 */
#define LIMIT_ROWS(limit) (1.03 * (limit) + 2.0)

/*
 * Late rows are promised beside those that a stage returns.  Where more of them
 * turn up than were promised, the promise grows, by at least this share: each
 * time costs a pass over all that has been found.  On a made set of a million
 * rows, 2.2 visits a row and K=1000, scans made 2,375 visits on average;
 * beginning another stage for late rows made it 3,534, for no better recall.
 */
#define PROMISE_GROWTH (1.0 / 16.0)

/*
 * Visits that a stage is expected to make for a row, beyond ef_search.  1,000 rows
 * of 41 thousand and of a million took 2.3 each, without the long list 2.6 and 4.0;
 * with a filter that rows satisfy at random it was 1.3 to 2.4, and 3.9 to 4.7.
 */
#define VISITS_PER_ROW 2.2
#define FILTER_VISITS_PER_ROW 4.0
#define LONG_FILTER_VISITS_PER_ROW 3.0

/*
 * The share of these for an ef_search: at K=1000 5 to 160 made 0.44, 0.54, 0.73,
 * 1, 1.25 and 1.45 times as many visits as 40.
 */
#define VISITS_FACTOR(ef_search) \
	Min(sqrt((ef_search) / (double) GUC_HNSW_EF_SEARCH), 1.5)

/*
 * By how much the visits of a long scan are dearer.  Of a million rows in shared
 * buffers, with filters: 583 visits took 1.1 ms, 1,733 took 3.2, 3,935 took 14.
 */
#define DOUBLE_VISIT 4000.0
#define DEAREST_VISIT 8000.0

/*
 * Scans for more rows have all entries as candidates, after so many visits: by
 * then most entries are worse than what the search keeps at hand.
 */
#define ENTER_ALL_ROWS (2.0 * FIRST_STAGE_ROWS)
#define ENTER_ALL_VISITS 64

/*
 * Nodes of the long list that are candidates for a row, and the least number of
 * all.
 */
#define LONG_PER_ROW 1.5
#define LEAST_LONG 64.0

/* Rows that ef_search pays for. */
#define ROWS_INCLUDED 4.0

/* Visits that the estimate of a filter's selectivity counts for. */
#define PRIOR_VISITS 50.0

/*
 * Each time that so many visits have been made a scan looks where it goes, and
 * changes over where what is left would cost more than the exact way.  One that
 * has cost this much more than that is given up too, though its end may be near.
 */
#define LOOK_AHEAD_VISITS 1024
#define PATIENCE 1.5

/*
 * The least memory that a walk may take.  Of a million rows of 128 dimensions it is
 * that of 150,000 visits, for some 60,000 rows; with a smaller one a scan for many
 * rows of a large index would read all of it where work_mem is small.
 */
#define LEAST_WALK_MEMORY ((Size) 64 * 1024 * 1024)

/* ----- begin and end ----- */

IndexScanDesc
hnsw_begin_scan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	HnswScan   *so = palloc0(sizeof(HnswScan));

	so->context = AllocSetContextCreate(CurrentMemoryContext,
										"recsys_hnsw scan",
										ALLOCSET_DEFAULT_SIZES);
	scan_tally_init(&so->past);
	scan->opaque = so;
	if (norderbys > 0)
	{
		scan->xs_orderbyvals = palloc0(sizeof(Datum) * norderbys);
		scan->xs_orderbynulls = palloc0(sizeof(bool) * norderbys);
	}
	return scan;
}

/* See IndexMethod. */
bool
hnsw_scan_report(IndexScanDesc scan, ScanReport *report)
{
	const HnswScan *so = scan->opaque;

	scan_report_init(report);
	report->counts[ROWS_RETURNED] = so->nreturned;
	report->counts[ENTRIES_VISITED] = so->nread;
	if (so->search != NULL)
	{
		report->strategy = SCAN_GRAPH;
		report->counts[ENTRIES_VISITED] += graph_search_nvisited(so->search);
	}
	if (so->exact)
		report->strategy = SCAN_EXACT;
	if (so->filter != NULL)
		report->counts[ENTRIES_FILTERED] = so->nfiltered;
	return so->started;
}

/* What has been begun is over: report it, and let go of files. */
static void
scan_finish(IndexScanDesc scan)
{
	HnswScan   *so = scan->opaque;
	ScanReport	report;

	if (hnsw_scan_report(scan, &report))
		scan_report_finish(scan, &so->past, &report);
	found_rows_close(&so->found);
}

void
hnsw_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys,
			int norderbys)
{
	HnswScan   *so = scan->opaque;
	MemoryContext context = so->context;
	ScanTally	past;

	scan_finish(scan);
	past = so->past;
	page_store_close(&so->store);
	MemoryContextReset(context);
	memset(so, 0, sizeof(HnswScan));
	so->context = context;
	so->past = past;
	if (keys && nkeys > 0)
		memmove(scan->keyData, keys, nkeys * sizeof(ScanKeyData));
	if (orderbys && norderbys > 0)
		memmove(scan->orderByData, orderbys, norderbys * sizeof(ScanKeyData));
}

void
hnsw_end_scan(IndexScanDesc scan)
{
	HnswScan   *so = scan->opaque;

	scan_finish(scan);
	page_store_close(&so->store);
	MemoryContextDelete(so->context);
	pfree(so);
	scan->opaque = NULL;
}

/*
 * Rotate the query.  A NULL query has no distance to anything: the scan then
 * returns all rows as a zero vector would find them.
 */
static void
scan_set_query(IndexScanDesc scan, HnswScan *so)
{
	ScanKey		key = &scan->orderByData[0];
	const NodeLayout *layout = &so->store.base.layout;
	Rotator    *rotator = rotator_create(layout->dim, layout->padded_dim,
										 (Metric) so->meta.metric);

	so->null_query = (key->sk_flags & SK_ISNULL) != 0;
	if (!so->null_query)
		so->query_norm = rotator_set_query(rotator,
										   DatumGetVector(key->sk_argument));
	so->query = graph_query_create(layout);
	graph_query_set(layout, so->store.base.unit, so->query, rotator->rotated);
	so->query->filter = so->filter;
}

/* Begin a scan when its first row is asked for. */
static void
scan_start(IndexScanDesc scan, HnswScan *so)
{
	Relation	index = scan->indexRelation;

	if (scan->numberOfOrderBys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" can only be scanned in the order of a distance",
						RelationGetRelationName(index))));
	so->started = true;
	found_rows_init(&so->found);
	compat_count_index_scan(scan);
	hnsw_meta_read(index, &so->meta);
	if (scan->numberOfKeys > 0)
		so->filter = filter_set_create(filter_encoder_create(index),
									   scan->keyData, scan->numberOfKeys);
	/* no row has ever been inserted, or none can satisfy the filter */
	so->swept = so->meta.dim == 0 || (so->filter != NULL && so->filter->never);
	if (so->swept)
		return;
	/* conditions on the vector alone hold for every row */
	if (so->filter != NULL && so->filter->n == 0)
		so->filter = NULL;
	page_store_init(&so->store, index, &so->meta, PAGE_WAL_GENERIC);
	scan_set_query(scan, so);
	exact_estimate(scan, so);
	so->walk_memory = Max(get_hash_memory_limit(), LEAST_WALK_MEMORY);
	saturation_init(&so->saturation, guc_hnsw_ef_search, so->pass_rate);
}

/* ----- the graph ----- */

/* Score the entry set, and enter the graph from the best entries. */
static void
scan_enter(IndexScanDesc scan, HnswScan *so)
{
	Measure		measure = metric_query_measure((Metric) so->meta.metric);
	const EntrySet *set = entry_set_cached(scan->indexRelation, &so->meta);
	EntryPoint	points[SCAN_ENTRY_POINTS];
	float		ips[ENTRY_MAX];
	EntryQuery	query = {ips, so->query->norm2, 0.0f};
	int			n;

	entry_score_query(set, so->query->x, ips);
	n = entry_choose(set, measure, &query, points, SCAN_ENTRY_POINTS);
	so->search = graph_search_create(&so->store.base);
	if (so->meta.nlong_runs > 0)
		so->longest = long_scan_create(scan->indexRelation, &so->meta,
									   so->query->x);
	graph_search_begin(so->search, so->query, measure, 0);
	graph_search_enter(so->search, points, n);
	so->entries = palloc(sizeof(EntryPoint) * set->n);
	for (int i = 0; i < set->n; i++)
		if (set->entries[i].kind != ENTRY_NONE)
		{
			EntryPoint *e = &so->entries[so->nentries++];

			e->addr = set->entries[i].addr;
			e->ip = ips[i];
			e->norm = set->entries[i].norm;
		}
}

/*
 * Let all entries be candidates, with the exact scores that they have anyway.
 * A scan for a few rows does well without; for many rows, edges alone miss
 * part of the longest items, which belong to no neighbourhood.
 */
static void
scan_enter_all(HnswScan *so)
{
	graph_search_enter(so->search, so->entries, so->nentries);
	so->nentries = 0;
}

/*
 * Let the best of the long list be candidates for so many rows, of which a share
 * satisfies the filter.
 */
static void
scan_suggest_longest(HnswScan *so, double rows)
{
	Estimate   *estimates;
	uint32		n;

	if (so->longest == NULL || rows <= so->nsuggested)
		return;
	so->nsuggested = rows;
	n = long_scan_best(so->longest, (uint32)
					   Min(Max(LONG_PER_ROW * rows, LEAST_LONG), PG_INT32_MAX),
					   &estimates);
	graph_search_suggest(so->search, estimates, (int) n);
	pfree(estimates);
}

/* Note the rows of a posting that satisfy the filter. */
static void
scan_note_posting(HnswScan *so, const Posting *posting)
{
	SlotRows	rows = slot_rows(&so->store.base.layout,
								 (const GraphNode *) posting);

	if (so->nposted + rows.n > so->max_posted)
	{
		Size		max = 2 * (so->nposted + rows.n);

		so->posted = so->posted == NULL ?
			palloc_extended(sizeof(ItemPointerData) * max, MCXT_ALLOC_HUGE) :
			repalloc_huge(so->posted, sizeof(ItemPointerData) * max);
		so->max_posted = max;
	}
	for (int i = 0; i < rows.n; i++)
	{
		if (slot_rows_match(&rows, i, so->filter))
			so->posted[so->nposted++] = rows.tids[i];
		else
			so->nfiltered++;
	}
}

/*
 * Note the rows of a chain of postings of a node.  Returns the slot where it breaks
 * off, which is no posting of the node, or where it goes round, or
 * INVALID_NODE_ADDR.
 */
static NodeAddr
scan_read_chain(HnswScan *so, NodeAddr owner, NodeAddr addr, bool *round)
{
	GraphStore *store = &so->store.base;
	ChainWalk	walk = {0};

	so->nposted = 0;
	*round = false;
	while (addr != INVALID_NODE_ADDR)
	{
		const Posting *posting;
		NodeAddr	next = INVALID_NODE_ADDR;
		bool		own;

		*round = chain_step(&walk, addr);
		if (*round)
			return addr;
		posting = (const Posting *) store->ops->read(store, addr);
		own = posting->kind == SLOT_POSTING && posting->owner == owner;
		if (own)
		{
			scan_note_posting(so, posting);
			next = posting->next;
		}
		store->ops->read_end(store);
		CHECK_FOR_INTERRUPTS();
		if (!own)
			return addr;
		addr = next;
	}
	return INVALID_NODE_ADDR;
}

/* The first posting of a node, or of what is there by now. */
static NodeAddr
node_first_posting(GraphStore *store, NodeAddr addr)
{
	const GraphNode *node = store->ops->read(store, addr);
	NodeAddr	first = node->kind == SLOT_NODE ? node->posting : INVALID_NODE_ADDR;

	store->ops->read_end(store);
	return first;
}

static int
compare_posted(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) a, (ItemPointer) b);
}

/* Leave each of the rows noted once. */
static void
posted_unique(HnswScan *so)
{
	Size		n = 0;

	if (so->nposted == 0)
		return;
	qsort(so->posted, so->nposted, sizeof(ItemPointerData), compare_posted);
	for (Size i = 1; i < so->nposted; i++)
		if (!ItemPointerEquals(&so->posted[i], &so->posted[n]))
			so->posted[++n] = so->posted[i];
	so->nposted = n + 1;
}

/*
 * Add the rows of a node's postings.  VACUUM may free one before we come to it.
 * Older rows follow that in the chain as it was, so the chain is read again as it
 * is now, from the node on; one that breaks off twice at the same slot is damaged.
 * But if an insert has made it the first of the chain by then, we come to the
 * others again.
 */
static void
scan_add_postings(HnswScan *so, const Visit *visit, double bound)
{
	GraphStore *store = &so->store.base;
	NodeAddr	first = visit->header.posting;
	NodeAddr	before = INVALID_NODE_ADDR;
	NodeAddr	end;
	bool		round;

	while ((end = scan_read_chain(so, visit->addr, first, &round)) != before &&
		   end != INVALID_NODE_ADDR)
	{
		before = end;
		first = node_first_posting(store, visit->addr);
	}
	if (round)
		chain_fault(so->store.index, end);
	if (node_first_posting(store, visit->addr) != first)
		posted_unique(so);
	for (Size i = 0; i < so->nposted; i++)
	{
		CHECK_FOR_INTERRUPTS();
		found_rows_add(&so->found, bound, &so->posted[i]);
	}
}

bool
scan_add_rows(HnswScan *so, const Visit *visit)
{
	const GraphNode *node = &visit->header;
	int64		nbefore = so->found.nadded;
	ScoredVector scored = {visit->ip, node->norm, node->err, so->query_norm};
	double		bound = metric_lower_bound((Metric) so->meta.metric, &scored);

	for (int i = 0; i < Min(node->ntids, so->store.base.layout.node_tids); i++)
	{
		if (!(visit->matching >> i & 1))
		{
			so->nfiltered++;
			continue;
		}
		found_rows_add(&so->found, bound, &node->tids[i]);
	}
	if (node->posting != INVALID_NODE_ADDR)
		scan_add_postings(so, visit, bound);
	return so->found.nadded > nbefore && !found_bound_is_last(bound);
}

/*
 * Share of the nodes that have rows to return: what the visits so far have
 * shown, and until then what holds of all rows.  Where a filter goes against
 * the query, the graph leads to few such nodes.
 */
static double
scan_pass_rate(const HnswScan *so)
{
	double		nvisited = (double) graph_search_nvisited(so->search);

	return so->filter == NULL ? 1.0 :
		(so->nmatching + PRIOR_VISITS * so->pass_rate) /
		(nvisited + PRIOR_VISITS);
}

/* Whether the long list has the nodes of a length. */
static bool
scan_is_long(const HnswScan *so, float norm)
{
	return so->longest != NULL && so->meta.long_whole > 0.0f &&
		norm > so->meta.long_whole;
}

/* Visit one node; false when nothing more can be reached. */
static bool
scan_visit(HnswScan *so)
{
	Visit		visit;

	if (!graph_search_step(so->search, &visit, NULL))
		return false;
	if (visit.header.kind == SLOT_NODE && scan_add_rows(so, &visit))
	{
		so->nmatching++;
		saturation_add(&so->saturation, visit.key,
					   scan_is_long(so, visit.header.norm),
					   scan_pass_rate(so));
	}
	return true;
}

/* ----- stages ----- */

double
hnsw_graph_visits(double rows, double pass_rate, bool has_long_list)
{
	double		per_row = VISITS_PER_ROW;

	if (pass_rate < 1.0)
		per_row = has_long_list ? LONG_FILTER_VISITS_PER_ROW : FILTER_VISITS_PER_ROW;
	return guc_hnsw_ef_search + VISITS_FACTOR(guc_hnsw_ef_search) * per_row *
		(rows / Max(pass_rate, 1e-9) - ROWS_INCLUDED);
}

double
hnsw_graph_cost(double nvisits)
{
	return nvisits * (1.0 + Min(nvisits, DEAREST_VISIT) / DOUBLE_VISIT);
}

double
hnsw_first_stage(double limit)
{
	return Max(FIRST_STAGE_ROWS, LIMIT_ROWS(limit));
}

/* Whether the best row found may be returned. */
static bool
scan_row_is_ready(const HnswScan *so)
{
	return found_rows_is_ready(&so->found) &&
		saturation_reached(&so->saturation);
}

/*
 * Promise the rows of the next stage when those of the last have been returned;
 * false where they have not.  A late row has its rank, or the promises would
 * fall behind: but where late rows alone have used a promise up, it is renewed,
 * and no stage begun for them.
 */
static bool
scan_promise(IndexScanDesc scan, HnswScan *so)
{
	double		nlate = (double) so->found.nlate;
	double		rank = so->nreturned + nlate;

	if (rank < so->promised)
		return false;
	if (so->stage_rows == 0.0)
		so->stage_rows = hnsw_first_stage(scan_limit(scan));
	else if (so->nreturned >= so->stage_rows)
		so->stage_rows *= scan_limit_growth(scan, STAGE_GROWTH);
	so->promised = Max(so->stage_rows + nlate, rank * (1.0 + PROMISE_GROWTH));
	return true;
}

/*
 * What so many visits cost, to be compared with the exact way.  Without a filter
 * that is all pages of nodes, of which each counts as no more than a visit.
 */
static double
scan_graph_cost(const HnswScan *so, double nvisits)
{
	return so->filter == NULL ? nvisits : hnsw_graph_cost(nvisits);
}

/* Visits that the walk will have made for the rows promised, all in all. */
static double
scan_expected_visits(const HnswScan *so)
{
	return hnsw_graph_visits(so->promised, so->search == NULL ?
							 so->pass_rate : scan_pass_rate(so),
							 so->meta.nlong_runs > 0);
}

/*
 * Go on in the graph for a new promise.  False where the visits would cost more
 * than the exact way.
 */
static bool
scan_next_stage(IndexScanDesc scan, HnswScan *so)
{
	exact_promise(so);
	if (exact_is_cheaper(scan, so,
						 scan_graph_cost(so, scan_expected_visits(so))))
		return false;
	if (so->search == NULL)
		scan_enter(scan, so);
	scan_suggest_longest(so, so->promised / scan_pass_rate(so));
	saturation_promise(&so->saturation, so->promised,
					   so->filter == NULL ? so->exact_visits : so->nrows);
	return true;
}

/*
 * Whether to give the walk up: it takes more memory than it may have, it has cost
 * more than the exact way, or what is left of it will, by the share of the nodes so
 * far that had rows to return.
 */
static bool
scan_is_hopeless(IndexScanDesc scan, HnswScan *so)
{
	int64		nvisited = graph_search_nvisited(so->search);
	double		cost = scan_graph_cost(so, nvisited);

	if (graph_search_size(so->search) > so->walk_memory)
		return true;
	if (so->filter == NULL)
		return exact_is_cheaper(scan, so, cost);
	return exact_is_cheaper(scan, so, cost / PATIENCE) ||
		(nvisited % LOOK_AHEAD_VISITS == LOOK_AHEAD_VISITS - 1 &&
		 exact_is_cheaper(scan, so,
						  scan_graph_cost(so, scan_expected_visits(so)) - cost));
}

/*
 * Find what the next row needs in the graph.  False where it is better to go the
 * exact way.
 */
static bool
scan_walk(IndexScanDesc scan, HnswScan *so)
{
	if (scan_promise(scan, so) && !scan_next_stage(scan, so))
		return false;
	while (!scan_row_is_ready(so))
	{
		if (so->stage_rows > ENTER_ALL_ROWS &&
			graph_search_nvisited(so->search) >= ENTER_ALL_VISITS)
			scan_enter_all(so);
		if (scan_is_hopeless(scan, so) || !scan_visit(so))
			return false;
	}
	return true;
}

/* Find what the next row needs. */
static void
scan_advance(IndexScanDesc scan, HnswScan *so)
{
	if (so->swept || (!so->exact && scan_walk(scan, so)))
		return;
	if (!so->exact)
	{
		exact_begin(scan, so);
		if (!so->swept)
			exact_find(scan, so);
	}
	while (!so->swept && (scan_promise(scan, so) ||
						  !found_rows_is_ready(&so->found)))
		exact_find(scan, so);
}

/*
 * The next row in order, or false when none is left.  A late row may end a
 * stage, so each that is put aside is looked at by itself.
 */
static bool
scan_next(IndexScanDesc scan, HnswScan *so, FoundRow *row)
{
	do
	{
		scan_advance(scan, so);
	} while (found_rows_put_aside(&so->found));
	return found_rows_next(&so->found, so->swept, row) ||
		found_rows_next_late(&so->found, row);
}

bool
hnsw_get_tuple(IndexScanDesc scan, ScanDirection dir)
{
	HnswScan   *so = scan->opaque;
	MemoryContext old = MemoryContextSwitchTo(so->context);
	FoundRow	row;
	bool		found;

	Assert(ScanDirectionIsForward(dir));
	if (!so->started)
		scan_start(scan, so);
	found = scan_next(scan, so, &row);
	MemoryContextSwitchTo(old);
	compat_check_snapshot_age(scan);
	if (!found)
	{
		page_store_close(&so->store);
		return false;
	}
	page_check_tid(scan->indexRelation, scan->heapRelation, &row.tid,
				   &so->heap_blocks);
	heap_ahead_fetch(scan, &so->found);
	so->nreturned++;
	scan->xs_heaptid = row.tid;
	scan->xs_recheck = so->filter != NULL && so->filter->recheck;
	scan->xs_recheckorderby = !so->null_query;
	scan->xs_orderbyvals[0] = Float8GetDatum(row.bound);
	scan->xs_orderbynulls[0] = so->null_query;
	return true;
}
