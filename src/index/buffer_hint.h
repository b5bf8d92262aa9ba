/*
 * buffer_hint.h
 *		Where this backend last saw a page in shared buffers.
 *
 * A scan reads pages in no order, and finding a page in the buffer manager's
 * hash table costs more than working on it.  A hint says in which buffer the
 * page was; the server checks that it still is there (ReadRecentBuffer).
 */
#ifndef RECSYS_BUFFER_HINT_H
#define RECSYS_BUFFER_HINT_H

#include "storage/bufmgr.h"
#include "utils/relcache.h"

/* As ReadBuffer for the main fork. */
extern Buffer buffer_hint_read(Relation rel, BlockNumber block);

/* Remember where a page is that is pinned, and was not read by the above. */
extern void buffer_hint_note(Relation rel, Buffer buffer);

/*
 * The address of a page that is probably in a buffer, or NULL.  Without a pin
 * it may be another page by now: good for prefetching and for nothing else.  The
 * buffer's descriptor, which reading the page begins with, is prefetched here.
 */
extern const char *buffer_hint_address(Relation rel, BlockNumber block);

#endif							/* RECSYS_BUFFER_HINT_H */
