/*
 * kmeans.c
 *		Clustering by Lloyd's algorithm.
 *
 * Seeds come from kmeans_seed.c, labels from kmeans_assign.c; what is here
 * moves the centroids to the means of their points, and splits the cluster of
 * the largest distortion where another has lost all of its points.
 *
 * Beyond KMEANS_ONE_LEVEL centroids the points are first clustered coarsely,
 * into sqrt(k) cells; each cell gets its share of the centroids, trained on its
 * own points; the last rounds are over all of them.
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "linalg/kmeans.h"
#include "linalg/kmeans_parts.h"
#include "miscadmin.h"
#include "storage/shmem.h"

/* Rounds end when fewer than one in so many points changed its centroid. */
#define SETTLED 1000

/* Points for each cell of the first of two levels, and last rounds. */
#define COARSE_POINTS 256
#define FINAL_ROUNDS 2

/* Clusters of some points; cluster i has order[begin[i] .. end[i]]. */
typedef struct Clusters
{
	KmeansPoints points;
	int			k;
	float	   *centroids;
	int		   *labels;			/* of each point */
	int		   *order;			/* points, cluster by cluster */
	int		   *begin;			/* k + 1 */
	int		   *end;
	double	   *sum;			/* dim, for clusters_center */
	pg_prng_state *prng;
} Clusters;

/* A call of kmeans_train. */
typedef struct Training
{
	const KmeansTask *task;
	pg_prng_state prng;
	int			round;			/* the next one to be reported */
	int			nrounds;
	bool		each_round;		/* whether rounds of Lloyd's are reported */
} Training;

double
kmeans_distance2(const float *a, const float *b, int dim)
{
	double		sum = 0;

	for (int i = 0; i < dim; i++)
	{
		double		d = (double) a[i] - b[i];

		sum += d * d;
	}
	return sum;
}

static void
clusters_init(Clusters *clusters, const KmeansPoints *points, int k,
			  float *centroids, pg_prng_state *prng)
{
	clusters->points = *points;
	clusters->k = k;
	clusters->centroids = centroids;
	clusters->labels = kmeans_alloc(points->n, sizeof(int));
	clusters->order = kmeans_alloc(points->n, sizeof(int));
	clusters->begin = kmeans_alloc(k + 1, sizeof(int));
	clusters->end = kmeans_alloc(k, sizeof(int));
	clusters->sum = palloc(sizeof(double) * points->dim);
	clusters->prng = prng;
	for (int i = 0; i < points->n; i++)
		clusters->labels[i] = -1;
}

static void
clusters_free(Clusters *clusters)
{
	pfree(clusters->labels);
	pfree(clusters->order);
	pfree(clusters->begin);
	pfree(clusters->end);
	pfree(clusters->sum);
}

/* Label all points by the present centroids; returns how many changed. */
static int
clusters_label(Clusters *clusters)
{
	const KmeansPoints *points = &clusters->points;
	KmeansAssigner *assigner = kmeans_assigner_create(clusters->centroids,
													  clusters->k, points->dim);
	int			step = Min(points->n, KMEANS_MAX_CHUNK);
	int		   *labels = palloc(sizeof(int) * step);
	float	   *buffer = kmeans_alloc((Size) step * points->dim, sizeof(float));
	int			changed = 0;

	for (int done = 0; done < points->n; done += step)
	{
		int			n = Min(step, points->n - done);

		kmeans_assign(assigner, kmeans_points_read(points, done, n, buffer), n,
					  labels);
		for (int i = 0; i < n; i++)
			changed += labels[i] != clusters->labels[done + i];
		memcpy(clusters->labels + done, labels, sizeof(int) * n);
	}
	kmeans_assigner_free(assigner);
	pfree(buffer);
	pfree(labels);
	kmeans_group(clusters->labels, points->n, clusters->k, clusters->begin,
				 clusters->order);
	memcpy(clusters->end, clusters->begin + 1, sizeof(int) * clusters->k);
	return changed;
}

/* A member of a cluster, counted through all of them. */
static inline const float *
clusters_point(const Clusters *clusters, int position)
{
	return kmeans_point(&clusters->points, clusters->order[position]);
}

static inline float *
clusters_centroid(const Clusters *clusters, int i)
{
	return clusters->centroids + (Size) i * clusters->points.dim;
}

/* Move centroid i to the mean of its points, if it has any. */
static void
clusters_center(Clusters *clusters, int i)
{
	int			dim = clusters->points.dim;
	int			n = clusters->end[i] - clusters->begin[i];
	double	   *sum = clusters->sum;
	float	   *centroid = clusters_centroid(clusters, i);

	if (n == 0)
		return;
	memset(sum, 0, sizeof(double) * dim);
	for (int at = clusters->begin[i]; at < clusters->end[i]; at++)
	{
		const float *x = clusters_point(clusters, at);

		for (int j = 0; j < dim; j++)
			sum[j] += x[j];
	}
	for (int j = 0; j < dim; j++)
		centroid[j] = (float) (sum[j] / n);
}

/* The sum of squared distances of a cluster's points from its centroid. */
static double
clusters_distortion(const Clusters *clusters, int i)
{
	const float *centroid = clusters_centroid(clusters, i);
	double		sum = 0;

	for (int at = clusters->begin[i]; at < clusters->end[i]; at++)
		sum += kmeans_distance2(clusters_point(clusters, at), centroid,
								clusters->points.dim);
	return sum;
}

/* A point of the cluster, by chance proportional to its squared distance. */
static const float *
clusters_draw(Clusters *clusters, int i, double distortion)
{
	const float *centroid = clusters_centroid(clusters, i);
	double		left = pg_prng_double(clusters->prng) * distortion;
	const float *drawn = NULL;

	for (int at = clusters->begin[i]; at < clusters->end[i] && left >= 0; at++)
	{
		const float *x = clusters_point(clusters, at);
		double		d2 = kmeans_distance2(x, centroid, clusters->points.dim);

		if (d2 > 0)
			drawn = x;
		left -= d2;
	}
	return drawn;
}

/*
 * Give a part of cluster from, of positive distortion, to the empty cluster
 * to.  Returns whether both have points now; else all is as it was, but for
 * the centroid of the empty cluster.
 */
static bool
clusters_split(Clusters *clusters, int from, int to, double distortion)
{
	int			dim = clusters->points.dim;
	const float *a = clusters_centroid(clusters, from);
	float	   *b = clusters_centroid(clusters, to);
	int			low = clusters->begin[from];
	int			high = clusters->end[from];

	memcpy(b, clusters_draw(clusters, from, distortion), sizeof(float) * dim);
	while (low < high)
	{
		const float *x = clusters_point(clusters, low);
		int			point = clusters->order[low];

		if (kmeans_distance2(x, a, dim) <= kmeans_distance2(x, b, dim))
			low++;
		else
		{
			clusters->order[low] = clusters->order[--high];
			clusters->order[high] = point;
		}
	}
	if (low == clusters->begin[from] || low == clusters->end[from])
		return false;
	clusters->begin[to] = low;
	clusters->end[to] = clusters->end[from];
	clusters->end[from] = low;
	for (int at = low; at < clusters->end[to]; at++)
		clusters->labels[clusters->order[at]] = to;
	clusters_center(clusters, from);
	clusters_center(clusters, to);
	return true;
}

/*
 * Split the cluster of the largest distortion in favour of an empty one;
 * false if no cluster can be split.
 */
static bool
clusters_fill(Clusters *clusters, int to, double *distortion)
{
	for (;;)
	{
		int			from = 0;

		for (int i = 1; i < clusters->k; i++)
		{
			if (distortion[i] > distortion[from])
				from = i;
		}
		if (!(distortion[from] > 0))
			return false;
		if (clusters_split(clusters, from, to, distortion[from]))
		{
			distortion[from] = clusters_distortion(clusters, from);
			distortion[to] = clusters_distortion(clusters, to);
			return true;
		}
		distortion[from] = 0;
	}
}

/* Give points to the clusters that have lost all of theirs. */
static void
clusters_repair(Clusters *clusters)
{
	double	   *distortion = NULL;

	for (int to = 0; to < clusters->k; to++)
	{
		if (clusters->begin[to] < clusters->end[to])
			continue;
		if (distortion == NULL)
		{
			distortion = kmeans_alloc(clusters->k, sizeof(double));
			for (int i = 0; i < clusters->k; i++)
				distortion[i] = clusters_distortion(clusters, i);
		}
		if (!clusters_fill(clusters, to, distortion))
			break;
		CHECK_FOR_INTERRUPTS();
	}
	if (distortion != NULL)
		pfree(distortion);
}

/* Tell of the next round of work. */
static void
training_report(Training *training)
{
	const KmeansTask *task = training->task;

	if (task->progress != NULL && training->round < training->nrounds)
		task->progress(task->arg, training->round, training->nrounds);
	training->round++;
}

/* Up to so many rounds of Lloyd's algorithm from the given centroids. */
static void
lloyd(Training *training, const KmeansPoints *points, int k, int rounds,
	  float *centroids)
{
	Clusters	clusters;

	clusters_init(&clusters, points, k, centroids, &training->prng);
	for (int round = 0; round < rounds; round++)
	{
		int			changed;

		if (training->each_round)
			training_report(training);
		changed = clusters_label(&clusters);
		for (int i = 0; i < k; i++)
			clusters_center(&clusters, i);
		clusters_repair(&clusters);
		if (changed <= points->n / SETTLED)
			break;
	}
	clusters_free(&clusters);
}

/* Seeds and rounds; returns the number of centroids. */
static int
train_one_level(Training *training, const KmeansPoints *points, int k,
				float *centroids)
{
	int			n;

	if (training->each_round)
		training_report(training);
	n = kmeans_seed(points, k, &training->prng, centroids);
	/* with fewer than k, every point has a centroid of its own */
	if (n < k)
		return n;
	lloyd(training, points, k, training->task->iterations, centroids);
	return kmeans_fill_distinct(points, k, centroids, k);
}

/*
 * Fill the cells: a coarse clustering of a sample, then each point's nearest.
 * Returns their number; cell i has the points order[first[i] .. first[i + 1]].
 */
static int
train_cells(Training *training, const KmeansPoints *points, int ncells,
			int *first, int *order)
{
	int			n = Min(points->n, ncells * COARSE_POINTS);
	int		   *rows = kmeans_alloc(n, sizeof(int));
	KmeansPoints sample = {points->base, rows, n, points->dim};
	float	   *middles = kmeans_alloc((Size) ncells * points->dim, sizeof(float));
	int		   *labels = kmeans_alloc(points->n, sizeof(int));
	KmeansAssigner *assigner;

	kmeans_sample(points, n, &training->prng, rows);
	ncells = train_one_level(training, &sample, ncells, middles);
	assigner = kmeans_assigner_create(middles, ncells, points->dim);
	kmeans_assign(assigner, points->base, points->n, labels);
	kmeans_group(labels, points->n, ncells, first, order);
	kmeans_assigner_free(assigner);
	pfree(labels);
	pfree(middles);
	pfree(rows);
	return ncells;
}

static int
train_two_levels(Training *training, const KmeansPoints *points, int k,
				 float *centroids)
{
	int			ncells = (int) sqrt((double) k);
	int		   *first = kmeans_alloc(ncells + 1, sizeof(int));
	int		   *order = kmeans_alloc(points->n, sizeof(int));
	int			count = 0;
	int64		due = 0;

	training->nrounds = training->task->iterations + 1 + ncells + FINAL_ROUNDS;
	ncells = train_cells(training, points, ncells, first, order);
	training->each_round = false;
	for (int cell = 0; cell < ncells; cell++)
	{
		KmeansPoints members = {points->base, order + first[cell],
		first[cell + 1] - first[cell], points->dim};
		int64		due_before = due;

		/* sums of shares are rounded, so that the shares add up to k */
		due = (int64) k * first[cell + 1] / points->n;
		training_report(training);
		if (due > due_before)
			count += train_one_level(training, &members, due - due_before,
									 centroids + (Size) count * points->dim);
	}
	pfree(first);
	pfree(order);

	training->each_round = true;
	count = kmeans_fill_distinct(points, k, centroids, count);
	if (count < k)
		return count;
	lloyd(training, points, k, FINAL_ROUNDS, centroids);
	return kmeans_fill_distinct(points, k, centroids, k);
}

int
kmeans_train(const KmeansTask *task, float *centroids)
{
	KmeansPoints points = {task->points, NULL, task->npoints, task->dim};
	Training	training = {.task = task,.each_round = true};
	int			k = Min(task->k, task->npoints);

	Assert(task->npoints >= 1 && task->dim >= 1 && task->k >= 1);
	pg_prng_seed(&training.prng, task->seed);
	training.nrounds = task->iterations + 1;
	if (k <= KMEANS_ONE_LEVEL)
		return train_one_level(&training, &points, k, centroids);
	return train_two_levels(&training, &points, k, centroids);
}
