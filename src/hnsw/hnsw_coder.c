/*
 * hnsw_coder.c
 *		From a user's vector to the form that the index works on.
 */
#include "postgres.h"

#include <math.h>

#include "utils/rel.h"

#include "hnsw/hnsw_coder.h"

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

/*
 * Rotate a vector, scaled to length 1 first where the metric asks for it; a
 * zero vector stays zero.  Error where the dimensions differ.
 */
void
coder_rotate(VectorCoder *coder, const Vector *vector)
{
	const float *x = vector->x;

	if (vector->dim != coder->layout.dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d",
						coder->layout.dim, vector->dim)));
	if (metric_normalizes(coder->metric))
	{
		double		norm2 = 0.0;
		double		inverse;

		for (int i = 0; i < vector->dim; i++)
			norm2 += (double) x[i] * x[i];
		inverse = norm2 > 0.0 ? 1.0 / sqrt(norm2) : 0.0;
		for (int i = 0; i < vector->dim; i++)
			coder->scaled[i] = (float) (x[i] * inverse);
		x = coder->scaled;
	}
	rotation_apply(coder->rotation, x, coder->rotated);
}

/* Rotate a vector and quantise it. */
void
coder_encode(VectorCoder *coder, const Vector *vector)
{
	coder_rotate(coder, vector);
	node_own_encode(&coder->layout, coder->rotated, &coder->own);
	if (!isfinite(coder->own.norm) || !isfinite(coder->own.err))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("vector is too long to be indexed"),
				 errhint("Scale the vectors so that their lengths are below 1e18.")));
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
