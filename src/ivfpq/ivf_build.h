/*
 * ivf_build.h
 *		The steps of a build, and what they hand on.
 */
#ifndef RECSYS_IVF_BUILD_H
#define RECSYS_IVF_BUILD_H

#include "access/parallel.h"
#include "access/tableam.h"

#include "ivfpq/ivf.h"
#include "ivfpq/ivf_model.h"
#include "ivfpq/ivf_rowsort.h"

/* Steps in pg_stat_progress_create_index. */
typedef enum IvfBuildStep
{
	IVF_BUILD_SAMPLE,
	IVF_BUILD_CLUSTER,
	IVF_BUILD_CODES,
	IVF_BUILD_ASSIGN,
	IVF_BUILD_SORT,
	IVF_BUILD_WRITE
} IvfBuildStep;

/* What is built. */
typedef struct IvfBuild
{
	Relation	heap;
	Relation	index;
	IndexInfo  *index_info;
} IvfBuild;

/*
 * Rows for training, rotated.  A row takes width elements: for inner product
 * one more than padded_dim, in which training puts the augmented coordinate.
 */
typedef struct IvfSample
{
	int			dim;			/* 0: no row of the table is indexed */
	int			padded_dim;
	int			width;
	int			lists;			/* wanted */
	double		nrows;			/* rows of the index, estimated */
	int			n;
	float	   *points;			/* n x width */
} IvfSample;

/* Elements of a vector in the space of the lists, see mips.h. */
static inline int
ivf_point_width(Metric metric, int padded_dim)
{
	return metric_query_measure(metric) == MEASURE_IP ? padded_dim + 1 :
		padded_dim;
}

/* ivf_build.c */
extern void ivf_build_begin_step(IvfBuildStep step, int64 ntuples);

/* ivf_sample.c */
extern void ivf_sample_rows(const IvfBuild *build, IvfSample *sample);

/* ivf_train.c */
extern bool ivf_train(const IvfBuild *build);

/* ivf_assign.c */
typedef struct IvfAssigned
{
	double		heap_tuples;
	double		index_tuples;
} IvfAssigned;

/* What one process has for its share of the rows. */
typedef struct IvfAssignTask
{
	TableScanDesc scan;			/* NULL: all of the table */
	SortCoordinate coordinate;	/* NULL: it sorts alone */
	int			kbytes;			/* memory */
	pg_atomic_uint32 *counts;	/* rows in each list, to be added to */
} IvfAssignTask;

extern void ivf_counts_init(pg_atomic_uint32 *counts, int nlists);
extern RowSort *ivf_assign_rows(const IvfBuild *build,
								const IvfAssignTask *task,
								IvfAssigned *assigned);

/* ivf_write.c */
extern void ivf_write_lists(Relation index, RowSort *sort,
							pg_atomic_uint32 *counts, double nrows);

/* ivf_parallel.c */
extern bool ivf_build_in_parallel(const IvfBuild *build, int nworkers,
								  IndexBuildResult *result);
PGDLLEXPORT extern void recsys_ivfpq_build_worker(dsm_segment *segment,
												  shm_toc *toc);

#endif							/* RECSYS_IVF_BUILD_H */
