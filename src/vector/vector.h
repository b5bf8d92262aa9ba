/*
 * vector.h
 *		The type vector: its form on disk and what other rooms may call.
 */
#ifndef RECSYS_VECTOR_H
#define RECSYS_VECTOR_H

#include "fmgr.h"

#define VECTOR_MAX_DIM 16000

/*
 * On disk and in memory:
 *
 *		| varlena header, 4 bytes | int16 dim | int16 0 | float4[dim] |
 *
 * Every element is finite: input, casts and arithmetic refuse NaN and
 * infinity.
 */
typedef struct Vector
{
	int32		vl_len_;		/* varlena header, do not touch directly */
	int16		dim;
	int16		unused;			/* always 0 */
	float		x[FLEXIBLE_ARRAY_MEMBER];
} Vector;

#define VECTOR_SIZE(dim) (offsetof(Vector, x) + sizeof(float) * (Size) (dim))
#define DatumGetVector(d) ((Vector *) PG_DETOAST_DATUM(d))
#define PG_GETARG_VECTOR_P(n) DatumGetVector(PG_GETARG_DATUM(n))
#define PG_RETURN_VECTOR_P(v) PG_RETURN_POINTER(v)

struct Node;

/* A zeroed vector of dim elements, palloc'd. */
extern Vector *vector_new(int dim);

/* Error ERRCODE_DATA_EXCEPTION "expected %d dimensions, not %d" where they differ. */
extern void vector_check_same_dim(const Vector *a, const Vector *b);

/*
 * Checks of a value that is being made.  They report to escontext where there
 * is one and answer false, otherwise they raise: that dim is in [1,
 * VECTOR_MAX_DIM], that it is what typmod says (-1: nothing), that no element
 * is NaN or infinite.
 */
extern bool vector_check_dim(int dim, struct Node *escontext);
extern bool vector_check_typmod(int dim, int32 typmod, struct Node *escontext);
extern bool vector_check_finite(const Vector *v, struct Node *escontext);

/*
 * Inner product, squared Euclidean distance and taxicab distance of arrays of
 * n finite elements.  Summed by the kernels in float4; where that overflows or
 * comes too near to zero to be trusted, summed again in float8.  Always finite.
 */
extern double vector_dot(const float *a, const float *b, int n);
extern double vector_l2sq(const float *a, const float *b, int n);
extern double vector_l1(const float *a, const float *b, int n);

/* Euclidean norm, summed in float8. */
extern double vector_l2_norm(const float *x, int n);

#endif							/* RECSYS_VECTOR_H */
