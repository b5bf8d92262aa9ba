/*
 * vector_distance.c
 *		Distances of two vectors, and the norm.
 *
 * The kernels sum in float4, which overflows from elements of about 1e19 on
 * and loses everything below about 1e-23.  A result outside [TRUST_MIN,
 * TRUST_MAX] is summed again in float8, where neither can happen; so no
 * distance between vectors is infinite, and none but the cosine distance of a
 * zero vector is NaN.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "base/compat.h"
#include "kernels/kernels.h"
#include "vector/vector.h"

/*
 * Rounding of subnormal products adds at most n * 2^-150 to a sum, which is
 * nothing to 1e-30.  An exact zero is summed again as well; that is rare
 * enough outside tests.
 */
#define TRUST_MIN 1e-30f
#define TRUST_MAX FLT_MAX

PG_FUNCTION_INFO_V1(recsys_l2_distance);
PG_FUNCTION_INFO_V1(recsys_vector_l2_squared_distance);
PG_FUNCTION_INFO_V1(recsys_inner_product);
PG_FUNCTION_INFO_V1(recsys_vector_negative_inner_product);
PG_FUNCTION_INFO_V1(recsys_cosine_distance);
PG_FUNCTION_INFO_V1(recsys_l1_distance);
PG_FUNCTION_INFO_V1(recsys_vector_norm);

/* False for NaN and infinity too. */
static inline bool
float4_sum_is_sound(float sum)
{
	return fabsf(sum) >= TRUST_MIN && fabsf(sum) <= TRUST_MAX;
}

double
vector_dot(const float *a, const float *b, int n)
{
	float		fast = kernels->dot_f32(a, b, n);
	double		sum = 0;

	if (likely(float4_sum_is_sound(fast)))
		return fast;
	for (int i = 0; i < n; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

double
vector_l2sq(const float *a, const float *b, int n)
{
	float		fast = kernels->l2sq_f32(a, b, n);
	double		sum = 0;

	if (likely(float4_sum_is_sound(fast)))
		return fast;
	for (int i = 0; i < n; i++)
	{
		double		diff = (double) a[i] - b[i];

		sum += diff * diff;
	}
	return sum;
}

double
vector_l1(const float *a, const float *b, int n)
{
	float		fast = kernels->l1_f32(a, b, n);
	double		sum = 0;

	if (likely(float4_sum_is_sound(fast)))
		return fast;
	for (int i = 0; i < n; i++)
		sum += fabs((double) a[i] - b[i]);
	return sum;
}

double
vector_l2_norm(const float *x, int n)
{
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) x[i] * x[i];
	return sqrt(sum);
}

/*
 * 1 - cosine of the angle, in [0, 2].  NaN, which sorts last, where one of
 * the two has no direction: a zero vector is near to nothing.
 */
static double
vector_cosine_distance(const float *a, const float *b, int n)
{
	double		norms = vector_dot(a, a, n) * vector_dot(b, b, n);
	double		similarity = vector_dot(a, b, n) / sqrt(norms);

	if (isnan(similarity))
		return similarity;
	return 1.0 - Max(-1.0, Min(1.0, similarity));
}

static double
vector_negative_dot(const float *a, const float *b, int n)
{
	return 0.0 - vector_dot(a, b, n);	/* not -0 for orthogonal vectors */
}

static double
vector_l2(const float *a, const float *b, int n)
{
	return sqrt(vector_l2sq(a, b, n));
}

/* A distance of the two arguments, which must have the same dimensions. */
static inline Datum
distance_of_args(FunctionCallInfo fcinfo,
				 double (*distance) (const float *, const float *, int))
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	double		result;

	vector_check_same_dim(a, b);
	result = distance(a->x, b->x, a->dim);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	PG_RETURN_FLOAT8(result);
}

Datum
recsys_l2_distance(PG_FUNCTION_ARGS)
{
	return distance_of_args(fcinfo, vector_l2);
}

Datum
recsys_vector_l2_squared_distance(PG_FUNCTION_ARGS)
{
	return distance_of_args(fcinfo, vector_l2sq);
}

Datum
recsys_inner_product(PG_FUNCTION_ARGS)
{
	return distance_of_args(fcinfo, vector_dot);
}

Datum
recsys_vector_negative_inner_product(PG_FUNCTION_ARGS)
{
	return distance_of_args(fcinfo, vector_negative_dot);
}

Datum
recsys_cosine_distance(PG_FUNCTION_ARGS)
{
	return distance_of_args(fcinfo, vector_cosine_distance);
}

Datum
recsys_l1_distance(PG_FUNCTION_ARGS)
{
	return distance_of_args(fcinfo, vector_l1);
}

Datum
recsys_vector_norm(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	double		result = vector_l2_norm(v->x, v->dim);

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_FLOAT8(result);
}
