/*
 * polar_test.c
 *		The polar factor is orthogonal, and the right one: with it, the product
 *		P of the factor's transpose and the matrix is symmetric and positive.
 */
#include "postgres.h"

#include <math.h>

#include "linalg/polar.h"
#include "tap.h"

static float *
random_matrix(int n)
{
	float	   *matrix = malloc(sizeof(float) * n * n);

	for (int i = 0; i < n * n; i++)
		matrix[i] = (float) rand() / (float) RAND_MAX - 0.5f;
	return matrix;
}

/* The largest element of a'b - I, or of the difference of a'b and b'a. */
static double
product_fault(const float *a, const float *b, int n, bool symmetry)
{
	double		worst = 0;

	for (int i = 0; i < n; i++)
	{
		for (int j = 0; j < n; j++)
		{
			double		ij = 0,
						ji = 0;

			for (int k = 0; k < n; k++)
			{
				ij += (double) a[k * n + i] * b[k * n + j];
				ji += (double) a[k * n + j] * b[k * n + i];
			}
			worst = fmax(worst, fabs(ij - (symmetry ? ji : i == j)));
		}
	}
	return worst;
}

/* The least of x'Px over random x of length 1. */
static double
least_form(const float *factor, const float *matrix, int n)
{
	double		least = INFINITY;

	for (int trial = 0; trial < 100; trial++)
	{
		float	   *x = random_matrix(n);	/* its first row */
		double		form = 0,
					length2 = 0;

		for (int k = 0; k < n; k++)
		{
			double		fx = 0,
						mx = 0;

			for (int i = 0; i < n; i++)
			{
				fx += factor[k * n + i] * x[i];
				mx += matrix[k * n + i] * x[i];
			}
			form += fx * mx;
			length2 += x[k] * x[k];
		}
		least = fmin(least, form / length2);
		free(x);
	}
	return least;
}

static void
test_matrix(const char *what, float *matrix, int n)
{
	float	   *factor = malloc(sizeof(float) * n * n);
	double		orthogonal,
				symmetric,
				least,
				largest = 0;
	bool		found;

	memcpy(factor, matrix, sizeof(float) * n * n);
	found = polar_factor(factor, n);
	orthogonal = product_fault(factor, factor, n, false);
	symmetric = product_fault(factor, matrix, n, true);
	least = least_form(factor, matrix, n);
	for (int i = 0; i < n * n; i++)
		largest = fmax(largest, fabs(matrix[i]));
	tap_ok(found && orthogonal < 1e-5, "%s of %d: orthogonal, within %.1e",
		   what, n, orthogonal);
	tap_ok(symmetric < largest * n * 1e-4 && least > -largest * n * 1e-4,
		   "%s of %d: what remains is symmetric within %.1e, and positive",
		   what, n, symmetric / largest);
	free(factor);
	free(matrix);
}

/* Columns of ever smaller size. */
static float *
uneven_matrix(int n, double decay)
{
	float	   *matrix = random_matrix(n);

	for (int i = 0; i < n * n; i++)
		matrix[i] *= (float) pow(decay, i % n);
	return matrix;
}

/* Matrices that have no factor, or none that can be found. */
static void
test_hopeless(const char *what, float element, int at)
{
	float	   *matrix = random_matrix(8);

	for (int i = 0; i < 8; i++)
		matrix[at * 8 + i] = element;
	if (element == 0)
		memset(matrix, 0, sizeof(float) * 8 * at);
	tap_ok(!polar_factor(matrix, 8), "no factor of %s", what);
	free(matrix);
}

int
main(void)
{
	float	   *scaled = random_matrix(20);

	for (int i = 0; i < 400; i++)
		scaled[i] *= 1e-6f;
	test_matrix("the smallest matrix", uneven_matrix(1, 1), 1);
	test_matrix("a random matrix", random_matrix(64), 64);
	test_matrix("a larger one", random_matrix(200), 200);
	test_matrix("an uneven one", uneven_matrix(64, 0.9), 64);
	test_matrix("a tiny one", scaled, 20);
	test_hopeless("zeros", 0, 7);
	test_hopeless("a row of zeros", 0, 0);
	test_hopeless("infinities", INFINITY, 3);
	test_hopeless("NaNs", NAN, 3);
	return tap_done("polar");
}
