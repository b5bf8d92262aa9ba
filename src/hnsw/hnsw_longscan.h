/*
 * hnsw_longscan.h
 *		What a scan takes from the long list.
 */
#ifndef RECSYS_HNSW_LONGSCAN_H
#define RECSYS_HNSW_LONGSCAN_H

#include "hnsw/hnsw_longlist.h"
#include "hnsw/hnsw_search.h"

typedef struct LongScan LongScan;

/*
 * A scan of the list for a rotated query, in the current memory context.  index
 * and meta must stay.
 */
extern LongScan *long_scan_create(Relation index, const HnswMeta *meta,
								  const float *rotated);

/*
 * The nodes of the list that are among the best so many of it, without those
 * that have been returned before.  *estimates are in the current memory context;
 * returns their number.
 */
extern uint32 long_scan_best(LongScan *scan, uint32 wanted,
							 Estimate **estimates);

#endif							/* RECSYS_HNSW_LONGSCAN_H */
