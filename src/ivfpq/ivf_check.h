/*
 * ivf_check.h
 *		The state of a check_index, and how a fault is reported.
 */
#ifndef RECSYS_IVF_CHECK_H
#define RECSYS_IVF_CHECK_H

#include "index/index_check.h"
#include "index/rotator.h"
#include "ivfpq/ivf_coder.h"
#include "ivfpq/ivf_inspect.h"

typedef struct IvfCheck
{
	IndexCheck	base;
	IvfInspection inspection;	/* seen: pages in a chain, and their tapes */
	IvfModel   *model;
	PGAlignedBlock list;		/* copies of the pages read last */
	PGAlignedBlock tape;
	Rotator    *rotator;		/* the rest is for the table's rows */
	IvfCoder   *coder;
	FilterEncoder *filters;
	float	   *decoded;		/* padded_dim */
	uint8	   *codes;			/* nsub: those that a row has */
	ListCopy	entry;			/* read last; must come last itself */
} IvfCheck;

/* Raise a fault of a slot. */
#define check_fault(check, block, slot, ...) \
	index_check_fault(&(check)->base, (IndexPlace) {(block), (slot)}, \
					  __VA_ARGS__)

/* Read check->entry from the directory. */
extern void ivf_check_read_entry(IvfCheck *check, uint32 list);

/* ivf_check_rows.c */
extern void ivf_check_rows(IvfCheck *check);

#endif							/* RECSYS_IVF_CHECK_H */
