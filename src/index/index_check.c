/*
 * index_check.c
 *		What a check of any of our indexes needs: faults, the snapshot, and the
 *		rows of the table against those of the index.
 *
 * The rows that the index holds are sorted by their address in the table; then
 * the table is read as for a build, and each row that the snapshot sees must
 * be found.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/index.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "index/index_check.h"

/* ----- faults ----- */

void
index_check_fault(const IndexCheck *check, IndexPlace place,
				  const char *format,...)
{
	StringInfoData text;
	va_list		args;

	initStringInfo(&text);
	for (;;)
	{
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is corrupted at block %u slot %d: %s",
					RelationGetRelationName(check->access.index),
					place.block, place.slot, text.data),
			 errhint("REINDEX the index.")));
}

/*
 * Called before a fault is raised that two pages show only together: error
 * where this is a standby and replay has moved on, so that it may be no fault.
 * A false one takes at least two records, so the first of them has been
 * replayed whole.
 */
void
index_check_standby(const IndexCheck *check)
{
	if (!RecoveryInProgress() ||
		GetXLogReplayRecPtr(NULL) == check->replayed)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("index \"%s\" cannot be checked while replay changes it",
					RelationGetRelationName(check->access.index)),
			 errhint("Pause replay with pg_wal_replay_pause(), or check on the primary.")));
}

/* ----- begin and end ----- */

/*
 * A snapshot of an older transaction may see rows that the index need not
 * hold.
 */
void
index_check_begin(IndexCheck *check, const IndexAccess *access)
{
	Relation	index = access->index;

	memset(check, 0, sizeof(IndexCheck));
	check->access = *access;
	check->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	if (IsolationUsesXactSnapshot() && index->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							   check->snapshot->xmin))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("index \"%s\" is too new for this transaction",
						RelationGetRelationName(index)),
				 errhint("Check it in a new transaction.")));

	/*
	 * On a standby, what the snapshot sees has been replayed by now, the
	 * index's part of it too.
	 */
	if (RecoveryInProgress())
		check->replayed = GetXLogReplayRecPtr(NULL);
	check->heap_blocks = RelationGetNumberOfBlocks(access->heap);
}

void
index_check_end(IndexCheck *check)
{
	UnregisterSnapshot(check->snapshot);
}

/* ----- rows ----- */

void
index_check_add_rows(IndexCheck *check, IndexPlace at, IndexPlace holder,
					 const ItemPointerData *tids, int n)
{
	for (int i = 0; i < n; i++)
	{
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&tids[i]);
		OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(&tids[i]);

		if (!OffsetNumberIsValid(offset) || block >= check->heap_blocks)
		{
			index_check_standby(check);
			index_check_fault(check, at,
							  "heap row (%u,%u) does not exist in a table of %u blocks",
							  block, offset, check->heap_blocks);
		}
		if (check->nrows == check->max_rows)
		{
			check->max_rows = check->max_rows == 0 ? 1024 : check->max_rows * 2;
			check->rows = check->rows == NULL ?
				palloc(sizeof(IndexedRow) * check->max_rows) :
				repalloc_huge(check->rows, mul_size(sizeof(IndexedRow),
													check->max_rows));
		}
		check->rows[check->nrows++] = (IndexedRow)
		{
			tids[i], holder.slot, holder.block
		};
	}
}

static int
compare_indexed_rows(const void *a, const void *b, void *arg)
{
	return ItemPointerCompare((ItemPointer) &((const IndexedRow *) a)->tid,
							  (ItemPointer) &((const IndexedRow *) b)->tid);
}

static IndexPlace
indexed_row_place(const IndexedRow *row)
{
	return (IndexPlace)
	{
		row->block, row->slot
	};
}

/* Sort the rows that the index holds; none may be there twice. */
static void
check_sort_rows(IndexCheck *check)
{
	IndexedRow *rows = check->rows;

	if (check->nrows == 0)
		return;
	qsort_interruptible(rows, check->nrows, sizeof(IndexedRow),
						compare_indexed_rows, NULL);
	for (Size i = 1; i < check->nrows; i++)
	{
		if (!ItemPointerEquals(&rows[i].tid, &rows[i - 1].tid))
			continue;
		index_check_standby(check);
		index_check_fault(check, indexed_row_place(&rows[i]),
						  "it holds heap row (%u,%u), as does block %u slot %d",
						  ItemPointerGetBlockNumber(&rows[i].tid),
						  ItemPointerGetOffsetNumber(&rows[i].tid),
						  rows[i - 1].block, rows[i - 1].slot);
	}
}

/* The row of the index for one of the table, or NULL. */
static const IndexedRow *
check_find_row(const IndexCheck *check, ItemPointer tid)
{
	IndexedRow	key = {.tid = *tid};

	if (check->nrows == 0)
		return NULL;
	return bsearch_arg(&key, check->rows, check->nrows, sizeof(IndexedRow),
					   compare_indexed_rows, NULL);
}

typedef struct RowCheck
{
	const IndexCheck *check;
	IndexCheckRow visit;
	void	   *arg;
	MemoryContext context;
} RowCheck;

/* Called for each row that the snapshot sees and the index must hold. */
static void
check_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		  bool alive, void *arg)
{
	RowCheck   *state = arg;
	const IndexedRow *row;
	CheckedRow	checked;
	MemoryContext old;

	CHECK_FOR_INTERRUPTS();
	if (isnull[0])
		return;
	row = check_find_row(state->check, tid);
	if (row == NULL)
	{
		index_check_standby(state->check);
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" lacks the row at (%u,%u) of table \"%s\"",
						RelationGetRelationName(index),
						ItemPointerGetBlockNumber(tid),
						ItemPointerGetOffsetNumber(tid),
						RelationGetRelationName(state->check->access.heap)),
				 errhint("REINDEX the index.")));
	}
	old = MemoryContextSwitchTo(state->context);
	checked = (CheckedRow)
	{
		indexed_row_place(row), tid, DatumGetVector(values[0]), values, isnull
	};
	state->visit(&checked, state->arg);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->context);
}

/*
 * The scan is as the first of a concurrent build: it takes the rows that the
 * snapshot sees and waits for nobody.
 */
void
index_check_rows(IndexCheck *check, IndexCheckRow visit, void *arg)
{
	Relation	heap = check->access.heap;
	Relation	index = check->access.index;
	IndexInfo  *info = BuildIndexInfo(index);
	RowCheck	state = {.check = check,.visit = visit,.arg = arg};
	TableScanDesc scan;

	check_sort_rows(check);
	state.context = AllocSetContextCreate(CurrentMemoryContext,
										  "recsys check_index row",
										  ALLOCSET_DEFAULT_SIZES);
	info->ii_Concurrent = true;
	scan = table_beginscan_strat(heap, check->snapshot, 0, NULL, true, true);
	/* this ends the scan as well */
	table_index_build_scan(heap, index, info, true, false, check_row, &state,
						   scan);
	MemoryContextDelete(state.context);
}
