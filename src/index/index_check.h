/*
 * index_check.h
 *		What a check of any of our indexes needs: faults, the snapshot, and the
 *		rows of the table against those of the index.
 *
 * Rows are noted with the place where the index holds them while its pages are
 * walked; then the table is read.  Memory: 12 bytes a row.
 */
#ifndef RECSYS_INDEX_CHECK_H
#define RECSYS_INDEX_CHECK_H

#include "access/xlogdefs.h"
#include "storage/itemptr.h"
#include "utils/snapshot.h"

#include "base/compat.h"
#include "index/index_access.h"
#include "vector/vector.h"

/* Where an index holds something. */
typedef struct IndexPlace
{
	BlockNumber block;
	uint16		slot;
} IndexPlace;

/* A row of the table that the index holds. */
typedef struct IndexedRow
{
	ItemPointerData tid;
	uint16		slot;
	BlockNumber block;
} IndexedRow;

typedef struct IndexCheck
{
	IndexAccess access;			/* the caller's */
	Snapshot	snapshot;		/* rows that it sees must be in the index */
	XLogRecPtr	replayed;		/* on a standby, when the check began */
	BlockNumber heap_blocks;	/* of the table */
	IndexedRow *rows;
	Size		nrows;
	Size		max_rows;
} IndexCheck;

/*
 * Begin with the open index, and take the snapshot whose rows must be found.
 * The caller reads the index's metapage after this.
 */
extern void index_check_begin(IndexCheck *check, const IndexAccess *access);
extern void index_check_end(IndexCheck *check);

/*
 * Raise ERRCODE_INDEX_CORRUPTED for a place.  index_check_standby comes first
 * where it takes two pages to show the fault: see there.
 */
pg_noreturn extern void index_check_fault(const IndexCheck *check,
										  IndexPlace place,
										  const char *format,...)
			pg_attribute_printf(3, 4);
extern void index_check_standby(const IndexCheck *check);

/*
 * Note n rows of the table that lie at a place; holder is where their vector
 * is, which may be the same.  The rows' page may be locked.
 */
extern void index_check_add_rows(IndexCheck *check, IndexPlace at,
								 IndexPlace holder,
								 const ItemPointerData *tids, int n);

/* A row of the table that the index must hold, and where it does. */
typedef struct CheckedRow
{
	IndexPlace	holder;
	ItemPointer tid;
	const Vector *vector;
	const Datum *values;		/* of all columns of the index */
	const bool *isnull;
} CheckedRow;

/*
 * Read the table.  visit is called for each row that the snapshot sees and the
 * index must hold, in a memory context that is reset after each row.  Error
 * where the index lacks a row, or holds one twice.
 */
typedef void (*IndexCheckRow) (const CheckedRow *row, void *arg);
extern void index_check_rows(IndexCheck *check, IndexCheckRow visit,
							 void *arg);

#endif							/* RECSYS_INDEX_CHECK_H */
