/*
 * last_scan.c
 *		recsys.last_scan: what the last index scan of this backend has done.
 *
 * A scan reports when it ends or begins anew, so of a nested loop it is the
 * last inner scan that shows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "index/last_scan.h"

PG_FUNCTION_INFO_V1(recsys_last_scan);

static Oid	last_index = InvalidOid;
static ScanReport last_report;

void
last_scan_set(Oid index, const ScanReport *report)
{
	last_index = index;
	last_report = *report;
}

/* The columns of last_scan, in their order; the counts come last. */
enum
{
	LAST_SCAN_INDEX,
	LAST_SCAN_STRATEGY,
	LAST_SCAN_COUNTS,
	LAST_SCAN_NCOLUMNS = LAST_SCAN_COUNTS + SCAN_NCOUNTS
};

/* last_scan(); a row of NULLs before the first scan */
Datum
recsys_last_scan(PG_FUNCTION_ARGS)
{
	const char *strategy = scan_strategy_name(last_report.strategy);
	TupleDesc	desc;
	Datum		values[LAST_SCAN_NCOLUMNS];
	bool		nulls[LAST_SCAN_NCOLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != LAST_SCAN_NCOLUMNS)
		elog(ERROR, "last_scan is declared with other columns");
	memset(nulls, !OidIsValid(last_index), sizeof(nulls));
	values[LAST_SCAN_INDEX] = ObjectIdGetDatum(last_index);
	nulls[LAST_SCAN_STRATEGY] |= strategy == NULL;
	if (strategy != NULL)
		values[LAST_SCAN_STRATEGY] = CStringGetTextDatum(strategy);
	for (int i = 0; i < SCAN_NCOUNTS; i++)
	{
		values[LAST_SCAN_COUNTS + i] = Int64GetDatum(last_report.counts[i]);
		nulls[LAST_SCAN_COUNTS + i] |= last_report.counts[i] < 0;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
