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
 * A product is of a chunk of points and a tile of centroids, within these
 * bounds: rows that are to be copied together, 8 MB; scores, 1 MB, which a
 * cache can hold; operations, some 15 ms, since a product cannot be
 * interrupted.
 */
#define CHUNK_ELEMENTS (2 * 1024 * 1024)
#define TILE_SCORES (256 * 1024)
#define TILE_PRODUCTS (512 * 1024 * 1024)

/* Columns of scores come in such groups. */
#define LANES 8
#define WIDTH(k) (((k) + LANES - 1) / LANES * LANES)

/*
 * Two-level search: points of a block, and cells searched for each.  Of 10,000
 * centroids in 129 dimensions, clusters of clusters, 8, 12, 16 and 24 cells
 * missed the nearest for 4.3, 2.1, 1.2 and 0.5 percent of the points.  16 took
 * a third of the time of comparing all, and the distortion was 0.6 percent
 * larger.  Points without any structure, one Gaussian in 129 dimensions, are
 * the worst case: 5 percent of them missed the nearest of 5,000, but they found
 * one so close that the distortion was 0.26 percent larger.
 */
#define BLOCK_POINTS 4096
#define PROBES 16

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

		CHECK_FOR_INTERRUPTS();
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

		CHECK_FOR_INTERRUPTS();
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
	int			tile;

	scorer->dim = dim;
	scorer->chunk = Max(1, Min(CHUNK_ELEMENTS / dim, KMEANS_MAX_CHUNK));
	tile = Min(TILE_SCORES, TILE_PRODUCTS / dim) / scorer->chunk;
	scorer->tile = Min(WIDTH(window), Max(tile / LANES, 1) * LANES);
	scorer->weights = kmeans_alloc(width * dim, sizeof(float));
	scorer->bias = kmeans_alloc(width, sizeof(float));
	scorer->scores = kmeans_alloc((Size) scorer->chunk * scorer->tile,
								  sizeof(float));
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

		CHECK_FOR_INTERRUPTS();
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

/* Scores of n points for centroids start .. start + width. */
static float *
score_tile(KmeansScorer *scorer, const float *x, int n, int start, int width)
{
	BlasShape	shape = {n, width, scorer->dim};

	CHECK_FOR_INTERRUPTS();
	blas_gemm(scorer->weights + (Size) start * scorer->dim, x,
			  scorer->bias + start, scorer->scores, shape);
	return scorer->scores;
}

int
kmeans_scorer_rows(const KmeansScorer *scorer)
{
	int			room = scorer->chunk * scorer->tile;

	return Min(scorer->chunk, room / scorer->width);
}

float *
kmeans_scorer_all(KmeansScorer *scorer, const float *x, int n)
{
	Assert(n <= kmeans_scorer_rows(scorer));
	return score_tile(scorer, x, n, 0, scorer->width);
}

/* Four elements at once; the compiler has this on every CPU. */
typedef float Float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int Int4 __attribute__((vector_size(16), aligned(4), may_alias));

/* The best of the elements that each lane has seen. */
typedef struct LaneBest
{
	Float4		value;
	Int4		at;
} LaneBest;

static inline LaneBest
lane_better(LaneBest a, LaneBest b)
{
	Int4		greater = b.value > a.value;

	a.value = (Float4) (((Int4) b.value & greater) |
						((Int4) a.value & ~greater));
	a.at = (b.at & greater) | (a.at & ~greater);
	return a;
}

/*
 * Where the largest of n elements is, n divisible by LANES.  There is no
 * branch on the data: with 16 centroids of 4 dimensions, mispredictions were a
 * third of the time of a training.
 */
static inline int
row_argmax(const float *y, int n)
{
	LaneBest	a = {*(const Float4 *) y, {0, 1, 2, 3}};
	LaneBest	b = {*(const Float4 *) (y + 4), {4, 5, 6, 7}};
	LaneBest	x = a;
	LaneBest	z = b;

	for (int i = LANES; i < n; i += LANES)
	{
		x.value = *(const Float4 *) (y + i);
		x.at += LANES;
		a = lane_better(a, x);
		z.value = *(const Float4 *) (y + i + 4);
		z.at += LANES;
		b = lane_better(b, z);
	}
	a = lane_better(a, b);
	b.value = (Float4)
	{
		a.value[2], a.value[3], a.value[0], a.value[1]
	};
	b.at = (Int4)
	{
		a.at[2], a.at[3], a.at[0], a.at[1]
	};
	a = lane_better(a, b);
	return a.value[1] > a.value[0] ? a.at[1] : a.at[0];
}

void
kmeans_scorer_best(KmeansScorer *scorer, const float *x, int n,
				   int *labels, float *scores)
{
	Assert(n <= scorer->chunk);
	for (int start = 0; start < scorer->width; start += scorer->tile)
	{
		int			width = Min(scorer->tile, scorer->width - start);
		const float *y = score_tile(scorer, x, n, start, width);

		for (int i = 0; i < n; i++, y += width)
		{
			int			at = row_argmax(y, width);

			if (start == 0 || y[at] > scores[i])
			{
				labels[i] = start + at;
				scores[i] = y[at];
			}
		}
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

/* Part the centroids into cells. */
static void
create_cells(KmeansAssigner *assigner, const KmeansPoints *centroids)
{
	int			wanted = (int) ceil(sqrt((double) centroids->n));
	pg_prng_state prng;
	KmeansCells *cells;

	pg_prng_seed(&prng, 0);
	cells = kmeans_cells_create(centroids, wanted, &prng);
	assigner->ncells = cells->n;
	assigner->probes = Min(PROBES, cells->n);
	assigner->top = kmeans_scorer_create(cells->n, cells->n, assigner->dim);
	kmeans_scorer_load(assigner->top, &assigner->frame, cells->middles,
					   cells->n);
	load_cells(assigner, centroids, cells->first, cells->order);
	kmeans_cells_free(cells);
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

/* probes[n][probes] becomes the cells nearest to each of n points. */
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
	}
}

static void
assign_block(KmeansAssigner *assigner, const float *x, int n, int *labels)
{
	int			nprobes = assigner->probes;
	int			chunk = assigner->inner->chunk;
	int			step = kmeans_scorer_rows(assigner->top);
	int		   *probes = palloc(sizeof(int) * n * nprobes);
	int		   *visits = palloc(sizeof(int) * n * nprobes);
	int		   *first = palloc(sizeof(int) * (assigner->ncells + 1));
	KmeansBlock block;

	for (int done = 0; done < n; done += step)
		choose_cells(assigner, x + (Size) done * assigner->dim,
					 Min(step, n - done), probes + done * nprobes);
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
	float		scores[KMEANS_MAX_CHUNK];

	for (int done = 0; done < n; done += step)
	{
		const float *x = points + (Size) done * assigner->dim;
		int			m = Min(step, n - done);

		if (assigner->inner != NULL)
			assign_block(assigner, x, m, labels + done);
		else
			kmeans_scorer_best(assigner->top, x, m, labels + done, scores);
	}
}
