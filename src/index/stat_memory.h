/*
 * stat_memory.h
 *		The one piece of shared memory that we count in.
 */
#ifndef RECSYS_STAT_MEMORY_H
#define RECSYS_STAT_MEMORY_H

typedef struct StatMemory
{
	Size		size;
	void		(*init) (void *memory); /* run once, by whoever comes first */
} StatMemory;

/* Called when the library is loaded; *memory must stay. */
extern void stat_memory_register(const StatMemory *memory);

/*
 * The memory, at the same address whenever this backend asks.  Where the
 * server has no shared memory for us, *shared is false and it is this
 * backend's own.
 */
extern void *stat_memory_attach(bool *shared);

#endif							/* RECSYS_STAT_MEMORY_H */
