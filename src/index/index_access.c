/*
 * index_access.c
 *		Open an index for looking in: rights, locks, whose functions run.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/compat.h"
#include "index/index_access.h"

/* The table of an index; error where the relation is no index that is stored. */
static Oid
index_access_table(Oid index_oid)
{
	char		relkind = get_rel_relkind(index_oid);

	if (relkind == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u does not exist", index_oid)));
	if (relkind == RELKIND_PARTITIONED_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is an index of a partitioned table and holds no rows",
						get_rel_name(index_oid)),
				 errhint("Name the indexes of its partitions.")));
	if (relkind != RELKIND_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an index", get_rel_name(index_oid))));
	return IndexGetRelation(index_oid, false);
}

/*
 * May the caller read all rows of the table?  Row-level security cannot be
 * applied to what an index holds, so where it would hide rows he may not.
 */
static bool
index_access_sees_rows(Oid table)
{
	return pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(table, InvalidOid, true) != RLS_ENABLED;
}

static void
index_access_check_right(Oid table, IndexRight right)
{
	bool		allowed = compat_may_maintain(table);
	AclResult	select = pg_class_aclcheck(table, GetUserId(), ACL_SELECT);

	if (right == INDEX_RIGHT_STATS)
		allowed |= has_privs_of_role(GetUserId(), ROLE_PG_STAT_SCAN_TABLES);
	if (right == INDEX_RIGHT_READ)
		allowed = select == ACLCHECK_OK;
	if (right == INDEX_RIGHT_STATS)
		allowed |= select == ACLCHECK_OK;
	if (!allowed)
		aclcheck_error(right == INDEX_RIGHT_MAINTAIN ?
					   ACLCHECK_NOT_OWNER : ACLCHECK_NO_PRIV,
					   OBJECT_TABLE, get_rel_name(table));
	if (right == INDEX_RIGHT_READ && !index_access_sees_rows(table))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security of table \"%s\" applies to the current user",
						get_rel_name(table)),
				 errhint("Ask the owner of the table, or a role with BYPASSRLS.")));
}

/* Error unless the storage of an open index can be read. */
static void
index_access_check_storage(Relation index)
{
	if (RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" belongs to a temporary table of another session",
						RelationGetRelationName(index))));
	if (!index->rd_index->indisvalid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not valid",
						RelationGetRelationName(index)),
				 errhint("REINDEX the index, or wait until it has been built.")));
	if (RecoveryInProgress() && !RelationIsPermanent(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("unlogged index \"%s\" has no contents on a standby",
						RelationGetRelationName(index))));
}

/* A table or an index, unless it has been dropped while we waited for the lock. */
static Relation
index_access_relation(Oid oid, Oid index_oid, LOCKMODE lockmode)
{
	Relation	rel = try_relation_open(oid, lockmode);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u has been dropped", index_oid)));
	return rel;
}

void
index_access_open(IndexAccess *access, Oid index_oid, IndexRight right,
				  LOCKMODE lockmode)
{
	Oid			table = index_access_table(index_oid);

	index_access_check_right(table, right);
	access->sees_rows = index_access_sees_rows(table);

	/* the table first, as everywhere, or there could be a deadlock */
	access->lockmode = lockmode;
	access->heap = index_access_relation(table, index_oid, lockmode);
	GetUserIdAndSecContext(&access->save_userid, &access->save_sec_context);
	SetUserIdAndSecContext(access->heap->rd_rel->relowner,
						   access->save_sec_context |
						   SECURITY_RESTRICTED_OPERATION);
	access->save_nestlevel = NewGUCNestLevel();
	compat_restrict_search_path();
	access->index = index_access_relation(index_oid, index_oid, lockmode);

	/* the name may have gone to another index while we waited */
	if (access->index->rd_index->indrelid != table)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u has been dropped", index_oid)));
	index_access_check_storage(access->index);
}

/* Close both relations, give up the locks and be the caller again. */
void
index_access_close(IndexAccess *access)
{
	AtEOXact_GUC(false, access->save_nestlevel);
	SetUserIdAndSecContext(access->save_userid, access->save_sec_context);
	index_close(access->index, access->lockmode);
	table_close(access->heap, access->lockmode);
}
