/*
 * ivf_check_rows.c
 *		check_index: each row of the table lies in a slot that holds its vector.
 *
 * A row is encoded anew for the list that holds it, and what is stored must
 * agree: its code and the factors beside it, and its record on the tape.
 * Whether another list were nearer is not asked.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "ivfpq/ivf_check.h"
#include "ivfpq/ivf_tape.h"

/*
 * By how much two computations of the same stored form may differ: rotations
 * are not rounded alike on all machines, by some 1e-6 of a vector's length,
 * and factors are kept in float16.
 */
#define STORED_TOLERANCE 1e-4f
#define LENGTH_TOLERANCE 1e-5f
#define FACTOR_TOLERANCE 2e-3f
#define MAX_NOISE 0.1f			/* of a direction */
#define HALF_STEP 6e-8f			/* of the smallest float16 numbers */

/* Whether two numbers of a stored vector agree. */
static bool
nearly(float a, float b)
{
	return fabsf(a - b) <= STORED_TOLERANCE * Max(fabsf(a), fabsf(b));
}

/* Number i of an array of float16. */
static float
half_at(const uint8 *halves, int i)
{
	float		value;

	kernels->f16_to_f32((const uint16 *) halves + i, &value, 1);
	return value;
}

/* What becomes of a number that is stored as float16. */
static float
half_round(float value)
{
	uint16		half;

	kernels->f32_to_f16(&value, &half, 1);
	return half_at((const uint8 *) &half, 0);
}

/* ----- the code ----- */

/*
 * The factors of a row whose code is the expected one.  unit is that of the
 * page.  For L2 t is the sum of terms that may cancel out; f |c - m| and
 * |r|^2 bound them.
 */
static bool
factors_agree(IvfCheck *check, int slot, float noise)
{
	const IvfLayout *layout = &check->inspection.layout;
	const IvfRow *row = &check->coder->row;
	const uint8 *lanes = list_page_block(layout, check->list.data,
										 slot / FASTSCAN_LANES);
	int			lane = slot % FASTSCAN_LANES;
	const ListPage *head = list_page(check->list.data);
	Metric		metric = check->model->metric;
	float		unit = head->unit;
	float		t = half_round(list_page_scale_t(head, metric, row->t));
	float		f = half_round(row->f / unit);
	float		tolerance = FACTOR_TOLERANCE + noise;
	float		t_size = fabsf(t);

	if (ivf_metric_is_centred(metric))
		t_size = (row->f * sqrtf(kernels->dot_f32(check->coder->offset,
												  check->coder->offset,
												  layout->padded_dim)) +
				  row->distance2) / (unit * unit);
	return fabsf(half_at(lanes + layout->f_off, lane) - f) <=
		tolerance * f + HALF_STEP &&
		fabsf(half_at(lanes + layout->t_off, lane) - t) <=
		tolerance * Max(t_size, fabsf(t)) + HALF_STEP;
}

/*
 * Whether a slot has the code of the row just encoded, or one that is as near.
 * Of a short residual rounding decides the direction.
 */
static bool
code_agrees(IvfCheck *check, int slot, const float *x)
{
	const IvfLayout *layout = &check->inspection.layout;
	const IvfCoder *coder = check->coder;
	int			d = layout->padded_dim;
	float		length = sqrtf(kernels->dot_f32(x, x, d));
	float		noise = LENGTH_TOLERANCE * length / Max(coder->row.f, FLT_MIN);
	float		expected;

	if (noise > MAX_NOISE)
		return true;
	list_page_codes(layout, check->list.data, slot, check->codes);
	if (memcmp(check->codes, coder->row.codes, layout->nsub) == 0)
		return factors_agree(check, slot, noise);
	codebook_decode(check->model->codebook, coder->row.codes, check->decoded);
	expected = kernels->l2sq_f32(coder->unit, check->decoded, d);
	codebook_decode(check->model->codebook, check->codes, check->decoded);
	return kernels->l2sq_f32(coder->unit, check->decoded, d) <=
		expected + STORED_TOLERANCE + 4.0f * noise;
}

/* ----- the record ----- */

/*
 * Whether the record on the tape is of the vector just encoded: by its scale
 * and the bound of its error, and decoded it is no farther from the vector
 * than both bounds allow.
 */
static bool
record_agrees(IvfCheck *check, int slot, const float *x)
{
	const IvfLayout *layout = &check->inspection.layout;
	const TapeRecord *record = tape_page_record(layout, check->tape.data, slot);
	const TapeRecord *expected = check->coder->row.record;
	double		distance2 = 0.0;

	if (!nearly(record->scale, expected->scale) ||
		tape_record_err(record) > 2.0f * tape_record_err(expected))
		return false;
	tape_record_decode(layout, record, check->decoded);
	for (int i = 0; i < layout->padded_dim; i++)
	{
		double		difference = (double) x[i] - check->decoded[i];

		distance2 += difference * difference;
	}
	return sqrt(distance2) <=
		(double) tape_record_err(record) + tape_record_err(expected);
}

/* ----- rows ----- */

/* Read a slot's list page and tape page; false where it holds no row. */
static bool
slot_read(IvfCheck *check, BlockNumber block, int slot)
{
	IvfInspection *inspection = &check->inspection;
	const IvfLayout *layout = &inspection->layout;
	const ListPage *head = list_page(check->list.data);

	if (ivf_inspection_read(inspection, block,
							check->list.data) != IVF_PAGE_LIST ||
		!list_page_is_live(check->list.data, slot) ||
		head->list >= inspection->meta.nlists)
		return false;
	return layout->tape_record == 0 ||
		ivf_inspection_read(inspection, head->tapes[slot / layout->tape_slots],
							check->tape.data) == IVF_PAGE_TAPE;
}

static bool
slot_agrees(IvfCheck *check, BlockNumber block, int slot,
			const Vector *vector)
{
	const float *x = check->rotator->rotated;

	if (!slot_read(check, block, slot))
		return false;
	rotator_set_item(check->rotator, vector);
	ivf_check_read_entry(check, list_page(check->list.data)->list);
	ivf_coder_encode(check->coder, x, check->entry.centroid,
					 check->entry.entry.norm2);
	return code_agrees(check, slot, x) &&
		(check->inspection.layout.tape_record == 0 ||
		 record_agrees(check, slot, x));
}

/* Whether a slot of the list page read last has the keys of a row. */
static bool
keys_agree(IvfCheck *check, const CheckedRow *row)
{
	const IvfLayout *layout = &check->inspection.layout;
	int			slot = row->holder.slot;
	FilterKeys	expected;
	FilterKeys	stored;

	filter_encode(check->filters, row->values, row->isnull, &expected);
	filter_block_get(list_page_keys(layout, check->list.data,
									slot / FASTSCAN_LANES),
					 layout->nfilters, slot % FASTSCAN_LANES, &stored);
	return stored.nulls == expected.nulls &&
		memcmp(stored.keys, expected.keys,
			   sizeof(uint64) * layout->nfilters) == 0;
}

/* Compare a row of the table with its slot; see IndexCheckRow. */
static void
check_row(const CheckedRow *row, void *arg)
{
	IvfCheck   *check = arg;
	bool		same_vector;

	if (row->vector->dim != check->inspection.meta.dim)
		check_fault(check, row->holder.block, row->holder.slot,
					"heap row (%u,%u) has %d dimensions, the index has %d",
					ItemPointerGetBlockNumber(row->tid),
					ItemPointerGetOffsetNumber(row->tid),
					row->vector->dim, check->inspection.meta.dim);
	same_vector = slot_agrees(check, row->holder.block, row->holder.slot,
							  row->vector);
	if (same_vector && keys_agree(check, row))
		return;
	index_check_standby(&check->base);
	check_fault(check, row->holder.block, row->holder.slot,
				"it holds %s than heap row (%u,%u)",
				same_vector ? "other filter keys" : "another vector",
				ItemPointerGetBlockNumber(row->tid),
				ItemPointerGetOffsetNumber(row->tid));
}

/* Look for the rows of the table in the index. */
void
ivf_check_rows(IvfCheck *check)
{
	const IvfMeta *meta = &check->inspection.meta;

	if (meta->dim > 0)
	{
		int			d = check->inspection.layout.padded_dim;

		check->rotator = rotator_create(meta->dim, d, (Metric) meta->metric);
		check->coder = ivf_coder_create(check->model);
		check->decoded = palloc(sizeof(float) * d);
		check->codes = palloc(meta->nsub);
		check->filters = filter_encoder_create(check->base.access.index);
	}
	index_check_rows(&check->base, check_row, check);
}
