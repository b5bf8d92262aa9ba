/*
 * last_scan.h
 *		recsys.last_scan: what the last index scan of this backend has done.
 */
#ifndef RECSYS_LAST_SCAN_H
#define RECSYS_LAST_SCAN_H

#include "index/scan_report.h"

/* A scan of the index has ended, or begins anew. */
extern void last_scan_set(Oid index, const ScanReport *report);

#endif							/* RECSYS_LAST_SCAN_H */
