/*
 * vector_ops.c
 *		Arithmetic, comparison and taking apart of vectors.
 *
 * Arithmetic is element by element in float4; as for type real, overflow is
 * an error, and so is a product that underflows to zero.  The order of
 * vectors is that of arrays: by the first element that differs, then the
 * shorter one first; so vectors of different dimensions can be compared, and
 * a column that mixes them can be sorted and analyzed.
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "base/compat.h"
#include "vector/vector.h"

typedef enum VectorArithmetic
{
	VECTOR_ADD,
	VECTOR_SUBTRACT,
	VECTOR_MULTIPLY
} VectorArithmetic;

PG_FUNCTION_INFO_V1(recsys_vector_add);
PG_FUNCTION_INFO_V1(recsys_vector_sub);
PG_FUNCTION_INFO_V1(recsys_vector_mul);
PG_FUNCTION_INFO_V1(recsys_vector_concat);
PG_FUNCTION_INFO_V1(recsys_vector_lt);
PG_FUNCTION_INFO_V1(recsys_vector_le);
PG_FUNCTION_INFO_V1(recsys_vector_eq);
PG_FUNCTION_INFO_V1(recsys_vector_ne);
PG_FUNCTION_INFO_V1(recsys_vector_ge);
PG_FUNCTION_INFO_V1(recsys_vector_gt);
PG_FUNCTION_INFO_V1(recsys_vector_cmp);
PG_FUNCTION_INFO_V1(recsys_vector_dims);
PG_FUNCTION_INFO_V1(recsys_l2_normalize);
PG_FUNCTION_INFO_V1(recsys_subvector);
PG_FUNCTION_INFO_V1(recsys_binary_quantize);

/* Inlined with a constant op, so that each loop holds one operation. */
static pg_attribute_always_inline Vector *
vector_arithmetic(FunctionCallInfo fcinfo, VectorArithmetic op)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *v;

	vector_check_same_dim(a, b);
	v = vector_new(a->dim);
	for (int i = 0; i < v->dim; i++)
		v->x[i] = op == VECTOR_ADD ? a->x[i] + b->x[i] :
			op == VECTOR_SUBTRACT ? a->x[i] - b->x[i] : a->x[i] * b->x[i];

	for (int i = 0; i < v->dim; i++)
	{
		if (unlikely(isinf(v->x[i])))
			float_overflow_error();
		if (op == VECTOR_MULTIPLY &&
			unlikely(v->x[i] == 0 && a->x[i] != 0 && b->x[i] != 0))
			float_underflow_error();
	}
	return v;
}

Datum
recsys_vector_add(PG_FUNCTION_ARGS)
{
	PG_RETURN_VECTOR_P(vector_arithmetic(fcinfo, VECTOR_ADD));
}

Datum
recsys_vector_sub(PG_FUNCTION_ARGS)
{
	PG_RETURN_VECTOR_P(vector_arithmetic(fcinfo, VECTOR_SUBTRACT));
}

Datum
recsys_vector_mul(PG_FUNCTION_ARGS)
{
	PG_RETURN_VECTOR_P(vector_arithmetic(fcinfo, VECTOR_MULTIPLY));
}

Datum
recsys_vector_concat(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	Vector	   *v;

	vector_check_dim(a->dim + b->dim, NULL);
	v = vector_new(a->dim + b->dim);
	memcpy(v->x, a->x, sizeof(float) * a->dim);
	memcpy(v->x + a->dim, b->x, sizeof(float) * b->dim);
	PG_RETURN_VECTOR_P(v);
}

static int
vector_compare(const Vector *a, const Vector *b)
{
	int			dim = Min(a->dim, b->dim);

	for (int i = 0; i < dim; i++)
	{
		if (a->x[i] != b->x[i])
			return a->x[i] < b->x[i] ? -1 : 1;
	}
	return (a->dim > b->dim) - (a->dim < b->dim);
}

/* The order of the two arguments; a sort calls this without freeing memory. */
static int
vector_compare_args(FunctionCallInfo fcinfo)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	Vector	   *b = PG_GETARG_VECTOR_P(1);
	int			result = vector_compare(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return result;
}

Datum
recsys_vector_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(vector_compare_args(fcinfo) < 0);
}

Datum
recsys_vector_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(vector_compare_args(fcinfo) <= 0);
}

Datum
recsys_vector_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(vector_compare_args(fcinfo) == 0);
}

Datum
recsys_vector_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(vector_compare_args(fcinfo) != 0);
}

Datum
recsys_vector_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(vector_compare_args(fcinfo) >= 0);
}

Datum
recsys_vector_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(vector_compare_args(fcinfo) > 0);
}

Datum
recsys_vector_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(vector_compare_args(fcinfo));
}

Datum
recsys_vector_dims(PG_FUNCTION_ARGS)
{
	Vector	   *v = (Vector *) PG_DETOAST_DATUM_SLICE(PG_GETARG_DATUM(0), 0,
													  offsetof(Vector, x) - VARHDRSZ);

	PG_RETURN_INT32(v->dim);
}

/* The vector scaled to norm 1; a zero vector stays as it is. */
Datum
recsys_l2_normalize(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	double		norm = vector_l2_norm(a->x, a->dim);
	Vector	   *v = vector_new(a->dim);

	if (norm > 0)
		for (int i = 0; i < v->dim; i++)
			v->x[i] = (float) (a->x[i] / norm);
	PG_RETURN_VECTOR_P(v);
}

/*
 * subvector(v, start, count): the elements from start on, counted from 1.
 * As in substring, what lies outside of the vector is left out.
 */
Datum
recsys_subvector(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	int64		start = PG_GETARG_INT32(1);
	int64		end = start + PG_GETARG_INT32(2);
	Vector	   *v;

	start = Max(start, 1);
	end = Min(end, (int64) a->dim + 1);
	vector_check_dim((int) Max(end - start, 0), NULL);

	v = vector_new((int) (end - start));
	memcpy(v->x, a->x + start - 1, sizeof(float) * v->dim);
	PG_RETURN_VECTOR_P(v);
}

/* A bit an element, 1 where it is positive, first element first. */
Datum
recsys_binary_quantize(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR_P(0);
	VarBit	   *bits = palloc0(VARBITTOTALLEN(a->dim));

	SET_VARSIZE(bits, VARBITTOTALLEN(a->dim));
	VARBITLEN(bits) = a->dim;
	for (int i = 0; i < a->dim; i++)
		if (a->x[i] > 0)
			VARBITS(bits)[i / BITS_PER_BYTE] |= HIGHBIT >> (i % BITS_PER_BYTE);
	PG_RETURN_VARBIT_P(bits);
}
