/*
 * scan_limit.c
 *		How many rows a scan will be asked for: the LIMIT above it.
 *
 * The server does not pass LIMIT to an access method.  So when a statement
 * starts, each ordered index scan is noted whose rows reach a Limit node through
 * nodes that keep their order and add none.  The limit itself is known when the
 * first row is asked for: it may be a parameter.
 *
 * What is noted goes away with the statement's memory.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "lib/ilist.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"

#include "index/scan_limit.h"

/*
 * A stage that did not do grows by what the rows so far say, this much more, and
 * by no less than this.
 */
#define GROWTH_MORE 1.15
#define LEAST_GROWTH 1.25

typedef struct LimitedScan
{
	dlist_node	node;
	const LimitState *limit;
	const IndexScanState *scan;
	MemoryContextCallback forget;
} LimitedScan;

static ExecutorStart_hook_type next_hook;

/* Of all statements of this session that are under way. */
static dlist_head limited_scans = DLIST_STATIC_INIT(limited_scans);

/* Callback: the statement's memory goes away. */
static void
limited_scan_forget(void *arg)
{
	dlist_delete(&((LimitedScan *) arg)->node);
}

/* The node whose rows a node passes on in their order, or NULL. */
static PlanState *
rows_source(PlanState *state)
{
	switch (nodeTag(state))
	{
		case T_LimitState:
		case T_ResultState:
		case T_LockRowsState:
		case T_NestLoopState:
			return outerPlanState(state);
		case T_SubqueryScanState:
			return castNode(SubqueryScanState, state)->subplan;
		default:
			return NULL;
	}
}

/* Note the scan that a Limit node has its rows from, if there is one. */
static void
limit_note(LimitState *limit, EState *estate)
{
	PlanState  *source = rows_source(&limit->ps);
	LimitedScan *limited;

	while (source != NULL && !IsA(source, IndexScanState))
		source = rows_source(source);
	if (source == NULL ||
		castNode(IndexScanState, source)->iss_NumOrderByKeys == 0)
		return;
	limited = MemoryContextAlloc(estate->es_query_cxt, sizeof(LimitedScan));
	limited->limit = limit;
	limited->scan = castNode(IndexScanState, source);
	dlist_push_head(&limited_scans, &limited->node);
	limited->forget.func = limited_scan_forget;
	limited->forget.arg = limited;
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &limited->forget);
}

static bool
limits_walk(PlanState *state, void *estate)
{
	if (IsA(state, LimitState))
		limit_note(castNode(LimitState, state), estate);
	return planstate_tree_walker(state, limits_walk, estate);
}

static void
limit_executor_start(QueryDesc *query, int eflags)
{
	if (next_hook)
		next_hook(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY) && query->planstate != NULL)
		(void) limits_walk(query->planstate, query->estate);
}

void
scan_limit_init(void)
{
	next_hook = ExecutorStart_hook;
	ExecutorStart_hook = limit_executor_start;
}

/* The Limit node above a scan that has a count, or NULL. */
static const LimitState *
limit_find(IndexScanDesc scan)
{
	dlist_iter	i;

	dlist_foreach(i, &limited_scans)
	{
		const LimitedScan *limited = dlist_container(LimitedScan, node, i.cur);

		if (limited->scan->iss_ScanDesc == scan)
			return limited->limit->noCount ? NULL : limited->limit;
	}
	return NULL;
}

static double
limit_rows(const LimitState *limit)
{
	return (double) limit->count + (double) limit->offset;
}

double
scan_limit(IndexScanDesc scan)
{
	const LimitState *limit = limit_find(scan);

	return limit == NULL ? 0.0 : limit_rows(limit);
}

double
scan_limit_growth(IndexScanDesc scan, double most)
{
	const LimitState *limit = limit_find(scan);

	if (limit == NULL || limit->position == 0)
		return most;
	return Min(Max(GROWTH_MORE * limit_rows(limit) / (double) limit->position,
				   LEAST_GROWTH), most);
}
