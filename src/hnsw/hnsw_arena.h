/*
 * hnsw_arena.h
 *		The graph in a build's memory, private or shared by workers.
 *
 * Slots have the form that they have on a page and are numbered from 0 in the
 * order of loading.  Every slot has one of a fixed set of locks, which an edit
 * holds; readers take none: a slot's own vector never changes, and a reader
 * that meets a half-written lane only gets a wrong estimate.
 */
#ifndef RECSYS_HNSW_ARENA_H
#define RECSYS_HNSW_ARENA_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/dsa.h"

#include "hnsw/hnsw_rows.h"
#include "hnsw/hnsw_store.h"

/* A node that is loaded and has no edges yet; never on a page. */
#define SLOT_LOADED 4

#define ARENA_LOCKS 1024

/* Memory comes in pieces of so many slots, 72 kB of the smallest ones. */
#define ARENA_CHUNK_SLOTS 64

/* What all processes of a build see. */
typedef struct ArenaShared
{
	int32		metric;
	int32		nfilters;
	int32		dim;			/* 0 until the first row is loaded */
	float		unit;
	float		radius2;
	int			tranche_id;
	Size		memory;			/* bytes that slots may take */
	uint32		max_chunks;
	pg_atomic_uint32 nslots;
	LWLock		chunk_lock;		/* protects dim and adding chunks */
	LWLock		slot_locks[ARENA_LOCKS];
	dsa_pointer chunks[FLEXIBLE_ARRAY_MEMBER];	/* address without an area */
} ArenaShared;

/* One process's view. */
typedef struct Arena
{
	GraphStore	base;
	ArenaShared *shared;
	dsa_area   *area;			/* NULL where the memory is private */
	char	  **chunks;			/* addresses in this process, or NULL */
	uint32		max_slots;
	MemoryContext context;
	NodeAddr	editing;
	NodeAddr   *free_slots;		/* that this process has given back */
	uint32		nfree;
	uint32		max_free;
} Arena;

extern Size arena_shared_size(Size memory);
extern void arena_shared_init(ArenaShared *shared, Relation index, Size memory);
extern Arena *arena_attach(ArenaShared *shared, dsa_area *area);
extern int	arena_start(Arena *arena, int dim);
extern void arena_refresh(Arena *arena);

extern bool arena_load(Arena *arena, const OwnVector *own, const NodeRow *row);
extern GraphNode *arena_slot(Arena *arena, NodeAddr addr);
extern uint32 arena_nslots(Arena *arena);
extern void arena_loaded(Arena *arena);
extern void arena_release(Arena *arena, NodeAddr addr);

#endif							/* RECSYS_HNSW_ARENA_H */
