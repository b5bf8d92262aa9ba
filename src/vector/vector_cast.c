/*
 * vector_cast.c
 *		Casts of the type vector: the check of the type modifier, and arrays
 *		of numbers to vectors and back.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"

#include "base/compat.h"
#include "vector/vector.h"

/* An element type that can become a vector: its storage and its conversion. */
typedef struct ElementSource
{
	Oid			type;
	int16		len;
	bool		byval;
	char		align;
	float		(*to_float) (Datum element);
} ElementSource;

PG_FUNCTION_INFO_V1(recsys_vector);
PG_FUNCTION_INFO_V1(recsys_array_to_vector);
PG_FUNCTION_INFO_V1(recsys_vector_to_float4);

static float
float4_to_float(Datum element)
{
	return DatumGetFloat4(element);
}

static float
int4_to_float(Datum element)
{
	return (float) DatumGetInt32(element);
}

static float
float8_to_float(Datum element)
{
	double		x = DatumGetFloat8(element);

	if (isinf((float) x) && !isinf(x))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"%g\" is out of range for type vector", x)));
	return (float) x;
}

/* Raises an error of its own where float4 is too small or too coarse. */
static float
numeric_to_float(Datum element)
{
	return DatumGetFloat4(DirectFunctionCall1(numeric_float4, element));
}

static const ElementSource sources[] = {
	{FLOAT4OID, sizeof(float4), true, TYPALIGN_INT, float4_to_float},
	{FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, float8_to_float},
	{INT4OID, sizeof(int32), true, TYPALIGN_INT, int4_to_float},
	{NUMERICOID, -1, false, TYPALIGN_INT, numeric_to_float},
};

static const ElementSource *
element_source(Oid type)
{
	for (int i = 0; i < lengthof(sources); i++)
		if (sources[i].type == type)
			return &sources[i];
	elog(ERROR, "no conversion to vector for arrays of type %u", type);
	return NULL;				/* keep the compiler quiet */
}

/* vector(vector, typmod, explicit): the value unchanged, once it fits. */
Datum
recsys_vector(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);

	vector_check_typmod(v->dim, PG_GETARG_INT32(1), NULL);
	PG_RETURN_VECTOR_P(v);
}

/* One dimension, no null, and as many elements as a vector(typmod) holds. */
static void
check_array_shape(ArrayType *array, int32 typmod)
{
	int			dim = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("array must be 1-D, not %d-D", ARR_NDIM(array))));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls")));
	vector_check_dim(dim, NULL);
	vector_check_typmod(dim, typmod, NULL);
}

/* array_to_vector(array, typmod, explicit), for each type in sources. */
Datum
recsys_array_to_vector(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	const ElementSource *source = element_source(ARR_ELEMTYPE(array));
	Datum	   *elements;
	int			dim;
	Vector	   *v;

	check_array_shape(array, PG_GETARG_INT32(1));
	deconstruct_array(array, source->type, source->len, source->byval,
					  source->align, &elements, NULL, &dim);

	v = vector_new(dim);
	for (int i = 0; i < dim; i++)
		v->x[i] = source->to_float(elements[i]);
	vector_check_finite(v, NULL);

	pfree(elements);
	PG_RETURN_VECTOR_P(v);
}

Datum
recsys_vector_to_float4(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR_P(0);
	Datum	   *elements = palloc(sizeof(Datum) * v->dim);
	ArrayType  *array;

	for (int i = 0; i < v->dim; i++)
		elements[i] = Float4GetDatum(v->x[i]);
	array = construct_array(elements, v->dim, FLOAT4OID,
							sizeof(float4), true, TYPALIGN_INT);

	pfree(elements);
	PG_RETURN_ARRAYTYPE_P(array);
}
