/*
 * kmeans_cells.c
 *		Coarse partitions: the first of two levels, of points that are to be
 *		clustered and of centroids that are to be searched.
 *
 * Clusters of much the same number of points are wanted, since the work in a
 * cell grows with its square, but k-means makes large ones where points are
 * dense.  So cells that are too large are clustered again.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "linalg/kmeans.h"
#include "linalg/kmeans_parts.h"
#include "miscadmin.h"
#include "storage/shmem.h"

/* Points of a sample for each cell, and rounds of k-means on it. */
#define CELL_SAMPLE 256
#define CELL_ROUNDS 10

/* A cell is too large beyond so many times its share; rounds of splitting. */
#define CELL_EXCESS 2
#define CELL_SPLITS 3

/* Cluster a sample of points; returns the number of middles. */
static int
train_middles(const KmeansPoints *points, int wanted, pg_prng_state *prng,
			  float *middles)
{
	KmeansTask	task = {.iterations = CELL_ROUNDS};
	int			n = Min(points->n, wanted * CELL_SAMPLE);
	int		   *rows = kmeans_alloc(n, sizeof(int));
	KmeansPoints sample = {points->base, rows, n, points->dim};
	int			count;

	kmeans_sample(points, n, prng, rows);
	count = kmeans_train_one_level(&task, &sample, wanted, prng, middles);
	pfree(rows);
	return count;
}

/* Give each point to the nearest middle. */
static void
cells_fill(KmeansCells *cells, const KmeansPoints *points)
{
	int		   *labels = kmeans_alloc(points->n, sizeof(int));
	KmeansAssigner *assigner = kmeans_assigner_create(cells->middles, cells->n,
													  points->dim);

	kmeans_assign(assigner, points->base, points->n, labels);
	cells->first = kmeans_alloc(cells->n + 1, sizeof(int));
	kmeans_group(labels, points->n, cells->n, cells->first, cells->order);
	kmeans_assigner_free(assigner);
	pfree(labels);
}

/* In how many should a cell be split that has n of all points? */
static int
parts_of(int n, int limit)
{
	return n > CELL_EXCESS * limit ? (n + limit - 1) / limit : 1;
}

/* Replace the middles of cells that are too large; false if none is. */
static bool
cells_split(KmeansCells *cells, const KmeansPoints *points, int limit,
			pg_prng_state *prng)
{
	Size		dim = points->dim;
	float	   *middles;
	int			room = 0;
	int			count = 0;

	for (int i = 0; i < cells->n; i++)
		room += parts_of(cells->first[i + 1] - cells->first[i], limit);
	if (room == cells->n)
		return false;
	middles = kmeans_alloc(room * dim, sizeof(float));
	for (int i = 0; i < cells->n; i++)
	{
		KmeansPoints members = {points->base, cells->order + cells->first[i],
		cells->first[i + 1] - cells->first[i], points->dim};
		int			parts = parts_of(members.n, limit);

		if (parts > 1)
			count += train_middles(&members, parts, prng,
								   middles + count * dim);
		else
			memcpy(middles + count++ * dim, cells->middles + i * dim,
				   sizeof(float) * dim);
	}
	pfree(cells->middles);
	pfree(cells->first);
	cells->middles = middles;
	cells->n = count;
	return true;
}

KmeansCells *
kmeans_cells_create(const KmeansPoints *points, int wanted,
					pg_prng_state *prng)
{
	KmeansCells *cells = palloc0(sizeof(KmeansCells));
	int			limit = (points->n + wanted - 1) / wanted;

	Assert(points->rows == NULL);
	cells->middles = kmeans_alloc((Size) wanted * points->dim, sizeof(float));
	cells->order = kmeans_alloc(points->n, sizeof(int));
	cells->n = train_middles(points, wanted, prng, cells->middles);
	cells_fill(cells, points);
	for (int i = 0; i < CELL_SPLITS; i++)
	{
		if (!cells_split(cells, points, limit, prng))
			break;
		cells_fill(cells, points);
	}
	return cells;
}

void
kmeans_cells_free(KmeansCells *cells)
{
	pfree(cells->middles);
	pfree(cells->first);
	pfree(cells->order);
	pfree(cells);
}
