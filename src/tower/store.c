/*
 * store.c
 *		The tables that hold models, and who may do what with a model.
 *
 * The tables are read and written as the server does with its own catalogs:
 * by index scans and single-row changes, without SQL, so that no search path
 * and no privilege on the tables comes into it.  A change of a model locks
 * its name until the end of the transaction (store_lock_model), and tells all
 * backends through the relation cache of recsys.model, whose row is rewritten
 * by every change: a backend that saw that row knows all that it cached about
 * the model to be current (cache.c).
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "tower/store.h"

#define PART_BYTES (1024 * 1024)

/* Columns of the tables, as in sql/install/30_tower.sql. */
enum
{
	MODEL_ID = 1, MODEL_NAME, MODEL_OWNER, MODEL_GRANTEES, MODEL_ACTIVE,
	MODEL_LATEST, MODEL_NATTS = MODEL_LATEST
};
enum
{
	VERSION_MODEL = 1, VERSION_VERSION, VERSION_FILE, VERSION_BYTES,
	VERSION_TOWERS, VERSION_BY, VERSION_AT, VERSION_NATTS = VERSION_AT
};
enum
{
	PART_FILE = 1, PART_PART, PART_DATA, PART_NATTS = PART_DATA
};

/* Names */

static void
bad_model_name(const char *text, Size length)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("model name \"%.*s\" is not valid",
					pg_mbcliplen(text, length, 200), text),
			 errhint("A model is named as model[/tower][@version], with names of 1 to %d bytes.",
					 MODEL_NAME_MAX)));
}

/* Parse model[/tower][@version], of at most MODEL_REF_MAX - 1 bytes. */
void
model_ref_parse(ModelRef *ref, const char *text, Size length)
{
	const char *end = text +length;
	const char *at = memchr(text, '@', length);
	const char *slash = memchr(text, '/', length);

	memset(ref, 0, sizeof(*ref));
	if (length >= MODEL_REF_MAX)
		bad_model_name(text, length);
	if (at)
	{
		int64		version = 0;

		for (const char *p = at + 1; p < end && version <= PG_INT32_MAX; p++)
			version = *p >= '0' && *p <= '9' ? version * 10 + (*p - '0') :
				(int64) PG_INT32_MAX + 1;
		if (version < 1 || version > PG_INT32_MAX)
			bad_model_name(text, length);
		ref->version = version;
		end = at;
	}
	if (slash && slash < end)
	{
		if (!model_name_valid(slash + 1, end - slash - 1))
			bad_model_name(text, length);
		memcpy(ref->tower, slash + 1, end - slash - 1);
		end = slash;
	}
	if (!model_name_valid(text, end - text))
		bad_model_name(text, length);
	memcpy(ref->model, text, end - text);
}

/* Privileges */

static bool
has_role(const NameData *role)
{
	Oid			oid = get_role_oid(NameStr(*role), true);

	return OidIsValid(oid) && has_privs_of_role(GetUserId(), oid);
}

/* May the current user embed with the model? */
bool
model_may_use(const ModelRow *row)
{
	if (superuser() || has_role(&row->owner))
		return true;
	for (int i = 0; i < row->ngrantees; i++)
	{
		if (strcmp(NameStr(row->grantees[i]), "public") == 0 ||
			has_role(&row->grantees[i]))
			return true;
	}
	return false;
}

void
model_check_use(const ModelRow *row)
{
	if (!model_may_use(row))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for model \"%s\"", row->name),
				 errhint("Its owner can call recsys.grant_model.")));
}

void
model_check_own(const ModelRow *row)
{
	if (!superuser() && !has_role(&row->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of model \"%s\"", row->name)));
}

/* Tables */

static Oid
store_relation(const char *name)
{
	Oid			oid = get_relname_relid(name,
										get_namespace_oid("recsys", false));

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"recsys.%s\" does not exist", name),
				 errhint("Is the extension recsys installed in this database?")));
	return oid;
}

Oid
store_model_table(void)
{
	return store_relation("model");
}

int64
store_next_id(void)
{
	return nextval_internal(store_relation("model_id_seq"), false);
}

/*
 * Keep others from changing the model of that name, be it there or not, until
 * the end of the transaction.
 */
void
store_lock_model(const char *name)
{
	LockDatabaseObject(store_model_table(),
					   hash_bytes((const unsigned char *) name, strlen(name)),
					   0, ExclusiveLock);
}

static void
model_row_read(Relation table, HeapTuple tuple, ModelRow *row)
{
	Datum		values[MODEL_NATTS];
	bool		nulls[MODEL_NATTS];
	Datum	   *grantees;
	char	   *name;

	heap_deform_tuple(tuple, RelationGetDescr(table), values, nulls);
	row->id = DatumGetInt64(values[MODEL_ID - 1]);
	name = TextDatumGetCString(values[MODEL_NAME - 1]);
	strlcpy(row->name, name, sizeof(row->name));
	row->owner = *DatumGetName(values[MODEL_OWNER - 1]);
	deconstruct_array(DatumGetArrayTypeP(values[MODEL_GRANTEES - 1]), NAMEOID,
					  NAMEDATALEN, false, TYPALIGN_CHAR, &grantees, NULL,
					  &row->ngrantees);
	row->grantees = palloc(sizeof(NameData) * Max(row->ngrantees, 1));
	for (int i = 0; i < row->ngrantees; i++)
		row->grantees[i] = *DatumGetName(grantees[i]);
	row->active = nulls[MODEL_ACTIVE - 1] ? 0 :
		DatumGetInt32(values[MODEL_ACTIVE - 1]);
	row->latest = DatumGetInt32(values[MODEL_LATEST - 1]);
	row->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	row->tid = tuple->t_self;
}

/*
 * Find a model by name.  snapshot NULL: the newest committed state.  Pointers
 * of the row are in the current memory context.
 */
bool
store_find_model(const char *name, Snapshot snapshot, ModelRow *row)
{
	Relation	table = table_open(store_model_table(), AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, MODEL_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	scan = systable_beginscan(table, store_relation("model_name_key"), true,
							  snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		model_row_read(table, tuple, row);
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/* The same, with an error if there is no such model. */
void
store_get_model(const char *name, Snapshot snapshot, ModelRow *row)
{
	if (!store_find_model(name, snapshot, row))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", name),
				 errhint("The view recsys.models lists the models.")));
}

/*
 * A version of a model; 0 is the active one.  An error if there is none.
 */
void
store_get_version(const ModelRow *model, int32 version, Snapshot snapshot,
				  VersionRow *row)
{
	Relation	table = table_open(store_relation("model_version"),
								   AccessShareLock);
	int32		wanted = version ? version : model->active;
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;

	if (wanted == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no active version", model->name),
				 errhint("Choose one with recsys.set_active.")));
	ScanKeyInit(&keys[0], VERSION_MODEL, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(model->id));
	ScanKeyInit(&keys[1], VERSION_VERSION, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(wanted));
	scan = systable_beginscan(table, store_relation("model_version_pkey"),
							  true, snapshot, 2, keys);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" has no version %d", model->name,
						wanted)));
	else
	{
		Datum		values[VERSION_NATTS];
		bool		nulls[VERSION_NATTS];

		heap_deform_tuple(tuple, RelationGetDescr(table), values, nulls);
		row->model = model->id;
		row->version = wanted;
		row->file = DatumGetInt64(values[VERSION_FILE - 1]);
		row->bytes = DatumGetInt64(values[VERSION_BYTES - 1]);
		row->tid = tuple->t_self;
	}
	systable_endscan(scan);
	table_close(table, AccessShareLock);
}

/* Insert a row, or replace the one at tid. */
static void
store_put(Relation table, Datum *values, bool *nulls,
		  const ItemPointerData *tid)
{
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(table), values,
										nulls);
	ItemPointerData old;

	if (tid == NULL)
		CatalogTupleInsert(table, tuple);
	else
	{
		old = *tid;
		CatalogTupleUpdate(table, &old, tuple);
	}
	heap_freetuple(tuple);
}

static void
model_put(const ModelRow *row, const ItemPointerData *tid)
{
	Relation	table = table_open(store_model_table(), RowExclusiveLock);
	Datum		values[MODEL_NATTS];
	bool		nulls[MODEL_NATTS] = {0};
	Datum	   *grantees = palloc(sizeof(Datum) * Max(row->ngrantees, 1));

	for (int i = 0; i < row->ngrantees; i++)
		grantees[i] = NameGetDatum(&row->grantees[i]);
	values[MODEL_ID - 1] = Int64GetDatum(row->id);
	values[MODEL_NAME - 1] = CStringGetTextDatum(row->name);
	values[MODEL_OWNER - 1] = NameGetDatum(&row->owner);
	values[MODEL_GRANTEES - 1] =
		PointerGetDatum(construct_array(grantees, row->ngrantees, NAMEOID,
										NAMEDATALEN, false, TYPALIGN_CHAR));
	values[MODEL_ACTIVE - 1] = Int32GetDatum(row->active);
	nulls[MODEL_ACTIVE - 1] = row->active == 0;
	values[MODEL_LATEST - 1] = Int32GetDatum(row->latest);
	store_put(table, values, nulls, tid);
	CacheInvalidateRelcacheByRelid(RelationGetRelid(table));
	table_close(table, RowExclusiveLock);
	CommandCounterIncrement();
}

/* Insert a model, giving it an id. */
void
store_insert_model(ModelRow *row)
{
	row->id = store_next_id();
	model_put(row, NULL);
}

/* Replace a model's row, at row->tid; the caller holds the name's lock. */
void
store_update_model(const ModelRow *row)
{
	model_put(row, &row->tid);
}

static void
store_delete_parts(int64 file)
{
	Relation	table = table_open(store_relation("model_part"),
								   RowExclusiveLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, PART_FILE, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(file));
	scan = systable_beginscan(table, store_relation("model_part_pkey"), true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleDelete(table, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(table, RowExclusiveLock);
}

static void
store_delete_row(const char *table_name, const ItemPointerData *tid)
{
	Relation	table = table_open(store_relation(table_name),
								   RowExclusiveLock);
	ItemPointerData old = *tid;

	CatalogTupleDelete(table, &old);
	if (strcmp(table_name, "model") == 0)
		CacheInvalidateRelcacheByRelid(RelationGetRelid(table));
	table_close(table, RowExclusiveLock);
	CommandCounterIncrement();
}

/* Delete a version and its file. */
void
store_delete_version(const VersionRow *row)
{
	store_delete_parts(row->file);
	store_delete_row("model_version", &row->tid);
}

/* Delete a model with all its versions. */
void
store_delete_model(const ModelRow *row)
{
	Relation	table = table_open(store_relation("model_version"),
								   RowExclusiveLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, VERSION_MODEL, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(row->id));
	scan = systable_beginscan(table, store_relation("model_version_pkey"),
							  true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		file = heap_getattr(tuple, VERSION_FILE,
										RelationGetDescr(table), &isnull);

		store_delete_parts(DatumGetInt64(file));
		CatalogTupleDelete(table, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(table, RowExclusiveLock);
	store_delete_row("model", &row->tid);
}

static void
store_insert_parts(const VersionRow *row, const char *bytes)
{
	Relation	table = table_open(store_relation("model_part"),
								   RowExclusiveLock);
	bool		nulls[PART_NATTS] = {0};
	bytea	   *data = palloc(VARHDRSZ + PART_BYTES);

	for (int64 offset = 0; offset < row->bytes; offset += PART_BYTES)
	{
		int			n = Min(PART_BYTES, row->bytes - offset);
		Datum		values[PART_NATTS];

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(data, VARHDRSZ + n);
		memcpy(VARDATA(data), bytes + offset, n);
		values[PART_FILE - 1] = Int64GetDatum(row->file);
		values[PART_PART - 1] = Int32GetDatum(offset / PART_BYTES);
		values[PART_DATA - 1] = PointerGetDatum(data);
		store_put(table, values, nulls, NULL);
	}
	pfree(data);
	table_close(table, RowExclusiveLock);
}

/*
 * Insert a version with its file's bytes.  towers: what the views show of
 * them, JSON.
 */
void
store_insert_version(const VersionRow *row, const char *towers,
					 const char *bytes)
{
	Relation	table = table_open(store_relation("model_version"),
								   RowExclusiveLock);
	Datum		values[VERSION_NATTS];
	bool		nulls[VERSION_NATTS] = {0};
	NameData	by;

	namestrcpy(&by, GetUserNameFromId(GetUserId(), false));
	values[VERSION_MODEL - 1] = Int64GetDatum(row->model);
	values[VERSION_VERSION - 1] = Int32GetDatum(row->version);
	values[VERSION_FILE - 1] = Int64GetDatum(row->file);
	values[VERSION_BYTES - 1] = Int64GetDatum(row->bytes);
	values[VERSION_TOWERS - 1] = DirectFunctionCall1(jsonb_in,
													 CStringGetDatum(towers));
	values[VERSION_BY - 1] = NameGetDatum(&by);
	values[VERSION_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	store_put(table, values, nulls, NULL);
	table_close(table, RowExclusiveLock);
	store_insert_parts(row, bytes);
	CommandCounterIncrement();
}

/* Files */

/* Read n bytes of a part, from within on. */
static void
part_read_within(const PartSource *source, Relation parts, int64 number,
				 Size within, char *bytes, Size n)
{
	int64		size = Min(PART_BYTES,
						   (int64) source->base.size - number * PART_BYTES);
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	Datum		data = (Datum) 0;
	bool		isnull = true;

	ScanKeyInit(&keys[0], PART_FILE, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(source->file));
	ScanKeyInit(&keys[1], PART_PART, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(number));
	scan = systable_beginscan(parts, store_relation("model_part_pkey"), true,
							  GetActiveSnapshot(), 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		data = heap_getattr(tuple, PART_DATA, RelationGetDescr(parts),
							&isnull);
	if (isnull || toast_raw_datum_size(data) - VARHDRSZ != size)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("part " INT64_FORMAT " of a stored model file is missing or has a wrong size",
						number),
				 errdetail("The file is " INT64_FORMAT " in recsys.model_part.",
						   source->file)));
	else
	{
		bytea	   *slice = DatumGetByteaPSlice(data, within, n);

		memcpy(bytes, VARDATA_ANY(slice), n);
		pfree(slice);
	}
	systable_endscan(scan);
}

static void
part_read(ByteSource *base, uint64 offset, void *bytes, Size length)
{
	PartSource *source = (PartSource *) base;
	Relation	parts = table_open(store_relation("model_part"),
								   AccessShareLock);
	char	   *to = bytes;

	while (length > 0)
	{
		Size		within = offset % PART_BYTES;
		Size		n = Min(length, PART_BYTES - within);

		part_read_within(source, parts, offset / PART_BYTES, within, to, n);
		to += n;
		offset += n;
		length -= n;
	}
	table_close(parts, AccessShareLock);
}

/*
 * A version's file, for reading.  Each read finds its bytes by the active
 * snapshot, which must see the version.
 */
void
part_source_init(PartSource *source, const VersionRow *row)
{
	source->base.size = row->bytes;
	source->base.lasts = true;
	source->base.read = part_read;
	source->file = row->file;
}
