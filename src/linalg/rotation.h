/*
 * rotation.h
 *		A fixed random rotation: sign flips and fast Walsh-Hadamard transforms.
 *
 * Nothing is trained: the same dimensions always give the same rotation, on
 * every machine.  An input of dim elements is padded with zeros to padded_dim
 * and mapped by an orthogonal matrix, so inner products and lengths are kept.
 */
#ifndef RECSYS_ROTATION_H
#define RECSYS_ROTATION_H

typedef struct Rotation Rotation;

/*
 * A rotation from dim to padded_dim >= dim dimensions, palloc'd in the current
 * memory context.  padded_dim is a multiple of 64.
 */
extern Rotation *rotation_create(int dim, int padded_dim);

/* out[padded_dim] = R in[dim]; in and out do not overlap. */
extern void rotation_apply(const Rotation *rotation, const float *in, float *out);

#endif							/* RECSYS_ROTATION_H */
