/*
 * scan_report.c
 *		What index scans have done, in numbers.
 *
 * A scan reports once, when it ends or begins anew; one that an error ends
 * does not report.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "utils/rel.h"

#include "index/last_scan.h"
#include "index/scan_report.h"
#include "index/scan_stat.h"

const char *
scan_strategy_name(ScanStrategy strategy)
{
	static const char *const names[SCAN_NSTRATEGIES] = {
		[SCAN_GRAPH] = "graph",
		[SCAN_LISTS] = "lists",
		[SCAN_EXACT] = "exact",
	};

	return names[strategy];
}

void
scan_report_init(ScanReport *report)
{
	report->strategy = SCAN_NONE;
	for (int i = 0; i < SCAN_NCOUNTS; i++)
		report->counts[i] = -1;
}

void
scan_tally_init(ScanTally *tally)
{
	memset(tally->nscans, 0, sizeof(tally->nscans));
	for (int i = 0; i < SCAN_NCOUNTS; i++)
		tally->counts[i] = -1;
}

void
scan_tally_reset(ScanTally *tally)
{
	memset(tally->nscans, 0, sizeof(tally->nscans));
	for (int i = 0; i < SCAN_NCOUNTS; i++)
		tally->counts[i] = Min(tally->counts[i], 0);
}

void
scan_tally_add(ScanTally *tally, const ScanReport *report)
{
	tally->nscans[report->strategy]++;
	for (int i = 0; i < SCAN_NCOUNTS; i++)
		if (report->counts[i] >= 0)
			tally->counts[i] = Max(tally->counts[i], 0) + report->counts[i];
}

void
scan_report_finish(IndexScanDesc scan, ScanTally *past,
				   const ScanReport *report)
{
	Oid			index = RelationGetRelid(scan->indexRelation);

	scan_tally_add(past, report);
	last_scan_set(index, report);
	scan_stat_add(index, report);
}
