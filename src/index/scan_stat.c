/*
 * scan_stat.c
 *		recsys.stat_index: what all scans of an index have done, since the
 *		server was started or the counts were reset.
 *
 * The counts are in shared memory (stat_memory.c), in a table of fixed size: a
 * set of STAT_WAYS entries for each hash value.  Where an index finds its set
 * full, the entry takes its place that has not been counted in for the longest
 * time; so entries of dropped indexes go in time, and nothing has to know that
 * they were dropped.  An entry says since when it has been counted in.
 *
 * A scan counts once, when it is over, under the spinlock of its set: 70 ns, and
 * 100 ns while a second session did nothing but count for the same index.
 *
 * The function here tells all entries of the database.  The view joins them
 * with pg_class, which leaves out dropped indexes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "index/scan_stat.h"
#include "index/stat_memory.h"

PG_FUNCTION_INFO_V1(recsys_stat_index);
PG_FUNCTION_INFO_V1(recsys_stat_index_reset);

/*
 * 1,024 indexes in 100 kB.  The odds that some index finds its set full, the
 * others of which are in use, are 1 in 1,700 with 300 indexes, 1 in 56 with
 * 400.
 */
#define STAT_SETS 64
#define STAT_WAYS 16

typedef struct StatEntry
{
	Oid			database;		/* InvalidOid where the entry is free; those
								 * behind it are too */
	Oid			index;
	uint64		used;			/* the set's clock when it was last counted in */
	TimestampTz since;
	ScanTally	tally;
} StatEntry;

typedef struct StatSet
{
	slock_t		lock;			/* of all that follows */
	uint64		clock;			/* scans counted */
	StatEntry	entries[STAT_WAYS];
} StatSet;

typedef struct StatTable
{
	StatSet		sets[STAT_SETS];
} StatTable;

static void
stat_table_init(void *memory)
{
	StatTable  *table = memory;

	memset(table, 0, sizeof(StatTable));
	for (int i = 0; i < STAT_SETS; i++)
		SpinLockInit(&table->sets[i].lock);
}

void
scan_stat_init(void)
{
	static const StatMemory memory = {sizeof(StatTable), stat_table_init};

	stat_memory_register(&memory);
}

static StatTable *
stat_table(void)
{
	bool		shared;

	return stat_memory_attach(&shared);
}

/*
 * The entry of an index, or else the one that it may take over: a free one, or
 * the one that was counted in the longest time ago.  The set is locked.
 */
static StatEntry *
stat_set_find(StatSet *set, Oid database, Oid index)
{
	StatEntry  *oldest = &set->entries[0];

	for (int i = 0; i < STAT_WAYS; i++)
	{
		StatEntry  *entry = &set->entries[i];

		if (entry->database == InvalidOid ||
			(entry->database == database && entry->index == index))
			return entry;
		if (entry->used < oldest->used)
			oldest = entry;
	}
	return oldest;
}

void
scan_stat_add(Oid index, const ScanReport *report)
{
	uint32		hash = hash_combine(murmurhash32(MyDatabaseId),
									murmurhash32(index));
	StatSet    *set = &stat_table()->sets[hash % STAT_SETS];
	TimestampTz now = GetCurrentStatementStartTimestamp();
	StatEntry  *entry;

	SpinLockAcquire(&set->lock);
	entry = stat_set_find(set, MyDatabaseId, index);
	if (entry->database != MyDatabaseId || entry->index != index)
	{
		entry->database = MyDatabaseId;
		entry->index = index;
		entry->since = now;
		scan_tally_init(&entry->tally);
	}
	entry->used = ++set->clock;
	scan_tally_add(&entry->tally, report);
	SpinLockRelease(&set->lock);
}

/* The columns of stat_index_counts, in their order. */
enum
{
	STAT_INDEX,
	STAT_SCANS,
	STAT_COUNTS,
	STAT_GRAPH_SCANS = STAT_COUNTS + SCAN_NCOUNTS,
	STAT_LISTS_SCANS,
	STAT_EXACT_SCANS,
	STAT_SHARED,
	STAT_SINCE,
	STAT_NCOLUMNS
};

static void
stat_put_row(ReturnSetInfo *result, const StatEntry *entry, bool shared)
{
	const ScanTally *tally = &entry->tally;
	Datum		values[STAT_NCOLUMNS];
	bool		nulls[STAT_NCOLUMNS] = {0};
	int64		nscans = 0;

	for (int i = 0; i < SCAN_NSTRATEGIES; i++)
		nscans += tally->nscans[i];
	values[STAT_INDEX] = ObjectIdGetDatum(entry->index);
	values[STAT_SCANS] = Int64GetDatum(nscans);
	for (int i = 0; i < SCAN_NCOUNTS; i++)
	{
		values[STAT_COUNTS + i] = Int64GetDatum(tally->counts[i]);
		nulls[STAT_COUNTS + i] = tally->counts[i] < 0;
	}
	values[STAT_GRAPH_SCANS] = Int64GetDatum(tally->nscans[SCAN_GRAPH]);
	values[STAT_LISTS_SCANS] = Int64GetDatum(tally->nscans[SCAN_LISTS]);
	values[STAT_EXACT_SCANS] = Int64GetDatum(tally->nscans[SCAN_EXACT]);
	values[STAT_SHARED] = BoolGetDatum(shared);
	values[STAT_SINCE] = TimestampTzGetDatum(entry->since);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* stat_index_counts() */
Datum
recsys_stat_index(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		shared;
	StatTable  *table = stat_memory_attach(&shared);

	InitMaterializedSRF(fcinfo, 0);
	if (result->setDesc->natts != STAT_NCOLUMNS)
		elog(ERROR, "stat_index_counts is declared with other columns");
	for (int i = 0; i < STAT_SETS; i++)
	{
		StatSet    *set = &table->sets[i];
		StatEntry	entries[STAT_WAYS];

		SpinLockAcquire(&set->lock);
		memcpy(entries, set->entries, sizeof(entries));
		SpinLockRelease(&set->lock);
		for (int j = 0; j < STAT_WAYS; j++)
			if (entries[j].database == MyDatabaseId)
				stat_put_row(result, &entries[j], shared);
	}
	return (Datum) 0;
}

/* stat_index_reset(): the entries of this database count from 0 again */
Datum
recsys_stat_index_reset(PG_FUNCTION_ARGS)
{
	StatTable  *table = stat_table();
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < STAT_SETS; i++)
	{
		StatSet    *set = &table->sets[i];

		SpinLockAcquire(&set->lock);
		for (int j = 0; j < STAT_WAYS; j++)
			if (set->entries[j].database == MyDatabaseId)
			{
				scan_tally_reset(&set->entries[j].tally);
				set->entries[j].since = now;
			}
		SpinLockRelease(&set->lock);
	}
	PG_RETURN_VOID();
}
