/*
 * ivf_model.h
 *		What training decides but for the lists: the mean, the codebook, and a
 *		learned rotation where one was asked for.
 *
 * On disk it is a stream of float16 numbers over consecutive pages:
 *
 *		| mean, padded_dim | codewords, nsub x 16 x subdim | rotation |
 *
 * A backend keeps it in the relation cache, if it is no larger than 1 MB, and
 * scans and inserts take a copy: 19 kB at 128 dimensions.
 */
#ifndef RECSYS_IVF_MODEL_H
#define RECSYS_IVF_MODEL_H

#include "ivfpq/ivf_meta.h"

typedef struct IvfModel
{
	IvfLayout	layout;
	Metric		metric;
	float		radius2;		/* M^2, 0 without augmentation */
	float	   *mean;			/* padded_dim; 0 but for L2 */
	Codebook   *codebook;
	float	   *learned;		/* padded_dim x padded_dim, or NULL */
} IvfModel;

extern IvfModel *ivf_model_create(const IvfMeta *meta);

/* The model as it is stored, in the current memory context. */
extern IvfModel *ivf_model_read(Relation index, const IvfMeta *meta);

/* The same from the relation cache, where it is there. */
extern IvfModel *ivf_model_recall(Relation index, const IvfMeta *meta);

/* Pages of a model, with a learned rotation or without. */
extern BlockNumber ivf_model_pages(int padded_dim, bool learned);

/* Append the model to the index; returns its first block. */
extern BlockNumber ivf_model_write(Relation index, PageWal wal,
								   const IvfModel *model);

/* turned[padded_dim] = the learned rotation of x, or x itself. */
extern void ivf_model_turn(const IvfModel *model, const float *x,
						   float *turned);

#endif							/* RECSYS_IVF_MODEL_H */
