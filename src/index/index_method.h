/*
 * index_method.h
 *		Our access methods, for functions that work with any of them.
 */
#ifndef RECSYS_INDEX_METHOD_H
#define RECSYS_INDEX_METHOD_H

#include "access/amapi.h"

#include "index/index_access.h"
#include "index/scan_report.h"

typedef struct IndexMethod
{
	const char *name;
	ambuild_function build;		/* by which an index is known to be its */
	const char *stats_function; /* what tells what an index holds */

	/*
	 * Raise an error at the first fault of an index.  It is open with
	 * INDEX_RIGHT_MAINTAIN; on the table and the index is a ShareLock, on a
	 * standby an AccessShareLock.
	 */
	void		(*check) (const IndexAccess *access);

	/*
	 * What a scan has done since it began or last began anew; false before
	 * its first row was asked for.  What it did before then is the ScanTally
	 * that scan->opaque begins with.
	 */
	bool		(*report) (IndexScanDesc scan, ScanReport *report);
} IndexMethod;

/* Called once for each method when the library is loaded; *method must stay. */
extern void index_method_register(const IndexMethod *method);

/* The method of an open index, or NULL where it is none of ours. */
extern const IndexMethod *index_method_of(Relation index);

/* Error unless an open index is of the method with that build. */
extern void index_method_expect(Relation index, ambuild_function build);

#endif							/* RECSYS_INDEX_METHOD_H */
