/*
 * scan_explain.h
 *		What EXPLAIN ANALYZE tells of our index scans.
 */
#ifndef RECSYS_SCAN_EXPLAIN_H
#define RECSYS_SCAN_EXPLAIN_H

/* Called when the library is loaded. */
extern void scan_explain_init(void);

#endif							/* RECSYS_SCAN_EXPLAIN_H */
