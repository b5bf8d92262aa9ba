/*
 * ivf_tape.h
 *		The finer form of a vector, by which candidates are put into order.
 *
 *		| scale, float4 | err / scale, float16 | 0 | digits ... |
 *
 * sq8 has one int8 digit a dimension, float16 one float16 number; both times
 * scale.  err bounds the distance to the true vector, so that a lower bound of
 * the operator's result follows.  All that depends on the form is in one table.
 */
#ifndef RECSYS_IVF_TAPE_H
#define RECSYS_IVF_TAPE_H

#include "ivfpq/ivf_page.h"

typedef struct TapeRecord
{
	float		scale;
	uint16		err;			/* float16, in multiples of scale */
	uint16		unused;
	char		digits[FLEXIBLE_ARRAY_MEMBER];
} TapeRecord;

StaticAssertDecl(offsetof(TapeRecord, digits) == 8,
				 "TapeRecord is part of the disk format");

extern const char *refine_name(Refine refine);
extern Size tape_record_size(Refine refine, int padded_dim);

/* Write the record of a vector; nothing where there is no tape. */
extern void tape_record_encode(const IvfLayout *layout, const float *x,
							   TapeRecord *record);

/* x[padded_dim] becomes what the record holds. */
extern void tape_record_decode(const IvfLayout *layout,
							   const TapeRecord *record, float *x);

/* At least the distance of the true vector from what the record holds. */
extern float tape_record_err(const TapeRecord *record);

/* Fill ip, norm and err of scored for a query of padded_dim elements. */
extern void tape_record_score(const IvfLayout *layout,
							  const TapeRecord *record, const float *query,
							  ScoredVector *scored);

#endif							/* RECSYS_IVF_TAPE_H */
