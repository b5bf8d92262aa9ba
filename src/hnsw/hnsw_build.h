/*
 * hnsw_build.h
 *		The phases of a build, and what its processes share.
 */
#ifndef RECSYS_HNSW_BUILD_H
#define RECSYS_HNSW_BUILD_H

#include "access/parallel.h"
#include "access/tableam.h"
#include "storage/barrier.h"

#include "hnsw/hnsw.h"
#include "hnsw/hnsw_arena.h"
#include "hnsw/hnsw_link.h"

/*
 * Phases of the build's barrier.  All processes pass all of them; where the
 * leader works alone the others wait.
 */
typedef enum BuildPhase
{
	BUILD_LOAD,					/* all: read rows into the arena */
	BUILD_PREPARE,				/* leader: M, unit, entry set */
	BUILD_SCATTER,				/* all: list nodes by cell, link a few */
	BUILD_LINK,					/* all: link the others, cell by cell */
	BUILD_WRITE,				/* leader: put the graph on pages */
	BUILD_INSERT				/* all: insert rows that memory had no room
								 * for */
} BuildPhase;

/* Shared by the processes of a build; private where there are no workers. */
typedef struct BuildShared
{
	bool		parallel;
	int			ef_construction;
	dsa_handle	area;
	dsa_pointer entries;		/* EntrySet; address without an area */
	Barrier		barrier;
	slock_t		mutex;			/* protects the two counts */
	double		heap_tuples;
	double		index_tuples;
	uint32		nloaded;		/* nodes that the arena holds */
	pg_atomic_uint32 next_scatter;	/* next node of BUILD_SCATTER */
	pg_atomic_uint32 next_cell; /* next cell of BUILD_LINK */
	pg_atomic_uint32 nlinked;
	pg_atomic_uint32 overflow;	/* set when memory is used up */
	pg_atomic_uint32 cells[ENTRY_MAX];	/* first of the nodes whose nearest
										 * entry this is */
} BuildShared;

/* One process of a build. */
typedef struct Builder
{
	BuildShared *shared;
	Arena	   *arena;
	dsa_area   *area;			/* NULL without workers */
	Relation	heap;
	Relation	index;
	IndexInfo  *index_info;
	bool		leader;
	BuildPhase	phase;
	VectorCoder *coder;			/* from the first row on */
	FilterEncoder *filters;
	Linker	   *linker;			/* from the first node linked on */
	float	   *rotated;		/* the node being linked */
	Inserter   *inserter;		/* in BUILD_INSERT */
	double		ntuples;
	MemoryContext context;
	MemoryContext row_context;	/* reset after each row */
} Builder;

extern Builder *builder_create(BuildShared *shared, ArenaShared *arena,
							   dsa_area *area, Relation heap, Relation index,
							   IndexInfo *index_info);
extern void builder_run(Builder *builder, TableScanDesc scan);
extern void build_shared_init(BuildShared *shared, Relation index);

/* hnsw_entry_build.c: the choice of the entry set. */
extern EntrySet *entry_set_build(Arena *arena);
extern EntrySet *entry_set_of_cell(const Arena *arena, const EntrySet *set,
								   int cell);

/* hnsw_flush.c */
extern void graph_connect(Arena *arena, const EntrySet *set);
extern void graph_flush(Relation index, Arena *arena, EntrySet *set);

/* hnsw_parallel.c */
extern bool build_in_parallel(Relation heap, Relation index,
							  IndexInfo *index_info, int nworkers,
							  IndexBuildResult *result);
PGDLLEXPORT extern void recsys_hnsw_build_worker(dsm_segment *segment,
												 shm_toc *toc);

#endif							/* RECSYS_HNSW_BUILD_H */
