/*
 * scan_limit.h
 *		How many rows a scan will be asked for: the LIMIT above it.
 */
#ifndef RECSYS_SCAN_LIMIT_H
#define RECSYS_SCAN_LIMIT_H

#include "access/genam.h"

/* Look at statements when they start. */
extern void scan_limit_init(void);

/*
 * The rows that a LIMIT wants of a scan, OFFSET's among them, or 0 where there is
 * none or it is not known.  Conditions between the two may call for more rows.
 * To be called when the first row is asked for.
 */
extern double scan_limit(IndexScanDesc scan);

/*
 * By how much a scan that finds rows in stages should raise its promise when all
 * rows promised so far have been returned: as the share of them that has reached
 * the LIMIT says, at most by a factor, and by that factor where it says nothing.
 */
extern double scan_limit_growth(IndexScanDesc scan, double most);

#endif							/* RECSYS_SCAN_LIMIT_H */
