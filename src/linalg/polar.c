/*
 * polar.c
 *		The orthogonal polar factor, by matrix products alone.
 *
 * The iteration of Newton and Schulz: X becomes X (3 I - X'X) / 2, which takes
 * each singular value s to s (3 - s^2) / 2.  Values between 0 and sqrt(3) go to
 * 1, small ones by half their size a step, and near 1 the error is squared.  So
 * X is first scaled to have none above 1.  A decomposition would need LAPACK,
 * which not every OpenBLAS has.
 */
#include "postgres.h"

#include "linalg/blas.h"
#include "linalg/polar.h"
#include "miscadmin.h"

#include <float.h>
#include <math.h>

/*
 * Enough for singular values of 1e-6 of the largest, which are as good as its
 * rounding errors: 1.5^40 is 1e7.
 */
#define MAX_STEPS 50

/* X'X may differ from I by this before a last step, which leaves its square. */
#define NEARLY_ORTHOGONAL 1e-4

/* gram = x'x */
static void
gram_matrix(const float *x, float *gram, int n)
{
	BlasShape	shape = {n, n, n};

	memset(gram, 0, sizeof(float) * n * (Size) n);
	blas_add_outer(x, x, gram, shape);
}

/*
 * The largest sum of magnitudes in a row, or NaN.  No singular value of a
 * symmetric matrix is above it.
 */
static double
row_norm(const float *matrix, int n)
{
	double		largest = 0;

	for (int row = 0; row < n; row++)
	{
		double		sum = 0;

		for (int i = 0; i < n; i++)
			sum += fabsf(matrix[(Size) row * n + i]);
		if (isnan(sum))
			return sum;
		largest = Max(largest, sum);
	}
	return largest;
}

static void
scale_matrix(float *matrix, float scale, int n)
{
	for (Size i = 0; i < n * (Size) n; i++)
		matrix[i] *= scale;
}

/*
 * gram becomes (3 I - gram) / 2.  Returns by how much it differed from I, the
 * largest difference of an element.
 */
static double
step_matrix(float *gram, int n)
{
	double		worst = 0;

	for (int row = 0; row < n; row++)
	{
		for (int i = 0; i < n; i++)
		{
			float	   *element = gram + (Size) row * n + i;
			float		identity = row == i ? 1.0f : 0.0f;

			worst = Max(worst, fabsf(*element - identity));
			*element = 1.5f * identity - 0.5f * *element;
		}
	}
	return worst;
}

bool
polar_factor(float *matrix, int n)
{
	BlasShape	shape = {n, n, n};
	Size		size = sizeof(float) * n * (Size) n;
	float	   *gram = palloc(size);
	float	   *next = palloc(size);
	float		scale;
	bool		done = false;

	gram_matrix(matrix, gram, n);
	scale = (float) (1 / sqrt(row_norm(gram, n)));
	if (scale > 0 && scale <= FLT_MAX)
		scale_matrix(matrix, scale, n);
	else
		scale = 0;				/* zeros, or not finite */

	for (int step = 0; step < MAX_STEPS && scale > 0 && !done; step++)
	{
		CHECK_FOR_INTERRUPTS();
		gram_matrix(matrix, gram, n);
		done = step_matrix(gram, n) < NEARLY_ORTHOGONAL;
		blas_gemm(gram, matrix, NULL, next, shape);
		memcpy(matrix, next, size);
	}
	pfree(next);
	pfree(gram);
	return done;
}
