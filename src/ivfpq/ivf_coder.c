/*
 * ivf_coder.c
 *		From a rotated vector to what a list page keeps of it.
 */
#include "postgres.h"

#include <math.h>

#include "utils/rel.h"

#include "ivfpq/ivf_coder.h"
#include "ivfpq/ivf_tape.h"

/*
 * Projections beyond this are not taken out: next to such a row its centroid
 * is nothing, and float16 would soon lose the number.
 */
#define MAX_T 256.0f

/* A coder of rows, in the current memory context. */
IvfCoder *
ivf_coder_create(const IvfModel *model)
{
	IvfCoder   *coder = palloc0(sizeof(IvfCoder));
	Size		size = sizeof(float) * model->layout.padded_dim;

	coder->model = model;
	coder->residual = palloc(size);
	coder->unit = palloc(size);
	coder->offset = palloc(size);
	coder->decoded = palloc(size);
	coder->row.codes = palloc(model->layout.nsub);
	if (model->layout.tape_record > 0)
		coder->row.record = palloc(model->layout.tape_record);
	return coder;
}

float
ivf_coder_residual(IvfCoder *coder, const float *x, const float *centroid,
				   float norm2)
{
	int			d = coder->model->layout.padded_dim;
	float		t = 1.0f;
	float		length2;
	float		inverse;

	if (!ivf_metric_is_centred(coder->model->metric))
	{
		t = norm2 > 0.0f ? kernels->dot_f32(x, centroid, d) / norm2 : 0.0f;
		if (!(fabsf(t) <= MAX_T))
			t = 0.0f;
	}
	coder->row.t = t;
	for (int i = 0; i < d; i++)
		coder->residual[i] = x[i] - t * centroid[i];
	length2 = kernels->dot_f32(coder->residual, coder->residual, d);
	inverse = length2 > 0.0f ? 1.0f / sqrtf(length2) : 0.0f;
	if (!isfinite(inverse))
		inverse = 0.0f;
	for (int i = 0; i < d; i++)
		coder->residual[i] *= inverse;
	return length2;
}

/* What t is for L2, when the residual has been coded. */
static float
coder_centred_t(IvfCoder *coder, const float *centroid, float length2)
{
	const IvfModel *model = coder->model;
	int			d = model->layout.padded_dim;
	float	   *difference = coder->residual;	/* no longer needed */

	for (int i = 0; i < d; i++)
		difference[i] = centroid[i] - model->mean[i];
	ivf_model_turn(model, difference, coder->offset);
	codebook_decode(model->codebook, coder->row.codes, coder->decoded);
	return -coder->row.f * kernels->dot_f32(coder->offset, coder->decoded, d) -
		length2 / 2.0f;
}

void
ivf_coder_encode(IvfCoder *coder, const float *x, const float *centroid,
				 float norm2)
{
	const IvfModel *model = coder->model;
	float		length2 = ivf_coder_residual(coder, x, centroid, norm2);
	float		along;

	ivf_model_turn(model, coder->residual, coder->unit);
	along = codebook_encode(model->codebook, coder->unit, coder->row.codes);
	coder->row.f = along > 0.0f ? sqrtf(length2) / along : 0.0f;
	if (ivf_metric_is_centred(model->metric))
		coder->row.t = coder_centred_t(coder, centroid, length2);
	coder->row.distance2 = kernels->l2sq_f32(x, centroid,
											 model->layout.padded_dim);
	tape_record_encode(&model->layout, x, coder->row.record);
}

void
ivf_check_dim(Relation index, int dim)
{
	if (dim > IVF_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" cannot hold vectors of %d dimensions, the limit is %d",
						RelationGetRelationName(index), dim, IVF_MAX_DIM),
				 errhint("Reduce the dimensions, or use a subvector in an expression index.")));
}
