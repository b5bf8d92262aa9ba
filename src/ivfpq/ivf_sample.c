/*
 * ivf_sample.c
 *		Rows to train on, from random blocks of the table.
 *
 * As ANALYZE does, blocks are chosen first (Knuth's algorithm S) and rows among
 * those on them (Vitter's algorithm R).  A few blocks tell how many rows the
 * index will have, which decides how many lists, which decides how many rows
 * to take.  Seeds are fixed, so the same table gives the same index.
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "commands/progress.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sampling.h"

#include "base/compat.h"
#include "index/rotator.h"
#include "ivfpq/ivf_build.h"

#define SAMPLE_SEED 0x49565051

/* Blocks that tell how many rows a block has in the index. */
#define PILOT_BLOCKS 256

/*
 * Rows to train on for each list, and at least.  With fewer than SAMPLE_FEW for
 * each, lists are visibly worse, and the user is told.
 */
#define SAMPLE_ROWS_PER_LIST 64
#define SAMPLE_MIN_ROWS 16384
#define SAMPLE_FEW 30

/*
 * Rows looked at for each one taken.  Rows of a block tend to be alike, so they
 * should come from more blocks than must be.
 */
#define SAMPLE_OVERSAMPLE 2.0

/* Memory that clustering takes for each list, in rows of the sample. */
#define CLUSTER_ROWS_PER_LIST 3

typedef struct Sampler
{
	const IvfBuild *build;
	IvfSample  *sample;
	Metric		metric;
	Rotator    *rotator;
	int			max;			/* rows to take */
	int			wanted;			/* if memory had room: rows to take, */
	int			wanted_lists;	/* and lists to make */
	BlockNumber nblocks;		/* of the table */
	BlockNumber nread;
	double		nseen;			/* indexed rows on the blocks read */
	pg_prng_state prng;
	MemoryContext row_context;
} Sampler;

/* The first row tells the dimensions. */
static void
sampler_set_dim(Sampler *sampler, int dim)
{
	IvfSample  *sample = sampler->sample;

	ivf_check_dim(sampler->build->index, dim);
	sample->dim = dim;
	sample->padded_dim = (dim + 63) / 64 * 64;
	sample->width = ivf_point_width(sampler->metric, sample->padded_dim);
}

/* Callback of the table scan. */
static void
sampler_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			bool alive, void *state)
{
	Sampler    *sampler = state;
	IvfSample  *sample = sampler->sample;
	MemoryContext old;
	double		place;

	if (isnull[0])
		return;
	if (sample->n < sampler->max)
		place = sample->n++;
	else
		place = pg_prng_double(&sampler->prng) * (sampler->nseen + 1.0);
	sampler->nseen++;
	if (sample->dim != 0 && place >= sampler->max)
		return;

	old = MemoryContextSwitchTo(sampler->row_context);
	if (sample->dim == 0)
		sampler_set_dim(sampler, DatumGetVector(values[0])->dim);
	if (place < sampler->max)
	{
		rotator_set_item(sampler->rotator, DatumGetVector(values[0]));
		memcpy(sample->points + (Size) place * sample->width,
			   sampler->rotator->rotated, sizeof(float) * sample->padded_dim);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(sampler->row_context);
}

/*
 * Go through so many blocks of the table, from the beginning.  Rows of any
 * transaction may be part of the sample; but a concurrent build reads by its
 * snapshot, and the server does not allow both.
 */
static void
sampler_read(Sampler *sampler, BlockNumber nblocks)
{
	const IvfBuild *build = sampler->build;
	BlockSamplerData blocks;

	sampler->sample->n = 0;
	sampler->nseen = 0.0;
	sampler->nread = nblocks;
	pg_prng_seed(&sampler->prng, SAMPLE_SEED);
	BlockSampler_Init(&blocks, sampler->nblocks, (int) Min(nblocks, INT_MAX),
					  SAMPLE_SEED);
	pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_TOTAL, nblocks);
	for (int64 done = 0; BlockSampler_HasMore(&blocks); done++)
	{
		CHECK_FOR_INTERRUPTS();
		table_index_build_range_scan(build->heap, build->index,
									 build->index_info, false,
									 !build->index_info->ii_Concurrent, false,
									 BlockSampler_Next(&blocks), 1,
									 sampler_row, sampler, NULL);
		pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_DONE, done + 1);
	}
}

/* Decide how many lists and how many rows, from what has been read. */
static void
sampler_plan(Sampler *sampler)
{
	IvfSample  *sample = sampler->sample;
	IvfOptions	options = ivf_options(sampler->build->index);
	Size		memory = (Size) maintenance_work_mem * 1024;
	Size		room = memory / (sizeof(float) * sample->width);

	sample->nrows = sampler->nseen / sampler->nread * sampler->nblocks;
	sampler->wanted_lists = options.lists > 0 ? options.lists :
		ivf_default_lists(sample->nrows);
	sampler->wanted = options.sample > 0 ? options.sample :
		Max(sampler->wanted_lists * SAMPLE_ROWS_PER_LIST, SAMPLE_MIN_ROWS);
	sample->lists = (int) Min((Size) sampler->wanted_lists,
							  room / (CLUSTER_ROWS_PER_LIST + 1));
	sampler->max = (int) Min((Size) sampler->wanted, room -
							 (Size) sample->lists * CLUSTER_ROWS_PER_LIST);

	if (sample->points != NULL)
		pfree(sample->points);
	sample->points = palloc_extended(mul_size(sizeof(float) * sample->width,
											  sampler->max), MCXT_ALLOC_HUGE);
	if (sampler->rotator == NULL)
		sampler->rotator = rotator_create(sample->dim, sample->padded_dim,
										  sampler->metric);
}

/* Blocks that will have the rows wanted. */
static BlockNumber
sampler_blocks(const Sampler *sampler)
{
	double		nblocks = ceil(SAMPLE_OVERSAMPLE * sampler->max /
							   sampler->nseen * sampler->nread);

	return (BlockNumber) Min(nblocks, sampler->nblocks);
}

/* Tell the user where memory was too small for good lists. */
static void
sampler_notice(const Sampler *sampler)
{
	const IvfSample *sample = sampler->sample;
	double		wanted = Min((double) sampler->wanted, sample->nrows);
	double		bytes = sizeof(float) * sample->width *
	(wanted + (double) sampler->wanted_lists * CLUSTER_ROWS_PER_LIST);

	if (sample->n < sampler->max || sample->n >= wanted ||
		sample->n >= (double) sample->lists * SAMPLE_FEW)
		return;
	ereport(NOTICE,
			(errmsg("index \"%s\" is trained on %d rows only, since maintenance_work_mem holds no more",
					RelationGetRelationName(sampler->build->index), sample->n),
			 errdetail("It will have %d lists.", sample->lists),
			 errhint("Increase maintenance_work_mem to %.0f MB.",
					 ceil(bytes / (1024.0 * 1024.0)))));
}

/*
 * Take a sample of the rows that belong into the index, in the current memory
 * context.  It fits into maintenance_work_mem, with what clustering needs.
 */
void
ivf_sample_rows(const IvfBuild *build, IvfSample *sample)
{
	Sampler		sampler = {.build = build,.sample = sample};

	memset(sample, 0, sizeof(IvfSample));
	sampler.metric = metric_of_index(build->index);
	sampler.nblocks = RelationGetNumberOfBlocks(build->heap);
	sampler.row_context = AllocSetContextCreate(CurrentMemoryContext,
												"recsys_ivfpq sample row",
												ALLOCSET_DEFAULT_SIZES);
	sampler_read(&sampler, Min(sampler.nblocks, PILOT_BLOCKS));
	if (sampler.nseen == 0.0 && sampler.nread < sampler.nblocks)
		sampler_read(&sampler, sampler.nblocks);
	while (sampler.nseen > 0.0)
	{
		sampler_plan(&sampler);
		sampler_read(&sampler, sampler_blocks(&sampler));
		if (sampler.nseen >= sampler.max || sampler.nread == sampler.nblocks)
			break;
	}
	if (sample->n > 0)
		sampler_notice(&sampler);
	MemoryContextDelete(sampler.row_context);
}
