/*
 * ivf_train.c
 *		What a build learns from a sample: centroids, mean and codebook.
 *
 * All of it is put on pages at once.  What comes after reads it from there, so
 * that rows of the build and rows inserted later are treated the same.
 */
#include "postgres.h"

#include <math.h>

#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "ivfpq/ivf_build.h"
#include "linalg/kmeans.h"
#include "vector/mips.h"

#define KMEANS_ITERATIONS 10
#define KMEANS_SEED UINT64CONST(0x495650515F6B6D73)

/*
 * Directions from which words are trained where no rotation is learned.  With
 * fewer than the least they are those of the normal distribution.  Both kinds
 * are compared on so many directions.
 */
#define WORDS_SAMPLE 16384
#define WORDS_MIN_SAMPLE 4096

typedef struct Training
{
	const IvfBuild *build;
	IvfSample	sample;
	IvfMeta		meta;
	IvfLayout	layout;
	IvfModel   *model;
	float	   *centroids;		/* nlists x sample.width, as they are stored */
	char	   *entries;		/* nlists x layout.list_size */
} Training;

static IvfList *
training_entry(Training *training, int list)
{
	return (IvfList *) (training->entries +
						(Size) list * training->layout.list_size);
}

/* ----- lists ----- */

/*
 * Give the rows their augmented coordinate.  The radius is the largest length:
 * with a smaller one, as for graphs, long rows of all directions share lists.
 */
static void
training_augment(Training *training)
{
	IvfSample  *sample = &training->sample;
	int			d = sample->padded_dim;

	if (sample->width == d)
		return;
	for (int i = 0; i < sample->n; i++)
	{
		float	   *x = sample->points + (Size) i * sample->width;

		CHECK_FOR_INTERRUPTS();
		x[d] = kernels->dot_f32(x, x, d);
		training->meta.radius2 = Max(training->meta.radius2, x[d]);
	}
	for (int i = 0; i < sample->n; i++)
	{
		float	   *x = sample->points + (Size) i * sample->width;

		CHECK_FOR_INTERRUPTS();
		x[d] = mips_coordinate(x[d], training->meta.radius2);
	}
}

static void
report_round(void *arg, int round, int nrounds)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, nrounds);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, round);
}

/* Tell the user where there are fewer lists than asked for. */
static void
training_notice(const Training *training)
{
	Relation	index = training->build->index;
	int			nlists = training->meta.nlists;

	/* the sample has told where memory is the reason */
	if (nlists >= training->sample.lists ||
		ivf_options(index).lists != training->sample.lists)
		return;
	ereport(NOTICE,
			(errmsg("index \"%s\" has %d lists and not %d, since its sample has no more different vectors",
					RelationGetRelationName(index), nlists,
					training->sample.lists)));
}

/* Cluster the sample; the centroids become what is stored of them. */
static void
training_cluster(Training *training)
{
	IvfSample  *sample = &training->sample;
	int			width = sample->width;
	KmeansTask	task = {.points = sample->points,.npoints = sample->n,
		.dim = width,.k = sample->lists,.iterations = KMEANS_ITERATIONS,
	.seed = KMEANS_SEED,.progress = report_round};
	int			nlists;

	ivf_build_begin_step(IVF_BUILD_CLUSTER, 0);
	training_augment(training);
	training->centroids = palloc_extended(mul_size(sizeof(float) * width,
												   sample->lists),
										  MCXT_ALLOC_HUGE);
	nlists = kmeans_train(&task, training->centroids);
	training->meta.nlists = nlists;
	training_notice(training);

	training->entries = palloc_extended(mul_size(training->layout.list_size,
												 nlists),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < nlists; i++)
	{
		IvfList    *entry = training_entry(training, i);
		float	   *centroid = training->centroids + (Size) i * width;

		CHECK_FOR_INTERRUPTS();
		list_set_centroid(&training->layout, entry, centroid,
						  width > sample->padded_dim ?
						  centroid[sample->padded_dim] : 0.0f);
		entry->head = entry->insert = entry->run_first = InvalidBlockNumber;
	}
}

/* ----- codes ----- */

/* The mean of the sample, as it is stored. */
static void
training_set_mean(Training *training)
{
	const IvfSample *sample = &training->sample;
	int			d = sample->padded_dim;
	double	   *sums = palloc0(sizeof(double) * d);
	float	   *mean = training->model->mean;
	uint16	   *stored = palloc(sizeof(uint16) * d);

	for (int i = 0; i < sample->n; i++)
	{
		const float *x = sample->points + (Size) i * sample->width;

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < d; j++)
			sums[j] += x[j];
	}
	for (int j = 0; j < d; j++)
		mean[j] = (float) (sums[j] / sample->n);
	kernels->f32_to_f16(mean, stored, d);
	kernels->f16_to_f32(stored, mean, d);
	pfree(sums);
	pfree(stored);
}

/*
 * Keep rows evenly chosen from the sample, as many as words or a rotation are
 * trained on, and replace them by the directions of their residuals, padded_dim apart.
 */
static void
training_take_directions(Training *training)
{
	IvfSample  *sample = &training->sample;
	int			max = training->meta.learned ? ROTATION_SAMPLE : WORDS_SAMPLE;
	int			n = Min(sample->n, max);
	Size		width = sample->width;
	int			d = sample->padded_dim;
	int		   *labels = palloc(sizeof(int) * n);
	IvfCoder   *coder = ivf_coder_create(training->model);
	KmeansAssigner *assigner =
	kmeans_assigner_create(training->centroids, training->meta.nlists,
						   width);

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		memmove(sample->points + i * width,
				sample->points + (Size) ((int64) i * sample->n / n) * width,
				sizeof(float) * width);
	}
	sample->n = n;
	kmeans_assign(assigner, sample->points, n, labels);
	kmeans_assigner_free(assigner);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ivf_coder_residual(coder, sample->points + i * width,
						   training->centroids + labels[i] * width,
						   training_entry(training, labels[i])->norm2);
		memcpy(sample->points + (Size) i * d, coder->residual,
			   sizeof(float) * d);
	}
	sample->width = d;
	pfree(labels);
}

/* Mean cosine between directions and what the codes make of them. */
static double
training_cosine(const Training *training, const Codebook *codebook)
{
	const IvfSample *sample = &training->sample;
	int			d = sample->padded_dim;
	uint8	   *codes = palloc(codebook->nsub);
	float	   *decoded = palloc(sizeof(float) * d);
	int			n = Min(sample->n, WORDS_MIN_SAMPLE);
	double		sum = 0.0;

	for (int i = 0; i < n; i++)
	{
		const float *unit = sample->points +
		(Size) ((int64) i * sample->n / n) * d;
		float		along = codebook_encode(codebook, unit, codes);

		CHECK_FOR_INTERRUPTS();
		codebook_decode(codebook, codes, decoded);
		if (along > 0.0f)
			sum += along / sqrtf(kernels->dot_f32(decoded, decoded, d));
	}
	pfree(codes);
	pfree(decoded);
	return sum / Max(n, 1);
}

/*
 * Words trained on the sample where they are better than those that need no
 * data, which after the random rotation is seldom by much.
 */
static void
training_set_words(Training *training)
{
	const IvfSample *sample = &training->sample;
	IvfModel   *model = training->model;
	Codebook   *trained;

	codebook_set_gaussian(model->codebook);
	if (sample->n < WORDS_MIN_SAMPLE)
		return;
	trained = codebook_create(sample->padded_dim, model->layout.nsub);
	codebook_train(trained, sample->points, sample->n);
	if (training_cosine(training, trained) >
		training_cosine(training, model->codebook))
		model->codebook = trained;
}

static void
training_code(Training *training)
{
	const IvfSample *sample = &training->sample;
	IvfModel   *model;

	ivf_build_begin_step(IVF_BUILD_CODES, 0);
	model = training->model = ivf_model_create(&training->meta);
	if (ivf_metric_is_centred(model->metric))
		training_set_mean(training);
	training_take_directions(training);
	/* without a sample there is no rotation, and the words need no data */
	if (training->meta.learned)
		codebook_train_rotation(model->codebook, sample->points,
								sample->n < WORDS_MIN_SAMPLE ? 0 : sample->n,
								model->learned);
	else
		training_set_words(training);
}

/* ----- pages ----- */

/*
 * Write model and directory, which nothing names yet.  They may be large, so
 * the metapage is not locked meanwhile.
 */
static void
training_write(Training *training)
{
	Relation	index = training->build->index;
	const IvfLayout *layout = &training->layout;
	PageWal		wal = PAGE_WAL_AT_END;
	IvfMeta    *meta = &training->meta;

	meta->model_first = ivf_model_write(index, wal, training->model);
	meta->directory_first = directory_extend(index, wal, meta, layout);
	for (int first = 0; first < meta->nlists; first += layout->lists_per_page)
	{
		Buffer		buffer = directory_lock(index, meta, layout, first,
											BUFFER_LOCK_EXCLUSIVE);
		PageEdit	edit;
		Page		page = page_edit_begin(&edit, index, buffer, wal);

		memcpy(directory_page_list(layout, page, first),
			   training_entry(training, first), layout->list_size *
			   Min(layout->lists_per_page, meta->nlists - first));
		page_edit_end(&edit, true);
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The metapage names what has been written; see IvfMetaStart. */
static void
training_start(Relation index, PageWal wal, IvfMeta *meta, void *arg)
{
	*meta = ((const Training *) arg)->meta;
}

static void
training_set_meta(Training *training)
{
	Relation	index = training->build->index;
	IvfOptions	options = ivf_options(index);
	IvfMeta    *meta = &training->meta;
	const IvfSample *sample = &training->sample;

	ivf_meta_read(index, meta);
	meta->dim = sample->dim;
	meta->nsub = ivf_nsub(index, sample->padded_dim);
	meta->refine = options.refine;
	meta->trained = true;
	meta->learned = options.rotation == IVF_ROTATION_LEARNED;
	meta->sample = sample->n;
	ivf_meta_layout(meta, &training->layout);
}

/*
 * Train the index on a sample of its rows and put the result on pages: all but
 * the rows.  False, having done nothing, where there is no row.
 */
bool
ivf_train(const IvfBuild *build)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys_ivfpq training",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Training	training = {.build = build};
	bool		has_rows;

	ivf_build_begin_step(IVF_BUILD_SAMPLE, 0);
	ivf_sample_rows(build, &training.sample);
	has_rows = training.sample.n > 0;
	if (has_rows)
	{
		IvfMeta		meta;

		training_set_meta(&training);
		training_cluster(&training);
		training_code(&training);
		training_write(&training);
		ivf_meta_start(build->index, PAGE_WAL_AT_END, &meta, training_start,
					   &training);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return has_rows;
}
