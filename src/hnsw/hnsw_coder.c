/*
 * hnsw_coder.c
 *		From a user's vector to the form that nodes keep.
 */
#include "postgres.h"

#include "utils/rel.h"

#include "hnsw/hnsw_coder.h"

/*
 * A coder for vectors of dim elements in an index with so many filter columns,
 * in the current memory context.
 */
VectorCoder *
coder_create(int dim, int nfilters, Metric metric)
{
	VectorCoder *coder = palloc0(sizeof(VectorCoder));

	node_layout_init(&coder->layout, dim, nfilters);
	coder->rotator = rotator_create(dim, coder->layout.padded_dim, metric);
	coder->own.codes = palloc(coder->layout.padded_dim);
	coder->own.fine = palloc(coder->layout.padded_dim);
	return coder;
}

/* Rotate an item's vector and quantise it. */
void
coder_encode(VectorCoder *coder, const Vector *vector)
{
	rotator_set_item(coder->rotator, vector);
	node_own_encode(&coder->layout, coder->rotator->rotated, &coder->own);
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
