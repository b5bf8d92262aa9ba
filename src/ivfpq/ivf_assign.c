/*
 * ivf_assign.c
 *		Rows of the table to their lists, encoded.
 *
 * Rows are gathered until they are worth a matrix product, by which the nearest
 * centroids of all of them are found at once.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/rotator.h"
#include "ivfpq/ivf_build.h"
#include "linalg/kmeans.h"
#include "vector/mips.h"

/* Rows gathered: as many as fit into so many bytes, within these bounds. */
#define GATHER_BYTES (2 * 1024 * 1024)
#define GATHER_MIN_ROWS 64
#define GATHER_MAX_ROWS 4096

/* Least memory for the sort. */
#define SORT_MIN_KBYTES 1024

/* One process that assigns rows. */
typedef struct RowAssigner
{
	IvfMeta		meta;
	IvfModel   *model;
	int			width;
	float	   *centroids;		/* nlists x width */
	float	   *norms2;			/* nlists */
	KmeansAssigner *nearest;
	Rotator    *rotator;
	IvfCoder   *coder;
	FilterEncoder *filters;

	/* rows gathered */
	int			n;
	int			max;
	float	   *points;			/* max x width */
	ItemPointerData *tids;
	FilterKeys *keys;
	int		   *labels;

	RowSort    *sort;
	uint32	   *counts;			/* rows in each list */
	double		ntuples;
	MemoryContext row_context;
} RowAssigner;

static void
assigner_load_list(uint32 list, const IvfList *entry, void *arg)
{
	RowAssigner *assigner = arg;
	int			d = assigner->model->layout.padded_dim;
	float	   *centroid = assigner->centroids + (Size) list * assigner->width;

	list_get_centroid(&assigner->model->layout, entry, centroid);
	if (assigner->width > d)
		centroid[d] = entry->coordinate;
	assigner->norms2[list] = entry->norm2;
}

/* Read what has been trained from the index, in the current memory context. */
static RowAssigner *
assigner_create(Relation index)
{
	RowAssigner *assigner = palloc0(sizeof(RowAssigner));
	IvfMeta    *meta = &assigner->meta;
	const IvfLayout *layout;
	Size		point;

	ivf_meta_read(index, meta);
	assigner->model = ivf_model_read(index, meta);
	layout = &assigner->model->layout;
	assigner->width = ivf_point_width(assigner->model->metric,
									  layout->padded_dim);
	point = sizeof(float) * assigner->width;
	assigner->centroids = palloc_extended(mul_size(point, meta->nlists),
										  MCXT_ALLOC_HUGE);
	assigner->norms2 = palloc(sizeof(float) * meta->nlists);
	directory_visit(index, meta, layout, assigner_load_list, assigner);
	assigner->nearest = kmeans_assigner_create(assigner->centroids,
											   meta->nlists, assigner->width);
	assigner->rotator = rotator_create(layout->dim, layout->padded_dim,
									   assigner->model->metric);
	assigner->coder = ivf_coder_create(assigner->model);
	assigner->filters = filter_encoder_create(index);

	assigner->max = Min(Max((int) (GATHER_BYTES / point), GATHER_MIN_ROWS),
						GATHER_MAX_ROWS);
	assigner->points = palloc(point * assigner->max);
	assigner->tids = palloc(sizeof(ItemPointerData) * assigner->max);
	assigner->keys = palloc(sizeof(FilterKeys) * assigner->max);
	assigner->labels = palloc(sizeof(int) * assigner->max);
	assigner->counts = palloc0(sizeof(uint32) * meta->nlists);
	assigner->row_context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys_ivfpq build row",
												  ALLOCSET_DEFAULT_SIZES);
	return assigner;
}

/* Encode the rows gathered and hand them to the sort. */
static void
assigner_flush(RowAssigner *assigner)
{
	IvfCoder   *coder = assigner->coder;

	kmeans_assign(assigner->nearest, assigner->points, assigner->n,
				  assigner->labels);
	for (int i = 0; i < assigner->n; i++)
	{
		int			list = assigner->labels[i];

		CHECK_FOR_INTERRUPTS();
		ivf_coder_encode(coder, assigner->points + (Size) i * assigner->width,
						 assigner->centroids + (Size) list * assigner->width,
						 assigner->norms2[list]);
		coder->row.tid = assigner->tids[i];
		coder->row.keys = assigner->keys[i];
		row_sort_put(assigner->sort, list, &coder->row);
		assigner->counts[list]++;
	}
	assigner->ntuples += assigner->n;
	assigner->n = 0;
}

/* Callback of the table scan. */
static void
assigner_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			 bool alive, void *state)
{
	RowAssigner *assigner = state;
	int			d = assigner->model->layout.padded_dim;
	MemoryContext old;
	float	   *x;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(assigner->row_context);
	rotator_set_item(assigner->rotator, DatumGetVector(values[0]));
	x = assigner->points + (Size) assigner->n * assigner->width;
	memcpy(x, assigner->rotator->rotated, sizeof(float) * d);
	if (assigner->width > d)
		x[d] = mips_coordinate(kernels->dot_f32(x, x, d),
							   assigner->meta.radius2);
	filter_encode(assigner->filters, values, isnull,
				  &assigner->keys[assigner->n]);
	assigner->tids[assigner->n++] = *tid;
	if (assigner->n == assigner->max)
		assigner_flush(assigner);
	MemoryContextSwitchTo(old);
	MemoryContextReset(assigner->row_context);
}

/* Memory left for the sort. */
static int
assigner_sort_kbytes(const RowAssigner *assigner, int kbytes)
{
	double		bytes = sizeof(float) * assigner->width *
	(2.0 * assigner->meta.nlists + assigner->max) +
	(double) sizeof(FilterKeys) * assigner->max;

	return (int) Max(kbytes - bytes / 1024.0, SORT_MIN_KBYTES);
}

/* No rows in any list. */
void
ivf_counts_init(pg_atomic_uint32 *counts, int nlists)
{
	for (int i = 0; i < nlists; i++)
		pg_atomic_init_u32(&counts[i], 0);
}

/*
 * Encode this process's share of the rows.  Returns the sort that they have
 * been put to, in the current memory context, which has not begun to sort.
 */
RowSort *
ivf_assign_rows(const IvfBuild *build, const IvfAssignTask *task,
				IvfAssigned *assigned)
{
	MemoryContext result_context = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys_ivfpq assignment",
												  ALLOCSET_DEFAULT_SIZES);
	RowAssigner *assigner;
	RowSort    *sort;

	MemoryContextSwitchTo(context);
	assigner = assigner_create(build->index);
	MemoryContextSwitchTo(result_context);
	sort = row_sort_begin(&assigner->model->layout,
						  assigner_sort_kbytes(assigner, task->kbytes),
						  task->coordinate);
	MemoryContextSwitchTo(context);
	assigner->sort = sort;
	assigned->heap_tuples =
		table_index_build_scan(build->heap, build->index, build->index_info,
							   true, !IsParallelWorker(),
							   assigner_row, assigner, task->scan);
	assigner_flush(assigner);
	assigned->index_tuples = assigner->ntuples;
	for (int i = 0; i < assigner->meta.nlists; i++)
		pg_atomic_fetch_add_u32(&task->counts[i], assigner->counts[i]);
	MemoryContextSwitchTo(result_context);
	MemoryContextDelete(context);
	return sort;
}
