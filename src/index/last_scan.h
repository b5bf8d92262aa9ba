/*
 * last_scan.h
 *		recsys.last_scan: what the last index scan of this backend has done.
 */
#ifndef RECSYS_LAST_SCAN_H
#define RECSYS_LAST_SCAN_H

#include "utils/relcache.h"

/* What one scan has done; -1 where a number says nothing of its index. */
typedef struct ScanReport
{
	int64		rows;			/* returned */
	int64		visited;		/* nodes, or rows whose codes or keys were
								 * read */
	int64		filtered;		/* rows that the index's conditions kept out */
	int64		refined;		/* candidates whose finer form was read */
	int32		lists;			/* that were gone through */
} ScanReport;

/* A scan of the index has ended, or begins anew. */
extern void last_scan_set(Relation index, const ScanReport *report);

#endif							/* RECSYS_LAST_SCAN_H */
