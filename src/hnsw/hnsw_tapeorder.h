/*
 * hnsw_tapeorder.h
 *		The order in which a build puts rows on the key tape.
 */
#ifndef RECSYS_HNSW_TAPEORDER_H
#define RECSYS_HNSW_TAPEORDER_H

#include "hnsw/hnsw_arena.h"

/* A slot that has rows, and by what it is ordered. */
typedef struct OrderedSlot
{
	float		key;
	NodeAddr	addr;			/* in the arena */
} OrderedSlot;

/* The node whose vector the rows of a slot have. */
extern NodeAddr slot_owner(Arena *arena, NodeAddr addr);

/*
 * Order slots, so that unit after unit of as many rows as given lie together for
 * a scan that looks for the best.  The first n are those of a tape.
 */
extern void tape_order(Arena *arena, OrderedSlot *slots, uint32 n, int unit);

#endif							/* RECSYS_HNSW_TAPEORDER_H */
