/*
 * ivf_tape.c
 *		The finer form of a vector, by which candidates are put into order.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "ivfpq/ivf_tape.h"

/* Rounding a float16 loses at most this much; err must not shrink by it. */
#define FLOAT16_EPSILON (1.0f / 1024)

/* Rounding of the rotation that made the vector, relative to its length. */
#define ROTATION_ROUNDING 4e-6

static void sq8_encode(const float *x, int n, TapeRecord *record);
static void sq8_decode(const TapeRecord *record, int n, float *x);
static float sq8_ip(const TapeRecord *record, const float *query, int n);
static float sq8_norm(const TapeRecord *record, int n);
static void float16_encode(const float *x, int n, TapeRecord *record);
static void float16_decode(const TapeRecord *record, int n, float *x);
static float float16_ip(const TapeRecord *record, const float *query, int n);
static float float16_norm(const TapeRecord *record, int n);

/* The digits of n elements; ip and norm without the scale. */
static const struct
{
	const char *name;
	int			digit_bytes;	/* 0: no tape */
	void		(*encode) (const float *x, int n, TapeRecord *record);
	void		(*decode) (const TapeRecord *record, int n, float *x);
	float		(*ip) (const TapeRecord *record, const float *query, int n);
	float		(*norm) (const TapeRecord *record, int n);
}			forms[] =

{
	[REFINE_SQ8] = {"sq8", 1, sq8_encode, sq8_decode, sq8_ip, sq8_norm},
	[REFINE_FLOAT16] = {"float16", 2, float16_encode, float16_decode,
	float16_ip, float16_norm},
	[REFINE_NONE] = {"none", 0, NULL, NULL, NULL, NULL},
};

const char *
refine_name(Refine refine)
{
	return forms[refine].name;
}

Size
tape_record_size(Refine refine, int padded_dim)
{
	if (forms[refine].digit_bytes == 0)
		return 0;
	return offsetof(TapeRecord, digits) +
		(Size) forms[refine].digit_bytes * padded_dim;
}

static float
largest_size(const float *x, int n)
{
	float		largest = 0.0f;

	for (int i = 0; i < n; i++)
		largest = Max(largest, fabsf(x[i]));
	return largest;
}

/* ----- sq8 ----- */

static void
sq8_encode(const float *x, int n, TapeRecord *record)
{
	int8	   *digits = (int8 *) record->digits;

	/* not smaller, or err / scale could overflow */
	record->scale = Max(largest_size(x, n) / 127.0f, FLT_MIN);
	for (int i = 0; i < n; i++)
	{
		float		digit = rintf(x[i] / record->scale);

		digits[i] = (int8) Max(Min(digit, 127.0f), -127.0f);
	}
}

static void
sq8_decode(const TapeRecord *record, int n, float *x)
{
	const int8 *digits = (const int8 *) record->digits;

	for (int i = 0; i < n; i++)
		x[i] = record->scale * (float) digits[i];
}

static float
sq8_ip(const TapeRecord *record, const float *query, int n)
{
	return kernels->dot_f32_i8(query, (const int8 *) record->digits, n);
}

static float
sq8_norm(const TapeRecord *record, int n)
{
	const int8 *digits = (const int8 *) record->digits;

	return sqrtf((float) kernels->dot_i8(digits, digits, n));
}

/* ----- float16 ----- */

static void
float16_encode(const float *x, int n, TapeRecord *record)
{
	float		largest = largest_size(x, n);
	float		scaled[64];
	int			exponent = 0;

	if (largest > 0.0f)
		frexpf(largest, &exponent);
	record->scale = Max(ldexpf(1.0f, exponent), FLT_MIN);
	for (int i = 0; i < n; i += 64)
	{
		for (int j = 0; j < 64; j++)
			scaled[j] = x[i + j] / record->scale;
		kernels->f32_to_f16(scaled, (uint16 *) record->digits + i, 64);
	}
}

static void
float16_decode(const TapeRecord *record, int n, float *x)
{
	kernels->f16_to_f32((const uint16 *) record->digits, x, n);
	for (int i = 0; i < n; i++)
		x[i] *= record->scale;
}

static float
float16_ip(const TapeRecord *record, const float *query, int n)
{
	return kernels->dot_f32_f16(query, (const uint16 *) record->digits, n);
}

static float
float16_norm(const TapeRecord *record, int n)
{
	float		part[64];
	float		norm2 = 0.0f;

	for (int i = 0; i < n; i += 64)
	{
		kernels->f16_to_f32((const uint16 *) record->digits + i, part, 64);
		norm2 += kernels->dot_f32(part, part, 64);
	}
	return sqrtf(norm2);
}

/* ----- the record ----- */

void
tape_record_encode(const IvfLayout *layout, const float *x, TapeRecord *record)
{
	int			n = layout->padded_dim;
	float		decoded[IVF_MAX_DIM];
	double		err2 = 0.0;
	double		norm2 = 0.0;
	float		err;

	if (layout->tape_record == 0)
		return;
	memset(record, 0, offsetof(TapeRecord, digits));
	forms[layout->refine].encode(x, n, record);
	forms[layout->refine].decode(record, n, decoded);
	for (int i = 0; i < n; i++)
	{
		double		digit = (double) x[i] / record->scale;
		double		difference = digit - (double) decoded[i] / record->scale;

		norm2 += digit * digit;
		err2 += difference * difference;
	}
	err = (float) (sqrt(err2) + ROTATION_ROUNDING * sqrt(norm2)) *
		(1.0f + FLOAT16_EPSILON);
	kernels->f32_to_f16(&err, &record->err, 1);
}

void
tape_record_decode(const IvfLayout *layout, const TapeRecord *record, float *x)
{
	forms[layout->refine].decode(record, layout->padded_dim, x);
}

float
tape_record_err(const TapeRecord *record)
{
	float		err;

	kernels->f16_to_f32(&record->err, &err, 1);
	return err * record->scale;
}

void
tape_record_score(const IvfLayout *layout, const TapeRecord *record,
				  const float *query, ScoredVector *scored)
{
	int			n = layout->padded_dim;

	/* in float8: the product of two tiny numbers is not 0 there */
	scored->ip = (double) record->scale *
		forms[layout->refine].ip(record, query, n);
	scored->norm = (double) record->scale *
		forms[layout->refine].norm(record, n);
	scored->err = tape_record_err(record);
}
