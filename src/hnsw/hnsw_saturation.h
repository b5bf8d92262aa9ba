/*
 * hnsw_saturation.h
 *		When a scan has found enough for the rows that it has promised.
 */
#ifndef RECSYS_HNSW_SATURATION_H
#define RECSYS_HNSW_SATURATION_H

typedef struct Saturation
{
	MemoryContext context;		/* holds the arrays */
	int			ef_search;
	double		expected_rate;	/* share of the visits that should find a node */
	double		pass_rate;		/* and that does */
	Size		nfound;			/* nodes */
	Size		nlong;			/* of these, as long as those of the long list */
	Size		max_found;		/* that there is room for */
	float	   *keys;			/* of nodes, in the order they were found */
	bool	   *fresh;			/* was it among the best when found? */
	Size		window_start;	/* the first node that is in the window */
	Size		nfresh;			/* of the nodes in the window */
	Size		nrows;			/* promised */
	Size		most;			/* nodes that are enough in any case */
	Size		nbest;			/* at most nrows */
	Size		max_best;
	float	   *best;			/* heap of the best keys: the worst is first */
} Saturation;

/*
 * Begin with nothing found, where such a share of all nodes has rows to return;
 * memory is taken from the current context.
 */
extern void saturation_init(Saturation *s, int ef_search,
							double expected_rate);

/*
 * Promise so many rows, at least one, for which all found so far counts.  If no
 * sooner, enough has been found with so many nodes at most.
 */
extern void saturation_promise(Saturation *s, double nrows, double most);

/*
 * A node has been found that has rows to return, as about such a share of all
 * visited have; is_long where the long list has the nodes of its length.
 */
extern void saturation_add(Saturation *s, float key, bool is_long,
						   double pass_rate);

/* Whether enough has been found for the rows promised. */
extern bool saturation_reached(const Saturation *s);

#endif							/* RECSYS_HNSW_SATURATION_H */
