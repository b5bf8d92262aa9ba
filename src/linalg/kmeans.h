/*
 * kmeans.h
 *		Clustering by Lloyd's k-means, on matrix products.
 *
 * Points and centroids are row-major float4 matrices.  The same points, k and
 * seed give the same centroids.
 */
#ifndef RECSYS_KMEANS_H
#define RECSYS_KMEANS_H

typedef struct KmeansTask
{
	const float *points;		/* npoints x dim */
	int			npoints;		/* at least 1 */
	int			dim;
	int			k;				/* centroids wanted */
	int			iterations;
	uint64		seed;
	/* called before each round of work with its number, from 0; or NULL */
	void		(*progress) (void *arg, int round, int nrounds);
	void	   *arg;
} KmeansTask;

/*
 * Fill centroids[k][dim].  Returns their number, which is less than k where
 * there are fewer different points.
 */
extern int	kmeans_train(const KmeansTask *task, float *centroids);

/* Finds the nearest of a set of centroids for many points. */
typedef struct KmeansAssigner KmeansAssigner;

/* In the current memory context; keeps a pointer to the centroids. */
extern KmeansAssigner *kmeans_assigner_create(const float *centroids, int k,
											  int dim);

extern void kmeans_assigner_free(KmeansAssigner *assigner);

/* labels[n] becomes the nearest centroid of each point. */
extern void kmeans_assign(KmeansAssigner *assigner, const float *points, int n,
						  int *labels);

#endif							/* RECSYS_KMEANS_H */
