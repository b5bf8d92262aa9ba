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

/* A zeroed vector of dim elements, palloc'd. */
extern Vector *vector_new(int dim);

/* Error ERRCODE_DATA_EXCEPTION "expected %d dimensions, not %d" where they differ. */
extern void vector_check_same_dim(const Vector *a, const Vector *b);

#endif							/* RECSYS_VECTOR_H */
