/*
 * hnsw_tapescan.h
 *		The rows of the key tape that satisfy a filter, from those units first
 *		whose rows may score best.
 */
#ifndef RECSYS_HNSW_TAPESCAN_H
#define RECSYS_HNSW_TAPESCAN_H

#include "hnsw/hnsw_keytape.h"

/* A heap row that satisfies a filter. */
typedef struct KeyMatch
{
	float		score;			/* by its code, see TapeQuery */
	NodeAddr	addr;
	ItemPointerData tid;
} KeyMatch;

typedef struct KeyMatches
{
	KeyMatch   *rows;
	Size		n;
	Size		max;
	int64		nrejected;		/* rows that do not satisfy it */
} KeyMatches;

/* What a scan of the tape looks for. */
typedef struct TapeTarget
{
	const FilterSet *filter;
	Measure		measure;
	const float *x;				/* rotated query */
	float		norm2;			/* its squared length */
	float		unit;			/* of the index */
	double		pass_rate;		/* share of all rows that satisfy it, about */
	bool		whole;			/* all units will be read: do not rank them */
} TapeTarget;

typedef struct TapeScan TapeScan;

/*
 * Rank the units for a query, in the current memory context.  The relation and
 * *meta stay the caller's.
 */
extern TapeScan *tape_scan_create(Relation index, const HnswMeta *meta,
								  const TapeTarget *target);

extern uint32 tape_scan_nunits(const TapeScan *tape);

/* About how many units tape_scan_read will have read for so many rows. */
extern double tape_scan_forecast(TapeScan *tape, double nrows);

/*
 * Read units until few of the best so many rows that satisfy the filter are to
 * be expected in the others.  All rows found so far are in tape_scan_matches; the
 * caller may put these into another order, but leaves alone what comes later.
 */
extern void tape_scan_read(TapeScan *tape, double nrows);

/* The same, but at least one unit more; false where all have been read. */
extern bool tape_scan_read_more(TapeScan *tape, double nrows);

extern KeyMatches *tape_scan_matches(TapeScan *tape);

/*
 * Estimate from a few pages how many rows there are, and how many of them
 * satisfy a filter.
 */
extern void tape_sample(Relation index, const HnswMeta *meta,
						const FilterSet *filter, double *nrows,
						double *nmatching);

#endif							/* RECSYS_HNSW_TAPESCAN_H */
