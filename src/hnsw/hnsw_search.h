/*
 * hnsw_search.h
 *		Best-first search over the graph, on the codes in the nodes.
 */
#ifndef RECSYS_HNSW_SEARCH_H
#define RECSYS_HNSW_SEARCH_H

#include "hnsw/hnsw_rows.h"
#include "hnsw/hnsw_store.h"

/*
 * What is searched for.  A query is made once and may serve several searches.
 */
typedef struct GraphQuery
{
	float	   *x;				/* rotated, padded_dim */
	float		norm2;
	uint8	   *lut;			/* for edge_sums, code_dim / 4 x 16 */
	EdgeScale	scale;			/* delta and bias of the table */
	const FilterSet *filter;	/* that rows must satisfy, or NULL */
} GraphQuery;

/* A node that the search has visited. */
typedef struct Visit
{
	NodeAddr	addr;
	GraphNode	header;			/* copy */
	uint32		matching;		/* its heap rows that satisfy the filter: a
								 * bit each */
	float		ip;				/* <q, own vector>, see graph_search_step */
	float		key;			/* in the measure of the search */
} Visit;

/* A node from which to enter the graph, with its exact score. */
typedef struct EntryPoint
{
	NodeAddr	addr;
	float		ip;
	float		norm;
	float		key;			/* where entry_choose has set it */
} EntryPoint;

/* What is known of a node that has not been visited. */
typedef struct Estimate
{
	NodeAddr	addr;
	float		key;			/* in the measure of the search */
	float		f;				/* by which it may be wrong: see EdgeCode */
} Estimate;

typedef struct GraphSearch GraphSearch;

extern GraphQuery *graph_query_create(const NodeLayout *layout);
extern void graph_query_set(const NodeLayout *layout, float unit,
							GraphQuery *query, const float *rotated);

extern GraphSearch *graph_search_create(GraphStore *store);
extern void graph_search_begin(GraphSearch *search, const GraphQuery *query,
							   Measure measure, int budget);
extern void graph_search_enter(GraphSearch *search, const EntryPoint *points,
							   int n);
extern void graph_search_suggest(GraphSearch *search,
								 const Estimate *estimates, int n);
extern bool graph_search_step(GraphSearch *search, Visit *visit, int8 *own);
extern bool graph_search_has_visited(const GraphSearch *search, NodeAddr addr);
extern int64 graph_search_nvisited(const GraphSearch *search);

/* Bytes that what a search has met takes. */
extern Size graph_search_size(const GraphSearch *search);

/* The key of an item of length norm with inner product ip. */
extern float graph_search_key(const GraphStore *store, Measure measure,
							  float query_norm2, float ip, float norm);

#endif							/* RECSYS_HNSW_SEARCH_H */
