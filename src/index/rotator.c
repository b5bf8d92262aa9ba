/*
 * rotator.c
 *		From a user's vector to a rotated one, scaled as the metric has it.
 */
#include "postgres.h"

#include <math.h>

#include "index/rotator.h"

/* Longest vector that can be stored: squares must stay within float4. */
#define ROTATOR_MAX_NORM 1e18

Rotator *
rotator_create(int dim, int padded_dim, Metric metric)
{
	Rotator    *rotator = palloc0(sizeof(Rotator));

	rotator->metric = metric;
	rotator->dim = dim;
	rotator->padded_dim = padded_dim;
	rotator->rotation = rotation_create(dim, padded_dim);
	rotator->scaled = palloc(sizeof(float) * dim);
	rotator->rotated = palloc0(sizeof(float) * padded_dim);
	return rotator;
}

/* Length of a vector, in float8: no length that float4 can hold overflows. */
static double
vector_length(const Vector *vector)
{
	double		norm2 = 0.0;

	for (int i = 0; i < vector->dim; i++)
		norm2 += (double) vector->x[i] * vector->x[i];
	return sqrt(norm2);
}

static double
rotator_set(Rotator *rotator, const Vector *vector, bool to_unit)
{
	double		length;

	if (vector->dim != rotator->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d",
						rotator->dim, vector->dim)));
	length = vector_length(vector);
	if (to_unit)
	{
		double		inverse = length > 0.0 ? 1.0 / length : 0.0;

		for (int i = 0; i < vector->dim; i++)
			rotator->scaled[i] = (float) (vector->x[i] * inverse);
		rotation_apply(rotator->rotation, rotator->scaled, rotator->rotated);
	}
	else if (length <= ROTATOR_MAX_NORM)
		rotation_apply(rotator->rotation, vector->x, rotator->rotated);
	else
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("an index cannot work with a vector of length %g, the limit is %g",
						length, ROTATOR_MAX_NORM),
				 errhint("Scale the vectors.")));
	return length;
}

double
rotator_set_item(Rotator *rotator, const Vector *vector)
{
	return rotator_set(rotator, vector, metric_normalizes(rotator->metric));
}

double
rotator_set_query(Rotator *rotator, const Vector *query)
{
	return rotator_set(rotator, query, metric_scales_query(rotator->metric));
}
