/*
 * hnsw_scan.h
 *		The state of a scan, and its two ways to the rows: the graph, and the
 *		exact one.
 */
#ifndef RECSYS_HNSW_SCAN_H
#define RECSYS_HNSW_SCAN_H

#include "access/genam.h"
#include "access/relscan.h"

#include "hnsw/hnsw_entry.h"
#include "hnsw/hnsw_longscan.h"
#include "hnsw/hnsw_saturation.h"
#include "hnsw/hnsw_search.h"
#include "hnsw/hnsw_shortlist.h"
#include "index/found_rows.h"
#include "index/scan_report.h"

struct HnswScan
{
	ScanTally	past;			/* first, see IndexMethod; outlives a rescan */
	MemoryContext context;		/* reset by each rescan */
	bool		started;
	bool		swept;			/* all rows have been found */
	bool		exact;			/* it goes the exact way */
	bool		null_query;
	HnswMeta	meta;
	PageStore	store;
	BlockNumber heap_blocks;	/* of the table, see page_check_tid */
	double		query_norm;
	GraphQuery *query;
	GraphSearch *search;		/* NULL until the graph is entered */
	Size		walk_memory;	/* that it may have */
	EntryPoint *entries;		/* that have not been entered from */
	int			nentries;
	LongScan   *longest;		/* the long list, with the search */
	double		nsuggested;		/* rows that its nodes have been taken for */
	FoundRows	found;
	ItemPointerData *posted;	/* of a chain of postings, as it is read */
	Size		nposted;
	Size		max_posted;
	Saturation	saturation;
	double		stage_rows;		/* rows up to the end of this stage */
	double		promised;		/* the same, with late rows */

	FilterSet  *filter;			/* NULL without conditions */
	double		nrows;			/* on the key tape, about */
	double		nsatisfying;	/* of them */
	double		pass_rate;		/* their share */
	double		exact_visits;	/* visits that cost as much as the exact way
								 * to the rows promised; at the least, unless
								 * the next says more */
	bool		exact_is_known;
	TapeScan   *tape;			/* NULL until its units are ranked */
	Shortlist  *shortlist;		/* NULL until it is made */

	int64		nreturned;
	int64		nmatching;		/* visited nodes that have rows to return */
	int64		nread;			/* nodes read without a visit */
	int64		nfiltered;		/* rows looked at that do not satisfy it */
};

/*
 * What the exact way costs with a filter, in visits: it reads keys of so many rows,
 * of which a share satisfies the filter, and then nodes for the rows wanted.
 */
extern double hnsw_exact_visits(double nrows, double share, int rows_per_page);
extern double hnsw_exact_nodes(double rows, double nmatching);

/* Rows whose keys it reads, for so many rows of those that satisfy the filter. */
extern double hnsw_exact_rows(double rows, double nrows, double nmatching);

/* Visits that a scan makes for so many rows, of which a share is found. */
extern double hnsw_graph_visits(double rows, double pass_rate,
								bool has_long_list);

/* What so many visits cost, in the first visits of a scan. */
extern double hnsw_graph_cost(double nvisits);

/* The rows that a scan's first stage promises, where a limit is known: else 0. */
extern double hnsw_first_stage(double limit);

/*
 * Add the heap rows of a node that satisfy the filter to those found.  Whether
 * there are any, and they do not come after all others.
 */
extern bool scan_add_rows(HnswScan *so, const Visit *visit);

/* hnsw_exact.c */

/* Estimate how many rows satisfy the filter. */
extern void exact_estimate(IndexScanDesc scan, HnswScan *so);

/* Other rows have been promised: set what the exact way costs at the least. */
extern void exact_promise(HnswScan *so);

/*
 * Whether the exact way to the rows promised costs no more than so many visits.
 * Where that is near, the units of the key tape are ranked to know.
 */
extern bool exact_is_cheaper(IndexScanDesc scan, HnswScan *so, double nvisits);

/* Go the exact way from here on. */
extern void exact_begin(IndexScanDesc scan, HnswScan *so);

/* Find the rows that have been promised. */
extern void exact_find(IndexScanDesc scan, HnswScan *so);

/* The bound of an open node's rows; returns <q, own vector>. */
extern float scan_node_row(const HnswScan *so, const GraphNode *node,
						   double *bound);

#endif							/* RECSYS_HNSW_SCAN_H */
