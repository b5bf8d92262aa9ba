/*
 * blas.h
 *		Dense products of float4 matrices, by OpenBLAS, on one thread.
 *
 * All matrices are row-major and dense; outputs do not overlap inputs.  Sizes
 * are at least 1.  The library is loaded when a backend first calls anything
 * but blas_gemv, which does without; an ereport(ERROR) tells if that fails.
 * Large products are made in pieces, between which a call may be interrupted.
 */
#ifndef RECSYS_BLAS_H
#define RECSYS_BLAS_H

/* A linear layer w[outputs][inputs] applied to rows vectors. */
typedef struct BlasShape
{
	int			rows;
	int			outputs;
	int			inputs;
} BlasShape;

/* y[outputs] = w[outputs][inputs] x[inputs] + bias[outputs]; bias may be NULL */
extern void blas_gemv(const float *w, const float *x, const float *bias,
					  float *y, int outputs, int inputs);

/*
 * y[rows][outputs] = x[rows][inputs] w[outputs][inputs]' + bias[outputs] in
 * each row; bias may be NULL.  With a bias of NULL these are also the inner
 * products of all rows of x with all rows of w.
 */
extern void blas_gemm(const float *w, const float *x, const float *bias,
					  float *y, BlasShape shape);

/*
 * y[outputs][inputs] += u[rows][outputs]' v[rows][inputs]: the sum of the outer
 * products of their rows.
 */
extern void blas_add_outer(const float *u, const float *v, float *y,
						   BlasShape shape);

#endif							/* RECSYS_BLAS_H */
