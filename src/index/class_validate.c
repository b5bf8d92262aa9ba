/*
 * class_validate.c
 *		The check of an operator class, which all our access methods share.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_opclass.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

#include "index/class_validate.h"

/* Each class has one ordering operator and the metric function. */
bool
class_validate(Oid opclass, const char *access_method)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass class;
	CatCList   *operators;
	bool		valid = true;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	class = (Form_pg_opclass) GETSTRUCT(tuple);
	operators = SearchSysCacheList1(AMOPSTRATEGY,
									ObjectIdGetDatum(class->opcfamily));
	for (int i = 0; i < operators->n_members; i++)
	{
		Form_pg_amop amop = (Form_pg_amop)
		GETSTRUCT(&operators->members[i]->tuple);

		if (amop->amopstrategy != 1 || amop->amoppurpose != AMOP_ORDER)
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator class \"%s\" of access method %s has operator %u that is no distance",
							NameStr(class->opcname), access_method, amop->amopopr)));
			valid = false;
		}
	}
	ReleaseCatCacheList(operators);
	ReleaseSysCache(tuple);
	return valid;
}
