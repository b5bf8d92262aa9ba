/*
 * tower_sql.c
 *		The SQL functions of schema recsys that work on models, but for those
 *		that run them on rows (embed_sql.c).
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "tower/cache.h"
#include "tower/forward.h"
#include "tower/store.h"

PG_FUNCTION_INFO_V1(recsys_import_model);
PG_FUNCTION_INFO_V1(recsys_drop_model);
PG_FUNCTION_INFO_V1(recsys_set_active);
PG_FUNCTION_INFO_V1(recsys_verify_model);
PG_FUNCTION_INFO_V1(recsys_grant_model);
PG_FUNCTION_INFO_V1(recsys_revoke_model);
PG_FUNCTION_INFO_V1(recsys_set_model_owner);
PG_FUNCTION_INFO_V1(recsys_has_model_privilege);
PG_FUNCTION_INFO_V1(recsys_model_changed);

/* import */

/*
 * Check a file all through: build its towers and run its golden rows.
 * Returns what the views show of the towers, in the current memory context.
 */
static char *
file_check(const char *bytes, Size size)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "recsys import",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	MemorySource source;
	TensorFile *file;
	JsonTree   *towers;
	JsonTree   *golden = NULL;
	Tower	  **built;
	char	   *summary;

	memory_source_init(&source, bytes, size);
	file = safetensors_open(&source.base);
	towers = spec_towers(file);
	if (file->golden)
		golden = golden_parse(file->golden, towers);
	built = palloc(sizeof(Tower *) * towers->n);
	for (int i = 0; i < towers->n; i++)
	{
		const JsonTree *rows = golden == NULL ? NULL :
		jsontree_get(golden, towers->fields[i].key);

		built[i] = spec_build(file, &towers->fields[i]);
		if (rows)
			(void) golden_check(built[i], rows, true);
	}
	spec_check_used(file);
	summary = MemoryContextStrdup(caller, spec_summary(towers, built));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return summary;
}

/*
 * Parse a function's argument that names a model, and lock it for change.
 * A tower cannot be named, a version only if that is allowed.
 */
static void
lock_argument(ModelRef *ref, text *name, bool version, const char *function)
{
	PreventCommandIfReadOnly(function);
	model_ref_parse(ref, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	if (ref->tower[0])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s/%s\" names a tower, not a model", ref->model,
						ref->tower),
				 errhint("The towers of a bundle are changed together.")));
	if (ref->version && !version)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s@%d\" names a version, not a model", ref->model,
						ref->version)));
	store_lock_model(ref->model);
}

/* The same, for a model that is there and that the current user owns. */
static void
own_argument(ModelRef *ref, ModelRow *row, text *name, bool version,
			 const char *function)
{
	lock_argument(ref, name, version, function);
	store_get_model(ref->model, NULL, row);
	model_check_own(row);
}

/* recsys.import_model(name text, file bytea, activate boolean) returns int */
Datum
recsys_import_model(PG_FUNCTION_ARGS)
{
	bytea	   *file = PG_GETARG_BYTEA_PP(1);
	ModelRow	model = {0};
	VersionRow	version = {0};
	ModelRef	ref;
	char	   *towers;
	bool		found;

	lock_argument(&ref, PG_GETARG_TEXT_PP(0), false, "recsys.import_model()");
	found = store_find_model(ref.model, NULL, &model);
	if (found)
		model_check_own(&model);
	else
	{
		strlcpy(model.name, ref.model, sizeof(model.name));
		namestrcpy(&model.owner, GetUserNameFromId(GetUserId(), false));
	}
	towers = file_check(VARDATA_ANY(file), VARSIZE_ANY_EXHDR(file));
	if (model.latest == PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("model \"%s\" has no version number left",
						model.name)));
	model.latest++;
	if (PG_GETARG_BOOL(2))
		model.active = model.latest;
	if (found)
		store_update_model(&model);
	else
		store_insert_model(&model);
	version.model = model.id;
	version.version = model.latest;
	version.file = store_next_id();
	version.bytes = VARSIZE_ANY_EXHDR(file);
	store_insert_version(&version, towers, VARDATA_ANY(file));
	PG_RETURN_INT32(version.version);
}

/* recsys.drop_model(model text): a model, or one version as model@version */
Datum
recsys_drop_model(PG_FUNCTION_ARGS)
{
	ModelRef	ref;
	ModelRow	model;
	VersionRow	version;

	own_argument(&ref, &model, PG_GETARG_TEXT_PP(0), true,
				 "recsys.drop_model()");
	if (ref.version == 0)
		store_delete_model(&model);
	else
	{
		store_get_version(&model, ref.version, NULL, &version);
		if (ref.version == model.active)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("version %d of model \"%s\" is the active one",
							ref.version, model.name),
					 errhint("Choose another one first, with recsys.set_active, or drop the whole model.")));
		store_delete_version(&version);
		store_update_model(&model);
	}
	PG_RETURN_VOID();
}

/* recsys.set_active(model text, version int) */
Datum
recsys_set_active(PG_FUNCTION_ARGS)
{
	ModelRef	ref;
	ModelRow	model;
	VersionRow	version;
	int32		number = PG_GETARG_INT32(1);

	own_argument(&ref, &model, PG_GETARG_TEXT_PP(0), false,
				 "recsys.set_active()");
	if (number < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is not a version number", number)));
	store_get_version(&model, number, NULL, &version);
	model.active = number;
	store_update_model(&model);
	PG_RETURN_VOID();
}

/*
 * recsys.verify_model(model text) returns float8: the largest absolute error
 * of the golden rows of a model, a version, or one tower; NULL if it has none.
 */
Datum
recsys_verify_model(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	Snapshot	snapshot = GetActiveSnapshot();
	ModelRef	ref;
	ModelRow	model;
	VersionRow	version;
	PartSource	source;
	TensorFile *file;
	JsonTree   *golden;
	double		error = 0.0;
	bool		checked = false;

	model_ref_parse(&ref, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	store_get_model(ref.model, snapshot, &model);
	model_check_use(&model);
	store_get_version(&model, ref.version, snapshot, &version);
	part_source_init(&source, &version);
	file = safetensors_open(&source.base);
	if (file->golden == NULL)
		PG_RETURN_NULL();
	golden = golden_parse(file->golden, spec_towers(file));
	for (int i = 0; i < golden->n; i++)
	{
		const char *tower = golden->fields[i].key;
		char	   *full = psprintf("%s%s%s@%d", ref.model,
									tower[0] ? "/" : "", tower,
									version.version);

		if (ref.tower[0] && strcmp(ref.tower, tower) != 0)
			continue;
		error = Max(error,
					golden_check(cache_get(full, strlen(full))->tower,
								 golden->fields[i].value, false));
		checked = checked || golden->fields[i].value->n > 0;
	}
	if (!checked)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(error);
}

/* privileges */

/* The role must exist, or be public where that is allowed. */
static Oid
role_argument(Name role, bool public)
{
	if (public && strcmp(NameStr(*role), "public") == 0)
		return InvalidOid;
	return get_role_oid(NameStr(*role), false);
}

/* The place of a role among the grantees, or -1. */
static int
grantee_find(const ModelRow *model, const NameData *role)
{
	for (int i = 0; i < model->ngrantees; i++)
	{
		if (strcmp(NameStr(model->grantees[i]), NameStr(*role)) == 0)
			return i;
	}
	return -1;
}

/* recsys.grant_model(model text, role name) */
Datum
recsys_grant_model(PG_FUNCTION_ARGS)
{
	Name		role = PG_GETARG_NAME(1);
	ModelRef	ref;
	ModelRow	model;

	own_argument(&ref, &model, PG_GETARG_TEXT_PP(0), false,
				 "recsys.grant_model()");
	(void) role_argument(role, true);
	if (grantee_find(&model, role) < 0)
	{
		model.grantees = repalloc(model.grantees,
								  sizeof(NameData) * (model.ngrantees + 1));
		model.grantees[model.ngrantees++] = *role;
		store_update_model(&model);
	}
	PG_RETURN_VOID();
}

/* recsys.revoke_model(model text, role name); the role may be gone */
Datum
recsys_revoke_model(PG_FUNCTION_ARGS)
{
	Name		role = PG_GETARG_NAME(1);
	ModelRef	ref;
	ModelRow	model;
	int			place;

	own_argument(&ref, &model, PG_GETARG_TEXT_PP(0), false,
				 "recsys.revoke_model()");
	place = grantee_find(&model, role);
	if (place >= 0)
	{
		model.grantees[place] = model.grantees[--model.ngrantees];
		store_update_model(&model);
	}
	PG_RETURN_VOID();
}

/*
 * recsys.set_model_owner(model text, role name): as ALTER TABLE ... OWNER, to
 * a role that the current user is a member of.
 */
Datum
recsys_set_model_owner(PG_FUNCTION_ARGS)
{
	Name		role = PG_GETARG_NAME(1);
	ModelRef	ref;
	ModelRow	model;

	own_argument(&ref, &model, PG_GETARG_TEXT_PP(0), false,
				 "recsys.set_model_owner()");
	if (!is_member_of_role(GetUserId(), role_argument(role, false)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be a member of role \"%s\"", NameStr(*role))));
	model.owner = *role;
	store_update_model(&model);
	PG_RETURN_VOID();
}

/* recsys.has_model_privilege(model text) returns bool */
Datum
recsys_has_model_privilege(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	ModelRef	ref;
	ModelRow	model;

	model_ref_parse(&ref, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	store_get_model(ref.model, GetActiveSnapshot(), &model);
	PG_RETURN_BOOL(model_may_use(&model));
}

/*
 * Trigger of recsys.model, for each row that somebody else than store.c has
 * written: COPY, logical replication.  What backends have resolved is resolved
 * anew when the transaction has committed (cache.c).
 */
Datum
recsys_model_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "model_changed was not called as a trigger");
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	PG_RETURN_POINTER(NULL);
}
