/*
 * hnsw_coder.c
 *		From a user's vector to the form that the index works on.
 */
#include "postgres.h"

#include <math.h>

#include "utils/rel.h"

#include "hnsw/hnsw_coder.h"

/* Longest vector that can be stored: squares must stay within float4. */
#define CODER_MAX_NORM 1e18

/* A coder for vectors of dim elements, in the current memory context. */
VectorCoder *
coder_create(int dim, Metric metric)
{
	VectorCoder *coder = palloc0(sizeof(VectorCoder));

	node_layout_init(&coder->layout, dim);
	coder->metric = metric;
	coder->rotation = rotation_create(dim, coder->layout.padded_dim);
	coder->scaled = palloc(sizeof(float) * dim);
	coder->rotated = palloc(sizeof(float) * coder->layout.padded_dim);
	coder->own.codes = palloc(coder->layout.padded_dim);
	coder->own.fine = palloc(coder->layout.padded_dim);
	return coder;
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

/*
 * Rotate a vector, scaled to length 1 first if to_unit; a zero vector stays
 * zero.  Returns the length that it had.  Error where the dimensions differ,
 * or where the vector is so long that squares of its length overflow.
 */
static double
coder_rotate(VectorCoder *coder, const Vector *vector, bool to_unit)
{
	double		length;

	if (vector->dim != coder->layout.dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d",
						coder->layout.dim, vector->dim)));
	length = vector_length(vector);
	if (to_unit)
	{
		double		inverse = length > 0.0 ? 1.0 / length : 0.0;

		for (int i = 0; i < vector->dim; i++)
			coder->scaled[i] = (float) (vector->x[i] * inverse);
		rotation_apply(coder->rotation, coder->scaled, coder->rotated);
	}
	else if (length <= CODER_MAX_NORM)
		rotation_apply(coder->rotation, vector->x, coder->rotated);
	else
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("an index cannot work with a vector of length %g, the limit is %g",
						length, CODER_MAX_NORM),
				 errhint("Scale the vectors.")));
	return length;
}

/* Rotate an item's vector and quantise it. */
void
coder_encode(VectorCoder *coder, const Vector *vector)
{
	coder_rotate(coder, vector, metric_normalizes(coder->metric));
	node_own_encode(&coder->layout, coder->rotated, &coder->own);
}

/*
 * Rotate a query, scaled to length 1 where its length does not matter to the
 * order.  Returns its length.
 */
double
coder_rotate_query(VectorCoder *coder, const Vector *query)
{
	return coder_rotate(coder, query, metric_scales_query(coder->metric));
}

/* Error where vectors of dim elements cannot be indexed. */
void
coder_check_dim(Relation index, int dim)
{
	if (dim > NODE_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" cannot hold vectors of %d dimensions, the limit is %d",
						RelationGetRelationName(index), dim, NODE_MAX_DIM),
				 errhint("Reduce the dimensions, or use a subvector in an expression index.")));
}
