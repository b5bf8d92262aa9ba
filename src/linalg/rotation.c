/*
 * rotation.c
 *		A fixed random rotation, by sign flips and fast Walsh-Hadamard
 *		transforms: n log n instead of n^2, and no matrix to store.
 *
 * A round flips the signs of all elements by a fixed pseudorandom pattern and
 * transforms them.  If the padded dimension n is a power of two, three such
 * rounds make the coordinates of any vector look Gaussian (Ailon and Chazelle
 * 2009; Andoni et al. 2015).  If it is not, the transform covers, in turn, the
 * first and the last 2^k elements, 2^k being the largest power of two that
 * fits; every element is in one of the two windows at least.  Each second such
 * round is followed by one of another kind, sign flips and butterflies between
 * elements i and i + n/2: the windows may share as few as 64 elements, and
 * would exchange the rest too slowly.
 *
 * Each step is orthogonal.  The arithmetic has a fixed order and no product
 * that feeds a sum, so every machine computes the same bits: what one wrote
 * to an index, another can read.
 */
#include "postgres.h"

#include "linalg/rotation.h"

#include <math.h>

#define ROTATION_SEED UINT64CONST(0x7265637379733031)
#define ROTATION_ROUNDS_POWER_OF_TWO 3
#define ROTATION_ROUNDS_OTHER 6 /* first, last, butterflies, twice */

struct Rotation
{
	int			dim;
	int			padded_dim;
	int			window;			/* elements that one transform covers, 2^k */
	int			rounds;
	float		window_scale;	/* 1 / sqrt(window) */
	uint32		signs[FLEXIBLE_ARRAY_MEMBER];	/* rounds x padded_dim, each 0
												 * or the sign bit */
};

/* Four elements at once; the compiler has this on every CPU. */
typedef float Float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint32 Sign4 __attribute__((vector_size(16), aligned(4), may_alias));

/* Vigna's splitmix64: the next of a sequence of 64 random bits. */
static uint64
splitmix64(uint64 *state)
{
	uint64		z = (*state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

Rotation *
rotation_create(int dim, int padded_dim)
{
	Rotation   *rotation;
	uint64		state = ROTATION_SEED + (uint64) padded_dim;
	uint64		bits = 0;
	int			window = 64;
	int			rounds;

	Assert(dim > 0 && dim <= padded_dim && padded_dim % 64 == 0);
	while (window <= padded_dim / 2)
		window *= 2;
	rounds = window == padded_dim ? ROTATION_ROUNDS_POWER_OF_TWO :
		ROTATION_ROUNDS_OTHER;

	rotation = palloc(offsetof(Rotation, signs) +
					  sizeof(uint32) * rounds * (Size) padded_dim);
	rotation->dim = dim;
	rotation->padded_dim = padded_dim;
	rotation->window = window;
	rotation->rounds = rounds;
	rotation->window_scale = 1.0f / sqrtf((float) window);
	for (int i = 0; i < rounds * padded_dim; i++)
	{
		if (i % 64 == 0)
			bits = splitmix64(&state);
		rotation->signs[i] = (bits & 1) ? 0x80000000u : 0;
		bits >>= 1;
	}
	return rotation;
}

/* Butterflies of n elements at x with the n elements at y, n divisible by 4. */
static inline void
butterflies(float *x, float *y, int n)
{
	for (int i = 0; i < n; i += 4)
	{
		Float4		a = *(Float4 *) (x + i);
		Float4		b = *(Float4 *) (y + i);

		*(Float4 *) (x + i) = a + b;
		*(Float4 *) (y + i) = a - b;
	}
}

/* The steps of the transform inside each run of four elements. */
static inline void
hadamard_fours(float *x, int n)
{
	for (int i = 0; i < n; i += 4)
	{
		float		a = x[i] + x[i + 1];
		float		b = x[i] - x[i + 1];
		float		c = x[i + 2] + x[i + 3];
		float		d = x[i + 2] - x[i + 3];

		x[i] = a + c;
		x[i + 1] = b + d;
		x[i + 2] = a - c;
		x[i + 3] = b - d;
	}
}

/* Walsh-Hadamard transform of n elements in place; n is a power of two >= 64. */
static void
hadamard_transform(float *x, int n)
{
	hadamard_fours(x, n);
	for (int half = 4; half < n; half *= 2)
	{
		for (int i = 0; i < n; i += 2 * half)
			butterflies(x + i, x + i + half, half);
	}
}

static inline void
flip_signs(float *x, const uint32 *signs, int n)
{
	for (int i = 0; i < n; i += 4)
		*(Sign4 *) (x + i) ^= *(const Sign4 *) (signs + i);
}

static inline void
scale_elements(float *x, float scale, int n)
{
	for (int i = 0; i < n; i += 4)
		*(Float4 *) (x + i) *= scale;
}

void
rotation_apply(const Rotation *rotation, const float *in, float *out)
{
	int			n = rotation->padded_dim;
	int			window = rotation->window;

	memcpy(out, in, sizeof(float) * rotation->dim);
	memset(out + rotation->dim, 0, sizeof(float) * (n - rotation->dim));

	for (int round = 0; round < rotation->rounds; round++)
	{
		flip_signs(out, rotation->signs + (Size) round * n, n);
		if (window < n && round % 3 == 2)
		{
			butterflies(out, out + n / 2, n / 2);
			scale_elements(out, (float) M_SQRT1_2, n);
		}
		else
		{
			float	   *start = round % 3 == 1 ? out + n - window : out;

			hadamard_transform(start, window);
			scale_elements(start, rotation->window_scale, window);
		}
	}
}
