/*
 * ivf_rowsort.c
 *		Encoded rows into the order of their lists, by the server's tuplesort.
 *
 * A row is a tuple of a key and its bytes.  List and TID together are 64 bits,
 * so the key is one int8, which tuplesort compares without a function call.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"

#include "base/compat.h"
#include "ivfpq/ivf_rowsort.h"

/*
 * The bytes of a row: this, the codes two a byte, the keys, the record of the
 * tape.
 */
typedef struct RowHead
{
	float		t;
	float		f;
	float		distance2;
	uint32		nulls;			/* of the keys */
} RowHead;

struct RowSort
{
	IvfLayout	layout;
	Size		codes_size;
	Size		keys_size;
	Tuplesortstate *state;
	TupleTableSlot *put_slot;
	TupleTableSlot *get_slot;
	bytea	   *packed;			/* of the row being put */
};

RowSort *
row_sort_begin(const IvfLayout *layout, int kbytes, SortCoordinate coordinate)
{
	RowSort    *sort = palloc0(sizeof(RowSort));
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	AttrNumber	key = 1;
	Oid			less = Int8LessOperator;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;
	Size		size;

	TupleDescInitEntry(desc, 1, "key", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "row", BYTEAOID, -1, 0);
	sort->layout = *layout;
	sort->codes_size = (layout->nsub + 1) / 2;
	sort->keys_size = layout->nfilters * sizeof(uint64);
	size = VARHDRSZ + sizeof(RowHead) + sort->codes_size + sort->keys_size +
		layout->tape_record;
	sort->packed = palloc0(size);
	SET_VARSIZE(sort->packed, size);
	sort->put_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	sort->get_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	sort->state = tuplesort_begin_heap(desc, 1, &key, &less, &collation,
									   &nulls_first, kbytes, coordinate,
									   TUPLESORT_NONE);
	return sort;
}

static int64
row_key(uint32 list, const ItemPointerData *tid)
{
	uint64		key = (uint64) list << 48 |
	(uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16 |
	ItemPointerGetOffsetNumberNoCheck(tid);

	/* as int8 it must sort as it does without a sign */
	return (int64) (key ^ (UINT64CONST(1) << 63));
}

static void
row_key_split(int64 sorted, uint32 *list, ItemPointer tid)
{
	uint64		key = (uint64) sorted ^ (UINT64CONST(1) << 63);

	*list = (uint32) (key >> 48);
	ItemPointerSet(tid, (BlockNumber) (key >> 16), (OffsetNumber) key);
}

void
row_sort_put(RowSort *sort, uint32 list, const IvfRow *row)
{
	RowHead		head = {row->t, row->f, row->distance2, row->keys.nulls};
	char	   *at = VARDATA(sort->packed);
	int			nsub = sort->layout.nsub;

	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	for (int i = 0; i < nsub; i += 2)
		at[i / 2] = (char) (row->codes[i] |
							(i + 1 < nsub ? row->codes[i + 1] << 4 : 0));
	at += sort->codes_size;
	memcpy(at, row->keys.keys, sort->keys_size);
	at += sort->keys_size;
	if (sort->layout.tape_record > 0)
		memcpy(at, row->record, sort->layout.tape_record);

	ExecClearTuple(sort->put_slot);
	sort->put_slot->tts_values[0] = Int64GetDatum(row_key(list, &row->tid));
	sort->put_slot->tts_values[1] = PointerGetDatum(sort->packed);
	sort->put_slot->tts_isnull[0] = sort->put_slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(sort->put_slot);
	tuplesort_puttupleslot(sort->state, sort->put_slot);
}

void
row_sort_perform(RowSort *sort)
{
	tuplesort_performsort(sort->state);
}

bool
row_sort_get(RowSort *sort, uint32 *list, IvfRow *row)
{
	RowHead		head;
	const char *at;
	int			nsub = sort->layout.nsub;

	if (!tuplesort_gettupleslot(sort->state, true, false, sort->get_slot, NULL))
		return false;
	slot_getallattrs(sort->get_slot);
	row_key_split(DatumGetInt64(sort->get_slot->tts_values[0]), list,
				  &row->tid);
	/* the header may have become a short one */
	at = VARDATA_ANY(DatumGetPointer(sort->get_slot->tts_values[1]));
	memcpy(&head, at, sizeof(head));
	row->t = head.t;
	row->f = head.f;
	row->distance2 = head.distance2;
	row->keys.nulls = head.nulls;
	at += sizeof(head);
	for (int i = 0; i < nsub; i++)
		row->codes[i] = ((uint8) at[i / 2] >> (i % 2 * 4)) & 0xF;
	at += sort->codes_size;
	memcpy(row->keys.keys, at, sort->keys_size);
	at += sort->keys_size;
	if (sort->layout.tape_record > 0)
		memcpy(row->record, at, sort->layout.tape_record);
	return true;
}

void
row_sort_end(RowSort *sort)
{
	tuplesort_end(sort->state);
	ExecDropSingleTupleTableSlot(sort->put_slot);
	ExecDropSingleTupleTableSlot(sort->get_slot);
	pfree(sort->packed);
	pfree(sort);
}
