/*
 * ivf_model.c
 *		What training decides but for the lists.
 *
 * A model never changes once the metapage names it, so it is read without
 * regard to anyone else.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "ivfpq/ivf_model.h"
#include "linalg/blas.h"

#define HALVES_PER_PAGE (PAGE_CONTENT_SIZE / (int) sizeof(uint16))

/* A run of numbers of the model, which the stream holds one after another. */
typedef struct ModelPart
{
	float	   *values;
	Size		n;
} ModelPart;

#define MODEL_MAX_PARTS 3

/* Bytes of a model that are kept: with a learned rotation there may be many. */
#define MODEL_CACHE_BYTES (1024 * 1024)

/* What a backend keeps in the relation cache. */
typedef struct ModelCache
{
	IvfMeta		meta;			/* which the model was read by */
	float		values[FLEXIBLE_ARRAY_MEMBER];	/* its parts in memory */
} ModelCache;

/* The parts of a model, in the order of the stream; returns their number. */
static int
model_parts(const IvfModel *model, ModelPart parts[MODEL_MAX_PARTS])
{
	Size		d = model->layout.padded_dim;

	parts[0].values = model->mean;
	parts[0].n = d;
	parts[1].values = model->codebook->words;
	parts[1].n = CODEBOOK_WORDS * d;
	parts[2].values = model->learned;
	parts[2].n = d * d;
	return model->learned != NULL ? 3 : 2;
}

/* A model of zeros, in the current memory context. */
IvfModel *
ivf_model_create(const IvfMeta *meta)
{
	IvfModel   *model = palloc0(sizeof(IvfModel));
	Size		d;

	ivf_meta_layout(meta, &model->layout);
	model->metric = (Metric) meta->metric;
	model->radius2 = meta->radius2;
	d = model->layout.padded_dim;
	model->mean = palloc0(sizeof(float) * d);
	model->codebook = codebook_create(d, meta->nsub);
	if (meta->learned)
		model->learned = palloc0(sizeof(float) * d * d);
	return model;
}

BlockNumber
ivf_model_pages(int padded_dim, bool learned)
{
	Size		d = padded_dim;
	Size		n = d + CODEBOOK_WORDS * d + (learned ? d * d : 0);

	return (n + HALVES_PER_PAGE - 1) / HALVES_PER_PAGE;
}

/*
 * The next stretch of at most max numbers of the stream, within one part.
 * Returns its length, 0 at the end.
 */
static int
model_stretch(const ModelPart *parts, int nparts, Size position, int max,
			  float **values)
{
	for (int i = 0; i < nparts; i++)
	{
		if (position < parts[i].n)
		{
			*values = parts[i].values + position;
			return (int) Min(parts[i].n - position, (Size) max);
		}
		position -= parts[i].n;
	}
	return 0;
}

IvfModel *
ivf_model_read(Relation index, const IvfMeta *meta)
{
	IvfModel   *model = ivf_model_create(meta);
	ModelPart	parts[MODEL_MAX_PARTS];
	int			nparts = model_parts(model, parts);
	BlockNumber npages = ivf_model_pages(model->layout.padded_dim,
										 model->learned != NULL);
	Size		position = 0;

	for (BlockNumber i = 0; i < npages; i++)
	{
		Buffer		buffer = ReadBuffer(index, meta->model_first + i);
		const uint16 *halves;
		int			left = HALVES_PER_PAGE;
		float	   *values;
		int			n;

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page_check(index, buffer, ivf_tag(IVF_PAGE_MODEL));
		halves = (const uint16 *) page_content(BufferGetPage(buffer));
		while ((n = model_stretch(parts, nparts, position, left, &values)) > 0)
		{
			kernels->f16_to_f32(halves, values, n);
			halves += n;
			left -= n;
			position += n;
		}
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
	codebook_words_changed(model->codebook);
	return model;
}

/*
 * The same parts as they are in memory, with what the codebook derives from
 * its words.  Returns the number of floats.
 */
static Size
model_memory_parts(const IvfModel *model, ModelPart parts[MODEL_MAX_PARTS],
				   int *nparts)
{
	Size		n = 0;

	*nparts = model_parts(model, parts);
	parts[1].n = codebook_floats(model->codebook->padded_dim,
								 model->codebook->nsub);
	for (int i = 0; i < *nparts; i++)
		n += parts[i].n;
	return n;
}

static void
model_keep(Relation index, const IvfMeta *meta, const IvfModel *model)
{
	ModelPart	parts[MODEL_MAX_PARTS];
	int			nparts;
	Size		size = offsetof(ModelCache, values) +
	sizeof(float) * model_memory_parts(model, parts, &nparts);
	ModelCache *cache;
	float	   *value;

	if (index->rd_amcache != NULL)
		pfree(index->rd_amcache);
	index->rd_amcache = NULL;
	if (size > MODEL_CACHE_BYTES)
		return;
	cache = MemoryContextAlloc(index->rd_indexcxt, size);
	cache->meta = *meta;
	value = cache->values;
	for (int i = 0; i < nparts; value += parts[i++].n)
		memcpy(value, parts[i].values, sizeof(float) * parts[i].n);
	index->rd_amcache = cache;
}

/*
 * What is kept may go away with the next relation cache invalidation, so the
 * caller gets a copy.  It holds for the metapage that it was read by: a
 * rebuild makes another file and so another entry of the relation cache, and
 * an index that is emptied in place has no model until it gets the one that
 * needs no data, which is always the same.
 */
IvfModel *
ivf_model_recall(Relation index, const IvfMeta *meta)
{
	const ModelCache *cache = index->rd_amcache;
	IvfModel   *model;
	ModelPart	parts[MODEL_MAX_PARTS];
	int			nparts;
	const float *value;

	if (cache == NULL || memcmp(&cache->meta, meta, sizeof(IvfMeta)) != 0)
	{
		model = ivf_model_read(index, meta);
		model_keep(index, meta, model);
		return model;
	}
	model = ivf_model_create(meta);
	(void) model_memory_parts(model, parts, &nparts);
	value = cache->values;
	for (int i = 0; i < nparts; value += parts[i++].n)
		memcpy(parts[i].values, value, sizeof(float) * parts[i].n);
	return model;
}

BlockNumber
ivf_model_write(Relation index, PageWal wal, const IvfModel *model)
{
	ModelPart	parts[MODEL_MAX_PARTS];
	int			nparts = model_parts(model, parts);
	BlockNumber npages = ivf_model_pages(model->layout.padded_dim,
										 model->learned != NULL);
	BlockNumber first = InvalidBlockNumber;
	Size		position = 0;

	for (BlockNumber i = 0; i < npages; i++)
	{
		Buffer		buffer = compat_extend_relation(index, MAIN_FORKNUM);
		PageEdit	edit;
		Page		page = page_edit_begin(&edit, index, buffer, wal);
		uint16	   *halves;
		int			left = HALVES_PER_PAGE;
		float	   *values;
		int			n;

		if (i == 0)
			first = BufferGetBlockNumber(buffer);
		else if (BufferGetBlockNumber(buffer) != first + i)
			elog(ERROR, "the model of index \"%s\" is not contiguous",
				 RelationGetRelationName(index));
		page_format(page, ivf_tag(IVF_PAGE_MODEL));
		halves = (uint16 *) page_content(page);
		while ((n = model_stretch(parts, nparts, position, left, &values)) > 0)
		{
			kernels->f32_to_f16(values, halves, n);
			halves += n;
			left -= n;
			position += n;
		}
		page_edit_end(&edit, true);
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
	return first;
}

void
ivf_model_turn(const IvfModel *model, const float *x, float *turned)
{
	int			d = model->layout.padded_dim;

	if (model->learned != NULL)
		blas_gemv(model->learned, x, NULL, turned, d, d);
	else
		memcpy(turned, x, sizeof(float) * d);
}
