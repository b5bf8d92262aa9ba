/*
 * rotation_test.c
 *		The rotation is orthogonal, the same on every machine, and mixes: unit
 *		and sparse vectors get coordinates that look Gaussian.
 */
#include "linalg/rotation.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static const int sizes[] = {64, 128, 192, 256, 320, 448, 576, 768, 960, 1024,
1088, 1536, 1984, 2048};
#define NSIZES ((int) (sizeof(sizes) / sizeof(sizes[0])))

/* The columns of the matrix: row i is R e_i. */
static float *
rotated_basis(int dim, int padded_dim)
{
	Rotation   *rotation = rotation_create(dim, padded_dim);
	float	   *columns = malloc(sizeof(float) * dim * padded_dim);
	float	   *unit = calloc(dim, sizeof(float));

	for (int i = 0; i < dim; i++)
	{
		unit[i] = 1.0f;
		rotation_apply(rotation, unit, columns + (size_t) i * padded_dim);
		unit[i] = 0.0f;
	}
	free(unit);
	free(rotation);
	return columns;
}

static double
dot(const float *a, const float *b, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

static void
test_orthogonal(int dim, int padded_dim)
{
	float	   *columns = rotated_basis(dim, padded_dim);
	double		worst = 0;
	int			step = padded_dim > 512 ? 17 : 1;

	for (int i = 0; i < dim; i++)
	{
		for (int j = i; j < dim; j += j == i ? 1 : step)
		{
			double		error = dot(columns + (size_t) i * padded_dim,
									columns + (size_t) j * padded_dim,
									padded_dim) - (i == j);

			worst = fmax(worst, fabs(error));
		}
	}
	tap_ok(worst < 2e-6, "%d to %d: orthogonal, worst error %.1e",
		   dim, padded_dim, worst);
	free(columns);
}

/*
 * No coordinate of a rotated unit vector is large; none of the four quarters
 * of the coordinates gets much more than its share of the squared length.
 */
static void
test_units(int n)
{
	float	   *columns = rotated_basis(n, n);
	double		largest = 0,
				share = 0;

	for (int i = 0; i < n; i++)
	{
		const float *column = columns + (size_t) i * n;

		for (int j = 0; j < n; j++)
			largest = fmax(largest, fabs(column[j]) * sqrt(n));
		for (int quarter = 0; quarter < 4; quarter++)
			share = fmax(share, dot(column + quarter * n / 4,
									column + quarter * n / 4, n / 4));
	}
	tap_ok(largest < 6.0 && share < 0.25 + 4.0 / sqrt(n),
		   "%d: unit vectors spread, largest |x| sqrt(n) %.2f, "
		   "largest quarter %.3f", n, largest, share);
	free(columns);
}

/*
 * Moments of the coordinates of vectors with three equal elements, in units
 * of their deviation: a Gaussian's fourth is 3, and 0.3173 lie beyond 1.
 */
static void
test_sparse(int n)
{
	Rotation   *rotation = rotation_create(n, n);
	float	   *in = calloc(n, sizeof(float));
	float	   *out = malloc(n * sizeof(float));
	double		fourth = 0,
				beyond = 0;
	int			vectors = 400;

	for (int v = 0; v < vectors; v++)
	{
		int			at[3] = {v % n, (v * 7 + 1) % n, (v * 13 + 2) % n};
		double		length;

		memset(in, 0, n * sizeof(float));
		for (int i = 0; i < 3; i++)
			in[at[i]] = i == 1 ? -1.0f : 1.0f;
		length = dot(in, in, n);
		rotation_apply(rotation, in, out);
		for (int j = 0; j < n; j++)
		{
			double		z2 = out[j] * out[j] * n / length;

			fourth += z2 * z2 / ((double) n * vectors);
			beyond += (z2 > 1) / ((double) n * vectors);
		}
	}
	tap_ok(fabs(fourth - 3) < 0.3 && fabs(beyond - 0.3173) < 0.02,
		   "%d: sparse vectors look Gaussian, fourth moment %.3f, "
		   "beyond one deviation %.4f", n, fourth, beyond);
	free(rotation);
	free(in);
	free(out);
}

/* FNV-1a of the bits of a rotated ramp: the rotation is a disk format. */
static void
test_pinned(int dim, int padded_dim, uint64_t expected)
{
	Rotation   *rotation = rotation_create(dim, padded_dim);
	float	   *in = malloc(dim * sizeof(float));
	float	   *out = malloc(padded_dim * sizeof(float));
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	for (int i = 0; i < dim; i++)
		in[i] = (float) (i % 17) - 7.25f;
	rotation_apply(rotation, in, out);
	for (int i = 0; i < padded_dim; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &out[i], sizeof(bits));
		hash = (hash ^ bits) * UINT64_C(0x100000001b3);
	}
	tap_ok(hash == expected, "%d to %d: the same bits as ever, 0x%016llx",
		   dim, padded_dim, (unsigned long long) hash);
	free(rotation);
	free(in);
	free(out);
}

int
main(void)
{
	for (int i = 0; i < NSIZES; i++)
	{
		test_orthogonal(sizes[i], sizes[i]);
		test_units(sizes[i]);
		test_sparse(sizes[i]);
	}
	test_orthogonal(1, 64);
	test_orthogonal(96, 128);
	test_orthogonal(100, 192);
	test_pinned(1, 64, UINT64_C(0xd12952b007478825));
	test_pinned(96, 128, UINT64_C(0xdc844970b6032657));
	test_pinned(128, 128, UINT64_C(0x4cffb99593733547));
	test_pinned(700, 704, UINT64_C(0x0ff37b886a093a41));
	return tap_done("rotation");
}
