/*
 * hnsw_recent.c
 *		The nodes of a cell that a build has linked last.
 *
 * Nodes of a cell are near to each other, and their vectors lie here in one
 * piece, so that one more is compared with all of them faster than a search
 * finds the best of them.  What is near in other cells, and long, is left to the
 * search.
 */
#include "postgres.h"

#include "hnsw/hnsw_recent.h"
#include "vector/mips.h"

/*
 * Nodes that are kept.  Cells of a million rows have some 1,300 on average, and
 * a few have many times as many, for which comparing all would grow as the
 * square.
 */
#define RECENT_NODES 1024

struct RecentNodes
{
	const GraphStore *store;
	int			n;
	int			next;			/* where the next one goes */
	float		norm2;			/* of the vector compared with */
	float		coordinate;
	RecentNode *nodes;			/* RECENT_NODES */
	int8	   *codes;			/* RECENT_NODES x padded_dim */
};

/* A node and its key. */
typedef struct RecentKey
{
	float		key;
	int			node;
} RecentKey;

RecentNodes *
recent_create(const GraphStore *store)
{
	RecentNodes *recent = palloc(sizeof(RecentNodes));

	recent->store = store;
	recent->nodes = palloc(sizeof(RecentNode) * RECENT_NODES);
	recent->codes = palloc((Size) RECENT_NODES * store->layout.padded_dim);
	recent_clear(recent);
	return recent;
}

void
recent_clear(RecentNodes *recent)
{
	recent->n = 0;
	recent->next = 0;
}

int
recent_count(const RecentNodes *recent)
{
	return recent->n;
}

void
recent_add(RecentNodes *recent, NodeAddr addr, const OwnVector *own)
{
	int			padded_dim = recent->store->layout.padded_dim;
	RecentNode *node = &recent->nodes[recent->next];

	node->addr = addr;
	node->own = *own;
	node->own.codes = recent->codes + (Size) recent->next * padded_dim;
	node->own.fine = NULL;
	memcpy(node->own.codes, own->codes, padded_dim);
	node->norm2 = own->norm * own->norm;
	node->coordinate = mips_coordinate(node->norm2, recent->store->radius2);
	recent->next = (recent->next + 1) % RECENT_NODES;
	recent->n = Min(recent->n + 1, RECENT_NODES);
}

void
recent_score(RecentNodes *recent, const OwnVector *own)
{
	recent->norm2 = own->norm * own->norm;
	recent->coordinate = mips_coordinate(recent->norm2, recent->store->radius2);
	for (int i = 0; i < recent->n; i++)
	{
		RecentNode *node = &recent->nodes[i];

		node->ip = own_dot(&recent->store->layout, own->scale, own->codes,
						   node->own.scale, node->own.codes);
	}
}

int
recent_choose(const RecentNodes *recent, Measure measure,
			  const RecentNode **chosen, int max)
{
	RecentKey	best[RECENT_MAX_CHOSEN];
	int			n = 0;

	Assert(max > 0);
	max = Min(max, RECENT_MAX_CHOSEN);
	for (int i = 0; i < recent->n; i++)
	{
		const RecentNode *node = &recent->nodes[i];
		float		key = -node->ip;
		int			place;

		if (measure == MEASURE_L2)
		{
			float		z = recent->coordinate - node->coordinate;

			key = recent->norm2 + node->norm2 + 2.0f * key + z * z;
		}
		if (n == max && !(key < best[n - 1].key))
			continue;
		for (place = Min(n, max - 1);
			 place > 0 && best[place - 1].key > key; place--)
			best[place] = best[place - 1];
		best[place].key = key;
		best[place].node = i;
		n = Min(n + 1, max);
	}
	for (int i = 0; i < n; i++)
		chosen[i] = &recent->nodes[best[i].node];
	return n;
}
