/*
 * scan_explain.c
 *		What EXPLAIN ANALYZE tells of our index scans, from PostgreSQL 18 on,
 *		which lets an extension add lines to a node.
 *
 * The counts are sums over all scans of the node, as the server's own "Index
 * Searches" is.  What parallel workers have counted has gone with them, but for
 * the number of their scans, which the server keeps.
 */
#include "postgres.h"

#include "base/compat.h"
#include "index/scan_explain.h"

#ifdef COMPAT_EXPLAIN_NODE

#include "access/relscan.h"
#include "commands/explain.h"
#include "commands/explain_format.h"
#include "commands/explain_state.h"

#include "index/index_method.h"

static explain_per_node_hook_type next_hook;

/*
 * How many scans had which strategy: in text their names, with the numbers
 * where there are several; else an object.
 */
static void
explain_strategies(const ScanTally *tally, struct ExplainState *es)
{
	static const char *const label = "Index Strategy";
	bool text = es->format == EXPLAIN_FORMAT_TEXT;
	int			nused = 0;
	StringInfoData line;

	initStringInfo(&line);
	for (int i = SCAN_NONE + 1; i < SCAN_NSTRATEGIES; i++)
		nused += tally->nscans[i] > 0;
	if (!text)
		ExplainOpenGroup(label, label, true, es);
	for (int i = SCAN_NONE + 1; i < SCAN_NSTRATEGIES; i++)
	{
		const char *name = scan_strategy_name(i);
		int64		nscans = tally->nscans[i];

		if (!text)
			ExplainPropertyInteger(name, NULL, nscans, es);
		else if (nscans > 0)
		{
			appendStringInfo(&line, "%s%s", line.len > 0 ? ", " : "", name);
			if (nused > 1)
				appendStringInfo(&line, " (" INT64_FORMAT ")", nscans);
		}
	}
	if (!text)
		ExplainCloseGroup(label, label, true, es);
	else if (nused > 0)
		ExplainPropertyText(label, line.data, es);
	pfree(line.data);
}

/*
 * Scans by workers, if any, which the other counts do not have.  The planner
 * hardly ever has a scan in a worker: it takes neither a subquery with LIMIT
 * nor one that refers to the outer query for parallel safe.
 */
static void
explain_workers(const IndexScanState *state, struct ExplainState *es)
{
	const		SharedIndexScanInstrumentation *shared = state->iss_SharedInfo;
	uint64		nscans = 0;

	for (int i = 0; shared != NULL && i < shared->num_workers; i++)
		nscans += shared->winstrument[i].nsearches;
	if (nscans > 0)
		ExplainPropertyUInteger("Index Scans by Workers", "not counted here",
								nscans, es);
}

/* What the scans of a node, of an index of ours, have done. */
static void
explain_scans(IndexScanDesc scan, const IndexMethod *method,
			  struct ExplainState *es)
{
	static const char *const labels[SCAN_NCOUNTS] = {
		[ENTRIES_VISITED] = "Index Entries Visited",
		[ENTRIES_FILTERED] = "Index Entries Filtered Out",
		[CANDIDATES_REFINED] = "Index Candidates Refined",
		[LISTS_PROBED] = "Index Lists Probed",
	};
	ScanTally	tally = *(const ScanTally *) scan->opaque;
	ScanReport	report;

	if (method->report(scan, &report))
		scan_tally_add(&tally, &report);
	explain_strategies(&tally, es);
	for (int i = 0; i < SCAN_NCOUNTS; i++)
		if (labels[i] != NULL && tally.counts[i] >= 0)
			ExplainPropertyInteger(labels[i], NULL, tally.counts[i], es);
}

static void
explain_node(PlanState *planstate, List *ancestors, const char *relationship,
			 const char *plan_name, struct ExplainState *es)
{
	const IndexScanState *state;
	const IndexMethod *method;

	if (next_hook)
		next_hook(planstate, ancestors, relationship, plan_name, es);
	if (!es->analyze || !IsA(planstate, IndexScanState))
		return;
	state = (const IndexScanState *) planstate;
	if (state->iss_RelationDesc == NULL)
		return;
	method = index_method_of(state->iss_RelationDesc);
	if (method == NULL)
		return;
	if (state->iss_ScanDesc != NULL)
		explain_scans(state->iss_ScanDesc, method, es);
	explain_workers(state, es);
}

void
scan_explain_init(void)
{
	next_hook = explain_per_node_hook;
	explain_per_node_hook = explain_node;
}

#else

void
scan_explain_init(void)
{
}

#endif
