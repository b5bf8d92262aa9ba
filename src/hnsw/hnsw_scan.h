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
	EntryPoint *entries;		/* that have not been entered from */
	int			nentries;
	FoundRows	found;
	Saturation	saturation;
	double		stage_rows;		/* rows up to the end of this stage */
	double		promised;		/* the same, with late rows */

	FilterSet  *filter;			/* NULL without conditions */
	double		pass_rate;		/* share of all rows that satisfy it, about */
	double		nsatisfying;	/* their number */
	double		exact_visits;	/* visits that cost as much as the exact way,
								 * but for the nodes that it reads */
	Shortlist  *shortlist;		/* NULL until it is made */

	int64		nreturned;
	int64		nmatching;		/* visited nodes that have rows to return */
	int64		nread;			/* nodes read without a visit */
	int64		nfiltered;		/* rows looked at that do not satisfy it */
};

/*
 * What the exact way costs with a filter, in visits: it reads the key tape, and
 * then nodes for so many rows.
 */
extern double hnsw_exact_visits(double nrows, double nmatching,
								int rows_per_page);
extern double hnsw_exact_nodes(double rows, double nmatching);

/* Visits that a scan makes for so many rows, of which a share is found. */
extern double hnsw_graph_visits(double rows, double pass_rate);

/* What so many visits cost, in the first visits of a scan. */
extern double hnsw_graph_cost(double nvisits);

/* The end of the stage in which a scan returns so many rows. */
extern double hnsw_stage_end(double rows);

/* Add the heap rows of a node that satisfy the filter to those found. */
extern void scan_add_rows(HnswScan *so, const Visit *visit);

/* hnsw_exact.c */

/* Estimate pass_rate and what the exact way costs. */
extern void exact_estimate(IndexScanDesc scan, HnswScan *so);

/* Go the exact way from here on. */
extern void exact_begin(IndexScanDesc scan, HnswScan *so);

/* Find the rows that have been promised. */
extern void exact_find(IndexScanDesc scan, HnswScan *so);

/* The bound of an open node's rows; returns <q, own vector>. */
extern float scan_node_row(const HnswScan *so, const GraphNode *node,
						   FoundRow *row);

#endif							/* RECSYS_HNSW_SCAN_H */
