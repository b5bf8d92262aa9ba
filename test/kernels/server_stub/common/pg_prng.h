/* Stands in for the server's header: Vigna's splitmix64 in its place. */
#ifndef RECSYS_STUB_PG_PRNG_H
#define RECSYS_STUB_PG_PRNG_H

typedef struct pg_prng_state
{
	uint64		state;
} pg_prng_state;

static inline void
pg_prng_seed(pg_prng_state *state, uint64 seed)
{
	state->state = seed;
}

static inline uint64
pg_prng_uint64(pg_prng_state *state)
{
	uint64		z = (state->state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* In [0, 1). */
static inline double
pg_prng_double(pg_prng_state *state)
{
	return (double) (pg_prng_uint64(state) >> 11) / 9007199254740992.0;
}

#endif							/* RECSYS_STUB_PG_PRNG_H */
