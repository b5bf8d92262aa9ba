/*
 * recall.c
 *		recsys.index_recall: how many of the true best rows an index finds.
 *
 * It knows no access method: any index will do that orders by an operator
 * whose result is float8.  The index is scanned as the executor would scan
 * it, with the same snapshot as the table, which is read once for as many
 * queries as fit into work_mem.
 *
 * Recall is scored by distance: a row that the index returns among its first
 * k counts where it is at least as near as the k-th of the exact answer, so
 * that equally near rows can stand for one another.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "lib/pairingheap.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "index/index_access.h"

#define RECALL_MAX_K 10000
#define RECALL_MAX_SAMPLES 10000

/* Samples are the same from call to call, so that two calls can be compared. */
#define RECALL_SEED 20240229

PG_FUNCTION_INFO_V1(recsys_index_recall);
PG_FUNCTION_INFO_V1(recsys_index_recall_sample);

/* An index, and how its distance is computed. */
typedef struct RecallTarget
{
	IndexAccess access;
	IndexInfo  *info;
	EState	   *estate;
	ExprState  *predicate;		/* of a partial index, or NULL */
	TupleTableSlot *slot;
	Snapshot	snapshot;
	int			column;			/* of the index, from 0 */
	int16		typlen;			/* of that column */
	bool		typbyval;
	StrategyNumber strategy;	/* of the ordering operator */
	Oid			query_type;
	Oid			collation;
	FmgrInfo	distance;
} RecallTarget;

/* The least k of the distances offered: a heap with the largest first. */
typedef struct LeastDistances
{
	float8	   *distances;		/* k */
	int			n;
} LeastDistances;

/* A row that the index has returned and that waits for its turn. */
typedef struct WaitingRow
{
	pairingheap_node node;
	float8		distance;
	ItemPointerData tid;
} WaitingRow;

/* What the index's scan has returned. */
typedef struct RecallScan
{
	IndexScanDesc scan;
	pairingheap *waiting;
	float8		bound;			/* no row to come is nearer */
	bool		done;
} RecallScan;

/* ----- the index and its distance ----- */

/*
 * The operator by which a column can be ordered: the one of the lowest
 * strategy that takes a query of the given type, or of the column's own where
 * that is InvalidOid.
 */
static bool
recall_find_operator(RecallTarget *target, int column, Oid query_type)
{
	Relation	index = target->access.index;
	Oid			input = index->rd_opcintype[column];
	CatCList   *list = SearchSysCacheList1(AMOPSTRATEGY,
										   ObjectIdGetDatum(index->rd_opfamily[column]));
	Oid			operator = InvalidOid;

	target->query_type = OidIsValid(query_type) ? query_type : input;
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_amop amop = (Form_pg_amop) GETSTRUCT(&list->members[i]->tuple);

		if (amop->amoppurpose != AMOP_ORDER || amop->amoplefttype != input ||
			amop->amoprighttype != target->query_type ||
			get_op_rettype(amop->amopopr) != FLOAT8OID ||
			(OidIsValid(operator) && amop->amopstrategy > target->strategy))
			continue;
		operator = amop->amopopr;
		target->strategy = amop->amopstrategy;
	}
	ReleaseCatCacheList(list);
	if (!OidIsValid(operator))
		return false;
	target->column = column;
	target->collation = index->rd_indcollation[column];
	get_typlenbyval(input, &target->typlen, &target->typbyval);
	fmgr_info(get_opcode(operator), &target->distance);
	return true;
}

/* Choose the first column of the index that can be ordered. */
static void
recall_choose_column(RecallTarget *target, Oid query_type)
{
	Relation	index = target->access.index;

	if (index->rd_indam->amcanorderbyop && index->rd_indam->amgettuple != NULL)
		for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
			if (recall_find_operator(target, i, query_type))
				return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("index \"%s\" does not order by distance%s",
					RelationGetRelationName(index),
					OidIsValid(query_type) ? " from queries of this type" : "")));
}

/*
 * Open an index for queries of a type, or of its column's own type.  The
 * statement's snapshot must be one that the index can serve.
 */
static void
recall_open(RecallTarget *target, Oid index_oid, Oid query_type)
{
	Relation	index;

	memset(target, 0, sizeof(RecallTarget));
	target->snapshot = RegisterSnapshot(GetActiveSnapshot());
	index_access_open(&target->access, index_oid, INDEX_RIGHT_READ,
					  AccessShareLock);
	index = target->access.index;
	if (index->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							   TransactionXmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is too new for this transaction",
						RelationGetRelationName(index)),
				 errhint("Try again once all older transactions have ended.")));
	recall_choose_column(target, query_type);
	target->info = BuildIndexInfo(index);
	target->estate = CreateExecutorState();
	target->slot = table_slot_create(target->access.heap, NULL);
	target->predicate = ExecPrepareQual(target->info->ii_Predicate,
										target->estate);
}

static void
recall_close(RecallTarget *target)
{
	ExecDropSingleTupleTableSlot(target->slot);
	FreeExecutorState(target->estate);
	index_access_close(&target->access);
	UnregisterSnapshot(target->snapshot);
}

/*
 * Compute the indexed value of the row in target->slot, in the memory of the
 * row.  False where the row is not in the index, or its value is NULL.
 */
static bool
recall_value(RecallTarget *target, Datum *value)
{
	ExprContext *econtext = GetPerTupleExprContext(target->estate);
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	MemoryContext old;

	econtext->ecxt_scantuple = target->slot;
	if (!ExecQual(target->predicate, econtext))
		return false;
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	FormIndexDatum(target->info, target->slot, target->estate, values, isnull);
	*value = values[target->column];
	if (!isnull[target->column] && target->typlen == -1)
		*value = PointerGetDatum(PG_DETOAST_DATUM(*value));
	MemoryContextSwitchTo(old);
	return !isnull[target->column];
}

/* The distance of a value from a query, in the memory of the row. */
static float8
recall_distance(RecallTarget *target, Datum value, Datum query)
{
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));
	Datum		distance = FunctionCall2Coll(&target->distance,
											 target->collation, value, query);

	MemoryContextSwitchTo(old);
	return DatumGetFloat8(distance);
}

/*
 * Read the next row that the index should hold, and its value.  False at the
 * end of the table.
 */
static bool
recall_next_row(RecallTarget *target, TableScanDesc scan, Datum *value)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(target->estate);
		if (!table_scan_getnextslot(scan, ForwardScanDirection, target->slot))
			return false;
		if (recall_value(target, value))
			return true;
	}
}

/* ----- the exact answer ----- */

static void
least_offer(LeastDistances *least, int k, float8 distance)
{
	float8	   *d = least->distances;
	int			i = 0;

	if (least->n < k)
	{
		for (i = least->n++;
			 i > 0 && float8_lt(d[(i - 1) / 2], distance); i = (i - 1) / 2)
			d[i] = d[(i - 1) / 2];
		d[i] = distance;
		return;
	}
	if (!float8_lt(distance, d[0]))
		return;
	for (;;)
	{
		int			child = 2 * i + 1;

		if (child + 1 < k && float8_gt(d[child + 1], d[child]))
			child++;
		if (child >= k || !float8_gt(d[child], distance))
			break;
		d[i] = d[child];
		i = child;
	}
	d[i] = distance;
}

/* Fill least[] with the k least distances from each of n queries. */
static void
recall_exact(RecallTarget *target, const Datum *queries, int n, int k,
			 LeastDistances *least)
{
	TableScanDesc scan = table_beginscan(target->access.heap,
										 target->snapshot, 0, NULL);
	Datum		value;

	while (recall_next_row(target, scan, &value))
		for (int i = 0; i < n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			least_offer(&least[i], k,
						recall_distance(target, value, queries[i]));
		}
	table_endscan(scan);
}

/* ----- the index's answer ----- */

static int
compare_waiting(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	return float8_cmp_internal(((const WaitingRow *) b)->distance,
							   ((const WaitingRow *) a)->distance);
}

/*
 * Take the index's next row in, with its true distance.  Where the access
 * method gave a lower bound only, the row waits until no nearer one can come,
 * as in the executor.
 */
static void
recall_fetch(RecallTarget *target, RecallScan *scan, Datum query)
{
	IndexScanDesc desc = scan->scan;
	WaitingRow *row;
	Datum		value;

	CHECK_FOR_INTERRUPTS();
	ResetPerTupleExprContext(target->estate);
	if (!index_getnext_slot(desc, ForwardScanDirection, target->slot))
	{
		scan->done = true;
		return;
	}
	if (!recall_value(target, &value))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" returned a row that it should not hold, at (%u,%u)",
						RelationGetRelationName(target->access.index),
						ItemPointerGetBlockNumber(&target->slot->tts_tid),
						ItemPointerGetOffsetNumber(&target->slot->tts_tid)),
				 errhint("REINDEX the index.")));
	row = palloc(sizeof(WaitingRow));
	row->tid = target->slot->tts_tid;
	row->distance = recall_distance(target, value, query);
	scan->bound = row->distance;
	if (desc->xs_recheckorderby && !desc->xs_orderbynulls[0])
		scan->bound = DatumGetFloat8(desc->xs_orderbyvals[0]);
	if (float8_lt(row->distance, scan->bound))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" returned rows in wrong order",
						RelationGetRelationName(target->access.index)),
				 errhint("REINDEX the index.")));
	pairingheap_add(scan->waiting, &row->node);
}

/* The next row in order, or NULL at the end. */
static WaitingRow *
recall_next_found(RecallTarget *target, RecallScan *scan, Datum query)
{
	for (;;)
	{
		if (!pairingheap_is_empty(scan->waiting))
		{
			WaitingRow *first = (WaitingRow *) pairingheap_first(scan->waiting);

			if (scan->done || float8_le(first->distance, scan->bound))
				return (WaitingRow *) pairingheap_remove_first(scan->waiting);
		}
		if (scan->done)
			return NULL;
		recall_fetch(target, scan, query);
	}
}

static int
compare_tids(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) a, (ItemPointer) b);
}

/* The number of different rows among n, which are reordered. */
static int
count_distinct_tids(ItemPointerData *tids, int n)
{
	int			distinct = 0;

	qsort(tids, n, sizeof(ItemPointerData), compare_tids);
	for (int i = 0; i < n; i++)
		if (i == 0 || ItemPointerCompare(&tids[i], &tids[i - 1]) != 0)
			distinct++;
	return distinct;
}

/*
 * Of the first k rows that the index returns for a query, the number that are
 * no farther than the given distance; a row returned twice counts once.
 */
static int
recall_found(RecallTarget *target, Datum query, int k, float8 farthest)
{
	RecallScan	scan = {0};
	ItemPointerData *tids = palloc(sizeof(ItemPointerData) * k);
	int			n = 0;
	ScanKeyData key;

	ScanKeyEntryInitialize(&key, SK_ORDER_BY, target->column + 1,
						   target->strategy, target->query_type,
						   target->collation, target->distance.fn_oid, query);
	scan.waiting = pairingheap_allocate(compare_waiting, NULL);
	scan.scan = compat_begin_index_scan(target->access.heap,
										target->access.index,
										target->snapshot, 0, 1);
	index_rescan(scan.scan, NULL, 0, &key, 1);
	for (int i = 0; i < k; i++)
	{
		WaitingRow *row = recall_next_found(target, &scan, query);

		if (row == NULL)
			break;
		if (float8_le(row->distance, farthest))
			tids[n++] = row->tid;
	}
	index_endscan(scan.scan);
	ExecClearTuple(target->slot);
	return count_distinct_tids(tids, n);
}

/* ----- the mean over queries ----- */

/* The sum of the recalls of n queries; *ncounted is increased by their number. */
static double
recall_batch(RecallTarget *target, const Datum *queries, int n, int k,
			 int *ncounted)
{
	LeastDistances *least = palloc0(sizeof(LeastDistances) * n);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys index_recall query",
												  ALLOCSET_DEFAULT_SIZES);
	double		sum = 0.0;

	for (int i = 0; i < n; i++)
		least[i].distances = palloc(sizeof(float8) * k);
	recall_exact(target, queries, n, k, least);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		if (least[i].n > 0)
		{
			sum += (double) recall_found(target, queries[i], k,
										 least[i].distances[0]) / least[i].n;
			(*ncounted)++;
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	return sum;
}

/* The mean recall, or NULL where there is nothing to find. */
static Datum
recall_mean(FunctionCallInfo fcinfo, RecallTarget *target,
			const Datum *queries, int n, int k)
{
	Size		room = (Size) work_mem * 1024 / (sizeof(float8) * k);
	int			batch = (int) Max(Min(room, (Size) n), 1);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys index_recall batch",
												  ALLOCSET_DEFAULT_SIZES);
	double		sum = 0.0;
	int			ncounted = 0;

	for (int i = 0; i < n; i += batch)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		sum += recall_batch(target, queries + i, Min(batch, n - i), k,
							&ncounted);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	if (ncounted == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(sum / ncounted);
}

static void
recall_check_range(const char *name, int value, int max)
{
	if (value < 1 || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be between 1 and %d, not %d",
						name, max, value)));
}

/* index_recall(index regclass, queries vector[], k integer) */
Datum
recsys_index_recall(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	int			k = PG_GETARG_INT32(2);
	RecallTarget target;
	Datum	   *queries;
	bool	   *nulls;
	int			n;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum		result;

	recall_check_range("k", k, RECALL_MAX_K);
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign,
					  &queries, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("query %d is NULL", i + 1)));
		if (typlen == -1)
			queries[i] = PointerGetDatum(PG_DETOAST_DATUM(queries[i]));
	}
	recall_open(&target, PG_GETARG_OID(0), ARR_ELEMTYPE(array));
	result = recall_mean(fcinfo, &target, queries, n, k);
	recall_close(&target);
	return result;
}

/*
 * Take up to nwanted of the values that the index holds, each with the same
 * chance (Vitter's algorithm R), from a scan that begins at the first block.
 * Returns their number.
 */
static int
recall_sample(RecallTarget *target, Datum *samples, int nwanted)
{
	TableScanDesc scan = table_beginscan_strat(target->access.heap,
											   target->snapshot, 0, NULL,
											   true, false);
	pg_prng_state prng;
	uint64		nseen = 0;
	Datum		value;

	pg_prng_seed(&prng, RECALL_SEED);
	while (recall_next_row(target, scan, &value))
	{
		uint64		place = nseen < nwanted ? nseen :
		pg_prng_uint64_range(&prng, 0, nseen);

		if (place < nwanted)
		{
			if (nseen >= nwanted && !target->typbyval)
				pfree(DatumGetPointer(samples[place]));
			samples[place] = datumCopy(value, target->typbyval, target->typlen);
		}
		nseen++;
	}
	table_endscan(scan);
	return (int) Min(nseen, (uint64) nwanted);
}

/* index_recall(index regclass, k integer, samples integer) */
Datum
recsys_index_recall_sample(PG_FUNCTION_ARGS)
{
	int			k = PG_GETARG_INT32(1);
	int			nwanted = PG_GETARG_INT32(2);
	RecallTarget target;
	Datum	   *samples;
	int			n;
	Datum		result;

	recall_check_range("k", k, RECALL_MAX_K);
	recall_check_range("samples", nwanted, RECALL_MAX_SAMPLES);
	recall_open(&target, PG_GETARG_OID(0), InvalidOid);
	samples = palloc(sizeof(Datum) * nwanted);
	n = recall_sample(&target, samples, nwanted);
	result = recall_mean(fcinfo, &target, samples, n, k);
	recall_close(&target);
	return result;
}
