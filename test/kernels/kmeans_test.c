/*
 * kmeans_test.c
 *		Clustering: finds what was planted, whatever the magnitude; the same
 *		seed gives the same centroids; they are different and finite, and none is
 *		missing unless points are.  Assignments agree with plain loops.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "linalg/kmeans.h"
#include "linalg/kmeans_parts.h"
#include "miscadmin.h"
#include "tap.h"

typedef struct Matrix
{
	int			n;
	int			dim;
	float	   *data;
}			Matrix;

static uint64 random_state = 1;

static double
uniform(void)
{
	pg_prng_state state = {random_state++};

	return pg_prng_double(&state);
}

static double
gaussian(void)
{
	double		u = uniform();

	return sqrt(-2 * log(1 - u)) * cos(2 * M_PI * uniform());
}

static Matrix
matrix_create(int n, int dim)
{
	Matrix		matrix = {n, dim, malloc(sizeof(float) * n * dim)};

	return matrix;
}

static float *
row(const Matrix * matrix, int i)
{
	return matrix->data + (size_t) i * matrix->dim;
}

/* n points about each of k Gaussian centers; point i belongs to i % k. */
static Matrix
planted(int k, int n, int dim, double width)
{
	Matrix		points = matrix_create(k * n, dim);

	for (int i = 0; i < k * n; i++)
	{
		for (int j = 0; j < dim; j++)
			row(&points, i)[j] = i < k ? gaussian() :
				row(&points, i % k)[j] + width * gaussian();
	}
	return points;
}

static void
scale_and_move(Matrix * points, double scale, double offset)
{
	for (int i = 0; i < points->n * points->dim; i++)
		points->data[i] = (float) (points->data[i] * scale + offset);
}

static Matrix
train(const Matrix * points, int k, int iterations, uint64 seed)
{
	Matrix		centroids = matrix_create(k, points->dim);
	KmeansTask	task = {.points = points->data,.npoints = points->n,
		.dim = points->dim,.k = k,.iterations = iterations,.seed = seed
	};

	memset(centroids.data, 0xff, sizeof(float) * k * points->dim);
	centroids.n = kmeans_train(&task, centroids.data);
	return centroids;
}

static int *
assign(const Matrix * points, const Matrix * centroids)
{
	int		   *labels = malloc(sizeof(int) * points->n);
	KmeansAssigner *assigner = kmeans_assigner_create(centroids->data,
													  centroids->n,
													  centroids->dim);

	kmeans_assign(assigner, points->data, points->n, labels);
	kmeans_assigner_free(assigner);
	return labels;
}

static double
nearest(const Matrix * centroids, const float *x)
{
	double		least = INFINITY;

	for (int i = 0; i < centroids->n; i++)
		least = fmin(least, kmeans_distance2(x, row(centroids, i),
											 centroids->dim));
	return least;
}

/* Mean squared distance of each point from the centroid of its label. */
static double
distortion(const Matrix * points, const Matrix * centroids)
{
	int		   *labels = assign(points, centroids);
	double		sum = 0;

	for (int i = 0; i < points->n; i++)
		sum += kmeans_distance2(row(points, i), row(centroids, labels[i]),
								points->dim);
	free(labels);
	return sum / points->n;
}

/* Are all elements finite, and all rows different? */
static bool
all_sound(const Matrix * centroids)
{
	for (int i = 0; i < centroids->n * centroids->dim; i++)
	{
		if (!isfinite(centroids->data[i]))
			return false;
	}
	for (int i = 0; i < centroids->n; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (kmeans_distance2(row(centroids, i), row(centroids, j),
								 centroids->dim) == 0)
				return false;
		}
	}
	return true;
}

/* Points that are farther from their label's centroid than from another. */
static int
mislabelled(const Matrix * points, const Matrix * centroids, double slack)
{
	int		   *labels = assign(points, centroids);
	int			wrong = 0;

	for (int i = 0; i < points->n; i++)
	{
		if (labels[i] < 0 || labels[i] >= centroids->n ||
			kmeans_distance2(row(points, i), row(centroids, labels[i]),
							 points->dim) >
			nearest(centroids, row(points, i)) * (1 + slack))
			wrong++;
	}
	free(labels);
	return wrong;
}

/*
 * Every planted cluster gets a centroid, at any magnitude and place, if there
 * are three for each.  (Seeds by the squared distance would do with one.)
 */
static void
test_planted(double scale, double offset)
{
	Matrix		points = planted(30, 100, 20, 0.02);
	Matrix		centroids;
	int			found = 0;

	scale_and_move(&points, scale, offset);
	centroids = train(&points, 90, 10, 1);
	for (int i = 0; i < 30; i++)
		found += nearest(&centroids, row(&points, i)) <
			20 * 0.1 * 0.1 * scale * scale;
	tap_ok(centroids.n == 90 && found == 30 && all_sound(&centroids),
		   "planted clusters, scale %.0e, offset %.0e: %d found of 30",
		   scale, offset, found);
	free(points.data);
	free(centroids.data);
}

/* Seeds alone find most of what is planted, unlike points taken at random. */
static void
test_seeds(void)
{
	Matrix		points = planted(300, 40, 16, 0.1);
	Matrix		random = {300, 16, row(&points, 6000)};
	Matrix		seeds;

	/* the first 300 points are of different clusters: take others */
	for (int i = 0; i < 300; i++)
		memcpy(row(&random, i), row(&points, 300 + (int) (uniform() * 11700)),
			   sizeof(float) * 16);
	seeds = train(&points, 300, 0, 1);
	tap_ok(distortion(&points, &seeds) < distortion(&points, &random) * 0.7,
		   "seeds: distortion %.4f, of random points %.4f",
		   distortion(&points, &seeds), distortion(&points, &random));
	free(points.data);
	free(seeds.data);
}

/* More dimensions than fit in a full chunk of points. */
static void
test_wide(void)
{
	Matrix		points = planted(40, 10, 16000, 0.1);
	Matrix		centroids = train(&points, 120, 3, 1);
	double		after = distortion(&points, &centroids);

	tap_ok(after < 16000 * 0.012, "16,000 dimensions: distortion %.1f", after);
	free(points.data);
	free(centroids.data);
}

/* More rounds, better centroids. */
static void
test_distortion(void)
{
	Matrix		points = planted(300, 40, 16, 0.4);
	double		before = INFINITY;

	for (int rounds = 0; rounds <= 16; rounds = rounds * 4 + (rounds == 0))
	{
		Matrix		centroids = train(&points, 150, rounds, 1);
		double		after = distortion(&points, &centroids);

		tap_ok(after < before * 0.99 && centroids.n == 150,
			   "%d rounds: distortion %.4f after %.4f", rounds, after, before);
		before = after;
		free(centroids.data);
	}
	free(points.data);
}

static void
test_deterministic(void)
{
	Matrix		points = planted(50, 40, 9, 0.5);
	Matrix		a = train(&points, 40, 10, 7);
	Matrix		b = train(&points, 40, 10, 7);
	Matrix		c = train(&points, 40, 10, 8);
	size_t		size = sizeof(float) * 40 * 9;

	tap_ok(memcmp(a.data, b.data, size) == 0, "the same seed, the same bits");
	tap_ok(memcmp(a.data, c.data, size) != 0, "another seed, other centroids");
	free(points.data);
	free(a.data);
	free(b.data);
	free(c.data);
}

/* Copies of some different points, in random order. */
static Matrix
repeated(int ndifferent, int n, int dim, double width)
{
	Matrix		points = planted(ndifferent, 1, dim, 0);
	Matrix		copies = matrix_create(n, dim);

	for (int i = 0; i < ndifferent * dim; i++)
		points.data[i] = (float) (1 + width * points.data[i]);
	for (int i = 0; i < n; i++)
		memcpy(row(&copies, i),
			   row(&points, i < ndifferent ? i : (int) (uniform() * ndifferent)),
			   sizeof(float) * dim);
	free(points.data);
	return copies;
}

/* As many centroids as there are different points, or k. */
static void
test_repeated(int ndifferent, int n, int k, double width)
{
	Matrix		points = repeated(ndifferent, n, 10, width);
	Matrix		centroids = train(&points, k, 10, 1);
	int			expected = Min(ndifferent, Min(n, k));

	tap_ok(centroids.n == expected && all_sound(&centroids),
		   "%d different of %d points, k = %d, width %g: %d centroids, "
		   "expected %d", ndifferent, n, k, width, centroids.n, expected);
	if (ndifferent <= k)
		tap_ok(distortion(&points, &centroids) == 0, "they are the points");
	free(points.data);
	free(centroids.data);
}

/* One cluster: the mean. */
static void
test_one(void)
{
	Matrix		points = planted(1, 1000, 33, 1);
	Matrix		centroids = train(&points, 1, 10, 1);
	double		worst = 0;

	for (int j = 0; j < 33; j++)
	{
		double		mean = 0;

		for (int i = 0; i < 1000; i++)
			mean += row(&points, i)[j] / 1000.0;
		worst = fmax(worst, fabs(mean - centroids.data[j]));
	}
	tap_ok(centroids.n == 1 && worst < 1e-6, "k = 1 gives the mean, off by %g",
		   worst);
	free(points.data);
	free(centroids.data);
}

static void
test_constant_dimension(void)
{
	Matrix		points = planted(20, 50, 3, 0.01);
	Matrix		centroids;
	bool		constant = true;

	for (int i = 0; i < points.n; i++)
		row(&points, i)[1] = 123.5f;
	centroids = train(&points, 20, 10, 1);
	for (int i = 0; i < centroids.n; i++)
		constant = constant && row(&centroids, i)[1] == 123.5f;
	tap_ok(centroids.n == 20 && constant && all_sound(&centroids) &&
		   distortion(&points, &centroids) < 0.02,
		   "a constant dimension stays so, distortion %.5f",
		   distortion(&points, &centroids));
	free(points.data);
	free(centroids.data);
}

static void
test_assign(int n, int k, int dim, double scale)
{
	Matrix		points = planted(n, 1, dim, 0);
	Matrix		centroids = planted(k, 1, dim, 0);
	int			wrong;

	scale_and_move(&points, scale, 0);
	scale_and_move(&centroids, scale, 0);
	wrong = mislabelled(&points, &centroids, 1e-5);
	tap_ok(wrong == 0, "nearest of %d in %d dimensions, scale %.0e: "
		   "%d of %d points wrong", k, dim, scale, wrong, n);
	free(points.data);
	free(centroids.data);
}

/* Centroids that no point is near get points from clusters that spread. */
static void
test_empty_clusters(void)
{
	Matrix		points = planted(12, 50, 5, 0.01);
	Matrix		centroids = matrix_create(12, 5);
	KmeansPoints view = {points.data, NULL, points.n, 5};
	KmeansTask	task = {.iterations = 1};
	pg_prng_state prng = {1};
	int			found = 0;

	for (int i = 0; i < 12 * 5; i++)
		centroids.data[i] = i < 5 ? 0 : 1000 + i;
	kmeans_lloyd(&task, &view, 12, &prng, centroids.data);
	for (int i = 0; i < 12; i++)
		found += nearest(&centroids, row(&points, i)) < 0.01;
	tap_ok(found == 12, "empty clusters are filled: %d found of 12", found);
	free(points.data);
	free(centroids.data);
}

/* A dense core and a wide rest: cells are of similar sizes, and complete. */
static void
test_cells(void)
{
	Matrix		points = planted(20000, 1, 8, 0);
	KmeansPoints view = {points.data, NULL, points.n, 8};
	pg_prng_state prng = {1};
	KmeansCells *cells;
	bool	   *seen = calloc(points.n, sizeof(bool));
	int			largest = 0;
	int			count = 0;

	for (int i = 0; i < points.n * 8; i++)
		points.data[i] *= i % 80 < 8 ? 100 : 1;
	cells = kmeans_cells_create(&view, 100, &prng);
	for (int i = 0; i < cells->n; i++)
		largest = Max(largest, cells->first[i + 1] - cells->first[i]);
	for (int i = 0; i < points.n; i++)
		seen[cells->order[i]] = true;
	for (int i = 0; i < points.n; i++)
		count += seen[i];
	tap_ok(count == points.n, "%d points of %d are in a cell", count, points.n);
	tap_ok(largest <= 600 && cells->n < 300,
		   "20,000 points, 100 cells wanted: %d, the largest has %d", cells->n,
		   largest);
	kmeans_cells_free(cells);
	free(seen);
	free(points.data);
}

/* A product of many points is cut into pieces that can be interrupted. */
static void
test_interrupts(void)
{
	Matrix		points = planted(3000, 1, 64, 0);
	KmeansAssigner *assigner = kmeans_assigner_create(points.data, 3000, 64);
	int		   *labels = malloc(sizeof(int) * 3000);
	double		products = 3000.0 * 3000 * 64;
	unsigned long checks = stub_interrupt_checks;

	kmeans_assign(assigner, points.data, 3000, labels);
	checks = stub_interrupt_checks - checks;
	tap_ok(checks > products / (512 * 1024 * 1024),
		   "%.0f million products, %lu checks for interrupts",
		   products / 1e6, checks);
	kmeans_assigner_free(assigner);
	free(labels);
	free(points.data);
}

static void
count_rounds(void *arg, int round, int nrounds)
{
	int		   *next = arg;

	if (round == *next && round < nrounds)
		(*next)++;
}

static void
test_progress(void)
{
	Matrix		points = planted(300, 1, 4, 0);
	float		centroids[10 * 4];
	int			rounds = 0;
	KmeansTask	task = {.points = points.data,.npoints = 300,.dim = 4,.k = 10,
		.iterations = 3,.seed = 1,.progress = count_rounds,.arg = &rounds
	};

	kmeans_train(&task, centroids);
	tap_ok(rounds == 4, "progress: %d rounds, of seeds and 3 more", rounds);
	free(points.data);
}

static void
test_two_levels(void)
{
	int			k = KMEANS_ONE_LEVEL + 404;
	Matrix		points = planted(300, 100, 24, 0.6);
	Matrix		few = {2000, 24, points.data};
	Matrix		centroids = matrix_create(k, 24);
	Matrix		random = {k, 24, row(&points, points.n - k)};
	int			rounds = 0;
	KmeansTask	task = {.points = points.data,.npoints = points.n,
		.dim = 24,.k = k,.iterations = 5,.seed = 1,.progress = count_rounds,
		.arg = &rounds
	};
	double		trained,
				untrained;
	int			wrong;

	centroids.n = kmeans_train(&task, centroids.data);
	trained = distortion(&points, &centroids);
	untrained = distortion(&points, &random);
	tap_ok(centroids.n == k && all_sound(&centroids),
		   "two levels: %d centroids", centroids.n);
	tap_ok(trained < untrained * 0.8,
		   "two levels: distortion %.4f, of random points %.4f", trained,
		   untrained);
	tap_ok(rounds == 1 + 67 + 3, "two levels: %d rounds reported", rounds);
	wrong = mislabelled(&few, &centroids, 1e-5);
	tap_ok(wrong < few.n * 0.02, "two levels: %d of %d points not with the "
		   "nearest centroid", wrong, few.n);
	free(points.data);
	free(centroids.data);
}

int
main(void)
{
	const double scales[] = {1, 1e18, 1e-18, 1e37, 1e-37};

	for (int i = 0; i < 5; i++)
	{
		test_planted(scales[i], 0);
		test_assign(500, 100, 7, scales[i]);
	}
	test_planted(1, 1000);
	test_planted(1e18, 1e20);
	test_seeds();
	test_distortion();
	test_deterministic();
	test_repeated(1, 1000, 16, 1);
	test_repeated(7, 1000, 16, 1);
	test_repeated(16, 1000, 16, 1);
	test_repeated(17, 1000, 16, 1);
	test_repeated(300, 1000, 200, 1);
	test_repeated(300, 1000, 200, 1e-6);
	test_repeated(30, 30, 100, 1);
	test_repeated(1, 1, 1, 1);
	test_repeated(700, 6000, KMEANS_ONE_LEVEL + 1, 1);
	test_repeated(KMEANS_ONE_LEVEL + 10, 6000, KMEANS_ONE_LEVEL + 10, 1);
	test_one();
	test_constant_dimension();
	test_assign(5000, 1, 3, 1);
	test_assign(1, 50, 1, 1);
	test_assign(3000, 16, 4, 1);
	test_assign(700, 1437, 129, 1);
	test_wide();
	test_assign(2000, 600, 2064, 1);
	test_empty_clusters();
	test_cells();
	test_interrupts();
	test_progress();
	test_two_levels();
	return tap_done("kmeans");
}
