/*
 * scan_stat.h
 *		recsys.stat_index: what all scans of an index have done.
 */
#ifndef RECSYS_SCAN_STAT_H
#define RECSYS_SCAN_STAT_H

#include "index/scan_report.h"

/* Called when the library is loaded. */
extern void scan_stat_init(void);

/* A scan of an index of the current database has ended, or begins anew. */
extern void scan_stat_add(Oid index, const ScanReport *report);

#endif							/* RECSYS_SCAN_STAT_H */
