/*
 * hnsw_tapescan.c
 *		The rows of the key tape that satisfy a filter, from those units first
 *		whose rows may score best.
 *
 * Units are ranked by their summaries: by what a row scores that lies RANK_WIDTH
 * deviations from the centroid in the direction of the query.  Those without a
 * summary come first.  They are read in this order until, by the mean and the
 * deviation of the scores in the units that are left, few rows are expected there
 * that satisfy the filter and would be among the best.
 *
 * A page of keys is share locked while its codes are scanned, with one page of
 * codes at a time.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hnsw/hnsw_summary.h"
#include "hnsw/hnsw_tapescan.h"
#include "index/buffer_hint.h"
#include "index/page_stream.h"

/* See the head of this file. */
#define RANK_WIDTH 3.0f

/*
 * Share of the rows wanted that may be expected in the units that are left.  Recall,
 * and share of the units that were read, of 300,000 made rows with filters that take
 * rows at random, 20 queries:
 *
 *					10%						3%
 *		K			10			 100		10			 100
 *		0.05	.990  .083	.980  .149	.995  .112	.974  .241
 *		0.02	.990  .165	.991  .244	.995  .193	.990  .357
 *
 * and recall of a million, K=100, 40 to 60 queries, with filters that take rows at
 * random, near one of the rows, and where the queries point away from; 0.1 takes
 * four fifths of the CPU time:
 *
 *				random			near			away
 *				10%	  1%		10%	  1%		10%	  1%
 *		0.05	.986  .985		.991  .992		.987  .992
 *		0.1		.971  .969		.983  .989		.972  .986
 */
#define MISSING_SHARE(rows) ((rows) < 40.0 ? 0.05 : 0.1)

/*
 * Queries lie in the directions in which rows differ more than in others.  So
 * the scores of a unit's rows deviate by some one and a half times as much as its
 * spread tells.  This counts for so many rows beside those of the scan.
 */
#define PRIOR_DEVIATION 1.5
#define PRIOR_ROWS 100.0

/* Scores are expected at most so many deviations above their mean. */
#define MOST_DEVIATIONS 10.0f

/*
 * Units that are read at first, as a part of those that a forecast says; all, where
 * that is such a part of them; and then each time.
 */
#define FIRST_PART 0.7
#define MOST_PART 0.6
#define MORE_UNITS(nread) Max((nread) / 8, 4)

/* The share that matches is also that of this part of the units, the last. */
#define RECENT_PART 4

/* Units by which a forecast is made, and steps of it. */
#define FORECAST_UNITS 256
#define FORECAST_STEPS 12

/* Units that are looked into for an estimate, and which part of each. */
#define SAMPLE_UNITS 48
#define SAMPLE_PART 3

/* A unit, and what has been found there. */
typedef struct UnitRank
{
	float		rank;			/* larger is better */
	float		mean;			/* of the scores of its rows */
	float		deviation;		/* of these, by its spread */
	uint32		number;
	uint16		nlive;			/* rows, once it has been read */
	uint16		nmatching;
} UnitRank;

struct TapeScan
{
	Relation	index;
	const HnswMeta *meta;
	TapeTarget	target;
	TapeQuery	query;
	KeyLayout	layout;
	UnitRank   *units;			/* those read first, then in order up to
								 * nsorted */
	uint32		nunits;
	uint32		nread;
	uint32		nsorted;
	UnitRank   *forecast;		/* every so many-th unit, the best first */
	int			nforecast;
	double		forecast_rows;	/* of the last forecast, and what it said */
	double		forecast_units;
	uint32		nsummaries;		/* units that have one */
	double		does_rows;		/* what has been read does for so many rows */
	KeyMatches	matches;
	double		deviations;		/* of the matches' scores from their units'
								 * means, in those of the units: their sum */
	double		deviations2;	/* and that of their squares */
	int64		ndeviations;
	float	   *best;			/* scores of matches, see tape_best_score */
	Size		nbest;
	Size		rank;			/* that the scores are kept for */
	Size		nconsidered;	/* matches that they come from */
	float		limit;
};

static inline bool
unit_is_before(const UnitRank *a, const UnitRank *b)
{
	return a->rank != b->rank ? a->rank > b->rank : a->number < b->number;
}

#define SELECT_NAME select_unit
#define SELECT_TYPE UnitRank
#define SELECT_BEFORE(a, b) unit_is_before(a, b)
#include "index/quickselect.h"

#define SELECT_NAME select_score
#define SELECT_TYPE float
#define SELECT_BEFORE(a, b) (*(a) > *(b))
#include "index/quickselect.h"

#define ST_SORT sort_units
#define ST_ELEMENT_TYPE UnitRank
#define ST_COMPARE(a, b) (unit_is_before(a, b) ? -1 : unit_is_before(b, a))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE UnitRank
#define ST_COMPARE(a, b) ((a)->number < (b)->number ? -1 : 1)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* ----- rank ----- */

/* Rank a unit by its summary, if it has a valid one. */
static void
unit_rank_set(const TapeScan *tape, UnitRank *unit, const UnitSummary *summary)
{
	const TapeTarget *target = &tape->target;
	float		ip;
	float		distance2 = target->norm2;

	unit->rank = INFINITY;
	if (!summary_is_valid(summary))
		return;
	ip = summary->scale *
		kernels->dot_f32_i8(target->x, summary->centroid,
							tape->layout.code.padded_dim);
	unit->mean = ip;
	if (target->measure != MEASURE_IP)
	{
		unit->mean -= summary->mean_norm2 / 2.0f;
		distance2 += summary->norm2 - 2.0f * ip;
	}
	unit->deviation = sqrtf(Max(distance2, 0.0f)) * summary->spread;
	if (isfinite(unit->mean) && isfinite(unit->deviation))
		unit->rank = unit->mean + RANK_WIDTH * unit->deviation;
}

/* Rank the units that have summaries, page by page. */
static void
tape_rank_summaries(TapeScan *tape)
{
	int			padded_dim = tape->layout.code.padded_dim;
	uint32		per_page = summaries_per_page(padded_dim);
	uint32		nsummaries = tape->meta->nsummaries;

	for (uint32 first = 0; first < nsummaries; first += per_page)
	{
		Buffer		buffer;
		Page		page;

		CHECK_FOR_INTERRUPTS();
		buffer = summary_lock(tape->index, tape->meta, first);
		page = BufferGetPage(buffer);
		for (uint32 i = first; i < Min(first + per_page, nsummaries); i++)
		{
			unit_rank_set(tape, &tape->units[i],
						  summary_on_page(page, padded_dim, i));
			tape->nsummaries += isfinite(tape->units[i].rank);
		}
		UnlockReleaseBuffer(buffer);
	}
}

/* Keep some of the units that have summaries, before they are put into order. */
static void
tape_keep_forecast(TapeScan *tape)
{
	uint32		step = tape->nsummaries / FORECAST_UNITS + 1;
	uint32		n = 0;

	tape->forecast = palloc(sizeof(UnitRank) * FORECAST_UNITS);
	for (uint32 i = 0; i < tape->nunits; i++)
		if (isfinite(tape->units[i].rank) && n++ % step == 0)
			tape->forecast[tape->nforecast++] = tape->units[i];
	sort_units(tape->forecast, tape->nforecast);
}

TapeScan *
tape_scan_create(Relation index, const HnswMeta *meta, const TapeTarget *target)
{
	TapeScan   *tape = palloc0(sizeof(TapeScan));

	tape->index = index;
	tape->meta = meta;
	tape->target = *target;
	key_layout_of(&tape->layout, meta);
	tape_query_set(&tape->layout.code, target->unit, target->measure, target->x,
				   &tape->query);
	tape->nunits = key_tape_nunits(meta);
	tape->units = palloc_extended(mul_size(sizeof(UnitRank),
										   Max(tape->nunits, 1)),
								  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < tape->nunits; i++)
	{
		tape->units[i].number = i;
		tape->units[i].rank = INFINITY;
	}
	if (!target->whole)
		tape_rank_summaries(tape);
	tape_keep_forecast(tape);
	return tape;
}

uint32
tape_scan_nunits(const TapeScan *tape)
{
	return tape->nunits;
}

KeyMatches *
tape_scan_matches(TapeScan *tape)
{
	return &tape->matches;
}

/* Bring so many of the units into order. */
static void
tape_sort(TapeScan *tape, uint32 wanted)
{
	uint32		end = Min(2 * wanted, tape->nunits);

	if (wanted <= tape->nsorted)
		return;
	if (end < tape->nunits)
		select_unit(tape->units, tape->nsorted, (int64) tape->nunits - 1, end - 1);
	sort_units(tape->units + tape->nsorted, end - tape->nsorted);
	tape->nsorted = end;
}

/*
 * Take the next units up to end, in the order of their places: what comes first
 * does not matter, as all of them are read.
 */
static void
tape_take(TapeScan *tape, uint32 end)
{
	if (end < tape->nunits)
		tape_sort(tape, end);
	sort_places(tape->units + tape->nread, end - tape->nread);
}

/* ----- what is expected ----- */

/*
 * The share of scores that lies so many deviations above the mean.  A unit's rows
 * come from several clusters, of which a query likes one, so there are more far
 * above the mean than in a normal distribution; Laplace's is about right.  300,000
 * made rows, 60 queries, units of the ranks from a fifth to two fifths:
 *
 *						1		2		3		4		5 deviations
 *		seen			0.140	0.0195	0.0047	0.0021	0.0006
 *		normal			0.159	0.0228	0.0013	3e-5	3e-7
 *		Laplace			0.122	0.0296	0.0072	0.0017	0.0004
 */
static float
share_above(float z)
{
	float		tail;

	if (fabsf(z) > MOST_DEVIATIONS)
		return z > 0.0f ? 0.0f : 1.0f;
	tail = 0.5f * expf((float) -M_SQRT2 * fabsf(z));
	return z > 0.0f ? tail : 1.0f - tail;
}

/* How scores deviate from their units' means, in the units' deviations. */
typedef struct Deviations
{
	float		mean;
	float		inverse;		/* of their deviation */
} Deviations;

static Deviations
tape_deviations(const TapeScan *tape)
{
	double		n = tape->ndeviations + PRIOR_ROWS;
	double		mean = tape->deviations / n;
	double		mean2 = (tape->deviations2 +
						 PRIOR_ROWS * PRIOR_DEVIATION * PRIOR_DEVIATION) / n;
	Deviations	deviations = {0.0f, (float) (1.0 / PRIOR_DEVIATION)};

	/* the square is no number where a score was damaged */
	if (isfinite(mean2) && mean2 - mean * mean > 0.0)
	{
		deviations.mean = (float) mean;
		deviations.inverse = (float) (1.0 / sqrt(mean2 - mean * mean));
	}
	return deviations;
}

/* The share of a unit's rows that score more than some score. */
static inline float
unit_share_above(const UnitRank *unit, float score, Deviations deviations)
{
	float		gap = score - unit->mean;

	if (unit->deviation <= 0.0f)
		return gap < 0.0f ? 1.0f : 0.0f;
	return share_above((gap / unit->deviation - deviations.mean) *
					   deviations.inverse);
}

/* See tape_scan_forecast. */
static double
tape_forecast(const TapeScan *tape, double nrows)
{
	Deviations	deviations = tape_deviations(tape);
	double		weight = tape->target.pass_rate * tape->layout.rows_per_page *
	((double) tape->nsummaries / Max(tape->nforecast, 1));
	double		nfirst = (double) tape->nunits - tape->nsummaries;
	double		missing = 0.0;
	float		low = INFINITY;
	float		high = -INFINITY;
	int			n = tape->nforecast;

	for (int i = 0; i < n; i++)
	{
		const UnitRank *unit = &tape->forecast[i];
		float		reach = 2.0f * MOST_DEVIATIONS * unit->deviation;

		low = Min(low, unit->mean - reach);
		high = Max(high, unit->mean + reach);
	}
	/* the score that so many rows exceed */
	for (int step = 0; step < FORECAST_STEPS; step++)
	{
		float		middle = low + (high - low) / 2.0f;
		double		above = 0.0;

		for (int i = 0; i < n && above <= nrows; i++)
			above += weight * unit_share_above(&tape->forecast[i], middle,
											   deviations);
		if (above > nrows)
			low = middle;
		else
			high = middle;
	}
	for (; n > 0; n--)
	{
		missing += weight * unit_share_above(&tape->forecast[n - 1], low,
											 deviations);
		if (missing > MISSING_SHARE(nrows) * nrows)
			break;
	}
	return nfirst + (double) tape->nsummaries * n / Max(tape->nforecast, 1);
}

double
tape_scan_forecast(TapeScan *tape, double nrows)
{
	if (tape->forecast_rows != nrows)
	{
		tape->forecast_units = tape_forecast(tape, nrows);
		tape->forecast_rows = nrows;
	}
	return tape->forecast_units;
}

/* The share of rows that satisfy the filter, in the units that come next. */
static double
tape_share(const TapeScan *tape)
{
	double		nlive = tape->layout.rows_per_page;
	double		nmatching = 1.0;

	for (uint32 i = tape->nread - tape->nread / RECENT_PART; i < tape->nread; i++)
	{
		nlive += tape->units[i].nlive;
		nmatching += tape->units[i].nmatching;
	}
	return Max(tape->target.pass_rate, nmatching / nlive);
}

/* Set the scores that are kept to those of the best rows alone. */
static void
tape_cut_best(TapeScan *tape)
{
	select_score(tape->best, 0, tape->nbest - 1, tape->rank - 1);
	tape->nbest = tape->rank;
	tape->limit = tape->best[tape->rank - 1];
}

/*
 * The score of the rank-th best match, -INFINITY where there are fewer.  Twice as
 * many scores as wanted are kept, and then cut to the best half.
 */
static float
tape_best_score(TapeScan *tape, Size rank)
{
	const KeyMatches *matches = &tape->matches;

	if (matches->n < rank)
		return -INFINITY;
	if (rank != tape->rank)
	{
		if (tape->best != NULL)
			pfree(tape->best);
		tape->best = palloc_extended(mul_size(2 * sizeof(float), rank),
									 MCXT_ALLOC_HUGE);
		tape->rank = rank;
		tape->nbest = tape->nconsidered = 0;
		tape->limit = -INFINITY;
	}
	for (; tape->nconsidered < matches->n; tape->nconsidered++)
	{
		float		score = matches->rows[tape->nconsidered].score;

		if (score < tape->limit)
			continue;
		tape->best[tape->nbest++] = score;
		if (tape->nbest == 2 * rank)
			tape_cut_best(tape);
	}
	tape_cut_best(tape);
	return tape->limit;
}

/*
 * Whether the units read so far, which are at least those without a summary, do
 * for so many rows.
 */
static bool
tape_does(TapeScan *tape, double nrows)
{
	float		worst = tape_best_score(tape, (Size) nrows);
	Deviations	deviations = tape_deviations(tape);
	double		most;
	double		missing = 0.0;

	if (worst == -INFINITY)
		return false;
	most = MISSING_SHARE(nrows) * nrows /
		(tape_share(tape) * tape->layout.rows_per_page);
	for (uint32 i = tape->nread; i < tape->nunits; i++)
	{
		missing += unit_share_above(&tape->units[i], worst, deviations);
		if (missing > most)
			return false;
	}
	return true;
}

/* ----- matches ----- */

static void
matches_reserve(KeyMatches *matches, int n)
{
	if (matches->n + n <= matches->max)
		return;
	matches->max = Max(matches->max * 2, 1024);
	matches->rows = matches->rows == NULL ?
		palloc(sizeof(KeyMatch) * matches->max) :
		repalloc_huge(matches->rows, mul_size(sizeof(KeyMatch), matches->max));
}

/*
 * Add the rows of a block that a mask has.  A score that is no number, which
 * only damage explains, counts as the best.
 */
static void
tape_add_block(TapeScan *tape, const uint8 *keys, const uint8 *codes,
			   uint32 mask)
{
	const NodeAddr *addrs = key_block_addrs(&tape->layout, keys);
	const ItemPointerData *tids = key_block_tids(&tape->layout, keys);
	float		scores[FASTSCAN_LANES];
	uint32		numbers = kernels->code_scan_block(codes, &tape->query.scan,
												   scores);

	matches_reserve(&tape->matches, FASTSCAN_LANES);
	for (; mask != 0; mask &= mask - 1)
	{
		int			lane = pg_rightmost_one_pos32(mask);
		KeyMatch   *match = &tape->matches.rows[tape->matches.n++];

		match->score = numbers >> lane & 1 ? scores[lane] : INFINITY;
		match->addr = addrs[lane];
		match->tid = tids[lane];
	}
}

/* Bring codes to the processor's caches. */
static void
code_block_prefetch(const KeyLayout *layout, const uint8 *block)
{
	for (Size off = 0; off < layout->code.block_size; off += 64)
		__builtin_prefetch(block + off);
}

/* Add the rows that masks have of a locked page of keys, from its pages of codes. */
static void
tape_add_masks(TapeScan *tape, BlockNumber first, Page keys,
			   const uint32 *masks)
{
	const KeyLayout *layout = &tape->layout;
	Buffer		buffer = InvalidBuffer;
	int			current = 0;

	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		int			wanted = key_unit_code_page(layout, i);

		if (masks[i] == 0)
			continue;
		if (wanted != current)
		{
			if (BufferIsValid(buffer))
				UnlockReleaseBuffer(buffer);
			buffer = key_tape_lock(tape->index, first + wanted, HNSW_PAGE_CODES,
								   BUFFER_LOCK_SHARE);
			current = wanted;
			for (int j = i; j < layout->blocks_per_page &&
				 key_unit_code_page(layout, j) == current; j++)
				if (masks[j] != 0)
					code_block_prefetch(layout, code_page_block(layout,
																BufferGetPage(buffer), j));
		}
		tape_add_block(tape, key_page_block(layout, keys, i),
					   code_page_block(layout, BufferGetPage(buffer), i),
					   masks[i]);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
}

/* Find the rows of a unit, whose page of keys is locked. */
static void
tape_match_unit(TapeScan *tape, UnitRank *unit, BlockNumber first, Page keys)
{
	const KeyLayout *layout = &tape->layout;
	uint32		masks[KEY_PAGE_MAX_BLOCKS] = {0};

	for (int i = 0; i < layout->blocks_per_page; i++)
	{
		uint32		live = key_page(keys)->live[i];

		masks[i] = filter_set_block(tape->target.filter,
									key_page_block(layout, keys, i), live);
		unit->nlive += pg_popcount32(live);
		unit->nmatching += pg_popcount32(masks[i]);
	}
	tape->matches.nrejected += unit->nlive - unit->nmatching;
	if (unit->nmatching > 0)
		tape_add_masks(tape, first, keys, masks);
}

/* See how the scores of a unit's rows, from match first on, deviate. */
static void
tape_add_deviations(TapeScan *tape, const UnitRank *unit, Size first)
{
	double		inverse = 1.0 / unit->deviation;

	if (!isfinite(unit->rank) || unit->deviation <= 0.0f)
		return;
	for (Size i = first; i < tape->matches.n; i++)
	{
		double		z = (tape->matches.rows[i].score - unit->mean) * inverse;

		tape->deviations += z;
		tape->deviations2 += z * z;
	}
	tape->ndeviations += tape->matches.n - first;
}

/* ----- reading units ----- */

/* Bring what is read of a page to the processor's caches, if it is in a buffer. */
static void
tape_prefetch(TapeScan *tape, uint32 number)
{
	BlockNumber block = key_tape_block(&tape->layout, tape->meta, number);
	Page		page = (Page) buffer_hint_address(tape->index, block);

	if (block == InvalidBlockNumber || page == NULL)
		return;
	__builtin_prefetch(page);
	for (int i = 0; i < tape->layout.blocks_per_page; i++)
		filter_set_prefetch(tape->target.filter,
							key_page_block(&tape->layout, page, i),
							PG_UINT32_MAX);
}

/* The pages of keys in the order of their units, up to those that are wanted. */
typedef struct TapeStep
{
	TapeScan   *tape;
	uint32		asked;
	uint32		end;
} TapeStep;

static BlockNumber
step_next_block(void *arg)
{
	TapeStep   *step = arg;
	TapeScan   *tape = step->tape;

	return step->asked == step->end ? InvalidBlockNumber :
		key_tape_block(&tape->layout, tape->meta,
					   tape->units[step->asked++].number);
}

/* Read the next n units, or what there is. */
static void
tape_read_units(TapeScan *tape, uint32 n)
{
	TapeStep	step = {tape, tape->nread, tape->nread + n};
	PageStream *stream;
	Buffer		buffer;

	step.end = Min(step.end, tape->nunits);
	tape_take(tape, step.end);
	stream = page_stream_begin(tape->index, step_next_block, &step);
	while ((buffer = page_stream_next(stream)) != InvalidBuffer)
	{
		UnitRank   *unit = &tape->units[tape->nread++];
		Size		first = tape->matches.n;

		CHECK_FOR_INTERRUPTS();
		if (tape->nread < step.end)
			tape_prefetch(tape, tape->units[tape->nread].number);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page_check(tape->index, buffer, hnsw_tag(HNSW_PAGE_KEYS));
		tape_match_unit(tape, unit, BufferGetBlockNumber(buffer),
						BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
		tape_add_deviations(tape, unit, first);
	}
	page_stream_end(stream);
}

/*
 * Units that are read for so many rows before it is first asked whether they do,
 * with all that have no summary.  Where that is most of them, it is all.
 */
static uint32
tape_first_units(TapeScan *tape, double nrows)
{
	double		nfirst = (double) tape->nunits - tape->nsummaries;
	double		n = nfirst +
	FIRST_PART * (tape_scan_forecast(tape, nrows) - nfirst);

	return n < MOST_PART * tape->nunits ? (uint32) n : tape->nunits;
}

void
tape_scan_read(TapeScan *tape, double nrows)
{
	uint32		first;

	if (nrows <= tape->does_rows)
		return;
	first = tape_first_units(tape, nrows);
	if (tape->nread < first)
		tape_read_units(tape, first - tape->nread);
	while (tape->nread < tape->nunits && !tape_does(tape, nrows))
		tape_read_units(tape, MORE_UNITS(tape->nread));
	tape->does_rows = nrows;
}

bool
tape_scan_read_more(TapeScan *tape, double nrows)
{
	if (tape->nread == tape->nunits)
		return false;
	tape_read_units(tape, MORE_UNITS(tape->nread));
	tape_scan_read(tape, nrows);
	return true;
}

/* ----- the estimate ----- */

/* What has been counted for an estimate. */
typedef struct TapeSample
{
	int64		nblocks;
	int64		nlive;
	int64		nmatching;
} TapeSample;

/* Count the rows of a part of a unit, and those that satisfy the filter. */
static void
sample_add(TapeSample *sample, const KeyLayout *layout,
		   const FilterSet *filter, Page page, int part)
{
	for (int i = part % layout->blocks_per_page; i < layout->blocks_per_page;
		 i += SAMPLE_PART)
	{
		uint32		live = key_page(page)->live[i];
		uint32		mask = filter_set_block(filter,
											key_page_block(layout, page, i), live);

		sample->nblocks++;
		sample->nlive += pg_popcount32(live);
		sample->nmatching += pg_popcount32(mask);
	}
}

/*
 * Rows that lie together are next to each other on the tape, so that some of each
 * of many units tell more than the same number of a few.
 */
void
tape_sample(Relation index, const HnswMeta *meta, const FilterSet *filter,
			double *nrows, double *nmatching)
{
	uint32		nunits = key_tape_nunits(meta);
	uint32		nsampled = Min(nunits, SAMPLE_UNITS);
	TapeSample	sample = {0};
	KeyLayout	layout;
	double		weight;

	*nrows = *nmatching = 0.0;
	if (nunits == 0)
		return;
	key_layout_of(&layout, meta);
	for (uint32 i = 0; i < nsampled; i++)
	{
		uint32		number = (uint32) ((uint64) nunits * i / nsampled);
		Buffer		buffer = key_tape_lock(index,
										   key_tape_block(&layout, meta, number),
										   HNSW_PAGE_KEYS, BUFFER_LOCK_SHARE);

		sample_add(&sample, &layout, filter, BufferGetPage(buffer), (int) i);
		UnlockReleaseBuffer(buffer);
	}
	weight = (double) nunits * layout.blocks_per_page / sample.nblocks;
	*nrows = weight * sample.nlive;
	*nmatching = weight * sample.nmatching;
}
