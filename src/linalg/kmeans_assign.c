/*
 * kmeans_assign.c
 *		Nearest centroids of many points, by matrix products.
 *
 * The nearest centroid maximises <x, c> - |c|^2/2, so the scores of a chunk
 * of points are one product with a bias, and the answer is a plain argmax.
 *
 * Beyond KMEANS_ONE_LEVEL centroids the centroids are clustered themselves,
 * and a point is compared with the members of its nearest few cells only.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "common/pg_prng.h"
#include "linalg/blas.h"
#include "linalg/kmeans.h"
#include "linalg/kmeans_parts.h"
#include "miscadmin.h"
#include "storage/shmem.h"

/*
 * Scores of a chunk of points, at most: 1 MB of them, which a cache can hold,
 * and operations that take some 20 ms, since a product cannot be interrupted.
 */
#define CHUNK_SCORES (256 * 1024)
#define CHUNK_PRODUCTS (512.0 * 1024 * 1024)

/* Columns of scores come in such groups. */
#define LANES 8
#define WIDTH(k) (((k) + LANES - 1) / LANES * LANES)

/* Two-level search: points of a block, and cells searched for each. */
#define BLOCK_POINTS 4096
#define PROBES 12
#define CELLS_FACTOR 1.0

struct KmeansAssigner
{
	int			dim;
	KmeansFrame frame;
	KmeansScorer *top;			/* all centroids, or the cells */

	/* Two levels; cell i has columns start[i] .. start[i + 1] of inner. */
	KmeansScorer *inner;		/* or NULL */
	int			ncells;
	int		   *start;
	int		   *members;		/* the centroid that a column stands for */
	int			probes;			/* cells that are searched for a point */
};

/* What the searches of a block of points share. */
typedef struct KmeansBlock
{
	const float *x;
	int		   *labels;
	float	   *top_scores;		/* best of each point as yet */

	/* of the visits to one cell that are worked on */
	int		   *rows;
	float	   *gathered;
	int		   *best;
	float	   *scores;
} KmeansBlock;

void *
kmeans_alloc(Size count, Size size)
{
	return palloc_extended(mul_size(Max(count, 1), size), MCXT_ALLOC_HUGE);
}

const float *
kmeans_points_read(const KmeansPoints *points, int start, int n,
				   float *buffer)
{
	Size		width = points->dim;

	if (points->rows == NULL)
		return points->base + start * width;
	for (int i = 0; i < n; i++)
		memcpy(buffer + i * width, kmeans_point(points, start + i),
			   sizeof(float) * width);
	return buffer;
}

/* The mean as center, and the largest deviation from it as unit. */
void
kmeans_frame_init(KmeansFrame *frame, const KmeansPoints *points)
{
	int			dim = points->dim;
	double	   *sum = palloc0(sizeof(double) * dim);
	double		offset2 = 0;
	double		largest = 0;
	int			exponent = 0;

	for (int i = 0; i < points->n; i++)
	{
		const float *x = kmeans_point(points, i);

		for (int j = 0; j < dim; j++)
			sum[j] += x[j];
	}
	frame->center = palloc(sizeof(float) * dim);
	for (int j = 0; j < dim; j++)
	{
		frame->center[j] = (float) (sum[j] / points->n);
		offset2 += (double) frame->center[j] * frame->center[j];
	}
	frame->offset = sqrt(offset2);
	for (int i = 0; i < points->n; i++)
	{
		const float *x = kmeans_point(points, i);

		for (int j = 0; j < dim; j++)
			largest = Max(largest, fabs((double) x[j] - frame->center[j]));
	}
	if (largest > 0)
		frexp(largest, &exponent);
	/* scale^2 times a deviation must be a normal number */
	frame->scale = ldexp(1.0, -Max(-110, Min(exponent, 110)));
	pfree(sum);
}

KmeansScorer *
kmeans_scorer_create(int max_k, int window, int dim)
{
	KmeansScorer *scorer = palloc0(sizeof(KmeansScorer));
	Size		width = WIDTH(max_k);
	double		products = (double) WIDTH(window) * dim;

	scorer->dim = dim;
	scorer->chunk = Min(CHUNK_SCORES / WIDTH(window), CHUNK_PRODUCTS / products);
	scorer->chunk = Max(1, Min(scorer->chunk, KMEANS_MAX_CHUNK));
	scorer->scores = kmeans_alloc((Size) scorer->chunk * WIDTH(window),
								  sizeof(float));
	scorer->weights = kmeans_alloc(width * dim, sizeof(float));
	scorer->bias = kmeans_alloc(width, sizeof(float));
	return scorer;
}

void
kmeans_scorer_free(KmeansScorer *scorer)
{
	pfree(scorer->weights);
	pfree(scorer->bias);
	pfree(scorer->scores);
	pfree(scorer);
}

/*
 * The points are neither moved nor scaled: with d = c - m, the score is
 * <x, scale^2 d> - scale^2 (<m, d> + |d|^2 / 2).
 */
void
kmeans_scorer_load(KmeansScorer *scorer, const KmeansFrame *frame,
				   const float *centroids, int k)
{
	int			dim = scorer->dim;

	scorer->width = WIDTH(k);
	for (int i = 0; i < k; i++)
	{
		const float *c = centroids + (Size) i * dim;
		float	   *w = scorer->weights + (Size) i * dim;
		double		bias = 0;

		for (int j = 0; j < dim; j++)
		{
			double		m = frame->center[j];
			double		d = (c[j] - m) * frame->scale;

			w[j] = (float) (d * frame->scale);
			bias -= d * (m * frame->scale + d / 2);
		}
		scorer->bias[i] = (float) bias;
	}
	for (int i = k; i < scorer->width; i++)
	{
		memset(scorer->weights + (Size) i * dim, 0, sizeof(float) * dim);
		scorer->bias[i] = -FLT_MAX;
	}
}

float *
kmeans_scorer_all(KmeansScorer *scorer, const float *x, int n)
{
	BlasShape	shape = {n, scorer->width, scorer->dim};

	Assert(n <= scorer->chunk);
	blas_gemm(scorer->weights, x, scorer->bias, scorer->scores, shape);
	return scorer->scores;
}

/* Four elements at once; the compiler has this on every CPU. */
typedef float Float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int Int4 __attribute__((vector_size(16), aligned(4), may_alias));

static inline Float4
max4(Float4 a, Float4 b)
{
	Int4		greater = a > b;

	return (Float4) (((Int4) a & greater) | ((Int4) b & ~greater));
}

/* The first of the largest of n elements, n divisible by LANES. */
static inline int
row_argmax(const float *y, int n)
{
	Float4		a = *(const Float4 *) y;
	Float4		b = *(const Float4 *) (y + 4);
	float		best;

	for (int i = LANES; i < n; i += LANES)
	{
		a = max4(*(const Float4 *) (y + i), a);
		b = max4(*(const Float4 *) (y + i + 4), b);
	}
	a = max4(a, b);
	best = Max(Max(a[0], a[1]), Max(a[2], a[3]));
	for (int i = 0; i < n; i++)
	{
		if (y[i] == best)
			return i;
	}
	return 0;					/* not a number */
}

void
kmeans_scorer_best(KmeansScorer *scorer, const float *x, int n,
				   int *labels, float *scores)
{
	const float *y = kmeans_scorer_all(scorer, x, n);

	for (int i = 0; i < n; i++, y += scorer->width)
	{
		labels[i] = row_argmax(y, scorer->width);
		if (scores != NULL)
			scores[i] = y[labels[i]];
	}
}

/* A counting sort: order[first[i] .. first[i + 1]] are the items labelled i. */
void
kmeans_group(const int *labels, int n, int k, int *first, int *order)
{
	memset(first, 0, sizeof(int) * (k + 1));
	for (int i = 0; i < n; i++)
		first[labels[i]]++;
	for (int i = 1; i <= k; i++)
		first[i] += first[i - 1];
	for (int i = n - 1; i >= 0; i--)
		order[--first[labels[i]]] = i;
}

/* The scorer of one cell: a window of the inner one. */
static KmeansScorer
cell_scorer(const KmeansAssigner *assigner, int cell)
{
	KmeansScorer view = *assigner->inner;
	int			start = assigner->start[cell];

	view.weights += (Size) start * view.dim;
	view.bias += start;
	view.width = assigner->start[cell + 1] - start;
	return view;
}

/* Load the centroids cell by cell, each cell's rounded up to full lanes. */
static void
load_cells(KmeansAssigner *assigner, const KmeansPoints *centroids,
		   const int *first, const int *order)
{
	int			n = assigner->ncells;
	int			dim = assigner->dim;
	int			widest = LANES;
	float	   *gathered;

	assigner->start = palloc(sizeof(int) * (n + 1));
	assigner->start[0] = 0;
	for (int cell = 0; cell < n; cell++)
	{
		int			width = WIDTH(first[cell + 1] - first[cell]);

		widest = Max(widest, width);
		assigner->start[cell + 1] = assigner->start[cell] + width;
	}
	assigner->inner = kmeans_scorer_create(assigner->start[n], widest, dim);
	assigner->members = palloc0(sizeof(int) * assigner->start[n]);
	gathered = kmeans_alloc((Size) widest * dim, sizeof(float));
	for (int cell = 0; cell < n; cell++)
	{
		KmeansPoints members = {centroids->base, order + first[cell],
		first[cell + 1] - first[cell], dim};
		KmeansScorer view = cell_scorer(assigner, cell);

		if (members.n == 0)
			continue;
		memcpy(assigner->members + assigner->start[cell], members.rows,
			   sizeof(int) * members.n);
		kmeans_scorer_load(&view, &assigner->frame,
						   kmeans_points_read(&members, 0, members.n, gathered),
						   members.n);
	}
	pfree(gathered);
}

/* Cluster the centroids into cells. */
static void
create_cells(KmeansAssigner *assigner, const KmeansPoints *centroids)
{
	int			k = centroids->n;
	int			dim = assigner->dim;
	int			wanted = (int) ceil(sqrt((double) k) * CELLS_FACTOR);
	KmeansTask	task = {.points = centroids->base,.npoints = k,.dim = dim,
	.k = wanted,.iterations = 10,.seed = 1};
	float	   *middles = kmeans_alloc((Size) wanted * dim, sizeof(float));
	int		   *labels = kmeans_alloc(k, sizeof(int));
	int		   *order = kmeans_alloc(k, sizeof(int));
	int		   *first;
	KmeansAssigner *coarse;
	int			n = kmeans_train(&task, middles);

	coarse = kmeans_assigner_create(middles, n, dim);
	kmeans_assign(coarse, centroids->base, k, labels);
	kmeans_assigner_free(coarse);

	assigner->ncells = n;
	assigner->probes = Min(PROBES, n);
	assigner->top = kmeans_scorer_create(n, n, dim);
	kmeans_scorer_load(assigner->top, &assigner->frame, middles, n);
	first = palloc(sizeof(int) * (n + 1));
	kmeans_group(labels, k, n, first, order);
	load_cells(assigner, centroids, first, order);

	pfree(first);
	pfree(order);
	pfree(labels);
	pfree(middles);
}

KmeansAssigner *
kmeans_assigner_create(const float *centroids, int k, int dim)
{
	KmeansAssigner *assigner = palloc0(sizeof(KmeansAssigner));
	KmeansPoints all = {centroids, NULL, k, dim};

	assigner->dim = dim;
	kmeans_frame_init(&assigner->frame, &all);
	if (k <= KMEANS_ONE_LEVEL)
	{
		assigner->top = kmeans_scorer_create(k, k, dim);
		kmeans_scorer_load(assigner->top, &assigner->frame, centroids, k);
	}
	else
		create_cells(assigner, &all);
	return assigner;
}

void
kmeans_assigner_free(KmeansAssigner *assigner)
{
	if (assigner->inner != NULL)
	{
		kmeans_scorer_free(assigner->inner);
		pfree(assigner->members);
		pfree(assigner->start);
	}
	kmeans_scorer_free(assigner->top);
	pfree(assigner->frame.center);
	pfree(assigner);
}

/* probes[n][probes] becomes the cells nearest to each of n <= chunk points. */
static void
choose_cells(KmeansAssigner *assigner, const float *x, int n, int *probes)
{
	KmeansScorer *top = assigner->top;
	float	   *y = kmeans_scorer_all(top, x, n);

	for (int i = 0; i < n; i++, y += top->width)
	{
		for (int p = 0; p < assigner->probes; p++)
		{
			int			cell = row_argmax(y, top->width);

			*probes++ = cell;
			y[cell] = -FLT_MAX;
		}
	}
}

/*
 * Compare the points of one cell's visits with its members.  A visit is the
 * number of a point times assigner->probes, plus a rank.
 */
static void
search_cell(KmeansAssigner *assigner, int cell, const KmeansBlock *block,
			const int *visits, int nvisits)
{
	KmeansScorer view = cell_scorer(assigner, cell);
	const int  *members = assigner->members + assigner->start[cell];

	if (view.width == 0)
		return;
	for (int done = 0; done < nvisits; done += view.chunk)
	{
		int			n = Min(view.chunk, nvisits - done);
		KmeansPoints points = {block->x, block->rows, n, view.dim};

		for (int i = 0; i < n; i++)
			block->rows[i] = visits[done + i] / assigner->probes;
		kmeans_scorer_best(&view, kmeans_points_read(&points, 0, n,
													 block->gathered),
						   n, block->best, block->scores);
		for (int i = 0; i < n; i++)
		{
			int			point = block->rows[i];

			if (block->scores[i] > block->top_scores[point])
			{
				block->top_scores[point] = block->scores[i];
				block->labels[point] = members[block->best[i]];
			}
		}
		CHECK_FOR_INTERRUPTS();
	}
}

static void
assign_block(KmeansAssigner *assigner, const float *x, int n, int *labels)
{
	int			nprobes = assigner->probes;
	int			chunk = assigner->inner->chunk;
	int		   *probes = palloc(sizeof(int) * n * nprobes);
	int		   *visits = palloc(sizeof(int) * n * nprobes);
	int		   *first = palloc(sizeof(int) * (assigner->ncells + 1));
	KmeansBlock block;

	for (int done = 0; done < n; done += assigner->top->chunk)
	{
		choose_cells(assigner, x + (Size) done * assigner->dim,
					 Min(assigner->top->chunk, n - done),
					 probes + done * nprobes);
		CHECK_FOR_INTERRUPTS();
	}
	kmeans_group(probes, n * nprobes, assigner->ncells, first, visits);

	block.x = x;
	block.labels = labels;
	block.top_scores = palloc(sizeof(float) * n);
	block.rows = palloc(sizeof(int) * chunk);
	block.best = palloc(sizeof(int) * chunk);
	block.scores = palloc(sizeof(float) * chunk);
	block.gathered = kmeans_alloc((Size) chunk * assigner->dim, sizeof(float));
	for (int i = 0; i < n; i++)
	{
		labels[i] = 0;
		block.top_scores[i] = -INFINITY;
	}
	for (int cell = 0; cell < assigner->ncells; cell++)
		search_cell(assigner, cell, &block, visits + first[cell],
					first[cell + 1] - first[cell]);
	pfree(block.top_scores);
	pfree(block.rows);
	pfree(block.best);
	pfree(block.scores);
	pfree(block.gathered);
	pfree(probes);
	pfree(visits);
	pfree(first);
}

void
kmeans_assign(KmeansAssigner *assigner, const float *points, int n,
			  int *labels)
{
	int			step = assigner->inner != NULL ? BLOCK_POINTS :
	assigner->top->chunk;

	for (int done = 0; done < n; done += step)
	{
		const float *x = points + (Size) done * assigner->dim;
		int			m = Min(step, n - done);

		if (assigner->inner != NULL)
			assign_block(assigner, x, m, labels + done);
		else
			kmeans_scorer_best(assigner->top, x, m, labels + done, NULL);
		CHECK_FOR_INTERRUPTS();
	}
}
