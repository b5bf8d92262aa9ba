/*
 * hnsw_shortlist.h
 *		The rows that satisfy a filter, best first by their codes.
 */
#ifndef RECSYS_HNSW_SHORTLIST_H
#define RECSYS_HNSW_SHORTLIST_H

#include "access/relscan.h"

#include "hnsw/hnsw_tapescan.h"

typedef struct HnswScan HnswScan;
typedef struct Shortlist Shortlist;

/* An empty list, in the current memory context, to be filled from the tape. */
extern Shortlist *shortlist_create(TapeScan *tape);

/*
 * Read nodes in the order of the list, and add their rows to those found, until
 * they do for so many rows; at least some more than before.  Returns false when
 * there is nothing more to read.
 */
extern bool shortlist_read(IndexScanDesc scan, HnswScan *so, double nrows);

#endif							/* RECSYS_HNSW_SHORTLIST_H */
