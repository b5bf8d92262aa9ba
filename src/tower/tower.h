/*
 * tower.h
 *		A parsed tower, and the values that flow through it.
 *
 * Features and node outputs are wires.  A wire's kind and width are known
 * when the tower is built, so running it checks no shape; what depends on a
 * row (the length of a list) is checked as it runs.
 */
#ifndef RECSYS_TOWER_H
#define RECSYS_TOWER_H

#include "tower/jsontree.h"

typedef enum WireKind
{
	WIRE_INT,
	WIRE_FLOAT,
	WIRE_TEXT,
	WIRE_INDEX,					/* of a lookup, in [0, size) */
	WIRE_VECTOR
} WireKind;

typedef struct Wire
{
	const char *name;
	WireKind	kind;
	bool		list;			/* any number of values; never of vectors */
	bool		nulls;			/* a list's elements may be NULL */
	int64		size;			/* of WIRE_INDEX: the bound of its values */
	int			width;			/* of WIRE_VECTOR */
	Size		offset;			/* of WIRE_VECTOR: its place in the arena, in
								 * floats for one row */
	int			vector;			/* the wire with this scalar as a vector, or
								 * -1 */
} Wire;

typedef struct TextRef
{
	const char *data;			/* in the server's encoding, not terminated */
	int			length;
} TextRef;

/* The value of a wire in one row; vectors are in the arena instead. */
typedef struct Value
{
	int			n;				/* 1, or the length of a list */
	int64	   *ints;			/* WIRE_INT, WIRE_INDEX */
	double	   *floats;			/* WIRE_FLOAT */
	TextRef    *texts;			/* WIRE_TEXT */
	bool	   *nulls;			/* which elements are NULL, or NULL */
	union
	{
		int64		integer;
		double		number;
		TextRef text;
	}			one;			/* room for a scalar */
} Value;

typedef struct TowerNode
{
	const char *name;			/* of its output */
	const struct OpDef *op;
	int			ninputs;
	int		   *inputs;			/* wires */
	int			output;			/* wire */
	void	   *params;			/* the op's own */
} TowerNode;

/* What a NULL inside an array stands for. */
typedef enum NullElements
{
	NULL_ELEMENTS_ERROR,
	NULL_ELEMENTS_PADDING,
	NULL_ELEMENTS_ZERO
} NullElements;

typedef struct FeatureType
{
	const char *name;
	WireKind	kind;
	bool		list;
	int			accepts;		/* features.c: kinds of columns and JSON */
} FeatureType;

typedef struct Feature
{
	const char *name;
	const FeatureType *type;
	int			wire;
	int			dim;			/* of a vector */
	NullElements null_elements;
	bool		has_default;
	Value		fallback;		/* the default */
	float	   *fallback_vector;	/* of a vector */
} Feature;

typedef struct Tower
{
	const char *name;
	int			nfeatures;
	Feature    *features;		/* in the byte order of their names */
	int			nignored;
	const char **ignored;
	int			nwires;
	Wire	   *wires;
	int			nnodes;
	TowerNode  *nodes;
	int			output;			/* wire */
	int			width;			/* of the output */
	Size		arena;			/* floats for one row */
	double		tolerance;		/* of the golden rows */
} Tower;

/* Rows that run through a tower together. */
typedef struct Batch
{
	const Tower *tower;
	int			rows;
	int			at;				/* the row at work, for errors; -1: all */
	Value	   *values;			/* [wire][row] */
	float	   *arena;			/* for each vector wire, [row][width] */
} Batch;

static inline Value *
batch_value(const Batch *batch, int wire, int row)
{
	return &batch->values[(Size) wire * batch->rows + row];
}

static inline float *
batch_vector(const Batch *batch, int wire, int row)
{
	const Wire *w = &batch->tower->wires[wire];

	return batch->arena + w->offset * batch->rows + (Size) w->width * row;
}

#endif							/* RECSYS_TOWER_H */
