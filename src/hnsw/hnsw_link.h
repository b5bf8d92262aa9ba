/*
 * hnsw_link.h
 *		Edges: which neighbours a node gets, and how they learn of it.
 */
#ifndef RECSYS_HNSW_LINK_H
#define RECSYS_HNSW_LINK_H

#include "hnsw/hnsw_entry.h"
#include "hnsw/hnsw_rows.h"

/* How many edges are made for a node. */
typedef enum LinkDegree
{
	LINK_FULL,					/* all that its lanes have room for */
	LINK_SPARSE,				/* fewer, where each one costs WAL */
	LINK_DEGREES
} LinkDegree;

/* A group of a node's lanes whose edges are chosen by one measure. */
typedef struct EdgeList
{
	Measure		measure;
	int			first;
	int			size;
	int			nchosen[LINK_DEGREES];	/* edges that a new node gets */
	int			nasked[LINK_DEGREES];	/* neighbours asked for one back */
} EdgeList;

#define MAX_EDGE_LISTS 2

extern int	edge_lists(Metric metric, const EdgeList **lists);

/* Work space of inserting nodes, one a process. */
typedef struct Linker Linker;

extern Linker *linker_create(GraphStore *store, int ef_construction,
							 LinkDegree degree);

/*
 * A build links the nodes of a cell from now on.  They are near to each other,
 * so those linked since are candidates, and searches visit fewer nodes.
 */
extern void linker_begin_cell(Linker *linker);

/*
 * Look for the neighbours of a vector.  rotated is the vector itself, own its
 * stored form; self, where valid, is left out.  Returns the address of a node
 * that holds the very same vector, or INVALID_NODE_ADDR.
 */
extern NodeAddr linker_find(Linker *linker, const EntrySet *set,
							const float *rotated, const OwnVector *own,
							NodeAddr self);

/* The neighbours that linker_find has chosen, padded with INVALID_NODE_ADDR. */
extern void linker_chosen(const Linker *linker, NodeAddr addrs[NODE_DEGREE]);

/*
 * Give a node the edges that linker_find has prepared, and its neighbours
 * their edges back.  With self = INVALID_NODE_ADDR the node is made first,
 * with a heap row.  Returns its address.
 */
extern NodeAddr linker_link(Linker *linker, const OwnVector *own,
							NodeAddr self, const NodeRow *row);

/* Whether an edge leads to the node that was linked last. */
extern bool linker_is_linked(const Linker *linker);

/* A node and its edges, as they were when it was read. */
typedef struct NodeEdges
{
	NodeAddr	addr;
	OwnVector	own;
	const float *rotated;		/* the same, decoded */
	NodeAddr	addrs[NODE_DEGREE];
	bool		gone[NODE_DEGREE];	/* leads to no live node */
	int			ngone;
} NodeEdges;

/*
 * Take out a node's edges to neighbours that are gone.  A list that is left
 * with too many open lanes is filled up, and the new neighbours get their
 * edges back.  When this returns no lane holds an address that is marked as
 * gone, and edges to others are where they were.
 */
extern void linker_repair(Linker *linker, const EntrySet *set,
						  const NodeEdges *edges);

/* Add a heap row to a node; false where it cannot take any. */
extern bool node_add_row(GraphStore *store, NodeAddr addr,
						 const OwnVector *own, const NodeRow *row);

#endif							/* RECSYS_HNSW_LINK_H */
