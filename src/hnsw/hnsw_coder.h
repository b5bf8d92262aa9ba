/*
 * hnsw_coder.h
 *		From a user's vector to the form that nodes keep.
 */
#ifndef RECSYS_HNSW_CODER_H
#define RECSYS_HNSW_CODER_H

#include "hnsw/hnsw_node.h"
#include "index/rotator.h"

/* A vector in the index's form; the buffers live as long as the coder. */
typedef struct VectorCoder
{
	NodeLayout	layout;
	Rotator    *rotator;		/* holds the last vector encoded, rotated */
	OwnVector	own;			/* the same, as it is stored */
} VectorCoder;

extern VectorCoder *coder_create(int dim, int nfilters, Metric metric);
extern void coder_encode(VectorCoder *coder, const Vector *vector);
extern void coder_check_dim(Relation index, int dim);

#endif							/* RECSYS_HNSW_CODER_H */
