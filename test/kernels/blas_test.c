/*
 * blas_test.c
 *		The matrix products against plain loops in doubles, and the promise that
 *		they start no thread.
 */
#define _GNU_SOURCE

#include "linalg/blas.h"
#include "miscadmin.h"

#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

/* Threads of this process, or -1 where there is no /proc. */
static int
count_threads(void)
{
	DIR		   *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int			count = 0;

	if (dir == NULL)
		return -1;
	while ((entry = readdir(dir)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static float *
random_array(size_t n)
{
	float	   *array = malloc(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		array[i] = (float) rand() / (float) RAND_MAX - 0.5f;
	return array;
}

/* Does y hold x w' + bias?  The terms are below 1/4 in magnitude. */
static bool
product_right(const float *w, const float *x, const float *bias,
			  const float *y, BlasShape shape)
{
	double		bound = (shape.inputs + 2) * 0.25 * FLT_EPSILON + FLT_EPSILON;

	for (int row = 0; row < shape.rows; row++)
	{
		for (int out = 0; out < shape.outputs; out++)
		{
			double		sum = bias == NULL ? 0 : bias[out];

			for (int in = 0; in < shape.inputs; in++)
				sum += (double) x[(size_t) row * shape.inputs + in] *
					w[(size_t) out * shape.inputs + in];
			if (!(fabs(y[(size_t) row * shape.outputs + out] - sum) <= bound))
				return false;
		}
	}
	return true;
}

/* Outputs start as NaN: a product must overwrite them, not add to them. */
static void
test_shape(BlasShape shape)
{
	float	   *w = random_array((size_t) shape.outputs * shape.inputs);
	float	   *x = random_array((size_t) shape.rows * shape.inputs);
	float	   *bias = random_array(shape.outputs);
	size_t		size = (size_t) shape.rows * shape.outputs * sizeof(float);
	float	   *y = malloc(size);
	bool		good = true;

	for (int with_bias = 0; with_bias < 2; with_bias++)
	{
		float	   *b = with_bias ? bias : NULL;

		memset(y, 0xff, size);
		blas_gemm(w, x, b, y, shape);
		good = good && product_right(w, x, b, y, shape);

		memset(y, 0xff, size);
		for (int row = 0; row < shape.rows; row++)
			blas_gemv(w, x + (size_t) row * shape.inputs, b,
					  y + (size_t) row * shape.outputs,
					  shape.outputs, shape.inputs);
		good = good && product_right(w, x, b, y, shape);
	}
	tap_ok(good, "gemm and gemv, %d rows, %d outputs, %d inputs",
		   shape.rows, shape.outputs, shape.inputs);
	free(w);
	free(x);
	free(bias);
	free(y);
}

/* y holds something before: the products are added to it. */
static void
test_outer(BlasShape shape)
{
	float	   *u = random_array((size_t) shape.rows * shape.outputs);
	float	   *v = random_array((size_t) shape.rows * shape.inputs);
	float	   *y = random_array((size_t) shape.outputs * shape.inputs);
	size_t		size = (size_t) shape.outputs * shape.inputs * sizeof(float);
	float	   *before = malloc(size);
	double		worst = 0;

	memcpy(before, y, size);
	blas_add_outer(u, v, y, shape);
	for (int out = 0; out < shape.outputs; out++)
	{
		for (int in = 0; in < shape.inputs; in++)
		{
			size_t		at = (size_t) out * shape.inputs + in;
			double		sum = before[at];

			for (int row = 0; row < shape.rows; row++)
				sum += (double) u[(size_t) row * shape.outputs + out] *
					v[(size_t) row * shape.inputs + in];
			worst = fmax(worst, fabs(y[at] - sum));
		}
	}
	tap_ok(worst <= (shape.rows + 4) * 0.25 * FLT_EPSILON,
		   "outer products of %d rows, %d by %d", shape.rows, shape.outputs,
		   shape.inputs);
	free(u);
	free(v);
	free(y);
	free(before);
}

/*
 * Products of more than one piece can be interrupted between them, and the last
 * row, which is in another piece than the first, is right.
 */
static void
test_pieces(void)
{
	BlasShape	gemm = {70, 4000, 4000};
	BlasShape	outer = {4000, 70, 4000};
	size_t		n = 4000;
	float	   *w = random_array(n * n);
	float	   *x = random_array(70 * n);
	float	   *y = calloc(70 * n, sizeof(float));
	float	   *last = malloc(n * sizeof(float));
	unsigned long checks = stub_interrupt_checks;
	double		worst = 0;

	blas_gemm(w, x, NULL, y, gemm);
	blas_gemv(w, x + 69 * n, NULL, last, n, n);
	for (size_t i = 0; i < n; i++)
		worst = fmax(worst, fabs(y[69 * n + i] - last[i]));
	tap_ok(stub_interrupt_checks >= checks + 2 && worst < 1e-3,
		   "gemm in pieces, off by %g", worst);

	checks = stub_interrupt_checks;
	memset(y, 0, 70 * n * sizeof(float));
	memset(last, 0, n * sizeof(float));
	blas_add_outer(x, w, y, outer);
	for (size_t row = 0; row < n; row++)
		for (size_t i = 0; i < n; i++)
			last[i] += x[row * 70 + 69] * w[row * n + i];
	worst = 0;
	for (size_t i = 0; i < n; i++)
		worst = fmax(worst, fabs(y[69 * n + i] - last[i]));
	tap_ok(stub_interrupt_checks >= checks + 2 && worst < 1e-3,
		   "outer products in pieces, off by %g", worst);
	free(w);
	free(x);
	free(y);
	free(last);
}

int
main(void)
{
	const BlasShape shapes[] = {{1, 1, 1}, {1, 64, 1}, {1, 1, 64}, {3, 5, 7},
	{17, 33, 129}, {64, 256, 512}, {500, 500, 300}};

	setenv("OPENBLAS_NUM_THREADS", "2", 1);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
	{
		test_shape(shapes[i]);
		test_outer(shapes[i]);
	}
	test_pieces();
	tap_ok(strcmp(getenv("OPENBLAS_NUM_THREADS"), "2") == 0,
		   "the environment is as it was");
	if (count_threads() < 0)
		printf("ok %d - threads # SKIP no /proc\n", ++tap_points);
	else
		tap_ok(count_threads() == 1, "one thread, found %d", count_threads());
	return tap_done("blas");
}
