/*
 * class_validate.c
 *		The check of an operator class, which all our access methods share.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_opclass.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "index/class_validate.h"
#include "index/metric.h"

/* Strategies of search operators go up to this; see filter_key.h. */
#define MAX_SEARCH_STRATEGY 7

/*
 * A class of vectors has one ordering operator and the metric function; one of
 * filter columns has search operators alone.
 */
bool
class_validate(Oid opclass, const char *access_method)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass class;
	CatCList   *operators;
	bool		valid = true;
	bool		ranks;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	class = (Form_pg_opclass) GETSTRUCT(tuple);
	ranks = OidIsValid(get_opfamily_proc(class->opcfamily, class->opcintype,
										 class->opcintype, METRIC_PROC));
	operators = SearchSysCacheList1(AMOPSTRATEGY,
									ObjectIdGetDatum(class->opcfamily));
	for (int i = 0; i < operators->n_members; i++)
	{
		Form_pg_amop amop = (Form_pg_amop)
		GETSTRUCT(&operators->members[i]->tuple);

		if (ranks ? amop->amopstrategy != 1 || amop->amoppurpose != AMOP_ORDER :
			amop->amopstrategy > MAX_SEARCH_STRATEGY ||
			amop->amoppurpose != AMOP_SEARCH)
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator class \"%s\" of access method %s has operator %u that is no %s",
							NameStr(class->opcname), access_method, amop->amopopr,
							ranks ? "distance" : "comparison")));
			valid = false;
		}
	}
	ReleaseCatCacheList(operators);
	ReleaseSysCache(tuple);
	return valid;
}
