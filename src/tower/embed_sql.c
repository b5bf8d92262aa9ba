/*
 * embed_sql.c
 *		The SQL functions that run a tower on rows: embed, for one, and the
 *		window function embed_batch, for all rows of a window partition.
 *
 * embed_batch reads ahead of the row that it is called for, runs a batch of
 * rows at once, so that each layer is one product of matrices, and has their
 * answers ready when they are asked for.  What is read ahead lies in the
 * window's tuplestore, which drops the rows that have gone by.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"
#include "windowapi.h"

#include "base/compat.h"
#include "tower/cache.h"
#include "tower/features.h"
#include "tower/forward.h"
#include "vector/vector.h"

/* What one call site keeps between rows: how records meet the tower. */
typedef struct EmbedState
{
	MemoryContext context;		/* of the binding */
	RecordBinding *binding;
	uint64		serial;			/* of the tower that it binds */
	uint64		row_type;		/* and the row type's identifier */
} EmbedState;

/* The rows [first, end) of a window partition, whose answers are ready. */
typedef struct BatchPlace
{
	int64		first;
	int64		end;
} BatchPlace;

/* What one call site of embed_batch keeps between rows and partitions. */
typedef struct BatchState
{
	EmbedState	embed;
	MemoryContext batch_context;	/* of the batch */
	Batch		batch;
	uint64		serial;			/* of its tower; 0: there is none */
	MemoryContext rows_context; /* of the rest, for the rows at hand */
	bool		jsonb;			/* the features are jsonb, not a record */
	text	   *model;			/* or NULL */
	int			nrows;
	struct varlena *features[FORWARD_MAX_ROWS]; /* by row; NULL: no answer */
	Vector	   *answers[FORWARD_MAX_ROWS];
	int			rows[FORWARD_MAX_ROWS]; /* by row of the batch */
	int64		first;			/* place of row 0 in the partition */
} BatchState;

PG_FUNCTION_INFO_V1(recsys_embed_record);
PG_FUNCTION_INFO_V1(recsys_embed_jsonb);
PG_FUNCTION_INFO_V1(recsys_embed_batch_record);
PG_FUNCTION_INFO_V1(recsys_embed_batch_jsonb);

static CachedTower *
tower_argument(text *ref)
{
	return cache_get(VARDATA_ANY(ref), VARSIZE_ANY_EXHDR(ref));
}

/* The answer to one row of a batch that has run. */
static Vector *
answer_of(const Batch *batch, int row)
{
	Vector	   *result = vector_new(batch->tower->width);

	memcpy(result->x, batch_vector(batch, batch->tower->output, row),
		   sizeof(float) * batch->tower->width);
	return result;
}

/* Run the tower over the features of its one row. */
static Vector *
embed_row(CachedTower *cached)
{
	forward_run(&cached->row);
	return answer_of(&cached->row, 0);
}

/* Bind the record's type to the tower, or find it bound. */
static RecordBinding *
embed_bind(EmbedState *state, FmgrInfo *flinfo, const CachedTower *cached,
		   HeapTupleHeader record)
{
	Oid			type = HeapTupleHeaderGetTypeId(record);
	int32		typmod = HeapTupleHeaderGetTypMod(record);
	uint64		row_type = assign_record_type_identifier(type, typmod);
	MemoryContext caller;

	if (state->binding && state->serial == cached->serial &&
		state->row_type == row_type)
		return state->binding;

	if (state->context == NULL)
		state->context = AllocSetContextCreate(flinfo->fn_mcxt,
											   "recsys record binding",
											   ALLOCSET_SMALL_SIZES);
	state->binding = NULL;
	MemoryContextReset(state->context);
	caller = MemoryContextSwitchTo(state->context);
	state->binding = record_bind(cached->tower,
								 lookup_rowtype_tupdesc_copy(type, typmod),
								 get_func_rettype(flinfo->fn_oid));
	MemoryContextSwitchTo(caller);
	state->serial = cached->serial;
	state->row_type = row_type;
	return state->binding;
}

/* recsys.embed(model text, features record) returns vector */
Datum
recsys_embed_record(PG_FUNCTION_ARGS)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	CachedTower *cached = tower_argument(PG_GETARG_TEXT_PP(0));
	HeapTupleHeader record = PG_GETARG_HEAPTUPLEHEADER(1);

	if (flinfo->fn_extra == NULL)
		flinfo->fn_extra = MemoryContextAllocZero(flinfo->fn_mcxt,
												  sizeof(EmbedState));
	features_read_record(embed_bind(flinfo->fn_extra, flinfo, cached, record),
						 &cached->row, 0, record);
	PG_RETURN_VECTOR_P(embed_row(cached));
}

/* recsys.embed(model text, features jsonb) returns vector */
Datum
recsys_embed_jsonb(PG_FUNCTION_ARGS)
{
	CachedTower *cached = tower_argument(PG_GETARG_TEXT_PP(0));
	JsonTree   *features = jsontree_from_jsonb(PG_GETARG_JSONB_P(1));

	features_read_tree(&cached->row, 0, features);
	PG_RETURN_VECTOR_P(embed_row(cached));
}

/* embed_batch */

static BatchState *
batch_state(FmgrInfo *flinfo, bool jsonb)
{
	BatchState *state = flinfo->fn_extra;

	if (state != NULL)
		return state;
	state = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(BatchState));
	state->batch_context = AllocSetContextCreate(flinfo->fn_mcxt,
												 "recsys batch",
												 ALLOCSET_DEFAULT_SIZES);
	state->rows_context = AllocSetContextCreate(flinfo->fn_mcxt,
												"recsys batch rows",
												ALLOCSET_DEFAULT_SIZES);
	state->jsonb = jsonb;
	flinfo->fn_extra = state;
	return state;
}

/*
 * Is the model of a row that of the rows before it?  A row whose model is NULL
 * goes with any.
 */
static bool
batch_same_model(BatchState *state, text *model)
{
	if (model == NULL)
		return true;
	if (state->model == NULL)
		state->model = (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(model));
	return VARSIZE_ANY_EXHDR(model) == VARSIZE_ANY_EXHDR(state->model) &&
		memcmp(VARDATA_ANY(model), VARDATA_ANY(state->model),
			   VARSIZE_ANY_EXHDR(model)) == 0;
}

/*
 * Copy the features of the current row and of those after it: as long as they
 * are of one model, there is room, and work_mem is not full.  They are copied
 * before the tower is looked for, since the arguments may be anything, also
 * calls of embed, which may drop a tower from the cache.
 */
static void
batch_collect(BatchState *state, WindowObject window)
{
	Size		bytes = 0;

	state->model = NULL;
	state->nrows = 0;
	while (state->nrows < FORWARD_MAX_ROWS && bytes < work_mem * (Size) 1024)
	{
		int			row = state->nrows;
		bool		model_null;
		bool		isnull;
		bool		isout;
		Datum		model;
		Datum		features;

		model = WinGetFuncArgInPartition(window, 0, row, WINDOW_SEEK_CURRENT,
										 true, &model_null, &isout);
		if (isout || !batch_same_model(state, model_null ? NULL :
									   DatumGetTextPP(model)))
			break;
		features = WinGetFuncArgInPartition(window, 1, row,
											WINDOW_SEEK_CURRENT, true,
											&isnull, &isout);
		state->answers[row] = NULL;
		state->features[row] = model_null || isnull ? NULL :
			PG_DETOAST_DATUM_COPY(features);
		if (state->features[row])
			bytes += VARSIZE(state->features[row]);
		state->nrows++;
	}
}

/* Room for a batch of the tower, in state->batch. */
static void
batch_prepare(BatchState *state, const CachedTower *cached)
{
	MemoryContext caller;

	if (state->serial == cached->serial)
		return;
	state->serial = 0;
	MemoryContextReset(state->batch_context);
	caller = MemoryContextSwitchTo(state->batch_context);
	batch_init(&state->batch, cached->tower, batch_max_rows(cached->tower));
	MemoryContextSwitchTo(caller);
	state->serial = cached->serial;
}

/* Read the features of a row into row k of the batch. */
static void
batch_read(BatchState *state, FmgrInfo *flinfo, const CachedTower *cached,
		   int k)
{
	struct varlena *features = state->features[state->rows[k]];
	HeapTupleHeader record = (HeapTupleHeader) features;

	state->batch.at = k;
	if (state->jsonb)
		features_read_tree(&state->batch, k,
						   jsontree_from_jsonb((Jsonb *) features));
	else
		features_read_record(embed_bind(&state->embed, flinfo, cached, record),
							 &state->batch, k, record);
}

static void
batch_error(void *argument)
{
	const BatchState *state = argument;

	if (state->batch.at >= 0)
		errcontext("row " INT64_FORMAT " of the window of recsys.embed_batch",
				   state->first + state->rows[state->batch.at] + 1);
}

/* Answer the rows that were collected, but for those that have a NULL. */
static void
batch_answer(BatchState *state, FmgrInfo *flinfo)
{
	ErrorContextCallback callback = {error_context_stack, batch_error, state};
	const CachedTower *cached;
	int			row = 0;

	if (state->model == NULL)
		return;
	cached = tower_argument(state->model);
	batch_prepare(state, cached);
	error_context_stack = &callback;
	while (row < state->nrows)
	{
		int			max = batch_max_rows(cached->tower);
		int			n = 0;

		for (; row < state->nrows && n < max; row++)
		{
			if (state->features[row])
				state->rows[n++] = row;
		}
		if (n == 0)
			break;
		batch_set_rows(&state->batch, n);
		for (int k = 0; k < n; k++)
			batch_read(state, flinfo, cached, k);
		forward_run(&state->batch);
		for (int k = 0; k < n; k++)
			state->answers[state->rows[k]] = answer_of(&state->batch, k);
	}
	error_context_stack = callback.previous;
}

/*
 * The answer to the current row.  The rows of a partition are asked for in
 * their order.
 */
static Datum
embed_batch(FunctionCallInfo fcinfo, bool jsonb)
{
	WindowObject window = PG_WINDOW_OBJECT();
	BatchState *state;
	BatchPlace *place;
	Vector	   *answer;
	int64		row;

	/* an operator, for one, would call any function */
	if (!WindowObjectIsValid(window))
		ereport(ERROR,
				(errcode(ERRCODE_WINDOWING_ERROR),
				 errmsg("recsys.embed_batch is called without a window"),
				 errhint("Call it as recsys.embed_batch(...) OVER ().")));
	state = batch_state(fcinfo->flinfo, jsonb);
	place = WinGetPartitionLocalMemory(window, sizeof(BatchPlace));
	row = WinGetCurrentPosition(window);
	if (row >= place->end)
	{
		MemoryContext caller;

		MemoryContextReset(state->rows_context);
		caller = MemoryContextSwitchTo(state->rows_context);
		state->first = row;
		batch_collect(state, window);
		batch_answer(state, fcinfo->flinfo);
		MemoryContextSwitchTo(caller);
		place->first = row;
		place->end = row + state->nrows;
	}
	answer = state->answers[row - place->first];
	if (answer == NULL)
		PG_RETURN_NULL();
	PG_RETURN_VECTOR_P(answer);
}

/* recsys.embed_batch(model text, features record) OVER (...) returns vector */
Datum
recsys_embed_batch_record(PG_FUNCTION_ARGS)
{
	return embed_batch(fcinfo, false);
}

/* recsys.embed_batch(model text, features jsonb) OVER (...) returns vector */
Datum
recsys_embed_batch_jsonb(PG_FUNCTION_ARGS)
{
	return embed_batch(fcinfo, true);
}
