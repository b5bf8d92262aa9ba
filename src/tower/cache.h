/*
 * cache.h
 *		Towers that this backend has parsed.
 */
#ifndef RECSYS_CACHE_H
#define RECSYS_CACHE_H

#include "lib/ilist.h"

#include "tower/tower.h"

typedef struct CachedTower
{
	dlist_node	node;			/* most recently used first */
	Oid			table;			/* recsys.model, and the file's id therein */
	int64		file;
	uint64		serial;			/* never used again in this backend */
	MemoryContext context;
	Tower	   *tower;
	Batch		row;			/* room for one row */
	Size		bytes;
} CachedTower;

extern CachedTower *cache_get(const char *ref, Size length);

#endif							/* RECSYS_CACHE_H */
