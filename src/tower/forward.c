/*
 * forward.c
 *		Running a tower, and its golden rows.
 *
 * The nodes run in the order of the spec, each over all rows of the batch.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "tower/features.h"
#include "tower/forward.h"
#include "tower/ops.h"

/* How many rows of a tower should run together: FORWARD_MAX_ROWS, or some MB. */
int
batch_max_rows(const Tower *tower)
{
	return Max(1, Min((Size) FORWARD_MAX_ROWS,
					  1000000 / Max(tower->arena, 1)));
}

/* Room for a batch of rows, in the current memory context. */
void
batch_init(Batch *batch, const Tower *tower, int rows)
{
	Size		values = mul_size(tower->nwires, rows);
	Size		floats = mul_size(tower->arena, rows);

	batch->tower = tower;
	batch->rows = rows;
	batch->at = -1;
	batch->values = palloc_extended(mul_size(sizeof(Value), values),
									MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	batch->arena = palloc_extended(mul_size(sizeof(float), floats),
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* Use a batch for some rows, at most as many as it was made for. */
void
batch_set_rows(Batch *batch, int rows)
{
	if (batch->rows == rows)
		return;
	batch->rows = rows;
	memset(batch->values, 0, sizeof(Value) * batch->tower->nwires * rows);
}

/*
 * Run the tower over the features in the batch.  The rows of the output wire
 * are then the answers, and finite.  Lists are allocated in the current memory
 * context.
 */
void
forward_run(Batch *batch)
{
	const Tower *tower = batch->tower;
	const float *output = batch_vector(batch, tower->output, 0);

	for (int i = 0; i < tower->nnodes; i++)
	{
		CHECK_FOR_INTERRUPTS();
		batch->at = -1;
		tower->nodes[i].op->run(&tower->nodes[i], batch);
	}
	for (Size i = 0; i < (Size) tower->width * batch->rows; i++)
	{
		if (isfinite(output[i]))
			continue;
		batch->at = i / tower->width;
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("element %d of the output of tower \"%s\" is NaN or infinite",
						(int) (i % tower->width), tower->name)));
	}
}

/* Golden rows */

#define bad_golden(...) \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), \
					errmsg(__VA_ARGS__)))

/*
 * Parse the golden rows of a file: an object from tower to rows.  towers are
 * those of the spec.
 */
JsonTree *
golden_parse(const char *text, const JsonTree *towers)
{
	JsonTree   *golden = jsontree_parse(text, strlen(text), "the golden rows");

	if (golden->kind != JSONTREE_OBJECT)
		bad_golden("the golden rows are a JSON %s, not an object",
				   jsontree_kind_name(golden));
	for (int i = 0; i < golden->n; i++)
	{
		if (jsontree_get(towers, golden->fields[i].key) == NULL)
			bad_golden("there are golden rows of tower \"%s\", which the spec does not have",
					   golden->fields[i].key);
	}
	return golden;
}

/*
 * The largest absolute error of an output against what a golden row says;
 * an error is raised if it is above the tower's tolerance and that is
 * enforced.
 */
static double
golden_error(const Tower *tower, int number, const JsonTree *want,
			 const float *have, bool enforce)
{
	double		largest = 1.0;
	double		error = 0.0;

	if (want == NULL || want->kind != JSONTREE_ARRAY ||
		want->n != tower->width)
		bad_golden("golden row %d of tower \"%s\" has no output of %d numbers",
				   number, tower->name, tower->width);
	for (int i = 0; i < want->n; i++)
	{
		double		w;

		if (!jsontree_float8(want->items[i], &w))
			bad_golden("golden row %d of tower \"%s\" has no output of %d numbers",
					   number, tower->name, tower->width);
		largest = Max(largest, fabs(w));
		error = Max(error, fabs(w - have[i]));
	}
	if (enforce && error > tower->tolerance * largest)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("golden row %d of tower \"%s\" is not reproduced: the largest error is %g",
						number, tower->name, error),
				 errdetail("The tolerance is %g times %g.",
						   tower->tolerance, largest),
				 errhint("The spec and the model that gave the golden rows differ, for example in a weight's layout or an epsilon.")));
	return error;
}

static double
golden_batch(const Tower *tower, const JsonTree *rows, int first, int n,
			 bool enforce)
{
	Batch		batch;
	double		error = 0.0;

	batch_init(&batch, tower, n);
	for (int i = 0; i < n; i++)
	{
		const JsonTree *features = jsontree_get(rows->items[first + i],
												"features");

		if (features == NULL)
			bad_golden("golden row %d of tower \"%s\" has no features",
					   first + i, tower->name);
		features_read_tree(&batch, i, features);
	}
	forward_run(&batch);
	for (int i = 0; i < n; i++)
		error = Max(error,
					golden_error(tower, first + i,
								 jsontree_get(rows->items[first + i], "output"),
								 batch_vector(&batch, tower->output, i),
								 enforce));
	return error;
}

/*
 * Run a tower's golden rows, an array.  Returns the largest absolute error;
 * enforce: raises one if a row is beyond the tower's tolerance.
 */
double
golden_check(const Tower *tower, const JsonTree *rows, bool enforce)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys golden rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	int			step = batch_max_rows(tower);
	double		error = 0.0;

	if (rows->kind != JSONTREE_ARRAY)
		bad_golden("the golden rows of tower \"%s\" are a JSON %s",
				   tower->name, jsontree_kind_name(rows));
	for (int first = 0; first < rows->n; first += step)
	{
		error = Max(error, golden_batch(tower, rows, first,
										Min(step, rows->n - first), enforce));
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return error;
}
