/*
 * page_stream.h
 *		Pages in an order that is known some way ahead, read ahead of their use.
 *
 * Pages that are in shared buffers for all we know are read from there.  The
 * others go through the server's read stream from PostgreSQL 17 on; before, they
 * are announced to the kernel as the tablespace's io concurrency allows.
 */
#ifndef RECSYS_PAGE_STREAM_H
#define RECSYS_PAGE_STREAM_H

#include "storage/bufmgr.h"
#include "utils/relcache.h"

typedef struct PageStream PageStream;

/* The next block to read, or InvalidBlockNumber at the end. */
typedef BlockNumber (*PageStreamNext) (void *arg);

extern PageStream *page_stream_begin(Relation rel, PageStreamNext next,
									 void *arg);

/* The next page, pinned and not locked; InvalidBuffer at the end. */
extern Buffer page_stream_next(PageStream *stream);
extern void page_stream_end(PageStream *stream);

#endif							/* RECSYS_PAGE_STREAM_H */
