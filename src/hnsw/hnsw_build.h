/*
 * hnsw_build.h
 *		The phases of a build, and what its processes share.
 */
#ifndef RECSYS_HNSW_BUILD_H
#define RECSYS_HNSW_BUILD_H

#include "access/parallel.h"
#include "access/tableam.h"
#include "storage/barrier.h"
#include "storage/dsm.h"

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
	BUILD_PREPARE,				/* leader: M, unit, the directions of cells */
	BUILD_CELLS,				/* all: list nodes by cell, find champions */
	BUILD_ENTER,				/* leader: complete and link the entry set */
	BUILD_SCATTER,				/* all: link a few nodes of all cells */
	BUILD_LINK,					/* all: link the others, cell by cell */
	BUILD_PLACE,				/* leader: where slots go, the entry set */
	BUILD_WRITE,				/* all: write pages of nodes */
	BUILD_FINISH,				/* leader: key tape, long list, metapage */
	BUILD_INSERT,				/* all: insert rows that memory had no room
								 * for */
	BUILD_LOG					/* all: log the pages */
} BuildPhase;

#define BUILD_PHASES (BUILD_LOG + 1)

/*
 * Memory that all processes of a build see, of just the size that it needs:
 * the segments of an area would double.
 */
typedef struct BuildPiece
{
	dsm_handle	handle;			/* DSM_HANDLE_INVALID where it is private */
	void	   *address;		/* of private memory */
} BuildPiece;

/*
 * Where slots go: page i of the pages of nodes, which begin at block first,
 * has slots_per_page of placed[], from i * slots_per_page on.
 */
typedef struct GraphPlaces
{
	uint32		nslots;			/* of the arena */
	uint32		nplaced;
	BlockNumber first;
	NodeAddr	placed[FLEXIBLE_ARRAY_MEMBER];	/* nslots, nplaced in use */

	/* Then the address on a page of each slot, or INVALID_NODE_ADDR. */
} GraphPlaces;

static inline NodeAddr *
graph_addrs(const GraphPlaces *places)
{
	return (NodeAddr *) places->placed + places->nslots;
}

/* Shared by the processes of a build; private where there are no workers. */
typedef struct BuildShared
{
	bool		parallel;
	int			ef_construction;
	dsa_handle	area;
	BuildPiece	entries;		/* EntrySet, from BUILD_PREPARE on */
	BuildPiece	next;			/* NodeAddr of each node loaded: another of
								 * its cell; in BUILD_CELLS to BUILD_LINK */
	BuildPiece	places;			/* GraphPlaces, in BUILD_PLACE to BUILD_FINISH */
	Barrier		barrier;
	slock_t		mutex;			/* protects the two counts */
	double		heap_tuples;
	double		index_tuples;
	uint32		nloaded;		/* nodes that the arena holds */
	float		champion_norm;	/* least length of a champion */
	pg_atomic_uint32 taken[BUILD_PHASES];	/* of each phase's work */
	pg_atomic_uint32 nlinked;
	pg_atomic_uint32 overflow;	/* set when memory is used up */
	pg_atomic_uint32 cells[ENTRY_MAX];	/* a node that is nearest to the
										 * direction of this entry */
	pg_atomic_uint64 champions[ENTRY_MAX];	/* see champion_offer */
} BuildShared;

/* One process of a build. */
typedef struct Builder
{
	BuildShared *shared;
	Arena	   *arena;
	Relation	heap;
	Relation	index;
	IndexInfo  *index_info;
	bool		leader;
	BuildPhase	phase;
	EntrySet   *set;			/* these three in their phases */
	NodeAddr   *next;
	GraphPlaces *places;
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
typedef struct CellFinder CellFinder;

/* Vectors that a cell finder takes at a time. */
#define CELL_BATCH 256

extern EntrySet *entry_set_begin(Arena *arena, float *champion_norm);
extern CellFinder *cell_finder_create(const EntrySet *set);
extern void cell_finder_find(CellFinder *finder, Arena *arena, NodeAddr first,
							 int n, int *cells);
extern void cell_finder_free(CellFinder *finder);
extern void champion_offer(pg_atomic_uint64 *champion, float norm,
						   NodeAddr addr);
extern void entry_set_finish(EntrySet *set, Arena *arena,
							 pg_atomic_uint64 *champions);
extern EntrySet *entry_set_of_cell(const Arena *arena, const EntrySet *set,
								   int cell);

/* hnsw_flush.c: the steps of writing the graph. */
extern Size graph_places_size(uint32 nslots);
extern void graph_place(Relation index, Arena *arena, const EntrySet *set,
						GraphPlaces *places);
extern uint32 graph_npages(const Arena *arena, const GraphPlaces *places);
extern void graph_write(Relation index, Arena *arena, const GraphPlaces *places,
						uint32 first, uint32 end);
extern void graph_finish(Relation index, Arena *arena,
						 const GraphPlaces *places);

/* hnsw_parallel.c */
extern void piece_create(BuildPiece *piece, bool parallel, Size size);
extern void *piece_attach(const BuildPiece *piece);
extern void piece_detach(const BuildPiece *piece);
extern bool build_in_parallel(Relation heap, Relation index,
							  IndexInfo *index_info, int nworkers,
							  IndexBuildResult *result);
PGDLLEXPORT extern void recsys_hnsw_build_worker(dsm_segment *segment,
												 shm_toc *toc);

#endif							/* RECSYS_HNSW_BUILD_H */
