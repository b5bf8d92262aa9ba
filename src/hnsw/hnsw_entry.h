/*
 * hnsw_entry.h
 *		The entry set: where a search enters the graph.
 *
 * There are no upper levels.  In their place stands a table of up to about a
 * thousand items that every search scores whole, from a copy that a backend
 * keeps: a scan reads no page for it but the metapage.
 *
 * For inner product the table holds the items of largest norm, and a
 * champion for each of many random directions: the largest-norm item of the
 * direction's cell.  The first alone miss whole regions where the data falls
 * into nearly orthogonal blocks.  For the other metrics an item is its own
 * cell's champion for good.
 */
#ifndef RECSYS_HNSW_ENTRY_H
#define RECSYS_HNSW_ENTRY_H

#include "hnsw/hnsw_meta.h"
#include "hnsw/hnsw_search.h"

typedef enum EntryKind
{
	ENTRY_NONE = 0,				/* reserved, not written yet */
	ENTRY_TOP = 1,				/* one of the largest norms */
	ENTRY_CELL = 2				/* champion of a direction */
} EntryKind;

/*
 * An entry on its page, followed by the champion's own vector and the
 * direction, padded_dim bytes each.
 */
typedef struct Entry
{
	NodeAddr	addr;
	float		scale;			/* of the champion's own vector */
	float		norm;
	float		inverse_length; /* 1 / length of the direction's int8 codes */
	float		item_norm;		/* of the item that gave the direction */
	uint32		kind;			/* EntryKind */
} Entry;

StaticAssertDecl(sizeof(Entry) == 24, "Entry is part of the disk format");

/* The whole set in one piece of memory. */
typedef struct EntrySet
{
	uint32		version;		/* of the metapage that it was read under */
	int32		n;
	int32		padded_dim;
	Entry		entries[FLEXIBLE_ARRAY_MEMBER];

	/*
	 * Then float coordinate[n] of the augmentation, int8 own[n][padded_dim],
	 * int8 direction[n][padded_dim].
	 */
} EntrySet;

/* Entries from which a scan begins, and from which a link's searches do. */
#define SCAN_ENTRY_POINTS 32
#define LINK_ENTRY_POINTS 8

/* A query that has been scored against the set, see entry_choose. */
typedef struct EntryQuery
{
	const float *ips;			/* with every entry */
	float		norm2;
	float		coordinate;		/* of the augmentation */
} EntryQuery;

extern int	entry_capacity(const NodeLayout *layout, Metric metric,
						   EntryKind kind);
extern Size entry_set_size(int n, int padded_dim);
extern EntrySet *entry_set_read(Relation index, const HnswMeta *meta);
extern const EntrySet *entry_set_cached(Relation index, const HnswMeta *meta);
extern int8 *entry_own(const EntrySet *set, int i);
extern int8 *entry_direction(const EntrySet *set, int i);
extern void entry_fill(EntrySet *set, int i, EntryKind kind, NodeAddr addr,
					   const OwnVector *own);
extern void entry_set_champion(EntrySet *set, int i, NodeAddr addr,
							   const OwnVector *own);
extern EntrySet *entry_set_compact(const EntrySet *set);
extern int	entry_nearest_cell(const EntrySet *set, const int8 *codes);

extern void entry_set_augment(EntrySet *set, float radius2);
extern void entry_score_query(const EntrySet *set, const float *rotated,
							  float *ips);
extern void entry_score_own(const EntrySet *set, const OwnVector *own,
							float *ips);
extern int	entry_choose(const EntrySet *set, Measure measure,
						 const EntryQuery *query, EntryPoint *points,
						 int max);

extern bool entry_offer(Relation index, HnswMeta *meta, PageWal wal,
						NodeAddr addr, const OwnVector *own);
extern void entry_replace_dead(PageStore *store, HnswMeta *meta, NodeAddr addr,
							   const OwnVector *own);
extern BlockNumber entry_set_reserve(Relation index, HnswMeta *meta,
									 PageWal wal, const EntrySet *set);
extern void entry_set_write(Relation index, HnswMeta *meta, PageWal wal,
							const EntrySet *set);

#endif							/* RECSYS_HNSW_ENTRY_H */
