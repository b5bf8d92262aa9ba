/*
 * polar.h
 *		The orthogonal matrix nearest to a given one.
 */
#ifndef RECSYS_POLAR_H
#define RECSYS_POLAR_H

/*
 * matrix, n x n, becomes its orthogonal polar factor: U V' of its singular value
 * decomposition U S V', which is the nearest orthogonal matrix, and of all of
 * them has the largest sum of products with it.  Returns false if it is not
 * found, as with a matrix that is singular or not finite, which is then lost.
 */
extern bool polar_factor(float *matrix, int n);

#endif							/* RECSYS_POLAR_H */
