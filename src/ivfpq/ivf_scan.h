/*
 * ivf_scan.h
 *		The state of a scan, and its parts: lists, candidates, refining.
 */
#ifndef RECSYS_IVF_SCAN_H
#define RECSYS_IVF_SCAN_H

#include "access/genam.h"
#include "access/relscan.h"
#include "lib/binaryheap.h"

#include "index/filter_set.h"
#include "index/found_rows.h"
#include "index/rotator.h"
#include "index/scan_report.h"
#include "ivfpq/ivf_model.h"
#include "ivfpq/ivf_pool.h"

/*
 * Stages promise 13, 40, 125, 387, 1200 ... rows, or more than LIMIT at once.
 * The executor asks for rows until the lower bound of the next one is above the
 * distance of the last that it wants: by the error of sq8 codes that is some 6%
 * beyond LIMIT, at most 14% seen.  So LIMIT 10, 100 and 1000 each end within a
 * stage.
 */
#define FIRST_STAGE_ROWS 13.0
#define STAGE_GROWTH 3.1
#define LIMIT_ROWS(limit) (1.1 * (limit) + 2.0)

/* Rows of the first stage, where a limit is known: else it is not above 0. */
static inline double
ivf_first_stage(double limit)
{
	return Max(FIRST_STAGE_ROWS, LIMIT_ROWS(limit));
}

/* Candidates that are refined for the rows of stages, mostly. */
static inline double
ivf_stage_candidates(double rows)
{
	return 3.0 * rows + 32.0;
}

typedef struct ListRank ListRank;
typedef struct HeapRefine HeapRefine;

typedef struct IvfScan
{
	ScanTally	past;			/* first, see IndexMethod; outlives a rescan */
	MemoryContext context;		/* reset by each rescan */
	Relation	index;
	BlockNumber nblocks;		/* of the index, see page_check_block */
	BlockNumber heap_blocks;	/* of the table, see page_check_tid */
	bool		started;
	bool		null_query;
	bool		exact;			/* refined scores are the operator's results */
	bool		small;			/* all rows are refined at once */
	bool		exhausted;		/* all rows have been found */
	IvfMeta		meta;
	IvfModel   *model;

	/* the query */
	const float *query;			/* rotated; scaled where the metric scales */
	double		query_norm;		/* its length before it was scaled */
	float		norm2;			/* its squared length after */
	uint8	   *lut;
	float		delta;			/* see EdgeScale */
	float		bias;

	/* lists, see ivf_lists.c */
	ListRank   *lists;			/* nlists; the first nranked in rank order */
	uint32	   *order;			/* lists in rank order */
	binaryheap *unranked;		/* the others */
	int			nlists;
	int			nranked;
	int			nseen;			/* whose codes have been scanned */
	double		nrows;			/* in all lists, about */
	double		nscanned;		/* rows that the pool has been offered */
	double		nmatching;		/* those that satisfy the filter, about */
	double		next_check;		/* of nscanned: whether the lists do */

	FilterSet  *filter;			/* NULL without conditions */

	/* candidates */
	CandidatePool *pool;
	int			nwanted;		/* candidates that a pass must find */
	int			nused;			/* of the pool, refined */
	bool		has_all;		/* the pool has all that have not been refined */
	HeapRefine *heap;			/* where rows are refined by the table */

	/*
	 * Scores of the refined candidates but for rows that come after all
	 * others, and how far the estimates were off.
	 */
	int			nrefined;
	float	   *scores;
	int			nscores;
	int			max_scores;
	double		error2;			/* sum of squares */

	/* rows */
	FoundRows	found;
	double		stage_rows;		/* rows up to the end of this stage */
	int64		nvisited;		/* rows looked at, in all passes */
	double		nsatisfying;	/* those that satisfy the filter, about */
	int64		nfiltered;		/* seen not to satisfy it */
	int64		nreturned;
} IvfScan;

/* Score all lists. */
extern void ivf_lists_begin(IvfScan *so);

/*
 * Offer the pool the candidates that have not been refined: of the lists from
 * rank first on that have been seen before, and of further ones until as many
 * rows have been looked at as the stage calls for, and the pool has what is
 * wanted.  With a filter only rows that satisfy it count.
 */
extern void ivf_lists_scan(IvfScan *so, int first);

/* Note that n items of the pool have been refined, the last of which is given. */
extern void ivf_lists_refined(IvfScan *so, int first, int n,
							  const Candidate *last);

/*
 * Turn candidates of the pool, n from place first on, into found rows, and
 * note their scores.
 */
extern void ivf_refine_begin(IndexScanDesc scan, IvfScan *so);
extern void ivf_refine(IvfScan *so, int first, int n);
extern void ivf_refine_end(IvfScan *so);

#endif							/* RECSYS_IVF_SCAN_H */
