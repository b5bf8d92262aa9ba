/*
 * rotator.h
 *		From a user's vector to a rotated one, scaled as the metric has it.
 */
#ifndef RECSYS_ROTATOR_H
#define RECSYS_ROTATOR_H

#include "index/metric.h"
#include "linalg/rotation.h"
#include "vector/vector.h"

/* The buffers live as long as the rotator; each vector set overwrites them. */
typedef struct Rotator
{
	Metric		metric;
	int			dim;			/* of the user's vectors */
	int			padded_dim;		/* of rotated ones, multiple of 64 */
	Rotation   *rotation;
	float	   *scaled;			/* dim: scratch */
	float	   *rotated;		/* padded_dim: the last vector set */
} Rotator;

/* A rotator in the current memory context; rotated[] is zero at first. */
extern Rotator *rotator_create(int dim, int padded_dim, Metric metric);

/*
 * Rotate an item's vector, or a query, into rotator->rotated; before, it is
 * scaled to length 1 where the metric scales items, or queries.  A zero vector
 * stays zero.  Returns the length that it had.  Error where the dimensions
 * differ, or where a vector is not scaled and is so long that squares of its
 * length overflow.
 */
extern double rotator_set_item(Rotator *rotator, const Vector *vector);
extern double rotator_set_query(Rotator *rotator, const Vector *query);

#endif							/* RECSYS_ROTATOR_H */
