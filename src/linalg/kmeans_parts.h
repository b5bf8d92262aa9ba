/*
 * kmeans_parts.h
 *		What the files of the clustering share: views of points, exact nearest
 *		centroids by matrix products, seeds.  For src/linalg/kmeans*.c alone.
 */
#ifndef RECSYS_KMEANS_PARTS_H
#define RECSYS_KMEANS_PARTS_H

#include "common/pg_prng.h"

/* With more centroids than this, training and assignment go by two levels. */
#define KMEANS_ONE_LEVEL 4096

/* Points that are scored at a time, at most. */
#define KMEANS_MAX_CHUNK 1024

/* Some of the rows of a matrix. */
typedef struct KmeansPoints
{
	const float *base;			/* row-major, dim wide */
	const int  *rows;			/* which rows, or NULL for the first n */
	int			n;
	int			dim;
} KmeansPoints;

/* Row i of the view. */
static inline const float *
kmeans_point(const KmeansPoints *points, int i)
{
	return points->base +
		(Size) (points->rows == NULL ? i : points->rows[i]) * points->dim;
}

/*
 * The change of coordinates in which products are taken.  Distances do not
 * change with the origin, but their rounding errors do, and squares of numbers
 * beyond 1e19 overflow.
 */
typedef struct KmeansFrame
{
	float	   *center;			/* the new origin */
	double		offset;			/* its length */
	double		scale;			/* a power of two: the new unit is 1 / scale */
} KmeansFrame;

/*
 * Scores of points against a set of centroids: scale^2 (<x - m, c - m> -
 * |c - m|^2 / 2), m being the frame's center.  The nearest centroid has the
 * largest score, and |x - c|^2 = |x - m|^2 - 2 score / scale^2.
 */
typedef struct KmeansScorer
{
	int			dim;
	int			width;			/* centroids loaded, rounded up to full lanes */
	int			chunk;			/* points to be scored at a time */
	int			tile;			/* centroids to be scored at a time */
	float	   *weights;		/* width x dim */
	float	   *bias;			/* width; -FLT_MAX beyond k */
	float	   *scores;			/* chunk x tile */
} KmeansScorer;

/* Memory for count x size bytes, which may be more than 1 GB. */
extern void *kmeans_alloc(Size count, Size size);

/* The squared distance of two vectors. */
extern double kmeans_distance2(const float *a, const float *b, int dim);

/* rows[n] becomes a random sample of the view's rows, in their order. */
extern void kmeans_sample(const KmeansPoints *points, int n,
						  pg_prng_state *prng, int *rows);

/* Rows start .. start + n of the view, copied to buffer if not contiguous. */
extern const float *kmeans_points_read(const KmeansPoints *points, int start,
									   int n, float *buffer);

extern void kmeans_frame_init(KmeansFrame *frame, const KmeansPoints *points);

/* Room for max_k centroids, at most window of which are compared at a time. */
extern KmeansScorer *kmeans_scorer_create(int max_k, int window, int dim);
extern void kmeans_scorer_load(KmeansScorer *scorer, const KmeansFrame *frame,
							   const float *centroids, int k);
extern void kmeans_scorer_free(KmeansScorer *scorer);

/*
 * All scores of n points: [n][width], in the scorer's memory, until the next
 * call.  So many points can be given at a time:
 */
extern int	kmeans_scorer_rows(const KmeansScorer *scorer);
extern float *kmeans_scorer_all(KmeansScorer *scorer, const float *x, int n);

/* The best centroid of each of n <= chunk points, and its score. */
extern void kmeans_scorer_best(KmeansScorer *scorer, const float *x, int n,
							   int *labels, float *scores);

/* A counting sort: order[first[i] .. first[i + 1]] are the items labelled i. */
extern void kmeans_group(const int *labels, int n, int k, int *first,
						 int *order);

/*
 * Rounds of Lloyd's algorithm from given centroids.  Of the task, rounds and
 * progress count.
 */
extern void kmeans_lloyd(const KmeansTask *task, const KmeansPoints *points,
						 int k, pg_prng_state *prng, float *centroids);

/* kmeans_train for a view of points; of the task, rounds and progress count. */
extern int	kmeans_train_one_level(const KmeansTask *task,
								   const KmeansPoints *points, int k,
								   pg_prng_state *prng, float *centroids);

/*
 * A coarse partition of points: cell i has the points order[first[i] ..
 * first[i + 1]], those that are nearest to its middle.
 */
typedef struct KmeansCells
{
	int			n;
	float	   *middles;		/* n x dim */
	int		   *first;			/* n + 1 */
	int		   *order;
} KmeansCells;

/*
 * About the wanted number of cells, and about as many points in each, for a
 * view of a whole matrix.
 */
extern KmeansCells *kmeans_cells_create(const KmeansPoints *points, int wanted,
										pg_prng_state *prng);
extern void kmeans_cells_free(KmeansCells *cells);

/*
 * Fill centroids[k][dim] with k different points, or with all there are;
 * returns their number.
 */
extern int	kmeans_seed(const KmeansPoints *points, int k,
						pg_prng_state *prng, float *centroids);

/*
 * Drop repeated ones among count <= k centroids, and append points that are
 * none of them up to k.  Returns the new count, less than k only if all points
 * are centroids.
 */
extern int	kmeans_fill_distinct(const KmeansPoints *points, int k,
								 float *centroids, int count);

#endif							/* RECSYS_KMEANS_PARTS_H */
