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
#include "utils/rel.h"

#include "base/compat.h"
#include "index/last_scan.h"

PG_FUNCTION_INFO_V1(recsys_last_scan);

static Oid	last_index = InvalidOid;
static ScanReport last_report;

void
last_scan_set(Relation index, const ScanReport *report)
{
	last_index = RelationGetRelid(index);
	last_report = *report;
}

/* The columns of last_scan, in their order. */
enum
{
	LAST_SCAN_INDEX,
	LAST_SCAN_ROWS,
	LAST_SCAN_VISITED,
	LAST_SCAN_FILTERED_OUT,
	LAST_SCAN_REFINED,
	LAST_SCAN_LISTS,
	LAST_SCAN_NCOLUMNS
};

/* last_scan(); a row of NULLs before the first scan */
Datum
recsys_last_scan(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[LAST_SCAN_NCOLUMNS];
	bool		nulls[LAST_SCAN_NCOLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != LAST_SCAN_NCOLUMNS)
		elog(ERROR, "last_scan is declared with other columns");
	memset(nulls, !OidIsValid(last_index), sizeof(nulls));
	values[LAST_SCAN_INDEX] = ObjectIdGetDatum(last_index);
	values[LAST_SCAN_ROWS] = Int64GetDatum(last_report.rows);
	values[LAST_SCAN_VISITED] = Int64GetDatum(last_report.visited);
	values[LAST_SCAN_FILTERED_OUT] = Int64GetDatum(last_report.filtered);
	values[LAST_SCAN_REFINED] = Int64GetDatum(last_report.refined);
	values[LAST_SCAN_LISTS] = Int32GetDatum(last_report.lists);
	nulls[LAST_SCAN_FILTERED_OUT] |= last_report.filtered < 0;
	nulls[LAST_SCAN_REFINED] |= last_report.refined < 0;
	nulls[LAST_SCAN_LISTS] |= last_report.lists < 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
