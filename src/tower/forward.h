/*
 * forward.h
 *		Running a tower, and its golden rows.
 */
#ifndef RECSYS_FORWARD_H
#define RECSYS_FORWARD_H

#include "tower/tower.h"

/* The most rows that run together. */
#define FORWARD_MAX_ROWS 64

extern void batch_init(Batch *batch, const Tower *tower, int rows);
extern void forward_run(Batch *batch);

extern JsonTree *golden_parse(const char *text, const JsonTree *towers);
extern double golden_check(const Tower *tower, const JsonTree *rows,
						   bool enforce);

#endif							/* RECSYS_FORWARD_H */
