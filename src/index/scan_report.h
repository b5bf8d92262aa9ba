/*
 * scan_report.h
 *		What index scans have done, in numbers: of one scan, and of many.
 */
#ifndef RECSYS_SCAN_REPORT_H
#define RECSYS_SCAN_REPORT_H

#include "access/genam.h"

/* How a scan has found its rows. */
typedef enum ScanStrategy
{
	SCAN_NONE,					/* it needed nothing of the index */
	SCAN_GRAPH,					/* by a walk through the graph */
	SCAN_LISTS,					/* in some of the lists */
	SCAN_EXACT,					/* no walk, or through all lists */
	SCAN_NSTRATEGIES
} ScanStrategy;

typedef enum ScanCount
{
	ROWS_RETURNED,
	ENTRIES_VISITED,			/* nodes, or rows whose codes or keys were
								 * read */
	ENTRIES_FILTERED,			/* that the index's conditions kept out */
	CANDIDATES_REFINED,			/* whose finer form was read */
	LISTS_PROBED,
	SCAN_NCOUNTS
} ScanCount;

/* What one scan has done; -1 where a count says nothing of its index. */
typedef struct ScanReport
{
	ScanStrategy strategy;
	int64		counts[SCAN_NCOUNTS];
} ScanReport;

/* The sum of reports; -1 where no report had the count. */
typedef struct ScanTally
{
	int64		nscans[SCAN_NSTRATEGIES];
	int64		counts[SCAN_NCOUNTS];
} ScanTally;

/* A strategy's name; NULL of SCAN_NONE. */
extern const char *scan_strategy_name(ScanStrategy strategy);

/* No strategy, and no count that says anything. */
extern void scan_report_init(ScanReport *report);

extern void scan_tally_init(ScanTally *tally);
extern void scan_tally_reset(ScanTally *tally); /* keeps what is -1 */
extern void scan_tally_add(ScanTally *tally, const ScanReport *report);

/*
 * What a scan descriptor has done is over: add it to the sum of what this
 * descriptor did before, to recsys.last_scan and to recsys.stat_index.
 */
extern void scan_report_finish(IndexScanDesc scan, ScanTally *past,
							   const ScanReport *report);

#endif							/* RECSYS_SCAN_REPORT_H */
