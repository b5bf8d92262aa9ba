/*
 * index_method.c
 *		Our access methods, and recsys.check_index, which works for all.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "index/index_method.h"

PG_FUNCTION_INFO_V1(recsys_check_index);

#define MAX_METHODS 4

static const IndexMethod *methods[MAX_METHODS];
static int	nmethods;

void
index_method_register(const IndexMethod *method)
{
	if (nmethods == MAX_METHODS)
		elog(ERROR, "too many access methods");
	methods[nmethods++] = method;
}

static const IndexMethod *
index_method_by_build(ambuild_function build)
{
	for (int i = 0; i < nmethods; i++)
		if (build == methods[i]->build)
			return methods[i];
	return NULL;
}

const IndexMethod *
index_method_of(Relation index)
{
	return index_method_by_build(index->rd_indam->ambuild);
}

void
index_method_expect(Relation index, ambuild_function build)
{
	const IndexMethod *method = index_method_of(index);

	if (method != NULL && method->build == build)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not an index of access method %s",
					RelationGetRelationName(index),
					index_method_by_build(build)->name),
			 method == NULL ? 0 : errhint("Use %s.", method->stats_function)));
}

/* The methods' names, joined by "or". */
static char *
index_method_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < nmethods; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? " or " : "",
						 methods[i]->name);
	return names.data;
}

/* check_index(index regclass) */
Datum
recsys_check_index(PG_FUNCTION_ARGS)
{
	IndexAccess access;
	const IndexMethod *method;

	index_access_open(&access, PG_GETARG_OID(0), INDEX_RIGHT_MAINTAIN,
					  RecoveryInProgress() ? AccessShareLock : ShareLock);
	method = index_method_of(access.index);
	if (method == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an index of access method %s",
						RelationGetRelationName(access.index),
						index_method_names())));
	method->check(&access);
	index_access_close(&access);
	PG_RETURN_VOID();
}
