/*
 * ivf_coder.h
 *		From a rotated vector to what a list page keeps of it.
 *
 * A row is coded relative to the centroid c of its list, and its length apart
 * from its direction.  For inner product and cosine the part of x along c is
 * kept as a number, and only what is orthogonal to c is coded:
 *
 *		t = <x,c> / |c|^2,	r = x - t c,
 *		<q,x> ~ t <q,c> + f <q,u>,
 *
 * u being the decoded code of r / |r|, and f = |r|^2 / <r,u>, which makes the
 * estimate right for a query along r.  For L2, with m the mean of all lists,
 *
 *		r = x - c,	t = - f <c - m,u> - |r|^2 / 2,
 *		<q - c,x - c> - |x - c|^2 / 2 ~ t + f <q - m,u>.
 *
 * So for every metric a scan computes t * (a number of the list) + f * (a sum
 * of look-ups), and the table of look-ups is the same for all lists.
 */
#ifndef RECSYS_IVF_CODER_H
#define RECSYS_IVF_CODER_H

#include "ivfpq/ivf_directory.h"
#include "ivfpq/ivf_model.h"

typedef struct IvfCoder
{
	const IvfModel *model;
	float	   *residual;		/* padded_dim */
	float	   *unit;			/* padded_dim, turned */
	float	   *offset;			/* padded_dim: c - m, turned; L2 alone */
	float	   *decoded;		/* padded_dim; L2 alone */
	IvfRow		row;			/* the last row encoded */
} IvfCoder;

extern IvfCoder *ivf_coder_create(const IvfModel *model);

/*
 * coder->residual becomes the direction of r, of length 1, or zero where r is;
 * coder->row.t becomes the multiple of the centroid that was taken out.
 * Returns |r|^2.  This is the first step of encoding, and all that training
 * needs.
 */
extern float ivf_coder_residual(IvfCoder *coder, const float *x,
								const float *centroid, float norm2);

/*
 * Encode the rotated vector x of a row of a list with the given centroid and
 * its squared length; coder->row is the result, but for its TID.
 */
extern void ivf_coder_encode(IvfCoder *coder, const float *x,
							 const float *centroid, float norm2);

/* Whether the codes are those of <q - c,x - c>, and not of <q,x>. */
static inline bool
ivf_metric_is_centred(Metric metric)
{
	return metric_query_measure(metric) == MEASURE_L2 &&
		!metric_normalizes(metric);
}

/* Error where vectors of dim elements cannot be indexed. */
extern void ivf_check_dim(Relation index, int dim);

#endif							/* RECSYS_IVF_CODER_H */
