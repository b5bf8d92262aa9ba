/*
 * vector_agg.c
 *		sum(vector) and avg(vector).
 *
 * Both keep one state: the number of vectors and their sums in float8, which
 * no number of float4 values overflows.  The state is of type internal and is
 * changed in place; workers of a parallel query hand it over as a bytea that
 * holds the same struct, which never leaves the server.
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"

#include "base/compat.h"
#include "vector/vector.h"

typedef struct VectorSum
{
	int64		count;			/* vectors seen */
	int			dim;
	double		sum[FLEXIBLE_ARRAY_MEMBER];
} VectorSum;

#define VECTOR_SUM_SIZE(dim) \
	(offsetof(VectorSum, sum) + sizeof(double) * (Size) (dim))

PG_FUNCTION_INFO_V1(recsys_vector_accum);
PG_FUNCTION_INFO_V1(recsys_vector_combine);
PG_FUNCTION_INFO_V1(recsys_vector_serialize);
PG_FUNCTION_INFO_V1(recsys_vector_deserialize);
PG_FUNCTION_INFO_V1(recsys_vector_sum);
PG_FUNCTION_INFO_V1(recsys_vector_avg);

/*
 * Argument 0, or an empty state of dim dimensions in the memory of the
 * aggregate where it is NULL.
 */
static VectorSum *
vector_sum_get(FunctionCallInfo fcinfo, int dim)
{
	MemoryContext context;
	VectorSum  *state;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "vector aggregate function called outside an aggregate");

	if (PG_ARGISNULL(0))
	{
		state = MemoryContextAllocZero(context, VECTOR_SUM_SIZE(dim));
		state->dim = dim;
		return state;
	}

	state = (VectorSum *) PG_GETARG_POINTER(0);
	vector_check_typmod(dim, state->dim, NULL);
	return state;
}

/* vector_accum(internal, vector) */
Datum
recsys_vector_accum(PG_FUNCTION_ARGS)
{
	VectorSum  *state;
	Vector	   *v;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}

	v = PG_GETARG_VECTOR_P(1);
	state = vector_sum_get(fcinfo, v->dim);
	state->count++;
	for (int i = 0; i < v->dim; i++)
		state->sum[i] += v->x[i];

	PG_FREE_IF_COPY(v, 1);
	PG_RETURN_POINTER(state);
}

/* vector_combine(internal, internal) */
Datum
recsys_vector_combine(PG_FUNCTION_ARGS)
{
	VectorSum  *state;
	const VectorSum *other;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}

	other = (const VectorSum *) PG_GETARG_POINTER(1);
	state = vector_sum_get(fcinfo, other->dim);
	state->count += other->count;
	for (int i = 0; i < other->dim; i++)
		state->sum[i] += other->sum[i];
	PG_RETURN_POINTER(state);
}

/* vector_serialize(internal) */
Datum
recsys_vector_serialize(PG_FUNCTION_ARGS)
{
	const VectorSum *state = (const VectorSum *) PG_GETARG_POINTER(0);
	Size		size = VECTOR_SUM_SIZE(state->dim);
	bytea	   *bytes = palloc(VARHDRSZ + size);

	SET_VARSIZE(bytes, VARHDRSZ + size);
	memcpy(VARDATA(bytes), state, size);
	PG_RETURN_BYTEA_P(bytes);
}

/* vector_deserialize(bytea, internal) */
Datum
recsys_vector_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	Size		size = VARSIZE_ANY_EXHDR(bytes);
	VectorSum  *state = palloc(size);

	memcpy(state, VARDATA_ANY(bytes), size);
	if (size != VECTOR_SUM_SIZE(state->dim))
		elog(ERROR, "aggregate state of %d dimensions has %zu bytes",
			 state->dim, size);
	PG_RETURN_POINTER(state);
}

/* The sums divided by divisor, as a vector; an error where float4 overflows. */
static Vector *
vector_sum_divide(const VectorSum *state, double divisor)
{
	Vector	   *v = vector_new(state->dim);

	for (int i = 0; i < state->dim; i++)
	{
		v->x[i] = (float) (state->sum[i] / divisor);
		if (isinf(v->x[i]))
			float_overflow_error();
	}
	return v;
}

/* vector_sum(internal): strict, so that no rows give NULL */
Datum
recsys_vector_sum(PG_FUNCTION_ARGS)
{
	const VectorSum *state = (const VectorSum *) PG_GETARG_POINTER(0);

	PG_RETURN_VECTOR_P(vector_sum_divide(state, 1.0));
}

/* vector_avg(internal): strict, so that no rows give NULL */
Datum
recsys_vector_avg(PG_FUNCTION_ARGS)
{
	const VectorSum *state = (const VectorSum *) PG_GETARG_POINTER(0);

	PG_RETURN_VECTOR_P(vector_sum_divide(state, (double) state->count));
}
